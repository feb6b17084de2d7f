/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU and the agent in it, as far as the monitor can see them: monitor/interface.h is obeyed as
 * monitor/agent obeys it. Each function says which part of the agent it stands for, where that is
 * not its name's.
 *
 * This file has more than 600 lines because it is one agent: each part acts on the same memory that
 * it shares with the monitor.
 */
#include "shell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "logging-channel/ring.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/exchange.h"
#include "monitor/common/exit-codes.h"

enum {
	RAM = 1,
	ROM,
	REGIONS,
	SERVICE_MS = 20,
	EVENT_BYTES = 9,
	CLOCK_HOST = 28, /* as QEMU 7.2 numbers its events */
	LOG_SHUTDOWN = 16,
	LOG_END = 39,
	STATE_BYTES = 600,
	STATE_AT = 64, /* of the guest's registers in the device state */
};

static struct vmft_iface *iface_of(int host)
{
	return (void *)world.host[host].iface.bytes;
}

static struct vmft_area *area_of(int host)
{
	return (void *)world.host[host].area.bytes;
}

static struct vmft_ring ring_of(int host)
{
	struct vmft_iface *iface = iface_of(host);

	return (struct vmft_ring){
	    .data = (uint8_t *)iface + VMFT_IFACE_HEADER,
	    .size = RING_BYTES,
	    .head = &iface->log_head,
	    .tail = &iface->log_tail,
	};
}

uint64_t host_clock(int host)
{
	return world.now + world.host[host].clock;
}

static void ring_monitor(int host)
{
	if (world.host[host].up)
		fd_ring(world.host[host].bell_monitor);
}

/* The monitor has said that it sleeps: who has something for it clears that, and rings. */
static void wake_monitor(int host)
{
	if (atomic_exchange(&iface_of(host)->monitor_sleeps, 0))
		ring_monitor(host);
}

static enum vmft_agent_state state_of(int host)
{
	return (enum vmft_agent_state)atomic_load(&iface_of(host)->agent_state);
}

static void state_set(int host, enum vmft_agent_state state)
{
	atomic_store(&iface_of(host)->agent_state, state);
	ring_monitor(host);
}

void agent_ring(int host)
{
	struct host *h = &world.host[host];

	if (!h->q.up || h->q.serviced)
		return;
	h->q.serviced = true;
	later(5 * US + chance(40 * US), DO_SERVICE, host, 0, h->qlife);
}

/* --- the gate --------------------------------------------------------------------- */

static uint64_t depends_on(int host)
{
	return world.lockstep ? atomic_load(&iface_of(host)->log_position)
			      : world.host[host].q.epoch + (world.spoil != SPOIL_EPOCH_BEFORE);
}

static void left(struct qemu *q, uint64_t position)
{
	if (position > q->left_at)
		q->left_at = position;
}

static void out(int host, const struct frame *frame)
{
	struct qemu *q = &world.host[host].q;

	left(q, frame->position);
	check_emitted(host, frame);
	q->last_emitted = frame->number;
	atomic_fetch_add(&iface_of(host)->frames_released, 1);
}

static void send_frame(int host)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_iface *iface = iface_of(host);
	const struct guest *g = guest_of(host);
	const struct frame frame = {
	    .position = depends_on(host),
	    .number = g->frames,
	    .count = g->count,
	    .since = world.now,
	};

	if (q->open && !q->fenced && q->frames == 0) {
		out(host, &frame);
		return;
	}
	if (q->fenced)
		return;
	/* The one before it is lost. */
	if (world.spoil == SPOIL_GATE_DROPS && q->frames > 0 && one_in(8))
		q->frames--;
	q->frame[(q->first + q->frames++) % GATE_FRAMES] = frame;
	atomic_store(&iface->gate_newest, frame.position);
	atomic_store(&iface->gate_frames, q->frames);
	ring_monitor(host);
}

static bool may_leave(int host, const struct frame *frame)
{
	const struct vmft_iface *iface = iface_of(host);

	if (world.host[host].q.open)
		return true;
	if (atomic_load(&iface->keep_output))
		return false;
	if (world.spoil == SPOIL_EARLY_RELEASE)
		return frame->position <= atomic_load(&iface->log_position);
	return frame->position <= atomic_load(&iface->acked) &&
	       host_clock(host) < atomic_load(&iface->release_until);
}

static void gate_service(int host)
{
	struct qemu *q = &world.host[host].q;

	while (q->frames > 0) {
		const struct frame frame = q->frame[q->first];

		if (!q->fenced && !may_leave(host, &frame))
			break;
		if (!q->fenced)
			out(host, &frame);
		q->first = (q->first + 1) % GATE_FRAMES;
		q->frames--;
	}
	atomic_store(&iface_of(host)->gate_frames, q->frames);
}

struct held {
	struct vmft_held_output head;
	uint64_t number, count;
};

static void gate_keep_service(int host)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_iface *iface = iface_of(host);
	struct vmft_area *area = area_of(host);
	struct held *to = (void *)((uint8_t *)area + area->staging_at);
	const bool keep = atomic_load(&iface->keep_output) != 0;

	if (keep == (atomic_load(&iface->kept_output) != 0))
		return;
	if (!keep) {
		atomic_store(&iface->kept_output, 0);
		return;
	}
	for (unsigned i = 0; i < q->frames; i++) {
		const struct frame *frame = &q->frame[(q->first + i) % GATE_FRAMES];

		to[i] = (struct held){
		    .head = {.bytes = 16}, .number = frame->number, .count = frame->count};
	}
	atomic_store(&iface->kept_output, q->frames * sizeof(*to) + 1);
	ring_monitor(host);
}

/* vmft_gate_take_output() */
static void take_output(int host)
{
	const struct vmft_area *area = area_of(host);
	const struct held *from = (const void *)((const uint8_t *)area + area->staging_at);
	const uint64_t n = atomic_load(&iface_of(host)->take_output) / sizeof(*from);

	for (uint64_t i = 0; i < n; i++)
		out(host, &(struct frame){.number = from[i].number, .count = from[i].count});
}

/* --- orders ------------------------------------------------------------------------- */

static void stop_keeping(int host)
{
	world.host[host].q.keeps = false;
}

static void fence(int host)
{
	struct qemu *q = &world.host[host].q;

	if (q->fenced)
		return;
	if (world.spoil == SPOIL_NO_FENCE) {
		q->open = true;
		return;
	}
	q->fenced = true;
	q->runs = false;
	state_set(host, VMFT_AGENT_FENCED);
}

static void open_gate(int host)
{
	world.host[host].q.open = true;
	atomic_store(&iface_of(host)->gate_closed_at, 0);
	stop_keeping(host);
}

static void close_gate(int host)
{
	struct qemu *q = &world.host[host].q;
	const uint64_t left_at = world.spoil == SPOIL_SHORT_SEAL ? 0 : q->left_at;

	if (world.spoil != SPOIL_OPEN_SEAL)
		q->open = false;
	atomic_store(&iface_of(host)->gate_closed_at, left_at + 1);
	ring_monitor(host);
}

static void drop_marks(int host)
{
	struct qemu *q = &world.host[host].q;

	q->tracks = false;
	q->paused = q->paused && world.spoil == SPOIL_STAYS_STOPPED;
	atomic_store(&area_of(host)->more, 0);
	stop_keeping(host);
}

static void orphaned(int host)
{
	struct qemu *q = &world.host[host].q;
	const enum vmft_agent_state state = state_of(host);

	if (q->orphaned)
		return;
	q->orphaned = true;
	if (state == VMFT_AGENT_ENDED) {
		q->ends_at = world.now;
	} else if (q->open) {
		drop_marks(host);
		q->frozen = false;
	} else if (state == VMFT_AGENT_ABSENT || state == VMFT_AGENT_WAITING ||
		   state == VMFT_AGENT_REPLAYING || state == VMFT_AGENT_STANDBY) {
		qemu_end(host);
	} else if (world.spoil == SPOIL_ORPHAN_OPENS) {
		open_gate(host);
	} else {
		fence(host);
	}
}

static void start_guest(int host, bool open)
{
	struct host *h = &world.host[host];

	h->q.runs = true;
	h->q.open = open;
	h->q.keeps = !open;
	atomic_store(&iface_of(host)->guest_ran, 1);
	state_set(host, VMFT_AGENT_RECORDING);
	truth_started(host);
	later(world.guest_every, DO_GUEST, host, 0, h->qlife);
}

static void start_replay(int host)
{
	struct host *h = &world.host[host];

	h->q.replays = true;
	state_set(host, VMFT_AGENT_REPLAYING);
	later(world.apply_every, DO_GUEST, host, 0, h->qlife);
}

static void end(int host)
{
	const uint32_t code = atomic_load(&iface_of(host)->exit_code);

	gate_service(host);
	world.host[host].q.ends_at =
	    world.lockstep || code != VMFT_EXIT_OK ? world.now : world.now + chance(50 * MS);
}

static void obey(int host)
{
	struct qemu *q = &world.host[host].q;
	const uint32_t command = atomic_load(&iface_of(host)->command);
	const enum vmft_agent_state state = state_of(host);

	if (command == q->obeyed)
		return;
	if (command == VMFT_COMMAND_FENCE && state != VMFT_AGENT_REPLAYING &&
	    state != VMFT_AGENT_STANDBY)
		fence(host);
	else if (command == VMFT_COMMAND_END)
		end(host);
	else if (state == VMFT_AGENT_WAITING &&
		 (command == VMFT_COMMAND_OPEN || command == VMFT_COMMAND_RUN))
		start_guest(host, command == VMFT_COMMAND_OPEN);
	else if (state == VMFT_AGENT_ABSENT && command == VMFT_COMMAND_RUN)
		start_replay(host);
	else if (command == VMFT_COMMAND_OPEN && state != VMFT_AGENT_WAITING &&
		 state != VMFT_AGENT_STANDBY)
		open_gate(host);
	else if (command == VMFT_COMMAND_RUN && q->keeps && q->open)
		close_gate(host);
	q->obeyed = command;
}

static void thaw(int host)
{
	struct qemu *q = &world.host[host].q;

	if (!q->frozen || atomic_load(&iface_of(host)->freeze))
		return;
	q->frozen = false;
	atomic_store(&iface_of(host)->frozen_at, 0);
}

/* --- attach and epochs ---------------------------------------------------------------- */

static int fail(struct vmft_area *area, int rc, const char *why)
{
	(void)snprintf(area->error, sizeof(area->error), "%s", why);
	return rc;
}

/* vmft_track_describe() */
static void describe(int host)
{
	struct vmft_area *area = area_of(host);
	const struct vmft_region *disk = &area->region[0];

	area->region[RAM] = (struct vmft_region){
	    .kind = VMFT_REGION_RAM,
	    .bytes = RAM_BYTES,
	    .bitmap_at = disk->bitmap_at + vmft_region_bitmap_bytes(disk),
	    .name = "vmft.ram",
	};
	area->region[ROM] = (struct vmft_region){
	    .kind = VMFT_REGION_SHADOW,
	    .bytes = ROM_BYTES,
	    .bitmap_at = area->region[RAM].bitmap_at + 8,
	    .shadow_at = area->shadow_at,
	    .name = "pc.bios",
	};
	atomic_store(&area->region_count, REGIONS);
	memset((uint8_t *)area + area->shadow_at, 'b', ROM_BYTES);
}

static _Atomic uint64_t *marks(int host, unsigned region)
{
	return vmft_region_bitmap(area_of(host), &area_of(host)->region[region]);
}

static void scan(int host)
{
	struct qemu *q = &world.host[host].q;

	atomic_fetch_or(marks(host, RAM), q->dirty_ram);
	q->dirty_ram = 0;
}

static uint8_t *stage_piece(int host, uint32_t region, uint64_t offset, uint32_t n)
{
	struct vmft_area *area = area_of(host);
	const uint64_t used = atomic_load(&area->staged_bytes);
	struct vmft_area_piece *piece = (void *)((uint8_t *)area + area->staging_at + used);

	*piece = (struct vmft_area_piece){.offset = offset, .region = region, .bytes = n};
	atomic_store(&area->staged_bytes, used + sizeof(*piece) + (n + UINT64_C(15)) / 16 * 16);
	return (uint8_t *)(piece + 1);
}

static void stage_ram(int host, uint64_t pages)
{
	for (unsigned i = 0; i < RAM_PAGES; i++)
		if (pages >> i & 1)
			memcpy(
			    stage_piece(host, RAM, i * VMFT_RAM_BLOCK_BYTES, VMFT_RAM_BLOCK_BYTES),
			    world.host[host].ram.bytes + i * VMFT_RAM_BLOCK_BYTES,
			    VMFT_RAM_BLOCK_BYTES);
}

static void stage_rom(int host)
{
	const uint64_t pages = atomic_exchange(marks(host, ROM), 0);

	for (uint32_t i = 0; i * VMFT_RAM_BLOCK_BYTES < ROM_BYTES; i++) {
		const uint32_t at = i * VMFT_RAM_BLOCK_BYTES;
		const uint32_t n =
		    ROM_BYTES - at < VMFT_RAM_BLOCK_BYTES ? ROM_BYTES - at : VMFT_RAM_BLOCK_BYTES;

		if (pages >> i & 1)
			memset(stage_piece(host, ROM, at, n), 'b', n);
	}
}

static void stage_disk_range(int host, uint64_t at, uint64_t n)
{
	const struct file *disk = &world.host[host].disk;

	if (at >= disk->size)
		return;
	if (n > disk->size - at)
		n = disk->size - at;
	memcpy(stage_piece(host, 0, at, (uint32_t)n), disk->bytes + at, n);
}

static void stage_disk(int host)
{
	struct qemu *q = &world.host[host].q;
	const uint64_t blocks = atomic_exchange(marks(host, 0), 0);
	const unsigned parts = VMFT_DISK_BLOCK_BYTES / VMFT_DISK_PART_BYTES;

	for (unsigned i = 0; i * VMFT_DISK_BLOCK_BYTES < DISK_BYTES; i++)
		if (blocks >> i & 1)
			stage_disk_range(host, (uint64_t)i * VMFT_DISK_BLOCK_BYTES,
					 VMFT_DISK_BLOCK_BYTES);
	for (unsigned i = 0; i < DISK_PARTS; i++)
		if (q->dirty_disk >> i & 1 && !(blocks >> (i / parts) & 1))
			stage_disk_range(host, (uint64_t)i * VMFT_DISK_PART_BYTES,
					 VMFT_DISK_PART_BYTES);
	q->dirty_disk = 0;
	(void)stage_piece(host, 0, world.host[host].disk.size, 0);
}

static void save_state(int host)
{
	struct vmft_area *area = area_of(host);
	uint8_t *state = (uint8_t *)area + area->state_at;
	struct guest g = *guest_of(host);

	if (world.spoil == SPOIL_TORN_STATE && one_in(8))
		g.count--;
	if (world.spoil == SPOIL_OLD_DEVICES && atomic_load(&area->op) == VMFT_AREA_EPOCH)
		return;
	memset(state, (int)g.count, STATE_BYTES);
	memcpy(state + STATE_AT, &g, sizeof(g));
	atomic_store(&area->state_bytes, STATE_BYTES);
}

static void report_times(struct vmft_area *area)
{
	atomic_store(&area->stop_ns, 100 * US);
	atomic_store(&area->drain_ns, 100 * US);
	atomic_store(&area->save_ns, 100 * US);
	atomic_store(&area->scan_ns, 100 * US);
	atomic_store(&area->copy_ns, 100 * US);
	atomic_store(&area->start_ns, 100 * US);
}

/* vmft_tap_keep_from_here(): both ends of the ring, while the monitor does not look. */
static void keep_from_here(int host)
{
	struct vmft_iface *iface = iface_of(host);
	const uint64_t at = atomic_load(&iface->log_position);

	atomic_store(&iface->log_tail, at);
	atomic_store(&iface->log_head, at);
	world.host[host].q.keeps = true;
	atomic_store(&area_of(host)->point_position, at);
	truth_took(host, at);
}

/* The end of an epoch: output depends on the next one from now on. */
static void end_epoch(int host)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_iface *iface = iface_of(host);

	q->epoch++;
	q->keeps = true;
	q->paused = false;
	world.tally->epochs++;
	atomic_store(&iface->log_position, q->epoch);
	atomic_store(&area_of(host)->point_position, q->epoch);
	truth_took(host, q->epoch);
	if (!atomic_load(&iface->freeze))
		return;
	q->frozen = true;
	q->stands_since = world.now;
	atomic_store(&iface->frozen_at, q->epoch + 1);
}

static int point(int host)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_area *area = area_of(host);

	if (!q->tracks)
		return fail(area, -EINVAL, "nothing was tracked");
	if (!q->runs)
		return fail(area, -EAGAIN, "the guest is paused");
	/* vmft_state_wish_pending() */
	if (q->end_at > 0)
		return fail(area, -EINPROGRESS, "the guest switches itself off");
	if (one_in(8))
		return fail(area, -E2BIG, "too much was written meanwhile");
	atomic_store(&area->more, 0);
	atomic_store(&area->staged_bytes, 0);
	scan(host);
	stage_ram(host, atomic_exchange(marks(host, RAM), 0));
	stage_rom(host);
	stage_disk(host);
	save_state(host);
	report_times(area);
	if (!world.lockstep) {
		end_epoch(host);
		return 0;
	}
	keep_from_here(host);
	q->tracks = false;
	return 0;
}

/* In two parts now and then, as one of more than staging has room for. */
static int epoch(int host)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_area *area = area_of(host);
	uint64_t pages;

	if (!q->tracks)
		return fail(area, -EINVAL, "nothing was tracked");
	atomic_store(&area->staged_bytes, 0);
	report_times(area);
	if (!atomic_load(&area->more)) {
		scan(host);
		save_state(host);
	}
	pages = atomic_load(marks(host, RAM));
	if (!atomic_load(&area->more) && (pages & (pages - 1)) != 0 &&
	    (one_in(8) || (q->spoilt.armed && q->spoilt.second) ||
	     (one_in(2) && state_of(host) == VMFT_AGENT_BROKEN))) {
		pages &= ~(pages & -pages);
		atomic_fetch_and(marks(host, RAM), ~pages);
		stage_ram(host, pages);
		atomic_store(&area->more, 1);
		q->paused = world.spoil != SPOIL_NO_STOP;
		q->stands_since = world.now;
		return 0;
	}
	atomic_store(marks(host, RAM), 0);
	stage_ram(host, pages);
	stage_rom(host);
	stage_disk(host);
	atomic_store(&area->more, 0);
	end_epoch(host);
	return 0;
}

static int check_state(int host)
{
	struct vmft_area *area = area_of(host);
	struct guest g;

	memcpy(&g, (uint8_t *)area + area->state_at + STATE_AT, sizeof(g));
	if (atomic_load(&area->load_bytes) < STATE_AT + sizeof(g) ||
	    memcmp(&g, guest_of(host), sizeof(g)) != 0)
		broken("memory and devices are of one moment", "host %d: event %llu, %llu", host,
		       (unsigned long long)g.count, (unsigned long long)guest_of(host)->count);
	return 0;
}

static void goes_live(int host, uint64_t position)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_iface *iface = iface_of(host);

	truth_live(host, position);
	q->replays = false;
	q->runs = true;
	q->open = true;
	q->keeps = false;
	atomic_store(&iface->gate_closed_at, 0);
	atomic_store(&iface->guest_ran, 1);
	take_output(host);
	atomic_store(&iface->live_at_ns, host_clock(host));
	state_set(host, VMFT_AGENT_LIVE);
}

static int load(int host)
{
	struct host *h = &world.host[host];
	struct vmft_area *area = area_of(host);
	const uint64_t at = atomic_load(&area->load_position);

	if (h->disk.locked)
		return fail(area, -EBUSY, "the image is in use");
	(void)check_state(host);
	truth_loaded(host, at);
	atomic_store(&iface_of(host)->log_position, at);
	if (world.lockstep) {
		start_replay(host);
		return 0;
	}
	h->q.epoch = at;
	goes_live(host, at);
	later(world.guest_every, DO_GUEST, host, 0, h->qlife);
	return 0;
}

static int perform(int host)
{
	struct qemu *q = &world.host[host].q;

	switch (atomic_load(&area_of(host)->op)) {
	case VMFT_AREA_TRACK:
		q->tracks = true;
		q->dirty_ram = q->dirty_disk = 0;
		describe(host);
		return 0;
	case VMFT_AREA_DESCRIBE:
		describe(host);
		return 0;
	case VMFT_AREA_SCAN:
		scan(host);
		return 0;
	case VMFT_AREA_POINT:
		return point(host);
	case VMFT_AREA_EPOCH:
		return epoch(host);
	case VMFT_AREA_DROP:
		drop_marks(host);
		return 0;
	case VMFT_AREA_LOAD:
		return load(host);
	default:
		return check_state(host);
	}
}

static bool is_spoilt(int host)
{
	const struct qemu *q = &world.host[host].q;
	const struct vmft_area *area = area_of(host);
	const uint32_t op = atomic_load(&area->op);

	if (q->spoilt.second)
		return q->spoilt.armed && op == VMFT_AREA_EPOCH && atomic_load(&area->more);
	return q->spoilt.armed && (q->spoilt.op == 0 || q->spoilt.op == op);
}

/* Whether it is answered all the same. */
static bool spoil_request(int host)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_area *area = area_of(host);

	note("QEMU of host %d %s request %u", host,
	     q->spoilt.how == REQUEST_FAILS   ? "fails"
	     : q->spoilt.how == REQUEST_HANGS ? "hangs in"
	     : q->spoilt.how == REQUEST_KILLS ? "dies in"
					      : "breaks in",
	     atomic_load(&area->op));
	switch (q->spoilt.how) {
	case REQUEST_FAILS:
		q->spoilt.armed = false;
		atomic_store(&area->result, fail(area, -EIO, "QEMU has failed"));
		return true;
	case REQUEST_HANGS: /* until the fault is over: it is looked at again */
		q->answered--;
		return false;
	case REQUEST_BREAKS: /* the monitor hears of it before the answer */
		q->spoilt.armed = false;
		atomic_store(&iface_of(host)->agent_state, VMFT_AGENT_BROKEN);
		ring_monitor(host);
		q->answered--;
		return false;
	default:
		if (one_in(2))
			(void)perform(host);
		qemu_end(host);
		return false;
	}
}

void agent_request(int host)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_area *area = area_of(host);

	if (!q->up)
		return;
	q->scheduled = false;
	/* The drain before it waits for the request that failed. */
	if (q->blocked && !world.lockstep && atomic_load(&area->op) == VMFT_AREA_EPOCH) {
		q->answered--;
		return;
	}
	area->error[0] = '\0';
	if (!is_spoilt(host))
		atomic_store(&area->result, perform(host));
	else if (!spoil_request(host))
		return;
	atomic_store(&area->done, q->answered);
	ring_monitor(host);
}

static void requests_service(int host)
{
	struct host *h = &world.host[host];
	struct vmft_area *area = area_of(host);
	const uint32_t request = atomic_load(&area->request);

	if (request == h->q.answered || h->q.scheduled)
		return;
	h->q.answered = request;
	h->q.scheduled = true;
	if (atomic_load(&area->op) == VMFT_AREA_DROP)
		stop_keeping(host);
	later(20 * US + chance(one_in(16) ? 20 * MS : 500 * US) +
		  (atomic_load(&area->op) == VMFT_AREA_LOAD ? chance(world.load_time) : 0),
	      DO_REQUEST, host, 0, h->qlife);
}

/* --- the guest executes --------------------------------------------------------------- */

/* Room in the ring, or none is needed. */
static bool log_bytes(int host, const uint8_t *bytes, size_t n)
{
	struct vmft_iface *iface = iface_of(host);
	const struct vmft_ring ring = ring_of(host);
	const uint64_t at = atomic_load(&iface->log_position);

	if (!world.lockstep)
		return true;
	if (!world.host[host].q.keeps) {
		atomic_store(&iface->log_position, at + n);
		return true;
	}
	if (vmft_ring_room(&ring, at) < (int64_t)n)
		return false;
	vmft_ring_write(&ring, at, bytes, n);
	atomic_store(&iface->log_position, at + n);
	vmft_ring_publish(&ring, at + n);
	return true;
}

/* vmft_disk_again(): an error that something depends on is not the guest's to see. */
static bool is_blocked(int host)
{
	struct host *h = &world.host[host];
	struct vmft_iface *iface = iface_of(host);
	const bool depended = h->q.replays || (h->q.keeps && (world.lockstep || !h->q.open));

	if (!h->disk.broken && !h->q.blocked)
		return false;
	if (!h->q.blocked) {
		h->q.blocked = true;
		atomic_store(&iface->disk_error,
			     vmft_disk_error_pack(0, VMFT_DISK_WRITE, h->disk.broken));
		atomic_fetch_add(&iface->disk_failures, 1);
		ring_monitor(host);
	}
	if (!h->disk.broken && (h->q.replays || !depended))
		h->q.blocked = false;
	return h->q.blocked;
}

static bool may_run(int host)
{
	const struct qemu *q = &world.host[host].q;
	const uint32_t throttle = atomic_load(&iface_of(host)->throttle);

	return q->runs && !q->frozen && !q->paused && !q->ended && q->end_at == 0 &&
	       q->frames < GATE_FRAMES - 4 && chance(1000) >= throttle && !is_blocked(host);
}

static void run_a_little(int host)
{
	struct vmft_iface *iface = iface_of(host);
	uint8_t event[EVENT_BYTES] = {CLOCK_HOST};

	for (uint64_t n = 1 + chance(3); n > 0; n--) {
		const uint64_t value = chance(UINT32_MAX);

		for (unsigned i = 0; i < 8; i++)
			event[1 + i] = (uint8_t)(value >> (8 * i));
		if (!log_bytes(host, event, sizeof(event)))
			break;
		if (guest_step(host, value))
			send_frame(host);
		truth_ran(host, atomic_load(&iface->log_position));
	}
	if (world.host[host].q.keeps && world.lockstep)
		wake_monitor(host);
}

static void freeze(int host)
{
	struct qemu *q = &world.host[host].q;
	struct vmft_iface *iface = iface_of(host);

	if (!world.lockstep || !q->runs || q->frozen || q->ended || q->end_at > 0 ||
	    !atomic_load(&iface->freeze))
		return;
	q->frozen = true;
	q->stands_since = world.now;
	atomic_store(&iface->frozen_at, atomic_load(&iface->log_position) + 1);
	ring_monitor(host);
}

static void has_ended(int host)
{
	struct qemu *q = &world.host[host].q;

	q->runs = q->replays = false;
	q->ended = true;
	if (world.spoil != SPOIL_END_UNSAID)
		state_set(host, VMFT_AGENT_ENDED);
	/* With checkpoints it waits, for its last epoch, and to be told. */
	if (world.lockstep || q->orphaned)
		q->ends_at = world.now + chance(30 * MS);
}

static bool replay_one(int host)
{
	struct vmft_iface *iface = iface_of(host);
	const struct vmft_ring ring = ring_of(host);
	const uint64_t at = atomic_load(&iface->log_position);
	const int64_t ready = vmft_ring_ready(&ring, at);
	uint8_t event[EVENT_BYTES];
	uint64_t value = 0;

	if (ready <= 0 || is_blocked(host))
		return false;
	vmft_ring_read(&ring, at, event, 1);
	/* A replaying QEMU leaves at the SHUTDOWN, and the agent says that this is the end. */
	if (event[0] == LOG_SHUTDOWN) {
		atomic_store(&iface->log_position, at + 1);
		vmft_ring_release(&ring, at + 1);
		has_ended(host);
		return false;
	}
	if (ready < EVENT_BYTES) {
		broken("the backup's log ends in whole events", "host %d", host);
		return false;
	}
	vmft_ring_read(&ring, at, event, EVENT_BYTES);
	for (unsigned i = 0; i < 8; i++)
		value |= (uint64_t)event[1 + i] << (8 * i);
	(void)guest_step(host, value);
	atomic_store(&iface->log_position, at + EVENT_BYTES);
	vmft_ring_release(&ring, at + EVENT_BYTES);
	truth_replayed(host, at + EVENT_BYTES);
	return true;
}

/* How long it takes until the next look: longer when there was nothing. */
static uint64_t replay(int host)
{
	struct host *h = &world.host[host];
	struct vmft_iface *iface = iface_of(host);
	bool moved = false;

	for (uint64_t n = 1 + chance(8); n > 0 && replay_one(host); n--)
		moved = true;
	if (moved)
		wake_monitor(host);
	if (h->q.replays && h->q.obeyed == VMFT_COMMAND_GO_LIVE &&
	    atomic_load(&iface->log_position) == atomic_load(&iface->log_end))
		goes_live(host, atomic_load(&iface->log_position));
	if (world.apply_slow_until > world.now)
		return 50 * world.apply_every;
	return (moved ? 1 : 4) * (world.apply_every / 2 + chance(world.apply_every));
}

void guest_run(int host)
{
	struct host *h = &world.host[host];

	if (!h->q.up || h->q.ended)
		return;
	if (h->q.replays) {
		later(replay(host), DO_GUEST, host, 0, h->qlife);
		return;
	}
	freeze(host);
	if (may_run(host))
		run_a_little(host);
	if (h->q.up && !h->q.fenced)
		later(world.guest_every / 2 + chance(world.guest_every), DO_GUEST, host, 0,
		      h->qlife);
}

/* In order: it switches itself off, or QEMU was told to. */
void guest_shut_down(int host)
{
	const uint8_t shutdown = LOG_SHUTDOWN;
	struct qemu *q = &world.host[host].q;

	if (!q->up || q->ended || q->end_at > 0)
		return;
	if (!q->runs) {
		q->ends_at = world.now + chance(20 * MS);
		return;
	}
	if (!log_bytes(host, &shutdown, 1))
		return;
	world.shut_down = true;
	q->end_at = world.now + (world.lockstep ? chance(one_in(2) ? 2 * MS : 60 * MS) : 0);
}

/* What QEMU logs on its way out, the end at last. */
static void end_guest(int host)
{
	const uint8_t clock[EVENT_BYTES] = {CLOCK_HOST}, last = LOG_END;
	struct qemu *q = &world.host[host].q;

	if (q->ended || q->end_at == 0 || q->end_at > world.now)
		return;
	if (world.lockstep && one_in(2) && !log_bytes(host, clock, sizeof(clock)))
		return;
	if (log_bytes(host, &last, 1))
		has_ended(host);
}

static void signals_service(int host)
{
	struct qemu *q = &world.host[host].q;

	if (q->stop_passed || !atomic_load(&iface_of(host)->stop) || q->frozen)
		return;
	q->stop_passed = true;
	guest_shut_down(host);
}

void agent_now_diverged(int host)
{
	struct vmft_iface *iface = iface_of(host);

	guest_of(host)->digest ^= 1;
	world.host[host].q.diverged = true;
	if (world.spoil == SPOIL_DIVERGED_UNSAID)
		return;
	atomic_store(&iface->diverged_at, atomic_load(&iface->log_position));
	atomic_store(&iface->diverged, VMFT_DIVERGENCE_MEMORY);
	ring_monitor(host);
}

/* --- the process ------------------------------------------------------------------------ */

static void comes_up(int host)
{
	struct qemu *q = &world.host[host].q;
	const bool primary = world.host[host].m.options.role == VMFT_ROLE_PRIMARY;

	q->boots_at = 0;
	if (primary)
		state_set(host, VMFT_AGENT_WAITING);
	else if (!world.lockstep)
		state_set(host, VMFT_AGENT_STANDBY);
}

void agent_service(int host, bool by_time)
{
	struct host *h = &world.host[host];
	struct qemu *q = &h->q;

	if (!by_time)
		q->serviced = false;
	if (!q->up || (q->boots_at > world.now && !by_time))
		return;
	if (q->boots_at > 0)
		comes_up(host);
	if (by_time)
		later(SERVICE_MS * MS, DO_SERVICE, host, 1, h->qlife);
	if (!h->up)
		orphaned(host);
	if (q->up)
		obey(host);
	thaw(host);
	requests_service(host);
	signals_service(host);
	end_guest(host);
	gate_keep_service(host);
	gate_service(host);
	atomic_fetch_add(&iface_of(host)->agent_beat, 1);
	if (q->up && q->ends_at > 0 && q->ends_at <= world.now)
		qemu_end(host);
}

void qemu_boot(int host, bool primary)
{
	struct host *h = &world.host[host];
	struct vmft_area *area = area_of(host);
	struct vmft_iface *iface = iface_of(host);

	(void)primary;
	h->qlife++;
	h->q = (struct qemu){.up = true,
			     .boots_at = world.now + (20 * MS + chance(100 * MS)) / world.pace};
	memset(iface, 0, VMFT_IFACE_HEADER);
	iface->magic = VMFT_IFACE_MAGIC;
	iface->version = VMFT_IFACE_VERSION;
	iface->header_bytes = VMFT_IFACE_HEADER;
	iface->ring_bytes = RING_BYTES;
	memcpy(area, h->area_head, h->area_head_bytes);
	atomic_store(&vmft_exchange_shown(area)->version, 0);
	atomic_store(&vmft_exchange_told(area)->version, 0);
	memset(h->ram.bytes, 0, RAM_BYTES);
	world.tally->boots++;
	later(h->q.boots_at - world.now, DO_SERVICE, host, 1, h->qlife);
}

void qemu_end(int host)
{
	struct host *h = &world.host[host];

	if (!h->q.up)
		return;
	note("QEMU of host %d ends", host);
	h->q.up = h->q.runs = h->q.replays = false;
	h->qlife++;
	if (h->up)
		fd_ring(h->pidfd);
}
