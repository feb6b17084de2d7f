/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "monitor.h"
#include "monitor/daemon/checkpoint/epoch-figures.h"

#define MS UINT64_C(1000000)

#define COPY(to, from) (void)snprintf((to), sizeof(to), "%s", (from))

static uint64_t left(uint64_t until, uint64_t now)
{
	return until > now ? until - now : 0;
}

/* --- what the advice depends on --------------------------------------------------- */

/* Of several hosts the first one that something is wrong with. */
static enum vmft_reach_fault reach_fault(const struct vmft_monitor *m)
{
	for (int host = 0; host < VMFT_HOST_COUNT; host++)
		switch (m->peer.reach.error[host]) {
		case 0:
			if (m->peer.reach.lost_mtu[host] == 0)
				break;
			return VMFT_REACH_MTU;
		case -ECONNREFUSED:
			break;
		case -EADDRNOTAVAIL:
			return VMFT_REACH_ADDRESS;
		case -EMFILE:
		case -ENFILE:
			return VMFT_REACH_FILES;
		default:
			return VMFT_REACH_NETWORK;
		}
	return VMFT_REACH_OK;
}

void vmft_status_situation(const struct vmft_monitor *m, uint64_t now, char *connect_error,
			   size_t size, struct vmft_situation *ret)
{
	vmft_reach_describe(&m->peer.reach, connect_error, size);
	*ret = (struct vmft_situation){
	    .side = m->core.side,
	    .state = m->core.state,
	    .generation = m->core.generation,
	    .guest_pid = m->options.guest_pid,
	    .arbiter = m->config.arbiter,
	    .address = m->config.host[m->options.host].channel.text,
	    .refusal = m->peer.handshake.refusal,
	    .connect_error = connect_error,
	    .reach = reach_fault(m),
	    .manual = m->config.reprotect == VMFT_REPROTECT_MANUAL,
	    .retry_later = m->source.dropped > 0 && m->source.retry_ns > now,
	    .retry_ns = left(m->source.retry_ns, now),
	    .drops = m->config.lag_drop_ms > 0,
	    .drop_ns = left(m->lag_watch.since_ns + m->config.lag_drop_ms * MS, now),
	    .stands = m->stall.stands,
	    .stands_at = m->stall.replayed,
	    .stands_drop_ns = left(m->stall.since_ns + m->config.stall_ms * MS, now),
	    .stuck = m->divergence.stuck,
	    .replayed = m->divergence.position,
	};
	if (!vmft_monitor_is_primary(m))
		ret->held = m->strategy_ops->held(m->strategy);
}

/* --- the snapshot ----------------------------------------------------------------- */

/* With what the peer said of it, of a pair that ended by that. */
static void fill_reason(const struct vmft_monitor *m, struct vmft_status *s)
{
	if (m->core.why == VMFT_WHY_PEER_GUEST_DIED && m->peer.gave_up[0])
		(void)snprintf(s->reason, sizeof(s->reason), "%s: %s", vmft_why_text(m->core.why),
			       m->peer.gave_up);
	else
		COPY(s->reason, vmft_why_text(m->core.why));
}

static void fill_side(const struct vmft_monitor *m, uint64_t now, struct vmft_status *s)
{
	struct vmft_situation situation;

	COPY(s->name, m->config.name);
	COPY(s->role, vmft_side_name(m->core.side));
	COPY(s->host, vmft_pair_host_name(&m->config, m->options.host));
	COPY(s->address, m->config.host[m->options.host].channel.text);
	COPY(s->state, vmft_state_name(m->core.state));
	fill_reason(m, s);
	vmft_status_situation(m, now, s->connect_error, sizeof(s->connect_error), &situation);
	(void)vmft_advice(&situation, s->next, sizeof(s->next));
	s->since_ms = m->state_ns / MS;
	s->now_ms = now / MS;
	s->generation = m->core.generation;
	COPY(s->strategy, m->strategy_ops->name);
	COPY(s->strategy_reason, m->options.strategy_reason);
	s->guest_pid = (uint64_t)m->options.guest_pid;
	s->monitor_pid = (uint64_t)getpid();
}

static void fill_peer(const struct vmft_monitor *m, uint64_t now, struct vmft_status *s)
{
	if (vmft_channel_is_up(&m->peer.channel) && m->peer.channel.stage >= VMFT_PEER_ATTACHING) {
		COPY(s->peer, vmft_pair_host_name(&m->config, m->peer.channel.peer_host));
		COPY(s->peer_address, m->config.host[m->peer.channel.peer_host].channel.text);
	}
	vmft_peer_describe(&m->peer, now, s->detection, sizeof(s->detection));
	vmft_heartbeat_describe(&m->peer.liveness.heartbeat, now, s->heartbeat_path,
				sizeof(s->heartbeat_path));
	s->heartbeats_refused = m->peer.liveness.heartbeat.refused;
	s->silence_ms = m->config.silence_ms;
	s->grace_ms = m->config.grace_ms;
	COPY(s->arbiter, m->config.arbiter);
	COPY(s->arbiter_error, m->arbiter_error);
	s->hiccup = (struct vmft_status_quantiles){
	    .p50 = vmft_hiccup_quantile(&m->hiccups, 500),
	    .p99 = vmft_hiccup_quantile(&m->hiccups, 990),
	    .max = m->hiccups.worst_ns,
	};
}

static void fill_history(const struct vmft_monitor *m, struct vmft_status *s)
{
	const struct vmft_history *h = &m->history;

	s->live_ns = m->live_ns;
	s->failovers = h->failovers;
	s->backups_lost = h->backups_lost;
	if (h->failovers > 0) {
		s->parts |= VMFT_STATUS_TOOK_OVER;
		s->took_over_ms = h->took_over_ns / MS;
		COPY(s->took_over_reason, vmft_why_text(h->took_over_why));
	}
	if (h->backups_lost > 0) {
		s->parts |= VMFT_STATUS_LOST_BACKUP;
		s->backup_lost_ms = h->backup_lost_ns / MS;
		COPY(s->backup_lost_reason, vmft_why_text(h->backup_lost_why));
	}
}

static void fill_log(struct vmft_monitor *m, uint64_t now, struct vmft_status *s)
{
	struct vmft_iface *iface = m->agent.iface;
	const uint64_t frozen = atomic_load(&iface->frozen_at);

	s->log_head = atomic_load(&iface->log_position);
	s->log_events = atomic_load(&iface->log_events);
	if (vmft_monitor_is_primary(m)) {
		s->log_sent = m->strategy_ops->taken(m->strategy);
		s->log_acked = m->core.acked;
		s->log_replayed = m->peer.liveness.replayed;
		s->lag_ms = vmft_monitor_lag_ms(m, now);
		s->replay_stands_ms = m->stall.stands ? vmft_monitor_stalled_ns(m, now) / MS : 0;
		s->log_bytes_per_s = m->lag.bytes_per_s;
		s->throttle_permille = m->throttle;
		s->lag_dropped = m->source.dropped;
	} else {
		s->log_held = m->core.held;
		s->log_acked = m->peer.liveness.ack;
		s->log_replayed = m->core.replayed;
	}
	/* The agent writes the position + 1: 0 is no position. */
	if (frozen > 0) {
		s->parts |= VMFT_STATUS_FROZEN;
		s->frozen_at = frozen - 1;
	}
}

static void fill_guest(const struct vmft_monitor *m, struct vmft_status *s)
{
	const struct vmft_iface *iface = m->agent.iface;

	s->gate_frames = atomic_load(&iface->gate_frames);
	s->gate_bytes = atomic_load(&iface->gate_bytes);
	s->gate_stalls = atomic_load(&iface->gate_stalls);
	s->frames_released = atomic_load(&iface->frames_released);
	s->frames_dropped = atomic_load(&iface->frames_dropped);
	s->disk_errors = m->disk.counted;
	COPY(s->disk_error, m->disk.text);
	s->disk_paused = atomic_load(&iface->disk_paused) != 0;
	s->guest_asleep = atomic_load(&iface->guest_asleep) != 0;
	s->console_dropped = atomic_load(&iface->console_dropped);
	s->divergences = m->divergence.count;
	COPY(s->divergence, m->divergence.last);
	s->outputs_compared = atomic_load(&iface->outputs_compared);
	s->digests_compared = atomic_load(&iface->digests_compared);
	s->digests_taken = atomic_load(&iface->digests_taken);
	s->digest_ns = atomic_load(&iface->digest_ns);
}

static void fill_source(struct vmft_monitor *m, uint64_t now, struct vmft_status *s)
{
	const struct vmft_attach_source *source = &m->source;
	const struct vmft_attach_figures *last = &source->last;

	COPY(s->attach_phase, vmft_attach_phase_name(source->phase));
	s->attach_round = source->pace.round;
	s->attach_done_bytes = source->now.ram_bytes + source->now.disk_bytes;
	s->attach_left_bytes = vmft_attach_source_left(source);
	s->attach_bytes_per_s = source->pace.bytes_per_s;
	s->attach_dirty_bytes_per_s = source->pace.dirty_per_s;
	s->attach_expected_ms = vmft_attach_source_expected_ms(source);
	s->attached = source->attached;
	s->attach_failures = source->failures;
	COPY(s->attach_error, source->error);
	s->attach_retry_ms = left(source->retry_ns, now) / MS;
	if (source->attached == 0)
		return;
	s->parts |= VMFT_STATUS_ATTACHED;
	s->attach_last = (struct vmft_status_attach){
	    .total_ns = last->total_ns,
	    .stun_ns = last->stun_ns,
	    .stop_ns = last->stop_ns,
	    .drain_ns = last->drain_ns,
	    .copy_ns = last->copy_ns,
	    .save_ns = last->save_ns,
	    .start_ns = last->start_ns,
	    .hold_ns = last->hold_ns,
	    .ram_bytes = last->ram_bytes,
	    .disk_bytes = last->disk_bytes,
	    .staged_bytes = last->staged_bytes,
	    .rounds = last->rounds,
	};
}

static void fill_attach(struct vmft_monitor *m, uint64_t now, struct vmft_status *s)
{
	if (vmft_monitor_is_primary(m)) {
		fill_source(m, now, s);
		return;
	}
	COPY(s->attach_phase, vmft_attach_phase_name(m->sink.phase));
	s->attach_done_bytes = m->sink.bytes;
}

static struct vmft_status_quantiles quantiles(const struct vmft_epoch_figures *f,
					      enum vmft_epoch_figure which)
{
	return (struct vmft_status_quantiles){
	    .p50 = vmft_epoch_quantile(f, which, 500),
	    .p99 = vmft_epoch_quantile(f, which, 990),
	    .max = vmft_epoch_quantile(f, which, 1000),
	};
}

static void fill_epochs(const struct vmft_monitor *m, struct vmft_status *s)
{
	const struct vmft_epoch_figures *f = m->strategy_ops->figures(m->strategy);

	s->parts |= VMFT_STATUS_CHECKPOINTS;
	s->partial_bytes = f->partial_bytes;
	if (!vmft_monitor_is_primary(m))
		return;
	s->parts |= VMFT_STATUS_EPOCHS;
	s->epochs = f->epochs;
	s->epochs_early = f->early;
	s->epochs_split = f->split;
	s->pages = f->pages;
	s->pages_zero = f->zero;
	s->pages_unchanged = f->unchanged;
	s->pages_delta = f->delta;
	s->pages_whole = f->whole;
	s->length = quantiles(f, VMFT_FIGURE_LENGTH);
	s->pause = quantiles(f, VMFT_FIGURE_PAUSE);
	s->stop = quantiles(f, VMFT_FIGURE_STOP);
	s->drain = quantiles(f, VMFT_FIGURE_DRAIN);
	s->save = quantiles(f, VMFT_FIGURE_SAVE);
	s->scan = quantiles(f, VMFT_FIGURE_SCAN);
	s->copy = quantiles(f, VMFT_FIGURE_COPY);
	s->start = quantiles(f, VMFT_FIGURE_START);
	s->commit = quantiles(f, VMFT_FIGURE_COMMIT);
	s->output = quantiles(f, VMFT_FIGURE_OUTPUT);
	s->staged = quantiles(f, VMFT_FIGURE_STAGED);
	s->sent = quantiles(f, VMFT_FIGURE_SENT);
}

static void fill_saver(const struct vmft_monitor *m, struct vmft_status *s)
{
	if (m->options.role != VMFT_ROLE_BACKUP)
		return;
	s->parts |= VMFT_STATUS_SAVES;
	COPY(s->save_log, vmft_saver_path(&m->saver));
	COPY(s->save_log_error, m->saver.error);
}

static void fill_events(const struct vmft_journal *journal, struct vmft_status *s)
{
	const uint64_t from =
	    journal->written > VMFT_JOURNAL_LINES ? journal->written - VMFT_JOURNAL_LINES : 0;

	_Static_assert(VMFT_JOURNAL_LINES <= VMFT_STATUS_EVENTS, "all lines that are kept fit");
	for (uint64_t i = from; i < journal->written; i++) {
		struct vmft_status_event *event = &s->events[s->event_count++];

		event->ms = journal->line[i % VMFT_JOURNAL_LINES].at_ns / MS;
		COPY(event->text, journal->line[i % VMFT_JOURNAL_LINES].text);
	}
}

void vmft_status_fill(struct vmft_monitor *m, uint64_t now, struct vmft_status *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->version = VMFT_STATUS_VERSION;
	ret->parts = vmft_monitor_is_primary(m) ? VMFT_STATUS_PRIMARY : VMFT_STATUS_BACKUP;
	fill_side(m, now, ret);
	fill_peer(m, now, ret);
	fill_history(m, ret);
	fill_log(m, now, ret);
	fill_guest(m, ret);
	fill_attach(m, now, ret);
	if (m->strategy_ops->figures)
		fill_epochs(m, ret);
	fill_saver(m, ret);
	fill_events(&m->journal, ret);
}
