/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lag-control.h"

#include <stdio.h>

#include "monitor.h"

#define MS UINT64_C(1000000)

/* A pair may lag for a moment every few seconds. The journal says so once in this time; the status
 * always has the figure. */
#define LAG_SAID_NS  (10000 * MS)
#define LAG_ALARM_NS (5000 * MS) /* after this time an alarm is raised */
/* A backup reports its progress at least every 200 ms. */
#define HEARD_FRESH_NS (500 * MS)

uint64_t vmft_monitor_stalled_ns(const struct vmft_monitor *m, uint64_t now)
{
	return vmft_loop_since(m->stall.since_ns, now);
}

static void say_stands(struct vmft_monitor *m, uint64_t now)
{
	const uint64_t stands = vmft_monitor_stalled_ns(m, now);
	const uint64_t limit = m->config.stall_ms * MS;
	char text[VMFT_ALARM_TEXT_MAX];

	(void)snprintf(text, sizeof(text),
		       "the backup's replay has stood still at log position %llu for %llu ms: if "
		       "this host fails now, the guest is lost; check the backup's host (its "
		       "journal, its disk); in %llu s the backup is given up",
		       (unsigned long long)m->stall.replayed, (unsigned long long)(stands / MS),
		       (unsigned long long)((limit - stands) / MS / 1000));
	vmft_journal_say(&m->journal, "%s", text);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_BACKUP_STALLED, text);
}

static void say_moves(struct vmft_monitor *m)
{
	static const char text[] = "the backup's replay moves again";

	vmft_journal_say(&m->journal, "%s", text);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_PROTECTED, text);
}

/* The backup has diverged, or its QEMU waits for its disk. It could not take over, and the primary
 * would be slowed for ever. */
static void give_up_stalled(struct vmft_monitor *m)
{
	const struct vmft_event_in lost = {.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_STALLED};
	char what[96];

	(void)snprintf(what, sizeof(what), "the backup's replay stands still at log position %llu",
		       (unsigned long long)m->stall.replayed);
	vmft_journal_say(&m->journal, "%s: the backup is given up", what);
	vmft_divergence_count(&m->divergence, what);
	vmft_monitor_event(m, &lost);
}

/* With checkpoints no epoch is half applied when a backup goes live, so this does not watch the
 * backup's progress. An epoch that takes long counts as lag. */
void vmft_lag_control_watch_replay(struct vmft_monitor *m, uint64_t now, uint64_t slept)
{
	const struct vmft_stall_view view = {
	    .replayed = m->peer.liveness.replayed,
	    .taken = m->strategy_ops->taken(m->strategy),
	    .logged_ns = vmft_lag_logged_ns(&m->lag),
	    .connected = m->peer.channel.stage != VMFT_PEER_NONE,
	    .paired = m->core.side == VMFT_SIDE_PRIMARY && vmft_core_is_paired(&m->core),
	    .heard = m->strategy_ops->replays &&
		     vmft_loop_since(m->peer.liveness.heard_ns, now) < HEARD_FRESH_NS,
	};

	switch (vmft_stall_look(&m->stall, &view, m->config.stall_ms, now, slept)) {
	case VMFT_STALL_STANDS:
		say_stands(m, now);
		break;
	case VMFT_STALL_MOVES:
		say_moves(m);
		break;
	case VMFT_STALL_TOO_LONG:
		give_up_stalled(m);
		break;
	case VMFT_STALL_NO_NEWS:
		break;
	}
}

uint64_t vmft_monitor_lag_ms(struct vmft_monitor *m, uint64_t now)
{
	uint64_t lag, backlog;

	if (!vmft_core_is_paired(&m->core) && !m->source.log_flows)
		return 0;
	lag = vmft_lag_ms(&m->lag, m->peer.liveness.replayed, m->strategy_ops->taken(m->strategy),
			  now);
	backlog = m->strategy_ops->backlog_ns(m->strategy, now) / MS;
	return lag > backlog ? lag : backlog;
}

static void say_lags(struct vmft_monitor *m, uint64_t now, uint64_t lag_ms)
{
	m->lag_alarmed = false;
	m->lag_said = m->lag_said_ns == 0 || vmft_loop_since(m->lag_said_ns, now) >= LAG_SAID_NS;
	if (!m->lag_said)
		return;
	m->lag_said_ns = now;
	vmft_journal_say(&m->journal,
			 "lagging: the backup is %llu ms behind (lag-ms = %u): the guest is slowed "
			 "by %u %% until the backup keeps up",
			 (unsigned long long)lag_ms, m->config.lag_ms, m->throttle / 10);
}

static void say_keeps_up(struct vmft_monitor *m)
{
	char text[VMFT_ALARM_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "the backup keeps up again; it was up to %llu ms behind",
		       (unsigned long long)m->lag_watch.worst_ms);
	if (m->lag_said || m->lag_alarmed)
		vmft_journal_say(&m->journal, "%s", text);
	if (m->lag_alarmed)
		vmft_alarm_raise(m->alarm, VMFT_ALARM_PROTECTED, text);
}

static void alarm_lag(struct vmft_monitor *m, uint64_t now)
{
	char text[VMFT_ALARM_TEXT_MAX];

	if (!m->lag_watch.lagging || m->lag_alarmed ||
	    vmft_loop_since(m->lag_watch.since_ns, now) < LAG_ALARM_NS)
		return;
	m->lag_alarmed = true;
	(void)snprintf(
	    text, sizeof(text),
	    "the backup does not keep up: up to %llu ms behind (lag-ms = %u), the guest is "
	    "slowed for it",
	    (unsigned long long)m->lag_watch.worst_ms, m->config.lag_ms);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_LAGGING, text);
}

/* Nothing that the backup holds is lost: the primary asks the arbiter, as if the backup had died.
 */
static void drop_for_lag(struct vmft_monitor *m, uint64_t now, uint64_t lag_ms)
{
	const struct vmft_event_in lost = {.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_LAGGED};
	const uint64_t lagged = vmft_loop_since(m->lag_watch.since_ns, now);
	char text[VMFT_ALARM_TEXT_MAX];

	vmft_attach_source_dropped(&m->source, now);
	(void)snprintf(
	    text, sizeof(text),
	    "the backup has lagged for %llu s (%llu ms now, %llu ms at worst, lag-ms = %u), the "
	    "guest slowed by %u %%: the backup is given up, and none is attached for %llu s",
	    (unsigned long long)(lagged / MS / 1000), (unsigned long long)lag_ms,
	    (unsigned long long)m->lag_watch.worst_ms, m->config.lag_ms, m->throttle / 10,
	    (unsigned long long)((m->source.retry_ns - now) / MS / 1000));
	vmft_journal_say(&m->journal, "%s", text);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_DROPPED, text);
	vmft_monitor_event(m, &lost);
}

static void watch_lag(struct vmft_monitor *m, uint64_t now, uint64_t slept, uint64_t lag_ms)
{
	if (!vmft_core_is_paired(&m->core) || m->core.state == VMFT_STATE_HANDING_OVER) {
		m->lag_watch = (struct vmft_lag_watch){0};
		return;
	}
	switch (vmft_lag_watch_look(&m->lag_watch, lag_ms, m->config.lag_ms, m->config.lag_drop_ms,
				    now, slept)) {
	case VMFT_LAG_LAGS:
		say_lags(m, now, lag_ms);
		vmft_monitor_simple_event(m, VMFT_IN_LAGS);
		break;
	case VMFT_LAG_KEEPS_UP:
		say_keeps_up(m);
		vmft_monitor_simple_event(m, VMFT_IN_KEEPS_UP);
		break;
	case VMFT_LAG_TOO_LONG:
		drop_for_lag(m, now, lag_ms);
		break;
	case VMFT_LAG_NO_NEWS:
		alarm_lag(m, now);
		if (!m->lag_watch.lagging &&
		    vmft_loop_since(m->state_ns, now) > VMFT_LAG_FORGIVEN_NS)
			vmft_attach_source_forgive(&m->source);
		break;
	}
}

static void set_throttle(struct vmft_monitor *m, uint32_t permille)
{
	m->throttle = permille;
	atomic_store(&m->agent.iface->throttle, permille);
}

void vmft_lag_control_tick(struct vmft_monitor *m, uint64_t now, uint64_t slept)
{
	uint64_t lag_ms;
	uint32_t permille;

	if (!vmft_monitor_is_primary(m))
		return;
	lag_ms = vmft_monitor_lag_ms(m, now);
	vmft_lag_rate(&m->lag, m->strategy_ops->sent_bytes(m->strategy), now);
	permille = vmft_throttle_permille(lag_ms, m->config.lag_ms);
	if (permille < m->source.pace.throttle)
		permille = m->source.pace.throttle;
	if (permille < vmft_handover_throttle(&m->handover))
		permille = vmft_handover_throttle(&m->handover);
	set_throttle(m, permille);
	watch_lag(m, now, slept, lag_ms);
	/* A backup that was given up in this tick must not slow the guest any more. */
	if (vmft_monitor_lag_ms(m, now) == 0)
		set_throttle(m, m->source.pace.throttle);
}
