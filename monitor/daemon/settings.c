/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "monitor/common/settings.h"
#include "monitor/common/strategy-kind.h"

static_assert(VMFT_NIC_ID_MAX == VMFT_TAP_NETDEV_MAX, "the hello has room for each id");
static_assert(VMFT_SETTINGS_IFNAME == VMFT_TAP_IFNAME, "the same interface name");
static_assert(VMFT_NICS_SHARED_MAX == VMFT_HELLO_TAPS_MAX, "the hello has room for each card");
static_assert(VMFT_AREA_DISKS_MAX == VMFT_HELLO_IMAGES_MAX, "the hello has room for each disk");

static int refuse(struct vmft_error *err, const char *field)
{
	return vmft_error_set(err, -EPROTO, VMFT_EXIT_INTERNAL,
			      "the shared settings are damaged (%s); start QEMU through vmft-qemu",
			      field);
}

static int parse_hex(const char *text, uint8_t *bytes, uint8_t *ret_count)
{
	size_t n = strlen(text);

	if (n % 2 != 0 || n / 2 > VMFT_HELLO_DIGEST_MAX || strspn(text, "0123456789abcdef") != n)
		return -EINVAL;
	for (size_t i = 0; i < n / 2; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	*ret_count = (uint8_t)(n / 2);
	return 0;
}

static int take_digests(const struct vmft_settings *s, struct vmft_hello *ret,
			struct vmft_error *err)
{
	if (parse_hex(s->build_id, ret->build_id, &ret->build_id_bytes) < 0)
		return refuse(err, "build_id");
	if (parse_hex(s->machine_digest, ret->machine, &ret->machine_bytes) < 0)
		return refuse(err, "machine_digest");
	if (parse_hex(s->disk_digest, ret->disk, &ret->disk_bytes) < 0)
		return refuse(err, "disk_digest");
	return 0;
}

static void take_disks(const struct vmft_settings *s, struct vmft_monitor_options *ret)
{
	ret->disk_count = s->disk_count;
	ret->identity.image_count = (uint8_t)s->disk_count;
	for (uint32_t i = 0; i < s->disk_count; i++) {
		const struct vmft_disk_settings *disk = &s->disk[i];

		ret->disk[i] = (struct vmft_image){
		    .path = disk->path,
		    .format = (enum vmft_image_format)disk->format,
		    .guest_bytes = disk->guest_bytes,
		    .fd = -1,
		    .read_only = disk->read_only != 0,
		};
		ret->identity.image_sum[i] = disk->sum;
	}
}

static bool is_flag(uint8_t value)
{
	return value <= 1 || value == VMFT_TAP_UNKNOWN;
}

static int take_nic(const struct vmft_nic_settings *nic, struct vmft_tap_facts *ret,
		    char ret_ifname[static VMFT_TAP_IFNAME], struct vmft_error *err)
{
	if (!is_flag(nic->vnet_hdr) || !is_flag(nic->multi_queue) ||
	    (nic->offloads > VMFT_TAP_OFFLOADS && nic->offloads != VMFT_TAP_UNKNOWN))
		return refuse(err, "nic");
	*ret = (struct vmft_tap_facts){
	    .vnet_hdr = nic->vnet_hdr,
	    .header = nic->header,
	    .offloads = nic->offloads,
	    .multi_queue = nic->multi_queue,
	    .mtu = nic->mtu,
	};
	memcpy(ret->netdev, nic->id, sizeof(ret->netdev));
	memcpy(ret_ifname, nic->ifname, VMFT_TAP_IFNAME);
	return 0;
}

static int take_nics(const struct vmft_settings *s, struct vmft_monitor_options *ret,
		     struct vmft_error *err)
{
	int rc = 0;

	ret->identity.tap_count = (uint8_t)s->nic_count;
	for (uint32_t i = 0; rc == 0 && i < s->nic_count; i++)
		rc = take_nic(&s->nic[i], &ret->identity.tap[i], ret->tap_ifname[i], err);
	return rc;
}

int vmft_monitor_settings_take(const struct vmft_settings *settings,
			       struct vmft_monitor_options *ret, struct vmft_error *err)
{
	static const struct vmft_strategy_ops *const strategies[VMFT_STRATEGY_COUNT] = {
	    [VMFT_STRATEGY_LOCKSTEP] = &vmft_strategy_lockstep,
	    [VMFT_STRATEGY_CHECKPOINT] = &vmft_strategy_checkpoint,
	};
	int rc;

	if (settings->role >= VMFT_ROLE_COUNT)
		return refuse(err, "role");
	if (settings->host >= VMFT_HOST_COUNT)
		return refuse(err, "host");
	rc = take_digests(settings, &ret->identity, err);
	if (rc == 0)
		rc = take_nics(settings, ret, err);
	if (rc < 0)
		return rc;
	take_disks(settings, ret);
	/* The log may have the machine's buttons in it (docs/qemu.md). */
	if (settings->strategy == VMFT_STRATEGY_LOCKSTEP) {
		ret->identity.feature_count = 1;
		ret->identity.feature[0] =
		    (struct vmft_feature){.bit = 0, .required = 1, .name = "buttons"};
	}
	ret->role = (enum vmft_role)settings->role;
	ret->host = (enum vmft_host)settings->host;
	ret->identity.log_version = settings->log_version;
	ret->versioned_machine = settings->versioned_machine != 0;
	ret->strategy = strategies[settings->strategy];
	ret->strategy_reason = settings->strategy_reason;
	ret->area_fd = settings->area_fd;
	ret->ram_fd = settings->ram_fd;
	ret->bell_monitor_fd = settings->bell_monitor_fd;
	ret->bell_agent_fd = settings->bell_agent_fd;
	ret->lifeline_fd = settings->lifeline_monitor_fd;
	ret->words_fd = settings->words_fd;
	ret->guest_pid = settings->guest_pid;
	ret->managed = settings->managed != 0;
	ret->replay = settings->replay[0] ? settings->replay : NULL;
	return 0;
}

int vmft_monitor_settings_load(struct vmft_settings *settings, struct vmft_monitor_options *ret,
			       struct vmft_error *err)
{
	struct vmft_iface *iface;
	struct vmft_ring ring;
	int rc = vmft_iface_map(ret->iface_fd, &iface, &ring, err);

	if (rc < 0)
		return rc;
	rc = vmft_settings_read(iface, settings, err);
	(void)munmap(iface, VMFT_IFACE_HEADER + ring.size);
	return rc < 0 ? rc : vmft_monitor_settings_take(settings, ret, err);
}
