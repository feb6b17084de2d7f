/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep in QEMU: the primary's log goes through the tap into the ring, the backup's comes out of
 * the ring through the feed. This file is the strategy's table; what it does is in tap.c, feed.c,
 * output.c, icount.c, digest.c and attach.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "announce.h"
#include "attach.h"
#include "buttons.h"
#include "feed.h"
#include "ground.h"
#include "icount.h"
#include "libc.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/interface.h"
#include "nic.h"
#include "operator.h"
#include "power.h"
#include "service.h"
#include "strategy.h"
#include "tap.h"
#include "track.h"
#include "turns.h"

/* The receive ring of virtio-net. */
#define ASLEEP_FRAMES_MAX 256u

/* How many frames QEMU was given since the guest sleeps. */
static _Atomic unsigned asleep_frames;

/* QEMU opens its log before it makes the machine: the first moment at which its symbols are needed
 * and its main thread is known. */
static FILE *open_log(const char *mode)
{
	vmft_agent_arm();
	vmft_service_start();
	vmft_icount_serve();
	return mode[0] == 'w' ? vmft_tap_open(0) : vmft_feed_open();
}

/* The thread that opened the log waits for the command itself (tap.c, feed.c). */
static void start(bool open)
{
	(void)open;
}

/*
 * A replaying QEMU sleeps in the feed and a frozen one holds locks: neither would end in order, and
 * nobody needs what they have in memory.
 */
static void end(uint32_t exit_code)
{
	_exit((int)exit_code);
}

static void orphaned(uint32_t state)
{
	(void)state;
}

static void service(void)
{
}

/*
 * A replaying QEMU leaves at the SHUTDOWN event in the log. What the primary's QEMU logged after
 * it, END as the last, may not have arrived. A QEMU that leaves there has ended in order and has
 * not died. (An error leaves through exit(), which notes it.)
 */
static void process_ends(void)
{
	if (!atomic_load(&vmft_agent.crashed) && vmft_feed_is_replaying() &&
	    vmft_feed.cursor.leaves)
		vmft_agent_state_set(VMFT_AGENT_ENDED);
}

static void before_wait(void)
{
	if (atomic_load_explicit(&vmft_agent.armed, memory_order_relaxed))
		vmft_operator_before_wait();
}

static int wait_for_events(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
			   const sigset_t *mask)
{
	struct timespec slice = {0};
	int ready;

	if (!atomic_load_explicit(&vmft_agent.armed, memory_order_relaxed))
		return vmft_libc_ppoll(fds, count, timeout, mask);
	if (!vmft_turns_before_wait())
		vmft_tap_before_wait();
	if (vmft_feed_shortens_wait(timeout, &slice) || vmft_icount_ends_wait())
		timeout = &slice;
	ready = vmft_libc_ppoll(fds, count, timeout, mask);
	vmft_feed_hold_main_loop();
	return ready;
}

/*
 * QEMU sends a frame under its replay mutex, directly after the event that licensed it (virtio-net
 * with tx=timer). So a frame depends on everything logged up to now.
 */
static uint64_t output_position(void)
{
	return vmft_tap.cursor.fed;
}

/* The sending thread holds the replay mutex: when it waits, the guest does. */
static bool gate_full(void)
{
	atomic_fetch_add(&vmft_agent.iface->gate_stalls, 1);
	return true;
}

static void gate_has_room(void)
{
}

/*
 * QEMU logs a frame that came in when the vCPU executes next, and keeps it in a queue without a
 * limit until then. The vCPU of a guest that sleeps does not execute. So no more frames are given
 * to QEMU than a card's ring has room for by default, and later ones are read and thrown away, as a
 * card does whose ring is full.
 */
static bool frame_next(int fd, void *bytes, size_t n, ssize_t *ret)
{
	if (!vmft_power_is_asleep()) {
		atomic_store(&asleep_frames, 0);
		return false;
	}
	if (atomic_load(&asleep_frames) < ASLEEP_FRAMES_MAX || vmft_feed_is_replaying() ||
	    vmft_nic_of(fd) < 0)
		return false;
	if (vmft_libc_read(fd, bytes, n) >= 0)
		errno = EAGAIN;
	*ret = -1;
	return true;
}

/* While QEMU replays, the frames that arrive are not what its guest is given. */
static void frame_read(int fd, const void *bytes, size_t n)
{
	if (vmft_feed_is_replaying())
		return;
	vmft_announce_got(fd, bytes, n);
	if (vmft_power_is_asleep() && vmft_nic_of(fd) >= 0)
		atomic_fetch_add(&asleep_frames, 1);
}

static bool is_replica(void)
{
	return vmft_feed.stream && atomic_load(&vmft_feed.phase) != VMFT_FEED_LEFT;
}

/*
 * A primary whose log is kept holds the call, also between an attach point and the pair: the log
 * must not contain the failure. A replica repeats it: after the primary's death it runs the only
 * guest there is.
 */
static enum vmft_disk_answer disk_answer(void)
{
	if (is_replica())
		return VMFT_DISK_REPEAT;
	return atomic_load(&vmft_agent.logging) ? VMFT_DISK_HOLD : VMFT_DISK_TELL;
}

static void flush_begins(void)
{
}

static void flush_ends(void)
{
}

static void host_clock_read(struct timeval *tv)
{
	if (vmft_tap.stream)
		vmft_icount_time_of_day(tv);
}

/* Keys and the pointer are in QEMU's log (replay_input_event()), the buttons are in vmft's. What
 * else comes from outside is in none. */
static enum vmft_qemu_answer command(enum vmft_qemu_command command)
{
	switch (command) {
	case VMFT_QEMU_CONT:
	case VMFT_QEMU_STOP:
	case VMFT_QEMU_INPUT:
		return VMFT_QEMU_GO;
	case VMFT_QEMU_POWERDOWN:
		vmft_buttons_press(VMFT_BUTTON_POWER);
		return VMFT_QEMU_DONE;
	case VMFT_QEMU_RESET:
		vmft_buttons_press(VMFT_BUTTON_RESET);
		return VMFT_QEMU_DONE;
	case VMFT_QEMU_CLOCK:
		return VMFT_QEMU_DONE;
	default:
		return VMFT_QEMU_REFUSED;
	}
}

static int point(struct vmft_area *area)
{
	int rc;

	atomic_store(&vmft_tap.busy, true);
	rc = vmft_attach_point(area);
	atomic_store(&vmft_tap.busy, false);
	return rc;
}

static int no_request(struct vmft_area *area)
{
	(void)area;
	return vmft_track_fail(-EINVAL, "not an operation of lockstep");
}

static int drop(struct vmft_area *area)
{
	(void)area;
	return vmft_track_end();
}

static bool postpones(enum vmft_area_op op)
{
	(void)op;
	return false;
}

const struct vmft_agent_strategy_ops vmft_agent_lockstep = {
    .open_log = open_log,
    .start = start,
    .end = end,
    .orphaned = orphaned,
    .service = service,
    .process_ends = process_ends,
    .before_wait = before_wait,
    .wait = wait_for_events,
    .output_position = output_position,
    .gate_full = gate_full,
    .gate_has_room = gate_has_room,
    .frame_next = frame_next,
    .frame_read = frame_read,
    .disk_answer = disk_answer,
    .flush_begins = flush_begins,
    .flush_ends = flush_ends,
    .host_clock_read = host_clock_read,
    .command = command,
    .point = point,
    .epoch = no_request,
    .drop = drop,
    .load = vmft_attach_load,
    .prove = no_request,
    .postpones = postpones,
};
