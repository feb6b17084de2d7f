/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent asks of QEMU, in the agent's words and for each version of QEMU. Only the files of
 * this folder know QEMU's symbols, signatures, structs and numbers. docs/qemu.md says how a series
 * of QEMU is added.
 *
 * Each function, or the heading before it, says where it may be called:
 *
 *   words         | the caller                               | why this is safe
 *   --------------+------------------------------------------+-------------------------------------
 *   any thread    | any thread of this process               | QEMU's function is made for it, or
 *                 |                                          | only reads, or sets a flag
 *   replay mutex  | a thread that holds QEMU's replay mutex: | the function takes no lock of QEMU's
 *                 | it writes or reads the log               | and stores to variables directly
 *   before wait   | the main loop before its wait; it holds  | a function that takes a lock cannot
 *                 | neither lock                             | wait for its own thread
 *   main loop     | a bottom half of vmft_qemu_in_main_loop; | to QEMU it is a call of its own main
 *                 | it holds the replay mutex and the big    | loop; no vCPU of a lockstep guest
 *                 | lock                                     | executes
 *
 * A thread that holds the replay mutex may also hold the big lock, and even the write side of the
 * virtual clock's seqlock, because icount_warp_rt() reads the log under it. A function of QEMU that
 * takes one of these would wait for ever there.
 *
 * Functions that change a variable of QEMU's say so by "sets".
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

/* --- bind.c: which QEMU this is --------------------------------------------------- */

/* The constructor calls these two, in this order, before any other function of this file. */
/*
 * version is such as "7.2.22"; places are those of the series' fields in this build, as the wrapper
 * has found them. 0; -EPROTO: the series is not known; -EINVAL: a place is none that the field may
 * have.
 */
int vmft_qemu_choose(const char *version, const struct vmft_qemu_place places[]);
/* lookup finds QEMU's symbols. Returns NULL, or the name of a symbol, or of a value of an
 * enumeration, that this QEMU lacks. */
const char *vmft_qemu_bind(vmft_qemu_lookup *lookup);

/* Any thread. */
const char *vmft_qemu_name(void);			  /* of the series: "7.2" */
const struct vmft_log_format *vmft_qemu_log_format(void); /* of its record/replay log */

/* --- machine.c: the machine, its main loop and its run state ------------------------ */

/* Before wait. Whether QEMU has made all devices, so that its main loop is next. */
bool vmft_qemu_machine_is_made(void);
/* Any thread. Only in the main loop the state cannot change before the caller uses the answer. */
bool vmft_qemu_guest_runs(void);
bool vmft_qemu_state_is(enum vmft_qemu_state state);

/* Any thread. The main loop calls call(user) once. It does not do so while it waits for something
 * else, such as a disk. name is for QEMU's traces. */
void vmft_qemu_in_main_loop(void (*call)(void *user), void *user, const char *name);
/* Any thread. Ends the wait of the main loop. */
void vmft_qemu_main_loop_wake(void);
/* Main loop, the guest is stopped. Runs the bottom halves of devices that are due. */
void vmft_qemu_bottom_halves_run(void);

/*
 * In the first read of the log, before QEMU makes the machine. QEMU comes up as for a migration: it
 * does not start the guest and does not lock the images. -S -incoming defer does the same, but must
 * be known when QEMU is started. Sets the run state and the autostart flag.
 */
void vmft_qemu_expect_state(void);

/* Main loop. QEMU's own start and stop of a guest that is awake. The stop also makes the images
 * durable. */
void vmft_qemu_start(void);
void vmft_qemu_stop_for_save(void);
/* Any thread. The main loop stops the guest; nothing of the agent starts it again. */
void vmft_qemu_stop_for_good(void);

/*
 * Main loop. QEMU's stop and start in parts, without what an epoch does not need. vmft_qemu_halt()
 * stops the clocks, the devices and, if vcpus is true, the processors; the run state is
 * VMFT_QEMU_HALTED then. The start is the three functions below in this order. For a guest that
 * sleeps vmft_qemu_sleeper_release() takes the place of the last two.
 */
void vmft_qemu_halt(bool vcpus);
void vmft_qemu_clocks_go_on(void); /* and the run state is VMFT_QEMU_RUNS */
void vmft_qemu_devices_go_on(void);
void vmft_qemu_vcpus_go_on(void);

/* Main loop, the guest is stopped. Resets the machine, but not its memory, as QEMU does before it
 * loads a snapshot. */
void vmft_qemu_reset_for_load(void);

/* Main loop. Whether a vCPU or an outsider has asked for a reset or a power-off, and the main loop
 * has not acted on it. */
bool vmft_qemu_wish_pending(void);

/* Main loop. QEMU ends in order. */
void vmft_qemu_quit(void);
/* Any thread, and a signal handler. Does what QEMU's own handler of this signal does. */
void vmft_qemu_end_by_signal(int signal, pid_t sender);
/* Main thread, once. Each time QEMU is about to end, for whatever reason, its main loop calls
 * pauses(). If that returns true QEMU pauses its guest instead. Sets shutdown_action. */
void vmft_qemu_on_end(bool (*pauses)(void));

/* Main loop. Keeps vCPUs from executing for percent of the time: 1 to 99, or 0 for none. */
void vmft_qemu_throttle(int percent);

/* --- monitors.c: QEMU's own monitors -------------------------------------------------- */

/* What somebody at one of QEMU's monitors may ask of the guest. */
enum vmft_qemu_command {
	VMFT_QEMU_CONT,
	VMFT_QEMU_STOP,
	VMFT_QEMU_POWERDOWN, /* the power button */
	VMFT_QEMU_RESET,
	VMFT_QEMU_WAKEUP,
	VMFT_QEMU_BALLOON,
	VMFT_QEMU_NMI,
	VMFT_QEMU_INPUT, /* keys and pointer */
	VMFT_QEMU_CLOCK, /* ticks of the CMOS clock that were missed are forgotten */
};

/* What is done about it. */
enum vmft_qemu_answer {
	VMFT_QEMU_GO,	    /* what QEMU does */
	VMFT_QEMU_LATER,    /* of CONT: it succeeds, and vmft starts the guest when it may run */
	VMFT_QEMU_DONE,	    /* it succeeds, and nothing is done, or the caller has done it */
	VMFT_QEMU_NOT_HERE, /* it fails: the guest does not run on this side */
	VMFT_QEMU_NEVER,    /* it fails: the guest is not to run here any more */
	VMFT_QEMU_REFUSED,  /* it fails: the other side would not follow it */
};

struct vmft_qemu_guard {
	/* Main loop. */
	enum vmft_qemu_answer (*ask)(enum vmft_qemu_command command);
	/* Main loop. Whether query-status is to say "paused", whatever QEMU's run state is. */
	bool (*shows_paused)(void);
};

/*
 * Before wait, until it returns 0. Makes QEMU's monitors refuse the commands after which the other
 * side would not be alike, and ask about those of enum vmft_qemu_command. Changes QEMU's tables of
 * commands, which must be the known ones. -EAGAIN: QEMU has not made them yet; -EPROTO: they are
 * others. guard outlives the process's monitors.
 */
int vmft_qemu_guard_monitors(const struct vmft_qemu_guard *guard);
/* Main thread, with both locks. The main loop acts on the request before it releases them. */
void vmft_qemu_power_button(void);
/* Main thread, with both locks. stop: the vCPU thread makes the request soon, and stops its vCPU
 * first, as when the guest resets itself; else the request is made at once. */
void vmft_qemu_reset_button(bool stop);
/* Main loop. Tells QEMU's monitors that the guest runs. */
void vmft_qemu_tell_running(void);

/* --- a guest that sleeps (ACPI S3): main loop ---------------------------------------- */

/* The guest is in VMFT_QEMU_SLEEPS. Its state will be saved as a sleeper's, and QEMU's timers of
 * the host's clock wait; one of them is the alarm that wakes the guest. */
void vmft_qemu_sleeper_hold(void);
/* The guest is in VMFT_QEMU_RUNS and its vCPUs are paused. It sleeps on. */
void vmft_qemu_sleeper_release(void);
/* The guest sleeps. It is paused, and no alarm wakes it. */
void vmft_qemu_sleeper_pause(void);
void vmft_qemu_vcpus_pause(void);

/* The device that has the power management registers, or NULL. Looks at all objects of the machine.
 */
void *vmft_qemu_power_device(void);
/* The port of the device's first register; 0: the guest's firmware has not chosen one yet. */
uint32_t vmft_qemu_power_registers(void *device);
uint16_t vmft_qemu_port_read(uint32_t port);
/* After a state was loaded: what may wake the guest. */
void vmft_qemu_wake_by(bool clock_alarm, bool timer);

/* --- clocks.c: the guest's clocks ---------------------------------------------------- */

/*
 * Replay mutex, or main loop, or before wait. A field of timers_state (enum vmft_qemu_field_id).
 *
 * Setting stores directly, because QEMU's functions for it take the seqlock. The caller makes sure
 * that no other thread reads the field meanwhile.
 */
int64_t vmft_qemu_time_get(enum vmft_qemu_field_id field);
void vmft_qemu_time_set(enum vmft_qemu_field_id field, int64_t value);

/*
 * Replay mutex. The guest's clock under -icount: instructions, bias and shift. Setting is safe
 * because each reader of that clock holds the replay mutex or the big lock.
 */
struct vmft_guest_clock vmft_qemu_guest_clock(void);
void vmft_qemu_guest_clock_set(int64_t bias, uint8_t shift);
/* Replay mutex, but not inside a write of that clock. Its reading in ns. */
int64_t vmft_qemu_guest_ns(void);

/* Replay mutex. Whether the guest runs and the timer that ends the vCPU's idle time is due at now,
 * in ns of QEMU's own clock. */
bool vmft_qemu_idle_time_is_over(int64_t now);
/* Before wait. Whether no vCPU has anything to do and a timer of the guest is set. */
bool vmft_qemu_idles_until_timer(void);

/* --- replay.c: record/replay, and the vCPU --------------------------------------------- */

/* In a read at the log's end. QEMU records into stream from now on. Sets the log's file and, last,
 * the mode, which devices look at whenever they run. */
void vmft_qemu_record_into(FILE *stream);
/* Any thread. The event that a replaying QEMU has read and not acted on. A thread without the
 * replay mutex may get an older one. */
enum vmft_event_kind vmft_qemu_next_event(void);
/* Main loop. Sets that there is no such event. */
void vmft_qemu_next_event_forget(void);
/* Replay mutex. How many block requests QEMU has made while it recorded or replayed. */
uint64_t vmft_qemu_block_requests(void);
void vmft_qemu_block_requests_set(uint64_t count);

/* Main loop, recording. While events are off, packets and disk completions take effect at once and
 * are not logged, and vmft_qemu_disks_drain() waits. */
void vmft_qemu_events_off(void);
void vmft_qemu_events_on(void);
/* Main loop or replay mutex, recording. Logs the instructions since the last event. */
void vmft_qemu_instructions_log(void);
/* Before wait. Whether packets or disk completions wait for the vCPU thread to log and run them. It
 * reads the head of QEMU's queue without the queue's lock. */
bool vmft_qemu_events_are_queued(void);

/* Any thread. Whether this thread holds the big lock. */
bool vmft_qemu_is_locked(void);
/* Before wait. Ends the sleep of a vCPU that has nothing to do, by work that is queued for it. */
void vmft_qemu_vcpu_wake(void);
/* Before wait, without the big lock. The vCPU thread calls call() once, soon, without any of QEMU's
 * locks, if it does not execute. */
void vmft_qemu_vcpu_call(void (*call)(void));
/* Any thread. Whether the vCPU is paused, or the guest does not run. */
bool vmft_qemu_vcpu_is_stopped(void);
/* Any thread. Whether QEMU waits for the vCPU thread to pause, or work is queued for it. Asked of a
 * vCPU that is stopped. */
bool vmft_qemu_vcpu_is_called(void);
/* Main thread, with both locks. Releases them, as QEMU's main loop does where it waits; takes them
 * again. */
void vmft_qemu_locks_release(void);
void vmft_qemu_locks_take(void);
/* Any thread. A vCPU that executes stops; one that is about to execute asks again for how long. */
void vmft_qemu_vcpu_leave_run(void);
/*
 * Replay mutex, the vCPU does not execute. Writes its registers as text, which is the same for the
 * same registers: general, segment, control and debug registers and flags. Returns the length; 0:
 * out of memory.
 */
size_t vmft_qemu_registers(char *text, size_t size);

/* --- memory.c: guest memory, what is written to it, and images: main loop --------------- */

/* A block of guest memory. Valid during the call of visit. */
struct vmft_qemu_ram {
	const char *name;
	uint8_t *host; /* its address in this process */
	uint64_t bytes;
	int fd; /* of the file whose memory it is; -1: of none */
};

/* Calls visit for each block, in QEMU's order. A result that is not 0 ends it and is returned. */
int vmft_qemu_ram_each(int (*visit)(const struct vmft_qemu_ram *ram, void *user), void *user);

/* QEMU marks the pages of all blocks that vCPUs and devices write to. 0 or a negative errno. */
int vmft_qemu_dirty_log_start(void);
void vmft_qemu_dirty_log_stop(void);
/* Collects the marks, which KVM has for one. Comes before vmft_qemu_dirty_take(). */
void vmft_qemu_dirty_log_sync(void);
/* Comes after vmft_qemu_dirty_take() if the guest runs. Waits until each vCPU has made the stores
 * that are marked. */
void vmft_qemu_dirty_log_settle(void);
/*
 * Takes the marks of the block at host and clears them. Calls visit for each group of 64 pages of 4
 * KiB that has a mark: bit i of pages is page word * 64 + i. visit may be NULL. Returns 0; -ENOENT:
 * QEMU has no memory there.
 */
int vmft_qemu_dirty_take(uint8_t *host, uint64_t bytes,
			 void (*visit)(uint64_t word, uint64_t pages, void *user), void *user);

/* Waits until no disk request is under way. */
void vmft_qemu_disks_drain(void);
/* Writes what QEMU keeps of images in memory. */
void vmft_qemu_disks_flush(void);
/* After vmft_qemu_expect_state(): takes the images' locks and reads what QEMU keeps of them in
 * memory. Returns NULL, or the reason of a failure, which QEMU owns. */
const char *vmft_qemu_disks_activate(void);

/* --- state.c: device state: main loop, the guest is stopped ------------------------------ */

/*
 * Writes the state of all devices to fd, or reads it from fd, from fd's offset on. fd stays open.
 * asleep: the state says that the guest sleeps. 0; -ENOMEM; -EIO, of which QEMU has written the
 * reason to its stderr. After -EIO of the load, devices may be half loaded.
 */
int vmft_qemu_device_state_save(int fd, bool asleep);
int vmft_qemu_device_state_load(int fd);
/* What the state that was loaded last says of the guest: VMFT_QEMU_RUNS, VMFT_QEMU_SLEEPS, or
 * VMFT_QEMU_OTHER_STATE, which only a wrong or a forged state says. */
enum vmft_qemu_state vmft_qemu_loaded_state(void);

/* --- unsaved.c: what no state has and no reset changes: main loop -------------------------- */

#define VMFT_QEMU_UNSAVED_MAX 64u

struct vmft_qemu_unsaved {
	unsigned count;
	unsigned kind[VMFT_QEMU_UNSAVED_MAX];
	void *device[VMFT_QEMU_UNSAVED_MAX];
};

/* Finds the devices that keep such things. 0; -E2BIG: too many; -ENOTSUP: a device's struct is not
 * as the series has it. */
int vmft_qemu_unsaved_find(struct vmft_qemu_unsaved *ret);
/* The guest is stopped and the machine was reset. Sets these things as they are in a QEMU that has
 * just started. */
void vmft_qemu_unsaved_forget(const struct vmft_qemu_unsaved *found);

/* --- flash.c: flash memory: main loop ------------------------------------------------------ */

#define VMFT_QEMU_FLASHES_MAX 4u

struct vmft_qemu_flash {
	void *device;
	const char *name; /* of its memory (struct vmft_qemu_ram); QEMU owns it */
	bool writable;	  /* the guest can change what is in it, and nothing marks that */
};

struct vmft_qemu_flashes {
	unsigned count;
	struct vmft_qemu_flash flash[VMFT_QEMU_FLASHES_MAX];
};

/* Finds the flash of the machine. 0; -E2BIG: too much; -ENOTSUP: the device's struct is not as the
 * series has it. */
int vmft_qemu_flashes_find(struct vmft_qemu_flashes *ret);
/* The guest is stopped. Sets that the writable flash is read-only, so that a state can be loaded
 * that is not to run; or that it is writable again. */
void vmft_qemu_flashes_lock(const struct vmft_qemu_flashes *flashes, bool lock);
/* A state was loaded. The guest's reads go to the memory at host or to the device, as the state
 * says. */
void vmft_qemu_flash_loaded(const struct vmft_qemu_flash *flash, uint8_t *host);

/* --- cards ---------------------------------------------------------------------------------- */

#define VMFT_QEMU_FRAME_MAX (69u * 1024) /* NET_BUFSIZE: a frame and the header before it */

/* Replay mutex, or before wait. The descriptor of the tap of the netdev with this id; -1: QEMU has
 * not made it yet. */
int vmft_qemu_nic_fd(const char *id);

#endif
