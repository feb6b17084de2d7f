/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU 7.2: its numbers, and the calls that another series makes in another way. docs/qemu.md says
 * what else of its source the agent relies on.
 */
#define VMFT_QEMU_OWN "qemu-7.2.def"
#include "own-symbols.h"

static bool is_locked(void)
{
	return own.qemu_mutex_iothread_locked();
}

static void lock(void)
{
	own.qemu_mutex_lock_iothread_impl(__FILE__, __LINE__);
}

static void unlock(void)
{
	own.qemu_mutex_unlock_iothread();
}

static void replay_events_off(void)
{
	own.replay_disable_events();
}

static int dirty_log_start(unsigned flags)
{
	own.memory_global_dirty_log_start(flags);
	return 0;
}

static void dirty_log_sync(void)
{
	own.memory_global_dirty_log_sync();
}

/* It notes nothing. */
static void sleep_forget(void)
{
}

const struct vmft_qemu_series vmft_qemu_7_2 = {
    .name = "7.2",
    .log_version = VMFT_LOG_VERSION_QEMU_7_2,
    .tap_offloads = 0x1f, /* to TUN_F_UFO */
    .symbols = symbols,
    .fields = vmft_qemu_fields,
    .numbers =
	{
	    .phase_ready = 4,	/* PHASE_MACHINE_READY in include/hw/qdev-core.h */
	    .clock_virtual = 1, /* QEMUClockType in include/qemu/timer.h */
	    .clock_host = 2,
	    .guest_timers = ~1, /* ~QEMU_TIMER_ATTR_EXTERNAL, there */
	    .wakeup_rtc = 1,	/* WakeupReason in include/sysemu/runstate.h */
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
