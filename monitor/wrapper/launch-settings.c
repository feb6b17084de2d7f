/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a launch tells agent and monitor: fills struct vmft_settings of monitor/interface.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "launch.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/settings.h"

#define PUT(field, text, what, err) vmft_settings_put(field, sizeof(field), text, what, err)

static int fill_disk(const struct vmft_disk *disk, const struct vmft_image_facts *image,
		     struct vmft_disk_settings *ret, struct vmft_error *err)
{
	ret->guest_bytes = image->guest_bytes;
	ret->device = image->device;
	ret->inode = image->inode;
	ret->sum = image->sum;
	ret->format = disk->format;
	ret->read_only = disk->read_only;
	return PUT(ret->path, disk->path, "the path", err);
}

/* Offloads that this QEMU, or its machine, does not know make no difference to its guest. */
static uint8_t offloads_used(const struct vmft_tap_probe *tap, const struct vmft_launch *launch)
{
	const struct vmft_qemu_series *series = launch->qemu->series;
	const unsigned version = launch->cmdline->machine_version;
	uint8_t used = series->tap_offloads;

	if (tap->facts.offloads == VMFT_TAP_UNKNOWN)
		return VMFT_TAP_UNKNOWN;
	if (version != 0 && version < series->offloads_new_from)
		used &= (uint8_t)~series->offloads_new;
	return tap->facts.offloads & used;
}

static int fill_nic(const struct vmft_cmdline_nic *nic, const struct vmft_tap_probe *tap,
		    const struct vmft_launch *launch, struct vmft_nic_settings *ret,
		    struct vmft_error *err)
{
	uint8_t *m = ret->mac;
	int r = PUT(ret->id, nic->netdev, "the netdev's id", err);

	if (r == 0)
		r = PUT(ret->ifname, tap->ifname, "the interface name", err);
	if (r < 0)
		return r;
	if (sscanf(nic->mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &m[0], &m[1], &m[2], &m[3],
		   &m[4], &m[5]) != 6)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_UNPROTECTED,
				      "%.20s is no MAC address; write it as 52:54:00:12:34:56",
				      nic->mac);
	ret->vnet_hdr = tap->facts.vnet_hdr;
	ret->header = tap->facts.header;
	ret->offloads = offloads_used(tap, launch);
	ret->multi_queue = tap->facts.multi_queue;
	ret->mtu = tap->facts.mtu;
	return 0;
}

static int fill_texts(const struct vmft_launch *launch, struct vmft_settings *ret,
		      struct vmft_error *err)
{
	const char *replay = launch->replay ? launch->replay : "";
	int r = PUT(ret->qemu_version, launch->qemu->version, "QEMU's version", err);

	if (r == 0)
		r = PUT(ret->build_id, launch->qemu->build_id, "QEMU's build-id", err);
	if (r == 0)
		r = PUT(ret->machine_digest, launch->machine_digest, "the machine's digest", err);
	if (r == 0)
		r = PUT(ret->disk_digest, launch->disk_digest, "the disks' digest", err);
	if (r == 0)
		r = PUT(ret->strategy_reason, launch->cmdline->strategy_reason, "the reason", err);
	if (r == 0)
		r = PUT(ret->replay, replay, "the path", err);
	return r;
}

int vmft_launch_settings(const struct vmft_launch *launch, struct vmft_settings *ret,
			 struct vmft_error *err)
{
	const struct vmft_cmdline *cmdline = launch->cmdline;
	int r = 0;

	if (cmdline->disk_count > VMFT_AREA_DISKS_MAX || cmdline->nic_count > VMFT_NICS_SHARED_MAX)
		return vmft_error_set(err, -E2BIG, VMFT_EXIT_UNPROTECTED,
				      "%zu disks and %zu network cards; at most %u and %u can be "
				      "protected",
				      cmdline->disk_count, cmdline->nic_count, VMFT_AREA_DISKS_MAX,
				      VMFT_NICS_SHARED_MAX);
	ret->strategy = cmdline->strategy;
	ret->disk_count = (uint32_t)cmdline->disk_count;
	ret->nic_count = (uint32_t)cmdline->nic_count;
	ret->versioned_machine = cmdline->machine_version != 0;
	ret->awaits_state =
	    launch->role == VMFT_ROLE_BACKUP && launch->config->start == VMFT_START_ALONE;
	ret->managed = launch->managed;
	ret->gate_bytes = launch->config->gate_bytes;
	ret->guest_pid = getpid();
	ret->role = launch->role;
	ret->host = launch->host;
	ret->log_version = launch->qemu->series->log_version;
	memcpy(ret->place, launch->qemu->place, sizeof(launch->qemu->place));
	for (size_t i = 0; r == 0 && i < cmdline->disk_count; i++)
		r = fill_disk(&cmdline->disks[i], &launch->images[i], &ret->disk[i], err);
	for (size_t i = 0; r == 0 && i < cmdline->nic_count; i++)
		r = fill_nic(&cmdline->nics[i], &launch->taps[i], launch, &ret->nic[i], err);
	return r == 0 ? fill_texts(launch, ret, err) : r;
}
