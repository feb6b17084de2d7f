/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The replay feed: QEMU's log stream comes out of the shared ring. At the log's end, when the
 * monitor has won the arbitration, the guest goes live in this process.
 *
 * All readers hold QEMU's replay mutex. QEMU reads one event ahead and waits here when there is no
 * more log. It executes only what the log allows, so it may wait at any event.
 */
#define _GNU_SOURCE
#include "feed.h"

#include <errno.h>

#include "agent.h"
#include "announce.h"
#include "buttons.h"
#include "digest.h"
#include "gate.h"
#include "ground.h"
#include "icount.h"
#include "logging-channel/ring.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/interface.h"
#include "nic.h"
#include "operator.h"
#include "output.h"
#include "tap.h"

struct vmft_feed vmft_feed;

#define SLICE_FIRST_NS 20000L
#define SLICE_LAST_NS  1000000L
#define HOLD_FIRST_NS  30000L
#define HOLD_LAST_NS   480000L

/*
 * Runs on a QEMU thread inside replay_fetch_data_kind(), after the log has been read to its end.
 *
 * The guest's time goes on: cpu_get_clock() is cpu_clock_offset plus the host's monotonic clock
 * (softmmu/cpu-timers.c). The field is stored directly, because the calling thread may be inside
 * the write side of the seqlock, where QEMU's own functions would spin without end. No other thread
 * reads the clock meanwhile: while QEMU replays its value comes from the log, and the mode changes
 * last.
 */
static void go_live(void)
{
	struct vmft_iface *iface = vmft_agent.iface;
	const uint64_t position = vmft_feed.cursor.fed;
	int64_t offset;
	FILE *stream;

	/* Frames have waited in the taps since the primary died. They are seconds old, and a full
	 * queue would make the kernel drop the first new ones. */
	vmft_nic_drain_all();
	vmft_icount.made = true;
	stream = vmft_tap_open(position);
	if (!stream) {
		vmft_agent_broken("no memory for a new log stream");
		return;
	}
	atomic_store(&vmft_feed.phase, VMFT_FEED_LEFT);
	vmft_tap.cursor.guest_ns = vmft_feed.cursor.guest_ns;
	vmft_gate_open();
	offset = vmft_icount_goes_on(vmft_feed.cursor.guest_ns) - (int64_t)vmft_agent_now();
	vmft_qemu_time_set(VMFT_QEMU_CLOCK_OFFSET, offset);
	vmft_qemu_record_into(stream);
	/* Before the guest sends its own first frame. */
	vmft_announce_live();
	vmft_gate_take_output();
	atomic_store(&iface->live_at_ns, vmft_agent_now());
	vmft_agent_state_set(VMFT_AGENT_LIVE);
	vmft_operator_live();
	vmft_qemu_main_loop_wake();
}

static void report(const struct vmft_feed *feed)
{
	struct vmft_iface *iface = vmft_agent.iface;

	atomic_store_explicit(&iface->log_events, feed->cursor.events, memory_order_relaxed);
	atomic_store_explicit(&iface->guest_ns, feed->cursor.guest_ns, memory_order_relaxed);
	atomic_store_explicit(&iface->log_position, feed->cursor.fed, memory_order_release);
	vmft_ring_release(&vmft_agent.ring, feed->cursor.fed);
}

/* Takes QEMU's own entries, up to the next entry of ours. Ours is carried out when QEMU has got all
 * events before it and asks for more. */
static void take(struct vmft_feed *feed, size_t ready)
{
	size_t n = ready < sizeof(feed->stage) ? ready : sizeof(feed->stage);
	ssize_t fed;

	vmft_ring_read(&vmft_agent.ring, feed->cursor.fed, feed->stage, n);
	fed = vmft_log_cursor_feed_qemu(&feed->cursor, feed->stage, n);
	if (fed < 0) {
		vmft_agent_broken("the log in the ring is garbage");
		return;
	}
	feed->staged = (size_t)fed;
	feed->handed = 0;
	/* Noted here and not when END is handed out: QEMU shuts down before it asks for more. */
	if (feed->cursor.ended)
		vmft_agent_state_set(VMFT_AGENT_ENDED);
}

/* If the next entry is one of ours, carries it out and returns true. */
static bool take_ours(struct vmft_feed *feed, size_t ready)
{
	uint8_t bytes[VMFT_DIGEST_ENTRY_MAX];
	const size_t n = ready < sizeof(bytes) ? ready : sizeof(bytes);
	const uint64_t position = feed->cursor.fed;
	struct vmft_output_entry frame;
	ssize_t length;

	if (!vmft_log_cursor_is_between(&feed->cursor))
		return false;
	vmft_ring_read(&vmft_agent.ring, position, bytes, n);
	if (!vmft_event_is_ours(bytes[0]))
		return false;
	length = vmft_event_length(feed->cursor.format, bytes, n);
	/* The primary publishes entries whole, so a part of one is an error. */
	if (length <= 0 || (size_t)length > n ||
	    vmft_log_cursor_feed(&feed->cursor, bytes, (size_t)length) < 0) {
		vmft_agent_broken("an entry of ours in the log is garbage");
		return true;
	}
	if (bytes[0] == VMFT_ENTRY_DIGEST) {
		vmft_digest_compare(position, bytes, (size_t)length);
		return true;
	}
	if (bytes[0] == VMFT_ENTRY_CLOCK) {
		vmft_icount_replay(bytes);
		return true;
	}
	if (bytes[0] == VMFT_ENTRY_BUTTON) {
		vmft_buttons_replay(bytes);
		return true;
	}
	vmft_output_entry_decode(bytes, &frame);
	vmft_output_expect(position, &frame);
	return true;
}

static bool may_go_live(const struct vmft_feed *feed)
{
	return vmft_agent_command() == VMFT_COMMAND_GO_LIVE &&
	       atomic_load(&vmft_agent.iface->log_end) == feed->cursor.fed;
}

/* Fills the stage. Returns false if the guest went live instead. */
static bool refill(struct vmft_feed *feed)
{
	struct vmft_iface *iface = vmft_agent.iface;

	if (!feed->diverged && vmft_output_is_late())
		vmft_output_miss();
	for (;;) {
		uint32_t seen = atomic_load(&iface->monitor_futex);
		int64_t ready;

		/* A guest that has diverged stays where the difference was found. */
		if (feed->diverged || atomic_load(&iface->agent_state) == VMFT_AGENT_BROKEN) {
			vmft_agent_sleep(seen);
			continue;
		}
		ready = vmft_ring_ready(&vmft_agent.ring, feed->cursor.fed);
		if (ready < 0) {
			vmft_agent_broken("the ring's head makes no sense");
			continue;
		}
		if (ready > 0 && take_ours(feed, (size_t)ready))
			continue;
		report(feed);
		if (ready > 0) {
			take(feed, (size_t)ready);
			if (feed->staged > feed->handed)
				return true;
			continue;
		}
		if (may_go_live(feed)) {
			go_live();
			return false;
		}
		/* The last bytes may just have been handed out: the monitor may wait for that. */
		if (atomic_exchange(&iface->monitor_sleeps, 0))
			vmft_agent_ring_monitor();
		vmft_agent_sleep(seen);
	}
}

static enum vmft_feed_phase phase_of(const struct vmft_feed *feed)
{
	return (enum vmft_feed_phase)atomic_load_explicit(&feed->phase, memory_order_relaxed);
}

/*
 * A guest whose state will be loaded comes up as for a migration: it is not started, and its images
 * are neither locked nor cached (BDRV_O_INACTIVE), so that they can still be filled. "-S -incoming
 * defer" would do the same (softmmu/vl.c), but when QEMU was started it was not known whether the
 * state will be loaded. QEMU is in replay_configure() here: it has not made the machine, and has no
 * second thread that could read these variables.
 */
static void prepare(struct vmft_feed *feed)
{
	vmft_qemu_expect_state();
	atomic_store(&feed->phase, VMFT_FEED_STUB);
}

/*
 * QEMU asks for the first event while it comes up. It waits here until the monitor knows whether
 * the guest boots or its state will be loaded. If the primary never waits for a backup, that is
 * known: QEMU comes up at once, with its monitors, which libvirt waits for.
 */
static void decide(struct vmft_feed *feed)
{
	for (;;) {
		uint32_t seen = atomic_load(&vmft_agent.iface->monitor_futex);
		uint32_t command = vmft_agent_command();

		if (command == VMFT_COMMAND_PREPARE || vmft_agent.awaits_state) {
			prepare(feed);
			return;
		}
		if (command != VMFT_COMMAND_HOLD && command != VMFT_COMMAND_END) {
			atomic_store(&feed->phase, VMFT_FEED_STREAM);
			return;
		}
		vmft_agent_sleep(seen);
	}
}

int vmft_feed_byte(void)
{
	struct vmft_feed *feed = &vmft_feed;

	if (phase_of(feed) == VMFT_FEED_HEADER)
		return feed->header[feed->header_read++ % sizeof(feed->header)];
	if (phase_of(feed) == VMFT_FEED_UNDECIDED)
		decide(feed);
	if (phase_of(feed) == VMFT_FEED_STUB)
		return vmft_qemu_log_format()->end; /* nothing in QEMU waits for this kind */
	if (feed->handed == feed->staged && !refill(feed))
		return vmft_qemu_log_format()->end; /* nothing in QEMU waits for this kind */
	atomic_fetch_add_explicit(&feed->bytes_handed, 1, memory_order_relaxed);
	/* The position of replay, should it stop here. The byte that is returned counts only when
	 * QEMU asks for the next one. */
	atomic_store_explicit(&vmft_agent.iface->log_position,
			      feed->cursor.fed - (feed->staged - feed->handed),
			      memory_order_relaxed);
	return feed->stage[feed->handed++];
}

/*
 * Which thread has to act on the next event of the log. The main loop runs the timers of the
 * real-time clocks, starts warps and reads the clocks for both. The vCPU thread does all else.
 */
static bool is_for_main_loop(enum vmft_event_kind kind)
{
	switch (kind) {
	case VMFT_EVENT_SHUTDOWN:
	case VMFT_EVENT_RESET:
	case VMFT_EVENT_CLOCK_HOST:
	case VMFT_EVENT_CLOCK_VIRTUAL_RT:
	case VMFT_EVENT_CHECKPOINT_WARP_START:
	case VMFT_EVENT_CHECKPOINT_HOST:
	case VMFT_EVENT_CHECKPOINT_VIRTUAL_RT:
	case VMFT_EVENT_CHECKPOINT_RESET:
	case VMFT_EVENT_CHECKPOINT_PAUSE:
	case VMFT_EVENT_CHECKPOINT:
		return true;
	default:
		return false;
	}
}

bool vmft_feed_is_replaying(void)
{
	return vmft_feed.stream && phase_of(&vmft_feed) == VMFT_FEED_STREAM;
}

static bool is_replaying(const struct vmft_feed *feed)
{
	return phase_of(feed) == VMFT_FEED_STREAM;
}

/*
 * When the guest was idle, a replaying QEMU sleeps as long as the guest did, although the log
 * already has the next event. So a backlog would never shrink, and all of it is outage when the
 * primary dies. While there is log to replay, the main loop therefore waits in slices: not at all
 * after progress if the next event is its own, else slices that double.
 */
bool vmft_feed_shortens_wait(const struct timespec *timeout, struct timespec *ret_slice)
{
	struct vmft_feed *feed = &vmft_feed;
	uint64_t handed;
	long ns;

	if (!is_replaying(feed))
		return false;
	handed = atomic_load_explicit(&feed->bytes_handed, memory_order_relaxed);
	if (handed != feed->waited_at)
		feed->waits = 0;
	feed->waited_at = handed;
	if (vmft_qemu_next_event() == VMFT_EVENT_INSTRUCTION)
		ns = SLICE_LAST_NS;
	else if (feed->waits == 0 && is_for_main_loop(vmft_qemu_next_event()))
		ns = 0;
	else
		ns = SLICE_FIRST_NS << feed->waits;
	if (ns < SLICE_LAST_NS)
		feed->waits++;
	if (timeout && timeout->tv_sec == 0 && timeout->tv_nsec <= ns)
		return false;
	*ret_slice = (struct timespec){.tv_nsec = ns};
	return true;
}

/*
 * There is a second way to lose time: the vCPU thread wakes the main loop after each INSTRUCTION
 * (replay_advance_current_icount()). The main loop finds nothing to do, and the replay mutex
 * changes its owner twice for nothing, half a million times while a guest boots. So the main loop
 * is kept here while the vCPU thread handles events of its own, for a millisecond at most.
 */
void vmft_feed_hold_main_loop(void)
{
	struct timespec step = {.tv_nsec = HOLD_FIRST_NS};
	struct vmft_feed *feed = &vmft_feed;

	for (; step.tv_nsec <= HOLD_LAST_NS && is_replaying(feed); step.tv_nsec *= 2) {
		uint64_t handed = atomic_load_explicit(&feed->bytes_handed, memory_order_relaxed);

		if (is_for_main_loop(vmft_qemu_next_event()))
			return;
		(void)nanosleep(&step, NULL);
		if (vmft_qemu_next_event() != VMFT_EVENT_INSTRUCTION &&
		    handed == atomic_load_explicit(&feed->bytes_handed, memory_order_relaxed))
			return;
	}
}

static ssize_t cookie_read(void *cookie, char *bytes, size_t n)
{
	(void)cookie;
	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)vmft_feed_byte();
	return (ssize_t)n;
}

/* QEMU seeks to the position that its log had when the state was saved (replay_post_load()).
 * Entries between that and the attach point are not needed: their effects are in the state. */
static void attached(struct vmft_feed *feed, uint64_t saved_at)
{
	struct vmft_area *area = vmft_agent.area;
	const uint64_t position = atomic_load(&area->load_position);

	if (saved_at > position) {
		vmft_agent_broken("the state that was loaded belongs to another log position");
		return;
	}
	vmft_log_cursor_init(&feed->cursor, feed->cursor.format, position);
	feed->cursor.guest_ns = atomic_load(&area->load_guest_ns);
	atomic_store(&vmft_agent.iface->log_position, position);
	atomic_store(&feed->phase, VMFT_FEED_STREAM);
}

static int cookie_seek(void *cookie, off64_t *offset, int whence)
{
	struct vmft_feed *feed = &vmft_feed;

	(void)cookie;
	if (whence != SEEK_SET)
		return 0;
	if (phase_of(feed) == VMFT_FEED_HEADER && *offset == VMFT_LOG_HEADER_BYTES)
		atomic_store(&feed->phase, VMFT_FEED_UNDECIDED);
	else if (phase_of(feed) == VMFT_FEED_STUB)
		attached(feed, (uint64_t)*offset - VMFT_LOG_HEADER_BYTES);
	return 0;
}

FILE *vmft_feed_open(void)
{
	const cookie_io_functions_t io = {.read = cookie_read, .seek = cookie_seek};
	const struct vmft_log_format *format = vmft_qemu_log_format();
	struct vmft_feed *feed = &vmft_feed;

	for (unsigned i = 0; i < sizeof(feed->header); i++)
		feed->header[i] = (uint8_t)(format->version >> (24 - 8 * i));
	vmft_log_cursor_init(&feed->cursor, format, 0);
	feed->stream = fopencookie(NULL, "r", io);
	if (!feed->stream)
		return NULL;
	(void)setvbuf(feed->stream, NULL, _IONBF, 0);
	vmft_agent_state_set(VMFT_AGENT_REPLAYING);
	return feed->stream;
}
