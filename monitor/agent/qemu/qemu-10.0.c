/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU 10.0: its numbers, and the calls that another series makes in another way. docs/qemu.md says
 * what else of its source the agent relies on.
 */
#define VMFT_QEMU_OWN "qemu-10.0.def"
#include "own-symbols.h"

#include <errno.h>

static bool is_locked(void)
{
	return own.bql_locked();
}

static void lock(void)
{
	own.bql_lock_impl(__FILE__, __LINE__);
}

static void unlock(void)
{
	own.bql_unlock();
}

static void replay_events_off(void)
{
	own.replay_finish_events();
}

static int dirty_log_start(unsigned flags)
{
	return own.memory_global_dirty_log_start(flags, NULL) ? 0 : -EIO;
}

static void dirty_log_sync(void)
{
	own.memory_global_dirty_log_sync(false);
}

/* vm_start() would put a guest to sleep that was loaded asleep and has been woken since: no wake-up
 * clears vm_was_suspended (system/cpus.c). */
static void sleep_forget(void)
{
	own.vm_set_suspended(false);
}

const struct vmft_qemu_series vmft_qemu_10_0 = {
    .name = "10.0",
    .log_version = VMFT_LOG_VERSION_QEMU_7_2,
    .tap_offloads = 0x7f, /* to TUN_F_USO6 */
    .offloads_new = 0x60, /* hw_compat_8_1 in hw/core/machine.c */
    .offloads_new_from = 802,
    .symbols = symbols,
    .fields = vmft_qemu_fields,
    .numbers =
	{
	    .phase_ready = 5,	/* PHASE_MACHINE_READY in include/hw/qdev-core.h */
	    .clock_virtual = 1, /* QEMUClockType in include/qemu/timer.h */
	    .clock_host = 2,
	    .guest_timers = ~1, /* ~QEMU_TIMER_ATTR_EXTERNAL, there */
	    .wakeup_rtc = 1,	/* WakeupReason in include/system/runstate.h */
	    .wakeup_pmtimer = 2,
	    .dirty_log = 1u,	/* GLOBAL_DIRTY_MIGRATION in include/exec/memory.h */
	    .dirty_client = 2u, /* DIRTY_MEMORY_MIGRATION in include/exec/ramlist.h */
	},
    .ops =
	{
	    .bind = bind,
	    .is_locked = is_locked,
	    .lock = lock,
	    .unlock = unlock,
	    .replay_events_off = replay_events_off,
	    .dirty_log_start = dirty_log_start,
	    .dirty_log_sync = dirty_log_sync,
	    .sleep_forget = sleep_forget,
	},
};
