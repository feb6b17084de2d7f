/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event tap: QEMU's log stream goes into the shared ring, and is published in whole events.
 *
 * Every writer holds QEMU's replay mutex (replay-internal.c asserts it). So there is one writer at
 * a time, and log positions are in the order in which things happened.
 */
#define _GNU_SOURCE
#include "tap.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "buttons.h"
#include "digest.h"
#include "ground.h"
#include "icount.h"
#include "logging-channel/ring.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/interface.h"
#include "turns.h"

/* A throttled guest is paused once in so long. Short, so that its output is not much later. */
#define PACE_PERIOD_NS	      20000000L
#define THROTTLE_MAX_PERMILLE 900u /* the guest always runs a tenth of the time */

struct vmft_tap vmft_tap;

static bool stream_is_kept(void)
{
	return atomic_load_explicit(&vmft_agent.logging, memory_order_relaxed) &&
	       !atomic_load_explicit(&vmft_agent.fenced, memory_order_relaxed) &&
	       atomic_load_explicit(&vmft_agent.iface->agent_state, memory_order_relaxed) !=
		   VMFT_AGENT_BROKEN;
}

/* Waits until at least one byte fits. Returns false when the log is not kept any more. */
static bool wait_for_room(void)
{
	struct vmft_tap *tap = &vmft_tap;

	for (;;) {
		uint32_t seen = atomic_load(&vmft_agent.iface->monitor_futex);
		int64_t room;

		if (!stream_is_kept())
			return false;
		room = vmft_ring_room(&vmft_agent.ring, tap->cursor.fed);
		if (room < 0) {
			vmft_agent_broken("the ring's tail is ahead of what was logged");
			return false;
		}
		if (room > 0) {
			tap->room_end = tap->cursor.fed + (uint64_t)room;
			return true;
		}
		if (tap->cursor.fed - tap->published == vmft_agent.ring.size) {
			vmft_agent_broken("one event is larger than the log ring");
			return false;
		}
		vmft_agent_ring_monitor();
		vmft_agent_sleep(seen);
	}
}

/*
 * A frozen guest can be compared with another at an equal log position. This thread has written the
 * event's last byte and has not yet carried out its effect. A replayer that has read the whole
 * event and waits for the kind of the next is at exactly the same point: replay_finish_event()
 * comes before the effect.
 */
static void freeze_here(uint64_t position)
{
	struct vmft_iface *iface = vmft_agent.iface;

	atomic_store(&iface->frozen_at, position + 1);
	vmft_agent_ring_monitor();
	for (;;) {
		uint32_t seen = atomic_load(&iface->monitor_futex);

		if (!atomic_load(&iface->freeze) || !stream_is_kept())
			break;
		vmft_agent_sleep(seen);
	}
	atomic_store(&iface->frozen_at, 0);
}

/* Slows the guest down, because its backup lags or because it writes memory faster than an attach
 * can copy. This thread holds the replay mutex: while it sleeps, the guest does not run. */
static void pace(struct vmft_tap *tap)
{
	uint32_t permille = atomic_load_explicit(&vmft_agent.iface->throttle, memory_order_relaxed);
	struct timespec pause = {0};
	uint64_t now;

	/* If the monitor is gone, its last order stays there without end. */
	if (permille == 0 || atomic_load_explicit(&vmft_agent.orphaned, memory_order_relaxed))
		return;
	now = vmft_agent_now();
	if (now < tap->run_until)
		return;
	if (permille > THROTTLE_MAX_PERMILLE)
		permille = THROTTLE_MAX_PERMILLE;
	pause.tv_nsec = PACE_PERIOD_NS / 1000 * (long)permille;
	(void)nanosleep(&pause, NULL);
	tap->run_until = now + (uint64_t)PACE_PERIOD_NS;
}

bool vmft_tap_is_kept(void)
{
	return vmft_tap.stream && stream_is_kept();
}

static void publish(struct vmft_tap *tap)
{
	struct vmft_iface *iface = vmft_agent.iface;

	tap->published = tap->cursor.boundary;
	atomic_store_explicit(&iface->log_events, tap->cursor.events, memory_order_relaxed);
	atomic_store_explicit(&iface->guest_ns, tap->cursor.guest_ns, memory_order_relaxed);
	atomic_store_explicit(&iface->log_position, tap->published, memory_order_relaxed);
	pace(tap);
	if (!stream_is_kept())
		return;
	vmft_ring_publish(&vmft_agent.ring, tap->published);
	/* The monitor stores monitor_sleeps, then reads the head once more. This thread stores the
	 * head, then reads monitor_sleeps. With the fence, at least one of the two sees the other's
	 * store. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&iface->monitor_sleeps, memory_order_relaxed)) {
		atomic_store_explicit(&iface->monitor_sleeps, 0, memory_order_relaxed);
		vmft_agent_ring_monitor();
	}
	/* Not after an entry of ours: QEMU has carried out the event before it already, the
	 * backup's QEMU has not. */
	if (!tap->adding && atomic_load_explicit(&iface->freeze, memory_order_relaxed) &&
	    !atomic_load_explicit(&vmft_tap.busy, memory_order_relaxed))
		freeze_here(tap->published);
}

static void write_piece(struct vmft_tap *tap, const uint8_t *bytes, size_t n)
{
	if (stream_is_kept())
		vmft_ring_write(&vmft_agent.ring, tap->cursor.fed, bytes, n);
	if (vmft_log_cursor_feed(&tap->cursor, bytes, n) < 0 && stream_is_kept())
		vmft_agent_broken("QEMU logged an event this version does not know");
	if (tap->cursor.boundary == tap->published)
		return;
	publish(tap);
	if (tap->cursor.ended)
		vmft_agent_state_set(VMFT_AGENT_ENDED);
}

static void write_all(struct vmft_tap *tap, const uint8_t *bytes, size_t n)
{
	while (n > 0) {
		size_t piece = n;

		if (tap->cursor.fed >= tap->room_end && stream_is_kept())
			(void)wait_for_room();
		if (stream_is_kept() && piece > tap->room_end - tap->cursor.fed)
			piece = (size_t)(tap->room_end - tap->cursor.fed);
		write_piece(tap, bytes, piece);
		bytes += piece;
		n -= piece;
	}
}

/* After END QEMU rewinds and writes the file's header. A stream has none: it is dropped. */
static bool is_over(const struct vmft_tap *tap)
{
	return tap->cursor.ended || atomic_load_explicit(&vmft_agent.crashed, memory_order_relaxed);
}

/* After a whole event that only the main loop writes and only the main loop replays (digest.c).
 * Only the main loop runs the timers of these two clocks (qemu_clock_run_all_timers()). */
static bool is_main_loops_point(const struct vmft_tap *tap)
{
	return vmft_log_cursor_is_between(&tap->cursor) &&
	       (tap->cursor.kind == VMFT_EVENT_CHECKPOINT_HOST ||
		tap->cursor.kind == VMFT_EVENT_CHECKPOINT_VIRTUAL_RT);
}

/* QEMU logs events before the guest runs, and may end with an error then. The first INSTRUCTION
 * shows that the guest has run. */
static void note_ran(const struct vmft_tap *tap)
{
	struct vmft_iface *iface = vmft_agent.iface;

	if (tap->cursor.kind == VMFT_EVENT_INSTRUCTION &&
	    !atomic_load_explicit(&iface->guest_ran, memory_order_relaxed))
		atomic_store(&iface->guest_ran, 1);
}

static bool pauses_guest(const struct vmft_tap *tap, const uint8_t *bytes)
{
	return vmft_log_cursor_is_between(&tap->cursor) &&
	       vmft_event_kind(tap->cursor.format, bytes[0]) == VMFT_EVENT_CHECKPOINT_PAUSE &&
	       stream_is_kept();
}

void vmft_tap_write(const uint8_t *bytes, size_t n)
{
	struct vmft_tap *tap = &vmft_tap;

	if (is_over(tap))
		return;
	if (pauses_guest(tap, bytes))
		vmft_turns_before_pause();
	vmft_icount_before_event();
	write_all(tap, bytes, n);
	note_ran(tap);
	vmft_icount_logged(&tap->cursor);
	if (!is_main_loops_point(tap))
		return;
	vmft_digest_point();
	if (gettid() == getpid() && !atomic_load(&tap->busy))
		vmft_buttons_point();
}

void vmft_tap_add(const uint8_t *bytes, size_t n)
{
	struct vmft_tap *tap = &vmft_tap;

	if (is_over(tap) || !stream_is_kept())
		return;
	if (!vmft_log_cursor_is_between(&tap->cursor)) {
		vmft_agent_broken("QEMU sent a frame in the middle of an event");
		return;
	}
	tap->adding = true;
	write_all(tap, bytes, n);
	tap->adding = false;
}

/*
 * The main loop queues packets and disk completions for the log; the vCPU thread logs them and
 * carries them out. QEMU 7.2 wakes the vCPU thread with a kick, but an idle vCPU sleeps on after a
 * kick (rr_wait_io_event() looks at the vCPU only). The packet would wait for the guest's next
 * timer, tens of milliseconds on an idle guest, and a disk flush would do so several times.
 *
 * Work that is queued for the vCPU does end its sleep. QEMU uses it for timers
 * (qemu_timer_notify_cb()). qemu_clock_notify() would queue such work too, but it also wakes the
 * main loop: the main loop then went round, and logged each round, until the vCPU thread got a
 * processor of a busy host. The vCPU of a fenced guest takes no events any more.
 */
void vmft_tap_before_wait(void)
{
	/* The queue is read without its lock. If an entry that is being added is missed, it is as
	 * if this thread had come a moment earlier. */
	if (vmft_tap.stream && vmft_qemu_events_are_queued() && !atomic_load(&vmft_agent.fenced))
		vmft_qemu_vcpu_wake();
}

static ssize_t cookie_write(void *cookie, const char *bytes, size_t n)
{
	(void)cookie;
	vmft_tap_write((const uint8_t *)bytes, n);
	return (ssize_t)n;
}

/*
 * The attach point: the log from here on belongs to the state that was saved. The first entry may
 * come before the guest runs again, because a device reads a clock while it is loaded. No other
 * thread logs meanwhile, and the monitor does not read the ring before it is told of the point.
 */
void vmft_tap_keep_from_here(void)
{
	struct vmft_tap *tap = &vmft_tap;
	struct vmft_iface *iface = vmft_agent.iface;
	struct vmft_area *area = vmft_agent.area;
	const struct vmft_log_cursor before = tap->cursor;

	vmft_log_cursor_init(&tap->cursor, before.format, before.fed);
	tap->cursor.events = before.events;
	tap->cursor.guest_ns = before.guest_ns;
	tap->requests = vmft_qemu_block_requests(); /* all are done: the disks were drained */
	tap->published = before.fed;
	tap->room_end = before.fed;
	atomic_store(&iface->log_tail, before.fed);
	atomic_store(&iface->log_head, before.fed);
	atomic_store(&iface->log_position, before.fed);
	atomic_store(&area->point_position, before.fed);
	atomic_store(&area->point_guest_ns, before.guest_ns);
	atomic_store(&vmft_agent.logging, true);
}

/* QEMU saves the value of ftell() in its state (replay_pre_save()). The attach point is a little
 * later; its position is sent beside the state. */
static int cookie_seek(void *cookie, off64_t *offset, int whence)
{
	struct vmft_tap *tap = &vmft_tap;

	(void)cookie;
	if (whence == SEEK_SET)
		return 0;
	*offset = (off64_t)(tap->cursor.fed + VMFT_LOG_HEADER_BYTES);
	return 0;
}

/* The guest must not run before its backup is there, or the backup misses its first instructions.
 */
static void wait_for_run(void)
{
	uint32_t command;

	vmft_agent_state_set(VMFT_AGENT_WAITING);
	for (;;) {
		uint32_t seen = atomic_load(&vmft_agent.iface->monitor_futex);

		command = vmft_agent_command();
		if (command != VMFT_COMMAND_HOLD && command != VMFT_COMMAND_END)
			break;
		vmft_agent_sleep(seen);
	}
	atomic_store(&vmft_agent.logging, command == VMFT_COMMAND_RUN);
	atomic_store(&vmft_agent.open, command == VMFT_COMMAND_OPEN);
	vmft_agent_state_set(VMFT_AGENT_RECORDING);
}

FILE *vmft_tap_open(uint64_t position)
{
	const cookie_io_functions_t io = {.write = cookie_write, .seek = cookie_seek};
	FILE *stream = fopencookie(NULL, "w", io);

	if (!stream)
		return NULL;
	(void)setvbuf(stream, NULL, _IONBF, 0);
	vmft_log_cursor_init(&vmft_tap.cursor, vmft_qemu_log_format(), position);
	vmft_tap.published = position;
	vmft_tap.room_end = position;
	vmft_tap.requests = vmft_qemu_block_requests();
	vmft_tap.stream = stream;
	if (atomic_load(&vmft_agent.iface->agent_state) == VMFT_AGENT_ABSENT)
		wait_for_run();
	return stream;
}
