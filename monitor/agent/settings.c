/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's settings. VMFT_AGENT in the environment is the number of the descriptor of the
 * memory shared with the monitor; vmft-qemu has written the settings into that memory
 * (struct vmft_settings). They are read once, by the library's constructor.
 */
#define _GNU_SOURCE
#include "settings.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "gate.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "monitor/common/settings.h"
#include "monitor/common/strategy-kind.h"
#include "nic.h"
#include "strategy.h"
#include "track.h"

static int parse_fd(const char *text, struct vmft_error *err)
{
	char *end;
	long fd;

	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno || end == text || *end || fd < 0 || fd > INT_MAX)
		return vmft_error_set(
		    err, -EINVAL, VMFT_EXIT_CONFIG,
		    "VMFT_AGENT=%.100s: not understood; start QEMU through vmft-qemu", text);
	return (int)fd;
}

static int take_qemu(const struct vmft_settings *settings, struct vmft_error *err)
{
	int rc = vmft_qemu_choose(settings->qemu_version, settings->place);

	if (rc == -EPROTO)
		return vmft_error_set(err, rc, VMFT_EXIT_QEMU,
				      "QEMU %s is not known to this agent; agent and vmft-qemu "
				      "must come from one build",
				      settings->qemu_version);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_QEMU,
				      "the shared settings have an impossible place of a member of "
				      "QEMU's; start QEMU through vmft-qemu");
	return 0;
}

static void take_disks(const struct vmft_settings *settings)
{
	vmft_track.disk_count = settings->disk_count;
	vmft_agent.flush = false;
	for (uint32_t i = 0; i < settings->disk_count; i++) {
		const struct vmft_disk_settings *disk = &settings->disk[i];

		vmft_track.disk[i].device = disk->device;
		vmft_track.disk[i].inode = disk->inode;
		/* QEMU keeps tables of such an image in its own memory. */
		vmft_agent.flush |= disk->format == VMFT_IMAGE_QCOW2;
	}
}

static void take_nics(const struct vmft_settings *settings)
{
	struct vmft_nics *nics = &vmft_nics;

	nics->count = settings->nic_count;
	for (uint32_t i = 0; i < settings->nic_count; i++) {
		memcpy(nics->nic[i].id, settings->nic[i].id, sizeof(nics->nic[i].id));
		memcpy(nics->nic[i].mac, settings->nic[i].mac, sizeof(nics->nic[i].mac));
	}
}

int vmft_agent_settings_take(const struct vmft_settings *settings, struct vmft_error *err)
{
	int rc = take_qemu(settings, err);

	if (rc < 0)
		return rc;
	vmft_agent.bell_monitor = settings->bell_monitor_fd;
	vmft_agent.bell_agent = settings->bell_agent_fd;
	vmft_agent.lifeline = settings->lifeline_agent_fd;
	vmft_agent.ram_fd = settings->ram_fd;
	vmft_agent.awaits_state = settings->awaits_state != 0;
	vmft_agent.area_fd = settings->area_fd;
	vmft_agent.strategy = settings->strategy == VMFT_STRATEGY_CHECKPOINT
				  ? &vmft_agent_checkpoint
				  : &vmft_agent_lockstep;
	take_disks(settings);
	take_nics(settings);
	vmft_gate_init(&vmft_gate, settings->gate_bytes);
	return 0;
}

int vmft_agent_settings_load(const char *given, struct vmft_error *err)
{
	struct vmft_settings settings;
	struct vmft_iface *iface;
	struct vmft_ring ring;
	int fd = parse_fd(given, err);
	int rc;

	if (fd < 0)
		return fd;
	rc = vmft_iface_map(fd, &iface, &ring, err);
	if (rc == 0)
		rc = vmft_settings_read(iface, &settings, err);
	if (rc == 0)
		rc = vmft_area_map(settings.area_fd, &vmft_agent.area, err);
	if (rc == 0)
		rc = vmft_agent_settings_take(&settings, err);
	if (rc < 0)
		return rc;
	vmft_agent.ring = ring;
	vmft_agent.iface = iface;
	return 0;
}
