/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attaching.h"

#include "faults.h"
#include "monitor.h"

/* --- the channel ---------------------------------------------------------- */

static uint8_t *on_room(void *user, size_t n)
{
	struct vmft_monitor *m = user;

	return vmft_channel_room(&m->peer.channel, n);
}

static void on_send(void *user, enum vmft_frame_type type, uint64_t position, uint8_t *payload,
		    size_t n)
{
	struct vmft_monitor *m = user;

	vmft_channel_commit(&m->peer.channel, type, position, payload, n);
}

static void on_resume(void *user)
{
	struct vmft_monitor *m = user;

	vmft_channel_resume(&m->peer.channel);
}

/* --- what the attach reports ---------------------------------------------- */

static int on_begin_log(void *user, uint64_t position)
{
	return vmft_monitor_restart_log(user, position);
}

static void on_point(void *user, uint64_t position)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_ATTACH_POINT, .position = position};

	vmft_monitor_event(user, &event);
}

static void on_failed(void *user, const char *why)
{
	const struct vmft_event_in lost = {.kind = VMFT_IN_PEER_LOST,
					   .why = VMFT_WHY_ATTACH_FAILED};
	struct vmft_monitor *m = user;

	if (m->core.state != VMFT_STATE_ATTACHING && m->core.state != VMFT_STATE_SEALING)
		return;
	/* The primary says it when the core has given the attempt up: vmft_attach_source_failed().
	 */
	if (!vmft_monitor_is_primary(m))
		vmft_journal_say(&m->journal, "attach refused: %s", why);
	vmft_channel_refuse(&m->peer.channel, why);
	vmft_monitor_event(m, &lost);
}

static struct vmft_attach_backup on_backup(void *user, uint64_t now)
{
	struct vmft_monitor *m = user;
	const uint64_t sent = m->strategy_ops->taken(m->strategy);

	return (struct vmft_attach_backup){
	    .replayed = m->peer.liveness.replayed,
	    .lag_ms = vmft_lag_ms(&m->lag, m->peer.liveness.replayed, sent, now),
	    .stalled_ns = vmft_monitor_stalled_ns(m, now),
	};
}

static void on_caught_up(void *user)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_CAUGHT_UP};
	struct vmft_monitor *m = user;

	/* The guest may have died since the attach point: then this side has ended, and only waits
	 * for its last bytes to leave. */
	if (m->core.state == VMFT_STATE_ATTACHING)
		vmft_monitor_event(m, &event);
}

static void on_gate_closed(void *user, uint64_t position)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_GATE_CLOSED, .position = position};
	struct vmft_monitor *m = user;

	/* A disk that failed while the gate was open did so before it was closed. */
	vmft_faults_look_at_disks(m);
	if (m->core.state == VMFT_STATE_SEALING && !m->core.sealed)
		vmft_monitor_event(m, &event);
}

static bool on_abandon(void *user)
{
	struct vmft_monitor *m = user;

	return m->strategy_ops->abandon(m->strategy);
}

static void on_broken(void *user, const char *why)
{
	vmft_monitor_broken(user, why);
}

int vmft_attaching_init(struct vmft_monitor *m)
{
	const struct vmft_attach_world world = {
	    .loop = m->loop,
	    .link = &m->agent,
	    .config = &m->config,
	    .journal = &m->journal,
	    .disk = m->options.disk,
	    .disk_count = m->options.disk_count,
	    .loads_at_point = m->options.strategy->loads_at_point,
	    .room = on_room,
	    .send = on_send,
	    .begin_log = on_begin_log,
	    .on_point = on_point,
	    .on_failed = on_failed,
	    .backup = on_backup,
	    .on_caught_up = on_caught_up,
	    .on_gate_closed = on_gate_closed,
	    .resume = on_resume,
	    .abandon = on_abandon,
	    .on_broken = on_broken,
	    .user = m,
	};
	int rc = vmft_attach_source_init(&m->source, &world);

	return rc < 0 ? rc : vmft_attach_sink_init(&m->sink, &world);
}

/* --- what the hub tells the attach ---------------------------------------- */

bool vmft_attaching_wants_backup(const struct vmft_monitor *m, uint64_t now)
{
	return vmft_monitor_is_primary(m) && m->core.state == VMFT_STATE_ALONE &&
	       m->strategy_ops->is_idle(m->strategy) && !m->guest_gone && !m->stopping &&
	       !m->agent_broken && vmft_attach_source_wants_backup(&m->source, now);
}

void vmft_attaching_begin(struct vmft_monitor *m)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_ATTACH};

	/* What the acknowledgements of an earlier pair allowed is void. */
	m->strategy_ops->release(m->strategy, 0, 0);
	vmft_monitor_event(m, &event);
	vmft_attach_source_begin(&m->source);
}

void vmft_attaching_state(struct vmft_monitor *m, enum vmft_state before)
{
	const enum vmft_state now = m->core.state;

	if (before != VMFT_STATE_ATTACHING && before != VMFT_STATE_SEALING)
		return;
	/* A reason of the attach's own is in the source; the core only knows that it had one. */
	if (now == VMFT_STATE_ALONE)
		vmft_attach_source_failed(&m->source, m->core.why == VMFT_WHY_ATTACH_FAILED
							  ? NULL
							  : vmft_why_text(m->core.why));
	if (m->core.side == VMFT_SIDE_BACKUP && now != VMFT_STATE_PROTECTED)
		vmft_attach_sink_failed(&m->sink);
}
