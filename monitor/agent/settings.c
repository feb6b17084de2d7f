/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's settings: VMFT_AGENT in the environment, "KEY=VALUE" with commas between. */
#define _GNU_SOURCE
#include "settings.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "gate.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "nic.h"
#include "track.h"

static bool parse_number(const char *text, uint64_t *ret, int base)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, base);
	return errno == 0 && end != text && *end == '\0';
}

/* "ID/MAC" of each, with plus signs between, in the order of -netdev. */
static bool parse_nics(char *text)
{
	struct vmft_nics *nics = &vmft_nics;
	char *save = NULL;

	for (char *word = strtok_r(text, "+", &save); word; word = strtok_r(NULL, "+", &save)) {
		char *mac = strchr(word, '/');
		struct vmft_nic *nic;
		uint8_t *m;

		if (nics->count == VMFT_AGENT_NICS || !mac || mac - word > VMFT_NIC_ID_MAX)
			return false;
		nic = &nics->nic[nics->count++];
		m = nic->mac;
		*mac++ = '\0';
		(void)snprintf(nic->id, sizeof(nic->id), "%s", word);
		if (sscanf(mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &m[0], &m[1], &m[2], &m[3],
			   &m[4], &m[5]) != 6)
			return false;
	}
	return true;
}

bool vmft_agent_settings_parse_disks(char *text)
{
	struct vmft_track *track = &vmft_track;
	char *save = NULL;

	for (char *disk = strtok_r(text, "+", &save); disk; disk = strtok_r(NULL, "+", &save)) {
		struct vmft_agent_disk *d;
		unsigned long long device, inode;

		if (track->disk_count == VMFT_AREA_DISKS_MAX ||
		    sscanf(disk, "%llx.%llx", &device, &inode) != 2)
			return false;
		d = &track->disk[track->disk_count++];
		d->device = device;
		d->inode = inode;
	}
	return true;
}

struct settings {
	uint64_t iface, area, ram, flush, bell_monitor, bell_agent, lifeline, gate, log_version,
	    clock_offset, warp_offset, warp_timer_offset, shift_offset, bias_offset, icount_offset,
	    kind_offset, rng_offset, ioapic_offset;
};

static bool parse_setting(struct settings *s, char *key, char *value)
{
	if (strcmp(key, "nics") == 0)
		return parse_nics(value);
	if (strcmp(key, "strategy") == 0) {
		vmft_agent.checkpoint = strcmp(value, "checkpoint") == 0;
		return vmft_agent.checkpoint;
	}
	if (strcmp(key, "disks") == 0)
		return vmft_agent_settings_parse_disks(value);
	if (strcmp(key, "area") == 0)
		return parse_number(value, &s->area, 10);
	if (strcmp(key, "ram") == 0)
		return parse_number(value, &s->ram, 10);
	if (strcmp(key, "flush") == 0)
		return parse_number(value, &s->flush, 10);
	if (strcmp(key, "iface") == 0)
		return parse_number(value, &s->iface, 10);
	if (strcmp(key, "bell-monitor") == 0)
		return parse_number(value, &s->bell_monitor, 10);
	if (strcmp(key, "bell-agent") == 0)
		return parse_number(value, &s->bell_agent, 10);
	if (strcmp(key, "lifeline") == 0)
		return parse_number(value, &s->lifeline, 10);
	if (strcmp(key, "gate") == 0)
		return parse_number(value, &s->gate, 10);
	if (strcmp(key, "log-version") == 0)
		return parse_number(value, &s->log_version, 16);
	if (strcmp(key, "clock-offset") == 0)
		return parse_number(value, &s->clock_offset, 10);
	if (strcmp(key, "warp-offset") == 0)
		return parse_number(value, &s->warp_offset, 10);
	if (strcmp(key, "warp-timer-offset") == 0)
		return parse_number(value, &s->warp_timer_offset, 10);
	if (strcmp(key, "shift-offset") == 0)
		return parse_number(value, &s->shift_offset, 10);
	if (strcmp(key, "bias-offset") == 0)
		return parse_number(value, &s->bias_offset, 10);
	if (strcmp(key, "icount-offset") == 0)
		return parse_number(value, &s->icount_offset, 10);
	if (strcmp(key, "kind-offset") == 0)
		return parse_number(value, &s->kind_offset, 10);
	if (strcmp(key, "rng-offset") == 0)
		return parse_number(value, &s->rng_offset, 10);
	if (strcmp(key, "ioapic-offset") == 0)
		return parse_number(value, &s->ioapic_offset, 10);
	return false;
}

static bool parse_settings(struct settings *s, char *text)
{
	char *save = NULL;

	for (char *part = strtok_r(text, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
		char *value = strchr(part, '=');

		if (!value)
			return false;
		*value++ = '\0';
		if (!parse_setting(s, part, value))
			return false;
	}
	return s->iface > 2 && s->area > 2 && s->ram > 2 && s->bell_monitor > 2 &&
	       s->bell_agent > 2 && s->lifeline > 2 && s->gate > 0 && s->log_version > 0 &&
	       s->clock_offset > 0 && s->warp_offset > 0 && s->warp_timer_offset > 0 &&
	       s->shift_offset > 0 && s->bias_offset > 0 && s->icount_offset > 0 &&
	       s->kind_offset > 0 && s->rng_offset > 0 && s->ioapic_offset > 0;
}

static void take(const struct settings *s)
{
	vmft_agent.flush = s->flush != 0;
	vmft_agent.bell_monitor = (int)s->bell_monitor;
	vmft_agent.bell_agent = (int)s->bell_agent;
	vmft_agent.lifeline = (int)s->lifeline;
	vmft_agent.ram_fd = (int)s->ram;
	vmft_agent.log_version = (uint32_t)s->log_version;
	vmft_agent.clock_offset = (size_t)s->clock_offset;
	vmft_agent.warp_offset = (size_t)s->warp_offset;
	vmft_agent.warp_timer_offset = (size_t)s->warp_timer_offset;
	vmft_agent.shift_offset = (size_t)s->shift_offset;
	vmft_agent.bias_offset = (size_t)s->bias_offset;
	vmft_agent.icount_offset = (size_t)s->icount_offset;
	vmft_agent.kind_offset = (size_t)s->kind_offset;
	vmft_agent.rng_offset = (size_t)s->rng_offset;
	vmft_agent.ioapic_offset = (size_t)s->ioapic_offset;
	vmft_gate_init(&vmft_gate, s->gate);
}

int vmft_agent_settings_load(const char *given, struct vmft_error *err)
{
	struct settings settings = {0};
	char text[4096];
	int rc;

	(void)snprintf(text, sizeof(text), "%s", given);
	if (!parse_settings(&settings, text))
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "VMFT_AGENT=%s: not understood; start QEMU through vmft-qemu",
				      given);
	rc = vmft_area_map((int)settings.area, &vmft_agent.area, err);
	if (rc == 0)
		rc = vmft_iface_map((int)settings.iface, &vmft_agent.iface, &vmft_agent.ring, err);
	if (rc == 0)
		take(&settings);
	return rc;
}
