/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU, in the agent's words: what the agent asks of it, whatever its version is. The files of this
 * folder are the only ones that know a symbol, a signature, a struct's layout or a number of QEMU.
 * docs/qemu.md has how a series is added.
 *
 * Where a verb may be called is said by these words:
 *
 *   any thread    QEMU takes no lock in it that another thread keeps for long, or none at all
 *   main loop     a bottom half of vmft_qemu_in_main_loop(): both of QEMU's locks are held, the
 *                 replay mutex and the big lock, and no vCPU of a lockstep guest executes
 *   main thread   the thread of the main loop, also where it holds no lock
 *   replay mutex  any thread that holds it: between two events of the log, and in a read of it
 *
 * Under the replay mutex QEMU may also hold its big lock, even the write side of the virtual
 * clock's seqlock (icount_warp_rt() reads the log under it). QEMU's functions that take either
 * would wait for themselves there. So the verbs for it call nothing of QEMU but what takes no lock,
 * and store to its variables directly; the reason stands beside each.
 */
#ifndef VMFT_QEMU_PORT_H
#define VMFT_QEMU_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "logging-channel/event.h"
#include "series.h"

struct vmft_guest_clock;

/* --- which QEMU this is ---------------------------------------------------------- */

/* The two that are called before all others, in this order, by the library's constructor. */
int vmft_qemu_choose(const char *version); /* such as "7.2.22"; 0, -EPROTO: not known */
/* lookup finds QEMU's symbols. NULL, or the name of one that this QEMU does not have. */
const char *vmft_qemu_bind(vmft_qemu_lookup *lookup);
const char *vmft_qemu_name(void);			  /* of the series: "7.2" */
const struct vmft_log_format *vmft_qemu_log_format(void); /* of its record/replay log */

/* --- machine.c: the machine and its main loop ------------------------------------- */

/* Main thread. The machine is there and its devices are made; the main loop comes next. */
bool vmft_qemu_machine_is_made(void);
/* Any thread; the answer may be old when it is there, but in the main loop. */
bool vmft_qemu_guest_runs(void);
bool vmft_qemu_state_is(enum vmft_qemu_state state);
/* Any thread: call(user) is called in the main loop, once. name is for QEMU's traces. A poll of
 * QEMU within something else does not call it. */
void vmft_qemu_in_main_loop(void (*call)(void *user), void *user, const char *name);
void vmft_qemu_main_loop_wake(void); /* any thread: ends its wait */
/* Main loop, the guest stopped. Runs what is due of what devices have put off. */
void vmft_qemu_bottom_halves_run(void);

/*
 * While QEMU waits for the first event of a replay, before it makes the machine: it comes up as for
 * a migration, its guest not started and its images not locked. That is what -S -incoming defer
 * does, said late.
 */
void vmft_qemu_expect_state(void);

/* Main loop. QEMU's own start and stop of a guest: devices and processors, ticks, and what else
 * QEMU does at it. The stop makes the images durable, and is for the attach point. */
void vmft_qemu_start(void);
void vmft_qemu_stop_for_save(void);
/* Any thread: the main loop stops the guest, and nothing of the agent starts it again. */
void vmft_qemu_stop_for_good(void);

/*
 * Main loop. The parts of such a stop one by one, without what QEMU would do besides; an epoch is
 * some of it many times a second. _halt() stops clocks, devices and, if vcpus, the processors; the
 * start is made of three steps in this order, of which a sleeper gets only the first.
 */
void vmft_qemu_halt(bool vcpus);
void vmft_qemu_clocks_go_on(void); /* clocks run, and the state is VMFT_QEMU_RUNS */
void vmft_qemu_devices_go_on(void);
void vmft_qemu_vcpus_go_on(void);

/*
 * Main loop, the guest stopped. As QEMU does before it loads a snapshot into a machine that has
 * run. Guest memory stays as it is.
 */
void vmft_qemu_reset_for_load(void);

/* Main loop. A vCPU or somebody outside has asked for a reset or a power-off that the main loop has
 * not come to. */
bool vmft_qemu_wish_pending(void);

/* Any thread but a signal handler's... */
void vmft_qemu_quit(void); /* main loop: QEMU ends in order */
/* Any thread, also in a signal handler: what QEMU's own handler of the signal does. */
void vmft_qemu_end_by_signal(int signal, pid_t sender);
/* Main thread, once. pauses() is called in the main loop each time QEMU is about to end, whatever
 * the reason: true, it pauses its guest instead. */
void vmft_qemu_on_end(bool (*pauses)(void));

/* Main loop. percent of its time that a vCPU does not execute, 1 to 99; 0: not slowed. */
void vmft_qemu_throttle(int percent);

/* --- a guest that sleeps (ACPI S3). All in the main loop ----------------------------- */

/* Its state is saved as a sleeper's from now on; QEMU's timers of the host's clock wait, among them
 * the alarm that wakes it. It is to be in VMFT_QEMU_SLEEPS. */
void vmft_qemu_sleeper_hold(void);
/* It is in VMFT_QEMU_RUNS and its vCPUs are paused: it sleeps on. */
void vmft_qemu_sleeper_release(void);
void vmft_qemu_sleeper_pause(void); /* for good: no alarm wakes it */
void vmft_qemu_vcpus_pause(void);

/* The device with the power management registers: NULL, a board without. Goes through all objects.
 */
void *vmft_qemu_power_device(void);
/* The port of the first of its registers; 0: the guest's firmware has not set it up. */
uint32_t vmft_qemu_power_registers(void *device);
uint16_t vmft_qemu_port_read(uint32_t port);
/* Of a QEMU that has just loaded a state: what may wake its guest. */
void vmft_qemu_wake_by(bool clock_alarm, bool timer);

/* --- clocks.c: what time it is for the guest ----------------------------------------- */

/*
 * TimersState as QEMU's clocks are computed of it, as struct vmft_qemu_field_id says. Read by any
 * thread; a value that changes beside is then half as likely as it is on the machine, so that only
 * the main loop, or who holds the replay mutex, may rely on it.
 *
 * Stored directly, not by QEMU's functions: where they are stored under the replay mutex the thread
 * may be inside the seqlock's write side. Who stores has to know that nobody reads meanwhile.
 */
int64_t vmft_qemu_time_get(enum vmft_qemu_field_id field);
void vmft_qemu_time_set(enum vmft_qemu_field_id field, int64_t value);

/* Replay mutex. The guest's clock of -icount, as bias and shift of what it has executed. Whoever
 * reads that clock holds the replay mutex or the big lock. */
struct vmft_guest_clock vmft_qemu_guest_clock(void);
void vmft_qemu_guest_clock_set(int64_t bias, uint8_t shift);
int64_t vmft_qemu_guest_ns(void); /* what that clock reads now */

/* Replay mutex. The vCPU's idle time is to end at now (ns of QEMU's own clock), the guest runs. */
bool vmft_qemu_idle_time_is_over(int64_t now);
/* Main thread, without locks. All vCPUs have nothing to do, and a timer of the guest's is set. */
bool vmft_qemu_idles_until_timer(void);

/* --- replay.c: record/replay and the vCPU ------------------------------------------- */

/* In a read of the log, which is at its end: QEMU records from here on, into stream. The mode
 * changes last, as devices look at it whenever they run. */
void vmft_qemu_record_into(FILE *stream);
/* Any thread: the kind of the event that a replaying QEMU has read and not acted on; without the
 * replay mutex it may be an old one. */
enum vmft_event_kind vmft_qemu_next_event(void);
/* Main loop. There is no such event: nothing in this QEMU waits for it any more. */
void vmft_qemu_next_event_forget(void);
/* Replay mutex. Block requests QEMU has made while it recorded or replayed. */
uint64_t vmft_qemu_block_requests(void);
void vmft_qemu_block_requests_set(uint64_t count);
/* Main loop, recording. What completes in between takes effect at once and outside the log, and
 * vmft_qemu_disks_drain() waits, which it does not while events are on. */
void vmft_qemu_events_off(void);
void vmft_qemu_events_on(void);
/* Main loop, recording: the instructions since the last event are logged. */
void vmft_qemu_instructions_log(void);
/* Main thread, without locks: something waits to be logged and run by the vCPU thread. The queue is
 * read without its lock. */
bool vmft_qemu_events_are_queued(void);
/*
 * Main thread, with or without the big lock: a vCPU that sleeps comes round. By work that is queued
 * for it, which takes the big lock: without, the vCPU may have found nothing to do and not sleep
 * yet, and would miss the call.
 */
void vmft_qemu_vcpu_wake(void);
/* Any thread. A vCPU that executes comes out of it; one that is about to asks for its limit anew.
 */
void vmft_qemu_vcpu_leave_run(void);
/*
 * Replay mutex, the vCPU in no run. Its registers as text, the same for equal registers: general,
 * segment, control and debug registers and flags. Returns the length, 0: no memory.
 */
size_t vmft_qemu_registers(char *text, size_t size);

/* --- memory.c: guest memory, what is written to it, and images. All in the main loop --- */

/* A block of guest memory. */
struct vmft_qemu_ram {
	const char *name;
	uint8_t *host; /* where it is in this process */
	uint64_t bytes;
	bool is_shared; /* it has a descriptor of its own */
};

/* Calls visit for each block, in QEMU's order; what is not 0 ends it and is returned. */
int vmft_qemu_ram_each(int (*visit)(const struct vmft_qemu_ram *ram, void *user), void *user);

/* QEMU marks the pages that are written to, of all memory, by vCPUs and by devices. 0 or a negative
 * errno. */
int vmft_qemu_dirty_log_start(void);
void vmft_qemu_dirty_log_stop(void);
/* Fetches the marks from where they are made, KVM for one. */
void vmft_qemu_dirty_log_sync(void);
/* After the marks were taken, the guest running: waits until every vCPU has made the stores that
 * were marked. */
void vmft_qemu_dirty_log_settle(void);
/*
 * Takes the marks of the block at host and clears them. visit is called for each 64 pages of 4 KiB
 * of which one is marked, with word * 64 the first page's number; NULL: they are only cleared.
 * Returns 0, -ENOENT: QEMU does not find the memory.
 */
int vmft_qemu_dirty_take(uint8_t *host, uint64_t bytes,
			 void (*visit)(uint64_t word, uint64_t pages, void *user), void *user);

void vmft_qemu_disks_drain(void); /* waits for all requests under way */
void vmft_qemu_disks_flush(void); /* what QEMU keeps of images in memory is written */
/* Of a QEMU that came up to be loaded: takes the images' locks and reads what it keeps of them.
 * NULL, or why not, which stays QEMU's. */
const char *vmft_qemu_disks_activate(void);

/* --- state.c: device state. Main loop, the guest stopped ------------------------------- */

/*
 * Writes the state of all devices to fd, which stays the caller's, from where its offset is.
 * Whether asleep goes into it. 0; -ENOMEM; -EIO: QEMU has said why on its stderr.
 */
int vmft_qemu_device_state_save(int fd, bool asleep);
/* Reads it. The same results; after -EIO devices may be half loaded. */
int vmft_qemu_device_state_load(int fd);
/* What the state that was loaded last says of the guest; it came from outside. */
enum vmft_qemu_state vmft_qemu_loaded_state(void);

/* --- unsaved.c: what devices keep that is in no state and that no reset touches ---------- */

#define VMFT_QEMU_UNSAVED_MAX 64u

struct vmft_qemu_unsaved {
	unsigned count;
	unsigned kind[VMFT_QEMU_UNSAVED_MAX];
	void *device[VMFT_QEMU_UNSAVED_MAX];
};

/* Main loop. The devices that keep such things. 0; -E2BIG: too many; -ENOTSUP: one of them is not
 * laid out as the series says. */
int vmft_qemu_unsaved_find(struct vmft_qemu_unsaved *ret);
/* Main loop, the guest stopped, the machine reset: as in a QEMU that has just started. */
void vmft_qemu_unsaved_forget(const struct vmft_qemu_unsaved *found);

/* --- cards ---------------------------------------------------------------------------- */

#define VMFT_QEMU_FRAME_MAX (69u * 1024) /* NET_BUFSIZE: a frame and the header before it */

/* Any thread that holds the replay mutex, and the main thread. The descriptor of the tap that the
 * netdev of this id has; -1: there is none (yet). */
int vmft_qemu_nic_fd(const char *id);

#endif
