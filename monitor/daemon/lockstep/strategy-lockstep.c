/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lockstep: the bytes of the primary's ring of log entries become those of the backup's. */
#include "monitor/daemon/strategy.h"

#include <errno.h>
#include <stdlib.h>

#include "logging-channel/event.h"
#include "logging-channel/loop.h"
#include "monitor/common/guest-clock.h"
#include "monitor/daemon/savedlog/log-index.h"

struct vmft_strategy {
	struct vmft_strategy_world world;
	uint64_t taken;			/* primary: read out of the ring up to here */
	uint64_t sent;			/* primary: bytes of it since the monitor began */
	struct vmft_log_cursor arrived; /* backup: what came in, and where it may be cut */
	struct vmft_log_index index;	/* backup: for the report of a divergence */
	struct vmft_clock_base base;	/* backup: where the primary's clock is */
};

static int lockstep_open(const struct vmft_strategy_world *world, struct vmft_strategy **ret)
{
	const struct vmft_log_format *format = vmft_log_format_find(world->log_version);
	struct vmft_strategy *s;

	if (!format)
		return -EPROTO;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->world = *world;
	vmft_log_cursor_init(&s->arrived, format, 0);
	vmft_log_index_restart(&s->index, 0);
	*ret = s;
	return 0;
}

static void lockstep_close(struct vmft_strategy *s)
{
	free(s);
}

/* On the primary the agent has set the ring to the position already (monitor/interface.h). */
static int lockstep_restart(struct vmft_strategy *s, uint64_t position, bool primary)
{
	s->taken = position;
	if (primary)
		return 0;
	vmft_log_cursor_init(&s->arrived, s->arrived.format, position);
	vmft_log_index_restart(&s->index, position);
	s->base = (struct vmft_clock_base){0};
	atomic_store(&s->world.link->iface->clock_base, 0);
	atomic_store(&s->world.link->iface->log_tail, position);
	atomic_store(&s->world.link->iface->log_head, position);
	return 0;
}

static ssize_t lockstep_take(struct vmft_strategy *s, uint8_t *bytes, size_t n,
			     uint64_t *ret_position)
{
	int64_t ready = vmft_ring_ready(&s->world.link->ring, s->taken);

	if (ready < 0)
		return ready;
	if ((uint64_t)ready < n)
		n = (size_t)ready;
	if (n == 0)
		return 0;
	vmft_ring_read(&s->world.link->ring, s->taken, bytes, n);
	*ret_position = s->taken;
	s->taken += n;
	s->sent += n;
	/* What was taken is not kept: a broken connection ends the pair (arbitration), so nothing
	 * is sent twice. */
	vmft_ring_release(&s->world.link->ring, s->taken);
	vmft_agent_link_wake(s->world.link);
	return (ssize_t)n;
}

/* Nothing to do: the agent stops to keep the log once it is told that output may leave. */
static void lockstep_halt(struct vmft_strategy *s)
{
	(void)s;
}

/* Nothing is ever asked of the agent. */
static bool lockstep_is_idle(const struct vmft_strategy *s)
{
	(void)s;
	return true;
}

/* Nothing to do: what the agent has logged is seen by take(). */
static void lockstep_look(struct vmft_strategy *s)
{
	(void)s;
}

/* Nothing to do: the ring outlives QEMU and has all that QEMU logged. */
static void lockstep_finish(struct vmft_strategy *s, bool alive)
{
	(void)s;
	(void)alive;
}

static bool lockstep_is_empty(const struct vmft_strategy *s)
{
	return vmft_ring_ready(&s->world.link->ring, s->taken) <= 0;
}

/* The log itself tells how old it is: monitor/daemon/lockstep/lag.h. */
static uint64_t lockstep_backlog_ns(const struct vmft_strategy *s, uint64_t now)
{
	(void)s;
	(void)now;
	return 0;
}

static uint64_t lockstep_sent_bytes(const struct vmft_strategy *s)
{
	return s->sent;
}

static uint64_t lockstep_taken(const struct vmft_strategy *s)
{
	return s->taken;
}

/* Nothing to do: nothing waits for acks but output, and release() lets that go. */
static void lockstep_acked(struct vmft_strategy *s, uint64_t position)
{
	(void)s;
	(void)position;
}

static void lockstep_release(struct vmft_strategy *s, uint64_t position, uint64_t until)
{
	struct vmft_iface *iface = s->world.link->iface;

	atomic_store(&iface->release_until, until);
	atomic_store_explicit(&iface->acked, position, memory_order_release);
	if (atomic_load(&iface->gate_frames) > 0)
		vmft_agent_link_ring(s->world.link);
}

/* The agent needs it if the guest goes live here. */
static void note_clock(struct vmft_strategy *s)
{
	int64_t base;

	vmft_clock_base_note(&s->base, s->arrived.host_ns, vmft_loop_now());
	if (vmft_clock_base_get(&s->base, &base))
		atomic_store(&s->world.link->iface->clock_base, base);
}

static int lockstep_hold(struct vmft_strategy *s, uint64_t position, const uint8_t *bytes, size_t n)
{
	const uint64_t boundary = s->arrived.boundary;
	const int64_t host_ns = s->arrived.host_ns;
	int64_t room;

	if (position != s->arrived.fed)
		return -EBADMSG;
	room = vmft_ring_room(&s->world.link->ring, s->arrived.fed);
	if (room < 0)
		return (int)room;
	if ((uint64_t)room < n)
		return -ENOSPC;
	vmft_ring_write(&s->world.link->ring, s->arrived.fed, bytes, n);
	if (vmft_log_cursor_feed(&s->arrived, bytes, n) < 0)
		return -EBADMSG;
	if (n > 0 && s->world.saved)
		s->world.saved(s->world.user, position, bytes, n);
	if (s->arrived.host_ns != host_ns)
		note_clock(s);
	if (s->arrived.boundary != boundary) {
		vmft_log_index_note(&s->index, s->arrived.boundary, s->world.link->ring.size);
		vmft_ring_publish(&s->world.link->ring, s->arrived.boundary);
		vmft_agent_link_wake(s->world.link);
	}
	return 0;
}

/* Room for two frames: the one that found none, and one that is already under way. */
static bool lockstep_has_room(const struct vmft_strategy *s)
{
	return vmft_ring_room(&s->world.link->ring, s->arrived.boundary) >=
	       (int64_t)(2 * VMFT_FRAME_PAYLOAD_MAX);
}

static uint64_t lockstep_held(const struct vmft_strategy *s)
{
	return s->arrived.boundary;
}

static uint64_t lockstep_applied(const struct vmft_strategy *s)
{
	return atomic_load_explicit(&s->world.link->iface->log_position, memory_order_acquire);
}

/* Nothing to do: the images are QEMU's from the attach point on. */
static bool lockstep_abandon(struct vmft_strategy *s)
{
	(void)s;
	return true;
}

static void lockstep_go_live(struct vmft_strategy *s, uint64_t position)
{
	atomic_store(&s->world.link->iface->log_end, position);
	vmft_agent_link_command(s->world.link, VMFT_COMMAND_GO_LIVE);
}

static void lockstep_around(const struct vmft_strategy *s, uint64_t position, FILE *to)
{
	vmft_log_index_print(&s->index, s->arrived.format, &s->world.link->ring, s->arrived.fed,
			     position, to);
}

const struct vmft_strategy_ops vmft_strategy_lockstep = {
    .name = "lockstep",
    .kind = VMFT_STRATEGY_LOCKSTEP,
    .loads_at_point = true,
    .replays = true,
    .saves = VMFT_SAVEDLOG_LOCKSTEP,
    .open = lockstep_open,
    .close = lockstep_close,
    .restart = lockstep_restart,
    .halt = lockstep_halt,
    .is_idle = lockstep_is_idle,
    .look = lockstep_look,
    .take = lockstep_take,
    .taken = lockstep_taken,
    .finish = lockstep_finish,
    .is_empty = lockstep_is_empty,
    .backlog_ns = lockstep_backlog_ns,
    .sent_bytes = lockstep_sent_bytes,
    .acked = lockstep_acked,
    .release = lockstep_release,
    .hold = lockstep_hold,
    .has_room = lockstep_has_room,
    .held = lockstep_held,
    .applied = lockstep_applied,
    .abandon = lockstep_abandon,
    .go_live = lockstep_go_live,
    .around = lockstep_around,
};
