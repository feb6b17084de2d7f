/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checkpoints, for guests that cannot be replayed (Remus, NSDI 2008). The guest runs for an epoch
 * with its output held. It is stopped for a moment, and what it has changed in the epoch is copied,
 * together with the state of its devices. Output that was sent while n epochs had been taken
 * depends on epoch n + 1.
 *
 * Where nothing else is said, a function runs in QEMU's main loop, in a bottom half that holds the
 * big lock (requests.c). The guest is stopped and started with the parts of vm_stop() and
 * vm_start() (softmmu/cpus.c): vm_stop() itself would also make the images durable and tell QMP,
 * forty times a second.
 *
 * This file has more than 600 lines because all of it works on one thing: for which reasons the
 * guest is stopped at the moment.
 */
#define _GNU_SOURCE
#include "checkpoint.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "announce.h"
#include "clock.h"
#include "gate.h"
#include "ground.h"
#include "input.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/common/exit-codes.h"
#include "monitor/interface.h"
#include "nic.h"
#include "operator.h"
#include "power.h"
#include "prove.h"
#include "service.h"
#include "stage.h"
#include "state.h"
#include "strategy.h"
#include "track.h"

#define THROTTLE_PERCENT_MAX 90
#define FLUSH_WAIT_NS	     UINT64_C(100000000)
#define PERMILLE_A_PERCENT   10

struct vmft_checkpoint vmft_checkpoint;

/* Why a guest that could run is stopped. */
enum {
	STOPPED_EPOCH = 1,  /* an epoch is being taken, or has more parts */
	STOPPED_FROZEN = 2, /* a drill has frozen it */
	STOPPED_GATE = 4,   /* no room for its output */
};

static struct vmft_checkpoint *self(void)
{
	return &vmft_checkpoint;
}

uint64_t vmft_checkpoint_output_position(void)
{
	return atomic_load(&self()->epoch) + 1;
}

/* --- stopping and starting ------------------------------------------------ */

static void stop_guest(void)
{
	struct vmft_checkpoint *c = self();
	uint64_t began;

	c->was_running = vmft_qemu_guest_runs();
	c->was_asleep = vmft_power_is_asleep();
	if (c->was_asleep)
		vmft_power_hold();
	if (c->was_running || c->was_asleep) {
		vmft_clock_note();
		vmft_qemu_halt(c->was_running);
	}
	/* After this no disk request is under way that only this QEMU knows of. */
	began = vmft_agent_now();
	vmft_qemu_disks_drain();
	if (vmft_agent.flush)
		vmft_qemu_disks_flush();
	c->drain_ns = vmft_agent_now() - began;
}

static void start_guest(void)
{
	struct vmft_checkpoint *c = self();

	/* A guest that was paused or has ended stays so. A guest that "cont" has started meanwhile
	 * runs already. */
	if ((!c->was_running && !c->was_asleep) || atomic_load(&vmft_agent.fenced) ||
	    vmft_qemu_guest_runs())
		return;
	vmft_clock_catch_up();
	vmft_qemu_clocks_go_on();
	if (c->was_asleep)
		vmft_power_release();
	else
		vmft_qemu_devices_go_on();
	vmft_clock_caught_up();
	if (c->was_running)
		vmft_qemu_vcpus_go_on();
}

/* Returns false if the main loop has to carry out a request of the guest first: the guest goes on
 * until then. */
static bool stop_for(unsigned reason)
{
	struct vmft_checkpoint *c = self();

	c->drain_ns = 0;
	/* "cont" starts the guest for whatever reason it is stopped. */
	if (c->stopped_by == 0 || vmft_qemu_guest_runs()) {
		stop_guest();
		if (c->was_running && vmft_state_wish_pending()) {
			start_guest();
			return false;
		}
	}
	c->stopped_by |= reason;
	return true;
}

static void go_on_after(unsigned reason)
{
	struct vmft_checkpoint *c = self();

	if (!(c->stopped_by & reason))
		return;
	c->stopped_by &= ~reason;
	if (c->stopped_by != 0)
		return;
	start_guest();
	/* A person had paused the guest before it was stopped, and says "cont" since. */
	if (c->cont_asked && !atomic_load(&vmft_agent.fenced) && !vmft_qemu_guest_runs())
		vmft_qemu_start();
	c->cont_asked = false;
}

/* --- epochs --------------------------------------------------------------- */

static void freeze(struct vmft_checkpoint *c)
{
	if (!atomic_load(&vmft_agent.iface->freeze))
		return;
	(void)stop_for(STOPPED_FROZEN); /* it is stopped already */
	atomic_store(&c->frozen, true);
	atomic_store(&vmft_agent.iface->frozen_at, atomic_load(&c->epoch) + 1);
	vmft_agent_ring_monitor();
}

/* Frames that are sent from now on depend on the next epoch. None is sent during this function: the
 * guest is stopped. */
static void end_epoch(struct vmft_area *area)
{
	struct vmft_checkpoint *c = self();
	const uint64_t number = atomic_fetch_add(&c->epoch, 1) + 1;

	atomic_store(&vmft_agent.iface->log_position, number);
	atomic_store(&area->point_position, number);
	freeze(c);
}

/* The device state is saved before memory is scanned: saving writes to guest memory, and these
 * pages must be in this epoch. */
static int begin_epoch(struct vmft_area *area, bool bounded, uint64_t at[static 6])
{
	int rc;

	at[0] = vmft_agent_now();
	if (!stop_for(STOPPED_EPOCH))
		return -EINPROGRESS;
	at[2] = vmft_agent_now();
	at[1] = at[2] - self()->drain_ns;
	rc = vmft_state_save(area);
	at[3] = vmft_agent_now();
	if (rc == 0)
		rc = vmft_stage_scan(area);
	at[4] = vmft_agent_now();
	if (rc == 0 && bounded && !vmft_stage_fits(area))
		rc = -ENOBUFS;
	return rc;
}

static void report_times(struct vmft_area *area, const uint64_t at[static 6], uint64_t copied)
{
	const uint64_t end = vmft_agent_now();

	atomic_store(&area->stop_ns, at[1] - at[0]);
	atomic_store(&area->drain_ns, at[2] - at[1]);
	atomic_store(&area->save_ns, at[3] - at[2]);
	atomic_store(&area->scan_ns, at[4] - at[3]);
	atomic_store(&area->copy_ns, copied - at[4]);
	atomic_store(&area->start_ns, end - copied);
}

/*
 * bounded: this is the attach point, which is tried again later if too much was written. Any other
 * epoch is taken whatever its size: when staging is full, the guest stays stopped until the monitor
 * has sent it and asks for the next part.
 */
static int take(struct vmft_area *area, bool bounded)
{
	/* The epoch begins again if the guest has run since its last part: the staged pages are
	 * older than the guest. */
	const bool begin = !atomic_load(&area->more) || vmft_qemu_guest_runs();
	uint64_t at[6] = {0}, copied;
	int rc = 0;

	if (!vmft_track.dirty_log)
		return vmft_track_fail(-EINVAL, "nothing was tracked");
	atomic_store(&area->staged_bytes, 0);
	if (begin)
		rc = begin_epoch(area, bounded, at);
	else
		at[0] = at[1] = at[2] = at[3] = at[4] = vmft_agent_now();
	if (rc == -EINPROGRESS)
		return rc;
	if (rc == 0)
		rc = vmft_stage_copy(area);
	copied = vmft_agent_now();
	if (rc == -ENOBUFS && !bounded) {
		atomic_store(&area->more, 1);
		report_times(area, at, copied);
		return 0;
	}
	atomic_store(&area->more, 0);
	if (rc == 0)
		end_epoch(area);
	else
		vmft_stage_undo(area, atomic_load(&area->staged_bytes));
	go_on_after(STOPPED_EPOCH);
	if (rc == 0)
		atomic_store(&vmft_agent.logging, true);
	report_times(area, at, copied);
	return rc == -ENOBUFS ? vmft_track_fail(-E2BIG, "too much was written meanwhile") : rc;
}

static int point(struct vmft_area *area)
{
	if (!vmft_qemu_guest_runs() && !vmft_power_is_asleep() && self()->stopped_by == 0)
		return vmft_track_fail(-EAGAIN, "the guest is paused");
	atomic_store(&area->more, 0);
	return take(area, true);
}

static int epoch(struct vmft_area *area)
{
	return take(area, false);
}

static int drop(struct vmft_area *area)
{
	int rc = vmft_track_end();

	atomic_store(&area->more, 0);
	atomic_store(&vmft_agent.logging, false);
	go_on_after(STOPPED_EPOCH);
	return rc;
}

/* --- the backup goes live ------------------------------------------------- */

/* Before the guest runs, the frames that wait in the taps are dropped (they are seconds old), and
 * the gate is opened. */
static int load(struct vmft_area *area)
{
	const uint64_t position = atomic_load(&area->load_position);
	int rc = vmft_state_take_over(area);

	if (rc < 0)
		return rc;
	atomic_store(&self()->epoch, position);
	atomic_store(&vmft_agent.iface->log_position, position);
	vmft_nic_drain_all();
	vmft_gate_open();
	vmft_announce_live();
	vmft_gate_take_output();
	vmft_input_hand_out();
	vmft_power_go_on(true);
	atomic_store(&vmft_agent.iface->live_at_ns, vmft_agent_now());
	vmft_agent_state_set(VMFT_AGENT_LIVE);
	return 0;
}

/* --- orders --------------------------------------------------------------- */

static void start_in_main_loop(void *unused)
{
	(void)unused;
	/* vm_start() would also drop the request to stop that a fence has made. */
	if (atomic_load(&vmft_agent.fenced) || self()->leaves)
		return;
	atomic_store(&vmft_agent.iface->guest_ran, 1);
	vmft_qemu_start();
}

static void end_in_main_loop(void *unused)
{
	(void)unused;
	vmft_qemu_quit();
}

static void schedule(void (*call)(void *))
{
	vmft_qemu_in_main_loop(call, NULL, "vmft-checkpoint");
}

static void settle_in_main_loop(void *unused)
{
	struct vmft_checkpoint *c = self();
	const bool full = atomic_load(&c->gate_full);

	(void)unused;
	if (!full || atomic_load(&vmft_agent.open))
		go_on_after(STOPPED_GATE);
	else if (!stop_for(STOPPED_GATE))
		schedule(settle_in_main_loop);
	if (atomic_load(&c->frozen) && !atomic_load(&vmft_agent.iface->freeze)) {
		atomic_store(&c->frozen, false);
		atomic_store(&vmft_agent.iface->frozen_at, 0);
		go_on_after(STOPPED_FROZEN);
	}
}

static void throttle_in_main_loop(void *unused)
{
	uint32_t percent = atomic_load(&self()->throttle) / PERMILLE_A_PERCENT;

	(void)unused;
	if (percent > THROTTLE_PERCENT_MAX)
		percent = THROTTLE_PERCENT_MAX;
	vmft_qemu_throttle((int)percent);
}

static void start(bool open)
{
	if (open)
		vmft_gate_open();
	vmft_agent_state_set(VMFT_AGENT_RECORDING);
	schedule(start_in_main_loop);
}

static void end_in_order(void)
{
	if (!atomic_exchange(&self()->ending, true))
		schedule(end_in_main_loop);
}

static void abandon_in_main_loop(void *unused)
{
	(void)unused;
	(void)drop(vmft_agent.area);
	atomic_store(&self()->frozen, false);
	go_on_after(STOPPED_FROZEN);
	vmft_qemu_throttle(0);
}

/* A guest that is alone goes on without its monitor: it is no longer stopped for epochs or slowed.
 * A guest that has ended has nobody to take its last epoch: QEMU ends. */
static void orphaned(uint32_t state)
{
	if (state == VMFT_AGENT_ENDED)
		end_in_order();
	else
		schedule(abandon_in_main_loop);
}

static void end(uint32_t exit_code)
{
	if (exit_code != VMFT_EXIT_OK)
		_exit((int)exit_code);
	end_in_order();
}

/*
 * The sending thread may be the one that takes the epoch which the gate waits for. So it goes on,
 * and the main loop stops the guest as soon as it can. What the guest had given to its card until
 * then, a ring of frames, is held over the limit.
 */
static bool gate_full(void)
{
	if (!atomic_exchange(&self()->gate_full, true)) {
		atomic_fetch_add(&vmft_agent.iface->gate_stalls, 1);
		schedule(settle_in_main_loop);
	}
	return false;
}

static void gate_has_room(void)
{
	if (atomic_exchange(&self()->gate_full, false))
		schedule(settle_in_main_loop);
}

static void frame_read(int fd, const void *bytes, size_t n)
{
	vmft_announce_got(fd, bytes, n);
	vmft_input_taken(fd, bytes, n);
}

/*
 * After the attach point, before there is a pair, the gate is still open. Then QEMU gets the error:
 * an epoch that waits for the request would keep the end of the attach from being carried out.
 */
static enum vmft_disk_answer disk_answer(void)
{
	return atomic_load(&vmft_agent.logging) && !atomic_load(&vmft_agent.open) ? VMFT_DISK_HOLD
										  : VMFT_DISK_TELL;
}

static void flush_begins(void)
{
	atomic_fetch_add(&self()->flushing, 1);
}

static void flush_ends(void)
{
	const uint64_t one = 1;

	if (atomic_fetch_sub(&self()->flushing, 1) == 1 && atomic_load(&self()->waits))
		(void)!vmft_libc_write(vmft_agent.bell_agent, &one, sizeof(one));
}

/*
 * A stop of the guest waits for its disk requests, and a flush may take long. Output that leaves
 * with this epoch waits for the flush in either case, but the guest need not: the epoch is taken
 * later.
 */
static bool postpones(enum vmft_area_op op)
{
	struct vmft_checkpoint *c = self();
	const bool flushing = op == VMFT_AREA_EPOCH && atomic_load(&c->flushing) > 0 &&
			      !atomic_load(&vmft_agent.area->more);

	if (flushing && !atomic_exchange(&c->waits, true))
		c->waits_since_ns = vmft_agent_now();
	/* Read once more: flush_ends() may have read waits before it was stored above. */
	if (flushing && atomic_load(&c->flushing) > 0 &&
	    vmft_agent_now() - c->waits_since_ns < FLUSH_WAIT_NS)
		return true;
	atomic_store(&c->waits, false);
	return false;
}

static void service(void)
{
	struct vmft_checkpoint *c = self();
	uint32_t throttle = atomic_load(&vmft_agent.iface->throttle);

	if (atomic_load(&c->frozen) && !atomic_load(&vmft_agent.iface->freeze))
		schedule(settle_in_main_loop);
	if (throttle != atomic_load(&c->throttle)) {
		atomic_store(&c->throttle, throttle);
		schedule(throttle_in_main_loop);
	}
}

/* --- coming up, and the guest's own end ----------------------------------- */

/* The wrapper gives QEMU no log to open with this strategy. */
static FILE *open_log(const char *mode)
{
	(void)mode;
	errno = ENOENT;
	return NULL;
}

static void process_ends(void)
{
}

static void host_clock_read(struct timeval *tv)
{
	(void)tv;
}

/* If QEMU leaves without an error, its guest has ended (SIGTERM, quit). */
static void at_exit(void)
{
	uint32_t state = atomic_load(&vmft_agent.iface->agent_state);

	if (state == VMFT_AGENT_RECORDING || state == VMFT_AGENT_LIVE)
		vmft_agent_state_set(VMFT_AGENT_ENDED);
}

/*
 * Main loop. QEMU is about to end: the guest has powered off, or somebody has sent SIGTERM or
 * "quit". QEMU would close the images and leave, and what the guest did after its last epoch would
 * be lost. So QEMU pauses until the monitor says END, whatever the reason. If the monitor is gone,
 * QEMU ends at once.
 */
static bool pauses_at_end(void)
{
	const uint32_t state = atomic_load(&vmft_agent.iface->agent_state);
	const bool ran =
	    state == VMFT_AGENT_RECORDING || state == VMFT_AGENT_LIVE || state == VMFT_AGENT_ENDED;
	struct vmft_checkpoint *c = self();

	if (!ran || atomic_load(&c->ending) || atomic_load(&vmft_agent.orphaned))
		return false;
	/* If the guest is stopped for an epoch, the end of the epoch does not start it. */
	c->was_running = false;
	c->leaves = true;
	return true;
}

/* --- QEMU's own monitors --------------------------------------------------- */

/* While an epoch is copied the guest is stopped, and must not run; it may be paused from then on.
 */
static enum vmft_qemu_answer command(enum vmft_qemu_command command)
{
	struct vmft_checkpoint *c = self();

	if (c->leaves)
		return VMFT_QEMU_NEVER;
	if (c->stopped_by == 0)
		return VMFT_QEMU_GO;
	switch (command) {
	case VMFT_QEMU_CONT:
		c->cont_asked = true;
		return VMFT_QEMU_DONE;
	case VMFT_QEMU_STOP:
		c->cont_asked = false;
		c->was_running = false;
		return VMFT_QEMU_DONE;
	default:
		return VMFT_QEMU_GO;
	}
}

/*
 * The main thread is about to wait and holds no locks. With this strategy QEMU opens no log, so the
 * first wait of its main loop shows that QEMU is up. A guest that has switched itself off has been
 * paused by QEMU (-action shutdown=pause), so that its last epoch can be taken.
 */
static void before_wait(void)
{
	struct vmft_checkpoint *c = self();
	uint32_t state;

	if (!atomic_load_explicit(&vmft_agent.armed, memory_order_relaxed)) {
		if (getpid() != gettid())
			return;
		vmft_operator_before_wait();
		if (!vmft_qemu_machine_is_made())
			return;
		vmft_agent_arm();
		vmft_nic_find_all();
		(void)atexit(at_exit);
		vmft_qemu_on_end(pauses_at_end);
		vmft_agent_state_set(vmft_qemu_state_is(VMFT_QEMU_AWAITS_STATE)
					 ? VMFT_AGENT_STANDBY
					 : VMFT_AGENT_WAITING);
		/* Last: the service thread obeys an order at once, and which one is meant depends
		 * on the state. */
		vmft_service_start();
		return;
	}
	state = atomic_load_explicit(&vmft_agent.iface->agent_state, memory_order_relaxed);
	if ((state == VMFT_AGENT_RECORDING || state == VMFT_AGENT_LIVE) &&
	    (c->leaves || vmft_qemu_state_is(VMFT_QEMU_SWITCHED_OFF)))
		vmft_agent_state_set(VMFT_AGENT_ENDED);
}

/* A frame that is to be handed to the guest makes its tap readable at once. */
static int wait_for_events(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
			   const sigset_t *mask)
{
	const struct timespec at_once = {0};
	struct pollfd *waits = vmft_input_waits(fds, count);
	int ready;

	if (!waits)
		return vmft_libc_ppoll(fds, count, timeout, mask);
	ready = vmft_libc_ppoll(fds, count, &at_once, mask);
	if (ready >= 0 && waits->revents == 0)
		ready++;
	waits->revents |= POLLIN;
	return ready;
}

const struct vmft_agent_strategy_ops vmft_agent_checkpoint = {
    .open_log = open_log,
    .start = start,
    .end = end,
    .orphaned = orphaned,
    .service = service,
    .process_ends = process_ends,
    .before_wait = before_wait,
    .wait = wait_for_events,
    .output_position = vmft_checkpoint_output_position,
    .gate_full = gate_full,
    .gate_has_room = gate_has_room,
    .frame_next = vmft_input_next,
    .frame_read = frame_read,
    .disk_answer = disk_answer,
    .flush_begins = flush_begins,
    .flush_ends = flush_ends,
    .host_clock_read = host_clock_read,
    .command = command,
    .point = point,
    .epoch = epoch,
    .drop = drop,
    .load = load,
    .prove = vmft_prove_load,
    .postpones = postpones,
};
