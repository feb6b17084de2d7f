/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvmft-agent.so, preloaded into the distribution's QEMU: what its files share, and the rules
 * that all of them keep.
 *
 * The agent runs in a process that is not its own, on QEMU's threads. A thread that comes here may
 * hold QEMU's replay mutex, its big lock, and the write side of the virtual clock's seqlock
 * (icount_warp_rt() reads the log under it).
 *
 * 1. Which functions of QEMU may be called where:
 *
 *    function                     | called in                    | why this is safe
 *    -----------------------------+------------------------------+---------------------------------
 *    qemu_get_cpu()               | anywhere                     | walks a list that does not
 *                                 |                              | change once the machine is made
 *    cpu_exit()                   | anywhere                     | sets two flags; any thread may
 *                                 |                              | (RCU's does)
 *    runstate_is_running(),       | anywhere                     | reads one variable
 *    runstate_check()             |                              |
 *    qemu_system_vmstop_request(),| service thread               | made for any thread: the main
 *    ..._vmstop_request_prepare() |                              | loop stops the guest
 *    qemu_system_killed()         | a signal handler, the        | it is what QEMU's own signal
 *                                 | service thread               | handler calls
 *    qemu_notify_event()          | anywhere                     | writes to an eventfd
 *    qemu_find_netdev(),          | main thread, or a thread with| read what was made before the
 *    tap_get_fd()                 | the replay mutex             | guest ran
 *    cpu_dump_state()             | main loop, at a checkpoint   | only reads; the vCPU is in no
 *                                 | of record/replay, no seqlock | run
 *    cpus_get_virtual_clock()     | the same                     | only reads
 *    aio_bh_schedule_oneshot_full | anywhere                     | made for any thread
 *    those of wake_vcpu() (tap.c),| main loop, about to wait     | it holds neither lock there
 *    ends_wait() (icount.c)       |                              |
 *    all others                   | a bottom half of the main    | it holds both locks there, as if
 *                                 | loop (requests.c)            | QEMU had called
 *
 * 2. Who writes to QEMU's variables; the reason stands beside each function:
 *
 *    file       | function                                      | variables
 *    -----------+-----------------------------------------------+-------------------------------
 *    feed.c     | go_live()                                     | the log's file and mode, the
 *               |                                               | host clock's offset
 *    feed.c     | prepare()                                     | autostart
 *    attach.c   | forget_end(), load_own_state()                | ReplayState
 *    clock.c    | vmft_clock_catch_up()                         | TimersState
 *    icount.c   | let_idle_time_pass(), clock_set(),            | TimersState
 *               | host_clock()                                  |
 *    checkpoint.c | told_to_end()                               | shutdown_action
 *    unsaved.c  | rng_forget(), ioapic_forget()                 | fields of the two devices
 *
 * 3. The agent uses no network, no file and no QMP: the monitor does. It writes to the guest's own
 *    taps and consoles. It reads images through QEMU's descriptors, at an attach point or an
 *    epoch's end only.
 * 4. A QEMU thread may sleep here (this is how the guest is stopped) only where the service thread
 *    or the thread itself ends the sleep:
 *
 *    where                             | what ends it
 *    ----------------------------------+---------------------------------------------------------
 *    vmft_agent_sleep()                | vmft_agent_wake(), and each change of a field by the
 * monitor vmft_gate_writev() (gate.c)       | frames that leave, or a changed mode of the gate
 *    vmft_disk_again() (disk.c)        | it looks every 50 ms whether it must still wait
 *    pace() (tap.c), wait_for_host()   | milliseconds
 *    (icount.c)                        |
 *
 * 5. Until QEMU opens VMFT_LOG_NAME (lockstep) or its main loop waits for the first time
 *    (checkpoint) the library only notes which descriptors are consoles. In a child of QEMU it does
 *    nothing, because the constructor removes its settings from the environment.
 * 6. QEMU's calls of libc enter in interpose.c. No other file calls the functions of those names:
 *    libc.h declares what to call instead.
 * 7. All state is in one struct for each file, which the file's header declares. The library is
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
#include "qemu.h"

/* What more than one file needs. */
struct vmft_agent {
	/* Set by the constructor and not changed after that. */
	struct vmft_iface *iface; /* NULL: the library does nothing in this process */
	struct vmft_ring ring;
	struct vmft_area *area;
	int bell_monitor; /* eventfd that wakes the monitor */
	int bell_agent;	  /* eventfd that wakes the service thread */
	int lifeline;	  /* a socket that hangs up when the monitor is gone */
	int ram_fd;	  /* memfd of the guest's memory */
	bool flush;	  /* an image keeps data in QEMU's memory: qcow2 */
	bool checkpoint;  /* the strategy is checkpoint */
	uint32_t log_version;
	size_t clock_offset;	  /* of cpu_clock_offset in QEMU's TimersState */
	size_t warp_offset;	  /* of vm_clock_warp_start in TimersState */
	size_t warp_timer_offset; /* of icount_warp_timer in TimersState */
	size_t shift_offset;	  /* of icount_time_shift in TimersState */
	size_t bias_offset;	  /* of qemu_icount_bias in TimersState */
	size_t icount_offset;	  /* of qemu_icount in TimersState */
	size_t kind_offset;	  /* of data_kind in QEMU's ReplayState */
	size_t rng_offset;	  /* of conf.max_bytes in QEMU's VirtIORNG */
	size_t ioapic_offset;	  /* of irq_eoi in QEMU's IOAPICCommonState */

	struct vmft_qemu qemu; /* set by vmft_agent_arm() */

	atomic_bool armed;    /* QEMU's symbols are known: vmft_agent_arm() was called */
	atomic_bool orphaned; /* the monitor is gone; set by the service thread */
	atomic_bool open;     /* output leaves at once */
	atomic_bool logging;  /* the log, or the epochs, are kept for a backup */
	atomic_bool fenced;   /* nothing leaves any more */
	atomic_bool crashed;  /* QEMU is in exit() with an error */
};

extern struct vmft_agent vmft_agent;

/*
 * Looks up QEMU's symbols and takes its signals. Called once, by QEMU's main thread: when QEMU
 * opens its log, or with checkpoints when its main loop waits for the first time. Ends the process
 * if a symbol is missing or the call is the second one.
 */
void vmft_agent_arm(void);

#endif
