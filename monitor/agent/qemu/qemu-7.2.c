/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU 7.2: its symbols, fields and numbers, and the calls that another series makes in another
 * way. docs/qemu.md says what else of its source the agent relies on.
 */
#include "inside.h"

static const struct vmft_qemu_symbol symbols[] = {
#define VMFT_QEMU_OBJECT(type, name, size)	    {#name, size},
#define VMFT_QEMU_FUNCTION(result, name, arguments) {#name, 0},
#define VMFT_QEMU_LAYOUT(name, size)		    {#name, size},
#include "symbols.def"

/* Undefines the macros. */
#include "qemu-7.2.def"
#undef VMFT_QEMU_OBJECT
    {NULL, 0},
};

/* The functions of the series' own list; bind() sets them. */
static struct {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): these are declarations */
#define VMFT_QEMU_FUNCTION(result, name, arguments) result(*name) arguments;
#include "qemu-7.2.def"
} own;

static const char *bind(vmft_qemu_lookup *lookup)
{
#define VMFT_QEMU_FUNCTION(result, name, arguments)                                                \
	do {                                                                                       \
		void *found = lookup(#name);                                                       \
                                                                                                   \
		if (!found)                                                                        \
			return #name;                                                              \
		memcpy(&own.name, &found, sizeof(found));                                          \
	} while (0);
#include "qemu-7.2.def"
	return NULL;
}

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

static void *dirty_snapshot(void *region, uint64_t bytes, unsigned client)
{
	return own.cpu_physical_memory_snapshot_and_clear_dirty(region, 0, bytes, client);
}

static int load_device_state(void *file)
{
	return own.qemu_load_device_state(file);
}

const struct vmft_qemu_series vmft_qemu_7_2 = {
    .name = "7.2",
    .log_version = VMFT_LOG_VERSION_QEMU_7_2,
    .symbols = symbols,
    .field =
	{
#define VMFT_QEMU_FIELD(id, type, member, offset, bytes)                                           \
	[VMFT_QEMU_##id] = {type, member, offset, bytes},
#include "qemu-7.2.def"
	},
    .numbers =
	{
	    .state =
		{
		    /* RunState in qapi/run-state.json */
		    [VMFT_QEMU_AWAITS_STATE] = 1,
		    [VMFT_QEMU_DISK_FAILED] = 3,
		    [VMFT_QEMU_PAUSED] = 4,
		    [VMFT_QEMU_HALTED] = 7, /* finish-migrate */
		    [VMFT_QEMU_RUNS] = 9,
		    [VMFT_QEMU_SAVING] = 10,
		    [VMFT_QEMU_SWITCHED_OFF] = 11,
		    [VMFT_QEMU_SLEEPS] = 12,
		},
	    .cause_load = 10,  /* SHUTDOWN_CAUSE_SNAPSHOT_LOAD, there */
	    .end_poweroff = 0, /* ShutdownAction, there */
	    .end_pause = 1,
	    .replay_record = 1, /* ReplayMode in include/sysemu/replay.h */
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
	    .dirty_snapshot = dirty_snapshot,
	    .load_device_state = load_device_state,
	},
};
