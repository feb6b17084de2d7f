/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvmft-agent.so, preloaded into the distribution's QEMU: what its files share, and the rules
 * that all of them keep.
 *
 * The agent runs in a process that is not its own, on QEMU's threads. A thread that comes here may
 * hold QEMU's replay mutex, its big lock, and the write side of the virtual clock's seqlock
 * (icount_warp_rt() reads the log under it).
 *
 * 1. The agent calls QEMU, and reads and writes its variables, only by the verbs of qemu/port.h.
 *    Which verbs (vmft_qemu_...) may be used where:
 *
 *    where                    | verbs                              | why this is safe
 *    -------------------------+------------------------------------+-----------------------------
 *    any thread, with any of  | guest_runs, state_is, next_event   | read one variable
 *    QEMU's locks             | vcpu_is_..., is_locked,            | set flags, or add to a list
 *                             | vcpu_leave_run, in_main_loop,      | that needs no lock
 *                             | main_loop_wake, stop_for_good      |
 *    a signal handler         | end_by_signal                      | QEMU's handler does the same
 *    a thread that holds the  | time_..., guest_clock..., guest_ns,| take no lock; who else reads
 *    replay mutex             | record_into, block_requests,       | or writes these variables
 *                             | registers, nic_fd                  | holds the replay mutex too
 *    the main thread, about   | machine_is_made, on_end, vcpu_wake,| no lock of QEMU's is held, so
 *    to wait in ppoll()       | vcpu_call, events_are_queued,      | they may be taken
 *                             | idles_until_timer                  |
 *    a bottom half of the     | all others                         | both locks are held, as if
 *    main loop (requests.c)   |                                    | QEMU had called
 *
 * 2. The agent uses no network, no file and no QMP: the monitor does. It writes to the guest's own
 *    taps and consoles. It reads images through QEMU's descriptors, at an attach point or an
 *    epoch's end only.
 * 3. A QEMU thread may sleep here (this is how the guest is stopped) only where the service thread,
 *    the thread itself or, in turns.c, another thread of QEMU ends the sleep:
 *
 *    where                            | what ends it
 *    ---------------------------------+---------------------------------------------------------
 *    vmft_agent_sleep()               | vmft_agent_wake(), or a field that the monitor changes
 *    vmft_gate_writev() (gate.c)      | frames that leave, or a changed mode of the gate
 *    vmft_disk_again() (disk.c)       | it looks every 50 ms whether it must still wait
 *    turns.c, the vCPU thread         | the main loop, before it waits and the vCPUs are resumed
 *    turns.c, the main loop           | the vCPU thread, when it is between two runs
 *    pace() (tap.c),                  | milliseconds
 *    wait_for_host() (icount.c)       |
 *
 * 4. Until QEMU opens VMFT_LOG_NAME (lockstep) or its main loop waits for the first time
 *    (checkpoint) the library only notes which descriptors are consoles. In a child of QEMU it does
 *    nothing, because the constructor removes its settings from the environment.
 * 5. QEMU's calls of libc enter in interpose.c. No other file calls the functions of those names:
 *    libc.h declares what to call instead.
 * 6. All state is in one struct for each file, which the file's header declares. The library is
 *    loaded once in a process.
 */
#ifndef VMFT_AGENT_H
#define VMFT_AGENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libc.h"
#include "logging-channel/ring.h"
#include "monitor/interface.h"

struct vmft_agent_strategy_ops;

/* What more than one file needs. */
struct vmft_agent {
	/* NULL: this process is not protected, or its constructor has not run yet. */
	const struct vmft_agent_strategy_ops *strategy;

	/* Set by the constructor and not changed after that. */
	struct vmft_iface *iface; /* NULL: the library does nothing in this process */
	struct vmft_ring ring;
	struct vmft_area *area;
	int bell_monitor;  /* eventfd that wakes the monitor */
	int bell_agent;	   /* eventfd that wakes the service thread */
	int lifeline;	   /* a socket that hangs up when the monitor is gone */
	int ram_fd;	   /* memfd of the guest's memory */
	int area_fd;	   /* memfd of area */
	bool awaits_state; /* lockstep: a backup that is attached in any case */
	bool flush;	   /* an image keeps data in QEMU's memory: qcow2 */

	atomic_bool armed;    /* vmft_agent_arm() was called */
	atomic_bool orphaned; /* the monitor is gone; set by the service thread */
	atomic_bool open;     /* output leaves at once */
	atomic_bool logging;  /* the log, or the epochs, are kept for a backup */
	atomic_bool fenced;   /* nothing leaves any more */
	atomic_bool crashed;  /* QEMU is in exit() with an error */
};

extern struct vmft_agent vmft_agent;

/*
 * Takes QEMU's signals. Called once, by QEMU's main thread: when QEMU opens its log, or with
 * checkpoints when its main loop waits for the first time. Ends the process if the call is the
 * second one.
 */
void vmft_agent_arm(void);

#endif
