/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network cards: for lockstep each tap gets a filter-replay, which logs what comes in and, on
 * the side that replays, keeps frames from passing either way, and before it a filter-dump, where
 * the agent sees what the guest sends. For checkpoint the agent alone
 * stands at the tap.
 *
 * A tap's script and downscript are left as they are, and so is QEMU's default of running
 * /etc/qemu-ifup when there is none: lines that rely on it would come up without a network.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/interface.h"
#include "rewrite.h"

#define FD_DIGITS_MAX 9 /* an int's, less one */

static const struct vmft_key_rule netdev_rules[] = {
    {"type", "tap", VMFT_REASON("only the output of a tap can be held back until it is safe"),
     true},
    {"queues", "1", VMFT_ONE_QUEUE, true}, /* after one_queue() */
    {"fds", "", VMFT_ONE_QUEUE, true},
    {"vhostfds", "", VMFT_ONE_QUEUE, true},
    {.key = "id", .hidden = true},
    {.key = "ifname", .hidden = true},
    {.key = "fd", .hidden = true},
    {.key = "script", .hidden = true},
    {.key = "downscript", .hidden = true},
    {.key = "vhost", .hidden = true},
    {.key = "vhostfd", .hidden = true},
    {.key = "vhostforce", .hidden = true},
    {.key = "sndbuf", .hidden = true},
    {.key = "poll-us", .hidden = true},
    {.key = "vnet_hdr"}, /* decides the offloads the guest is offered */
    {0},
};

static struct vmft_netdev *netdev_find(struct vmft_rewrite *rw, const char *id)
{
	for (size_t i = 0; i < rw->netdev_count; i++)
		if (strcmp(rw->netdevs[i].id, id) == 0)
			return &rw->netdevs[i];
	return NULL;
}

static bool fd_parse(const char *text, int *ret)
{
	const size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > FD_DIGITS_MAX || text[digits] != '\0')
		return false;
	*ret = atoi(text);
	return true;
}

/* The agent tells cards apart by their descriptors. */
static const char *fd_fault(const struct vmft_rewrite *rw, int fd)
{
	for (size_t i = 0; i < rw->netdev_count; i++)
		if (rw->netdevs[i].fd == fd)
			return "this descriptor is another card's";
	return rw->opt->tap_fault ? rw->opt->tap_fault(fd) : NULL;
}

/* Frames to a descriptor that the agent does not recognise as a tap would not be held. */
static int check_fd(struct vmft_rewrite *rw, struct vmft_arg *arg, int *ret)
{
	const char *text = vmft_get(arg, "fd");
	const char *fault;

	*ret = -1;
	if (!text)
		return 0;
	fault = fd_parse(text, ret) ? fd_fault(rw, *ret) : "fd= is no number";
	if (!fault)
		return 0;
	return vmft_refuse(rw, arg, fault, "use fd= with the number of an open tap or macvtap");
}

/*
 * -netdev bridge is a tap that QEMU's helper makes and puts on a bridge. vmft-qemu runs the helper,
 * and gives QEMU the tap: frames to it are held like those to any other.
 */
static int check_bridge(struct vmft_rewrite *rw, struct vmft_arg *arg, const char **ret_bridge,
			const char **ret_helper)
{
	static const struct vmft_key_rule rules[] = {
	    {.key = "type"}, {.key = "id"}, {.key = "br"}, {.key = "helper"}, {0}};
	const char *bridge = vmft_get(arg, "br"), *helper = vmft_get(arg, "helper");
	struct vmft_error err;
	int r = vmft_check_keys(rw, arg, rules);

	if (r < 0)
		return r;
	bridge = bridge ? bridge : "br0";
	if (rw->opt->bridge_look && rw->opt->bridge_look(bridge, helper, &err) < 0)
		return vmft_report_refuse(rw->report, &err);
	vmft_replaced(rw, arg,
		      "replaced by a tap on the bridge, which vmft-qemu has QEMU's helper "
		      "make");
	vmft_optset_remove(arg->set, "br");
	vmft_optset_remove(arg->set, "helper");
	vmft_optset_set(arg->set, "type", "tap");
	*ret_bridge = bridge;
	*ret_helper = helper;
	return 0;
}

/* Frames pass through one thread of QEMU, which serves one queue as fast as several. */
static void one_queue(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *queues = vmft_get(arg, "queues");

	if (!rw->rules->one_of_queues || !queues || strcmp(queues, "1") == 0)
		return;
	vmft_replaced(rw, arg,
		      "queues=1: the guest is offered one queue; one thread of QEMU would "
		      "serve all of them, as the frames are held back");
	vmft_optset_remove(arg->set, "queues");
}

/* "24:25:26": the first of several queues that somebody else has opened. */
static void first_of_fds(struct vmft_rewrite *rw, struct vmft_arg *arg, struct vmft_netdev *netdev)
{
	const char *fds = vmft_get(arg, "fds");

	if (!rw->rules->one_of_queues || !fds || vmft_get(arg, "fd"))
		return;
	vmft_replaced(rw, arg,
		      "fd=, the first of fds=: the guest is offered one queue; the others "
		      "are closed, so that no frame waits in them");
	netdev->spare_fds = fds + strcspn(fds, ":");
	netdev->spare_vhost_fds = vmft_get(arg, "vhostfds");
	vmft_optset_set(arg->set, "fd",
			vmft_arena_copy(rw->arena, fds, (size_t)(netdev->spare_fds - fds)));
	vmft_optset_remove(arg->set, "fds");
	vmft_optset_remove(arg->set, "vhostfds");
}

static void no_vhost(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	if (vmft_is_on(arg, "vhost") || vmft_get(arg, "vhostfd"))
		vmft_replaced(rw, arg,
			      "vhost=off: QEMU moves the frames, as the kernel would hold "
			      "none of them back");
	vmft_optset_remove(arg->set, "vhostfd");
	vmft_optset_remove(arg->set, "vhostforce");
	vmft_optset_set_bool(arg->set, "vhost", false);
}

int vmft_check_netdev(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *type = vmft_get(arg, "type");
	const char *id = vmft_get(arg, "id");
	const char *bridge = NULL, *helper = NULL;
	struct vmft_netdev made = {0};
	bool refused = false;
	int fd = -1;

	one_queue(rw, arg);
	first_of_fds(rw, arg, &made);
	if (type && strcmp(type, "bridge") == 0)
		refused = check_bridge(rw, arg, &bridge, &helper) < 0;
	else if (type && strcmp(type, "tap") != 0)
		refused =
		    vmft_refuse_for(rw, arg, &netdev_rules[0].reason, "use -netdev tap,...") < 0;
	else
		refused = vmft_check_keys(rw, arg, netdev_rules) < 0;
	if (!type || !id || netdev_find(rw, id)) {
		rw->netdevs_lost = true;
		return vmft_refuse(rw, arg, "no type, no id=, or an id that is taken",
				   "use -netdev tap,id=NAME,...");
	}
	if (strlen(id) > VMFT_NIC_ID_MAX || strpbrk(id, ",+/"))
		refused = vmft_refuse(rw, arg, "the id is too long, or no id to QEMU",
				      "use letters, digits, - . and _ , 63 at most") < 0;
	if (rw->netdev_count == VMFT_NICS_MAX)
		refused = vmft_refuse(rw, arg, "more than eight network cards", "leave it out") < 0;
	refused |= check_fd(rw, arg, &fd) < 0;
	made.arg = arg;
	made.id = id;
	made.fd = fd;
	made.bridge = bridge;
	made.helper = helper;
	made.refused = refused;
	rw->netdevs[rw->netdev_count++] = made;
	if (refused)
		return -EINVAL;
	/* With vhost the kernel moves the frames: they would reach neither the log nor the gate. */
	no_vhost(rw, arg);
	return 0;
}

/* Six pairs of hex digits with colons, of one card: no group address. */
static bool mac_normalise(const char *text, char ret[static 18])
{
	static const char hex[] = "0123456789abcdef";

	if (strlen(text) != 17)
		return false;
	for (size_t i = 0; i < 17; i++) {
		char c = (char)tolower((unsigned char)text[i]);

		if (i % 3 == 2 ? c != ':' : !strchr(hex, c))
			return false;
		ret[i] = c;
	}
	ret[17] = '\0';
	return (strchr(hex, ret[1]) - hex) % 2 == 0;
}

static bool mac_taken(struct vmft_rewrite *rw, const struct vmft_arg *but, const char *mac)
{
	for (size_t i = 0; i < rw->device_count; i++) {
		const char *other;
		char normal[18];

		if (rw->devices[i] == but || !rw->devices[i]->set)
			continue;
		other = vmft_get(rw->devices[i], "mac");
		if (other && mac_normalise(other, normal) && strcmp(normal, mac) == 0)
			return true;
	}
	return false;
}

/* QEMU counts up from this address too; written out, it is the same on both sides. */
static int mac_default(struct vmft_rewrite *rw, const struct vmft_arg *device, char ret[static 18])
{
	for (unsigned last = 0x56; last <= 0xff; last++) {
		(void)snprintf(ret, 18, "52:54:00:12:34:%02x", last & 0xff);
		if (!mac_taken(rw, device, ret))
			return 0;
	}
	return vmft_refuse(rw, device, "no default address is left", "add mac=");
}

static int mac_set(struct vmft_rewrite *rw, struct vmft_arg *device, char ret[static 18])
{
	const char *given = vmft_get(device, "mac");
	int r = 0;

	if (!given)
		r = mac_default(rw, device, ret);
	else if (!mac_normalise(given, ret) || mac_taken(rw, device, ret))
		r = vmft_refuse(rw, device, "no card's address, or another card's",
				"use mac=52:54:00:xx:xx:xx");
	if (r < 0)
		return r;
	vmft_optset_set(device->set, "mac", vmft_arena_copy(rw->arena, ret, strlen(ret)));
	return 0;
}

int vmft_nic_attach(struct vmft_rewrite *rw, struct vmft_arg *device, bool virtio, size_t *ret_nic)
{
	const char *id = vmft_get(device, "netdev");
	struct vmft_netdev *netdev = id ? netdev_find(rw, id) : NULL;

	if (!netdev && id && rw->netdevs_lost)
		return -EINVAL;
	if (!netdev || netdev->device)
		return vmft_refuse(rw, device, "no -netdev of that name, or another card's",
				   "give netdev= the id of a -netdev tap of its own");
	netdev->device = device;
	if (netdev->refused)
		return -EINVAL;
	*ret_nic = (size_t)(netdev - rw->netdevs);
	if (rw->rules->set_nic)
		rw->rules->set_nic(device);
	/* QEMU 7.2 loads the list of VLANs and then empties it: virtio_load() calls
	 * virtio_net_set_features() last. The guest would receive no tagged frame any more. */
	if (virtio)
		vmft_optset_set_bool(device->set, "ctrl_vlan", false);
	return mac_set(rw, device, rw->out.nics[*ret_nic].mac);
}

/* What vmft_taps_look() needs to know of a card. */
static void describe(const struct vmft_arg *arg, struct vmft_cmdline_nic *nic)
{
	const char *vnet_hdr = vmft_get(arg, "vnet_hdr");

	nic->fd = vmft_get(arg, "fd");
	nic->ifname = vmft_get(arg, "ifname");
	nic->no_vnet_hdr = vnet_hdr && vmft_value_in(vnet_hdr, "off|no|false|n");
}

/* A device that is refused itself may be the one that uses it. */
static bool device_names(const struct vmft_rewrite *rw, const char *id)
{
	for (size_t i = 0; i < rw->device_count; i++) {
		const char *netdev =
		    rw->devices[i]->set ? vmft_get(rw->devices[i], "netdev") : NULL;

		if (netdev && strcmp(netdev, id) == 0)
			return true;
	}
	return false;
}

static void finish_netdev(struct vmft_rewrite *rw, const struct vmft_netdev *netdev, size_t i)
{
	rw->out.nics[i].netdev = netdev->id;
	describe(netdev->arg, &rw->out.nics[i]);
	rw->out.nic_count++;
	vmft_fact_ordered(
	    rw, vmft_arena_printf(rw->arena, "%s %zu",
				  vmft_fact_keys(rw, "tap", netdev->arg, netdev_rules), i));
	if (rw->rules->add_filters)
		rw->rules->add_filters(rw, netdev, i);
}

/* Filters are numbered in the log in the order they are made: that of -netdev. */
void vmft_nics_finish(struct vmft_rewrite *rw)
{
	for (size_t i = 0; i < rw->netdev_count; i++) {
		const struct vmft_netdev *netdev = &rw->netdevs[i];

		if (netdev->device && !netdev->refused)
			finish_netdev(rw, netdev, i);
		else if (!netdev->refused && !device_names(rw, netdev->id))
			(void)vmft_refuse(rw, netdev->arg, "no device uses it",
					  vmft_arena_printf(rw->arena,
							    "leave it out or add -device "
							    "%s,netdev=ID",
							    rw->rules->nic_model));
	}
}

static void drop_fds(const struct vmft_rewrite *rw, const char *fds)
{
	while (fds && *fds) {
		fds += strspn(fds, ":");
		if (*fds)
			rw->opt->drop_fd(atoi(fds));
		fds += strcspn(fds, ":");
	}
}

/* The kernel spreads the frames that come in over the queues that are open. */
static void drop_spare_queues(const struct vmft_rewrite *rw)
{
	for (size_t i = 0; rw->opt->drop_fd && i < rw->netdev_count; i++) {
		drop_fds(rw, rw->netdevs[i].spare_fds);
		drop_fds(rw, rw->netdevs[i].spare_vhost_fds);
	}
}

void vmft_nics_make(struct vmft_rewrite *rw)
{
	drop_spare_queues(rw);
	for (size_t i = 0; rw->opt->bridge_tap && i < rw->netdev_count; i++) {
		const struct vmft_netdev *netdev = &rw->netdevs[i];
		struct vmft_error err;
		int fd;

		if (!netdev->bridge)
			continue;
		fd = rw->opt->bridge_tap(netdev->bridge, netdev->helper, &err);
		if (fd < 0) {
			(void)vmft_report_refuse(rw->report, &err);
			return;
		}
		rw->out.nics[i].fd = vmft_arena_printf(rw->arena, "%d", fd);
		vmft_optset_set(netdev->arg->set, "fd", rw->out.nics[i].fd);
	}
}
