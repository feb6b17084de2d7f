/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu-versions.h"

#include <string.h>

#include "../../logging-channel/event.h"

static const struct vmft_qemu_symbol symbols_7_2[] = {
    {"replay_mode", 4},
    {"replay_file", 8},
    /* replay/replay-internal.h and softmmu/timers-state.h: the layouts that the offsets
     * below rely on. */
    {"replay_state", 72},
    {"timers_state", 96},
    {"qemu_system_vmstop_request_prepare", 0},
    {"qemu_system_vmstop_request", 0},
    {"qemu_notify_event", 0},
    {"replay_has_events", 0},
    {"qemu_clock_notify", 0},
    {NULL, 0},
};

static const struct vmft_qemu_version versions[] = {
    {
	.prefix = "7.2.",
	.log_version = VMFT_LOG_VERSION_QEMU_7_2,
	.timers_clock_offset = 56,
	.replay_kind_offset = 28,
	.symbols = symbols_7_2,
    },
};

const struct vmft_qemu_version *vmft_qemu_version_find(const char *version)
{
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		if (strncmp(version, versions[i].prefix, strlen(versions[i].prefix)) == 0)
			return &versions[i];
	return NULL;
}

const char *vmft_qemu_versions_known(void)
{
	return "7.2";
}
