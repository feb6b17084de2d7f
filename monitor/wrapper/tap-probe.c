/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a tap can do. A tap that is handed over as a descriptor (fd=) is asked with the calls that
 * QEMU will make (net/tap.c, net_init_tap_one() and net_tap_fd_init()); QEMU sets again what they
 * change. A tap that QEMU opens by name (ifname=) can do what this kernel gives every tap: that is
 * asked of a tap made for the purpose, in a network namespace of its own, where nobody sees it.
 */
#define _GNU_SOURCE
#include "tap-probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* struct virtio_net_hdr_v1_hash, virtio_net_hdr_mrg_rxbuf, virtio_net_hdr (linux/virtio_net.h) */
static const int headers[] = {20, 12, 10};

static const struct vmft_tap_facts unknown = {
    .vnet_hdr = VMFT_TAP_UNKNOWN,
    .header = VMFT_TAP_UNKNOWN,
    .offloads = VMFT_TAP_UNKNOWN,
    .multi_queue = VMFT_TAP_UNKNOWN,
};

/* The longest header that QEMU may ask for. The present length is set again. */
static uint8_t longest_header(int fd)
{
	uint8_t longest = 0;
	int now;

	if (ioctl(fd, TUNGETVNETHDRSZ, &now) < 0)
		return VMFT_TAP_UNKNOWN;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]) && longest == 0; i++) {
		int size = headers[i];

		if (ioctl(fd, TUNSETVNETHDRSZ, &size) == 0)
			longest = (uint8_t)size;
	}
	(void)ioctl(fd, TUNSETVNETHDRSZ, &now);
	return longest;
}

/* Each offload is tried together with those that it needs (set_offload() in the kernel's tun.c).
 * Then all are switched off, as QEMU does after its own tries. */
static uint8_t accepted_offloads(int fd)
{
	static const struct {
		unsigned bit, with;
	} offloads[] = {
	    {TUN_F_CSUM, 0},
	    {TUN_F_TSO4, TUN_F_CSUM},
	    {TUN_F_TSO6, TUN_F_CSUM},
	    {TUN_F_TSO_ECN, TUN_F_CSUM | TUN_F_TSO4},
	    {TUN_F_UFO, TUN_F_CSUM},
	    /* The kernel has both or none. */
	    {VMFT_TUN_F_USO4, TUN_F_CSUM | VMFT_TUN_F_USO6},
	    {VMFT_TUN_F_USO6, TUN_F_CSUM | VMFT_TUN_F_USO4},
	};
	uint8_t accepted = 0;

	for (size_t i = 0; i < sizeof(offloads) / sizeof(offloads[0]); i++)
		if (ioctl(fd, TUNSETOFFLOAD, offloads[i].bit | offloads[i].with) == 0)
			accepted |= (uint8_t)offloads[i].bit;
	(void)ioctl(fd, TUNSETOFFLOAD, 0);
	return accepted;
}

/* By the question that the agent asks (monitor/agent/nic.c): a macvtap answers it too. */
static int ask_interface(int fd, struct ifreq *ret)
{
	memset(ret, 0, sizeof(*ret));
	return ioctl(fd, TUNGETIFF, ret) < 0 ? -errno : 0;
}

static void ask(int fd, struct vmft_tap_probe *ret)
{
	struct vmft_tap_facts *facts = &ret->facts;
	struct ifreq ifr;

	if (ask_interface(fd, &ifr) < 0)
		return;
	facts->vnet_hdr = (ifr.ifr_flags & IFF_VNET_HDR) != 0;
	facts->multi_queue = (ifr.ifr_flags & IFF_MULTI_QUEUE) != 0;
	facts->header = facts->vnet_hdr ? longest_header(fd) : 0;
	facts->offloads = facts->vnet_hdr ? accepted_offloads(fd) : 0;
	(void)snprintf(ret->ifname, sizeof(ret->ifname), "%.15s", ifr.ifr_name);
}

/* In a child process; its network namespace ends with it. */
static int make_and_ask(struct vmft_tap_probe *ret)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -1;
	ask(fd, ret);
	return 0;
}

/* What every tap has that QEMU makes or opens by name on this host. */
static struct vmft_tap_facts any_of_this_kernel(void)
{
	struct vmft_tap_probe got = {.facts = unknown};
	struct vmft_tap_facts facts = unknown;
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return facts;
	child = fork();
	if (child == 0) {
		if (make_and_ask(&got) == 0)
			(void)!write(ends[1], &got.facts, sizeof(got.facts));
		_exit(0);
	}
	close(ends[1]);
	if (child > 0 && read(ends[0], &got.facts, sizeof(facts)) == (ssize_t)sizeof(facts))
		facts = got.facts;
	close(ends[0]);
	if (child > 0)
		(void)waitpid(child, NULL, 0);
	return facts;
}

static void of_name(const struct vmft_cmdline_nic *nic, const struct vmft_tap_facts *any,
		    struct vmft_tap_probe *ret)
{
	ret->facts = *any;
	ret->facts.multi_queue = 0; /* queues=1 is the only number admitted */
	if (nic->no_vnet_hdr)
		ret->facts.vnet_hdr = ret->facts.header = ret->facts.offloads = 0;
	if (nic->ifname)
		(void)snprintf(ret->ifname, sizeof(ret->ifname), "%s", nic->ifname);
}

void vmft_taps_look(const struct vmft_cmdline_nic *nics, size_t count,
		    struct vmft_tap_probe *ret_taps)
{
	struct vmft_tap_facts any = unknown;
	bool asked = false;

	for (size_t i = 0; i < count; i++) {
		struct vmft_tap_probe *tap = &ret_taps[i];

		*tap = (struct vmft_tap_probe){.facts = unknown};
		if (nics[i].fd) {
			ask(atoi(nics[i].fd), tap);
		} else {
			if (!asked)
				any = any_of_this_kernel();
			asked = true;
			of_name(&nics[i], &any, tap);
		}
		(void)snprintf(tap->facts.netdev, sizeof(tap->facts.netdev), "%s", nics[i].netdev);
		if (tap->ifname[0])
			tap->facts.mtu = vmft_tap_mtu(tap->ifname);
	}
}

const char *vmft_tap_fault(int fd)
{
	struct ifreq ifr;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return "no such descriptor is open";
	if (!S_ISCHR(st.st_mode))
		return "this descriptor is no tap and no macvtap";
	rc = ask_interface(fd, &ifr);
	if (rc < 0)
		return rc == -EBADFD ? "this descriptor belongs to no interface (TUNSETIFF)"
				     : "this descriptor is no tap and no macvtap";
	if (!(ifr.ifr_flags & IFF_TAP))
		return "this descriptor is a tun: it carries no Ethernet frames";
	return NULL;
}
