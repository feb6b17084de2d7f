/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Settings as another process left them in the shared memory: what is accepted can be read by the
 * monitor, each text to its end, and points into the settings only. The input changes bytes of
 * valid settings, four bytes of it a change: position, high byte first, then the value.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "monitor/common/settings.h"
#include "monitor/common/strategy-kind.h"
#include "monitor/daemon/settings.h"

static const struct vmft_settings valid = {
    .area_fd = 4,
    .ram_fd = 5,
    .bell_monitor_fd = 6,
    .bell_agent_fd = 7,
    .strategy = VMFT_STRATEGY_LOCKSTEP,
    .disk_count = 1,
    .nic_count = 1,
    .lifeline_agent_fd = 8,
    .gate_bytes = 4096,
    .qemu_version = "7.2.22",
    .lifeline_monitor_fd = 9,
    .words_fd = 10,
    .guest_pid = 11,
    .log_version = 1,
    .build_id = "ab",
    .machine_digest = "cd",
    .disk_digest = "ef",
    .strategy_reason = "fuzzed",
    .disk = {{.format = VMFT_IMAGE_RAW, .path = "/a"}},
    .nic = {{.id = "n0", .ifname = "tap0"}},
};

static void must(bool good)
{
	if (!good)
		abort();
}

static void lies_within(const char *text, const struct vmft_settings *settings)
{
	const char *first = (const char *)settings;

	must(text >= first && text < first + sizeof(*settings));
	must(strnlen(text, VMFT_SETTINGS_PATH_MAX) < VMFT_SETTINGS_PATH_MAX);
}

static void check(const struct vmft_settings *settings, const struct vmft_monitor_options *o)
{
	must(o->role < VMFT_ROLE_COUNT && o->host < VMFT_HOST_COUNT && o->strategy != NULL);
	must(o->disk_count <= VMFT_AREA_DISKS_MAX && o->identity.tap_count <= VMFT_HELLO_TAPS_MAX);
	must(o->identity.build_id_bytes <= VMFT_HELLO_DIGEST_MAX);
	lies_within(o->strategy_reason, settings);
	for (uint32_t i = 0; i < o->disk_count; i++)
		lies_within(o->disk[i].path, settings);
	for (uint8_t i = 0; i < o->identity.tap_count; i++) {
		must(strnlen(o->tap_ifname[i], VMFT_TAP_IFNAME) < VMFT_TAP_IFNAME);
		must(strnlen(o->identity.tap[i].netdev, VMFT_TAP_NETDEV_MAX + 1) <=
		     VMFT_TAP_NETDEV_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vmft_settings settings;
	static struct vmft_monitor_options options;
	struct vmft_error err = {0};

	settings = valid;
	for (size_t i = 0; i + 4 <= size; i += 4) {
		const size_t at = (size_t)data[i] << 16 | (size_t)data[i + 1] << 8 | data[i + 2];

		((uint8_t *)&settings)[at % sizeof(settings)] = data[i + 3];
	}
	memset(&options, 0, sizeof(options));
	if (vmft_settings_check(&settings, &err) < 0 ||
	    vmft_monitor_settings_take(&settings, &options, &err) < 0) {
		must(err.text[0] != '\0');
		return 0;
	}
	check(&settings, &options);
	return 0;
}

/* Descriptors, role and host, counts; a path, a name, a digest; two disks. */
static const uint8_t numbers[] = {0, 0, 0, 12, 0, 0, 84, 1, 0, 0, 88, 2, 0, 0, 20, 1, 0, 0, 24, 1};
static const uint8_t texts[] = {0, 0x12, 0x50, '/', 0, 0x12, 0x51, 'b',
				0, 0,	 96,   '0', 0, 0,    40,   '8'};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {numbers, sizeof(numbers)},
    {texts, sizeof(texts)},
    {0},
};
