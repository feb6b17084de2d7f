/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes wrong, and when: at a random time, or when a side enters a state. */
#include "sim.h"

#include <stddef.h>

static const uint64_t fault_length_us = 300 * MS;
static const uint64_t faults_until_us = 1200 * MS;
static const uint64_t settle_us = 500 * MS; /* a failover takes no longer */

static const char *const fault_names[FAULT_COUNT] = {
    [FAULT_KILL_GUEST] = "kill-guest",
    [FAULT_KILL_MONITOR] = "kill-monitor",
    [FAULT_KILL_HOST] = "kill-host",
    [FAULT_PAUSE_SIDE] = "pause-side",
    [FAULT_PAUSE_MONITOR] = "pause-monitor",
    [FAULT_LINK_CUT] = "link-cut",
    [FAULT_LINK_ONE_WAY] = "link-one-way",
    [FAULT_LINK_RESET] = "link-reset",
    [FAULT_LINK_SLOW] = "link-slow",
    [FAULT_ARBITER_DOWN] = "arbiter-down",
    [FAULT_ARBITER_SLOW] = "arbiter-slow",
    [FAULT_ARBITER_OTHER] = "arbiter-other",
    [FAULT_DECLARED] = "declared-dead",
    [FAULT_PEER_LIES] = "peer-lies",
    [FAULT_AGENT_LIES] = "agent-lies",
    [FAULT_SLOW_BACKUP] = "slow-backup",
    [FAULT_DIVERGE] = "diverge",
    [FAULT_SWITCHOVER] = "switchover",
    [FAULT_STOP] = "stop-backup",
    [FAULT_SHUTDOWN] = "shutdown",
};

const char *fault_name(enum fault fault)
{
	return fault_names[fault];
}

static void kill_monitor(struct world *w, int host, bool silently)
{
	struct side *s = &w->sides[host];
	bool was_open = s->socket_open;

	s->monitor_alive = false;
	if (silently || !was_open) {
		s->socket_open = false;
		return;
	}
	if (one_in(w, 2)) {
		channel_reset(w); /* unread bytes in its buffer turn the close into a reset */
		s->socket_open = false;
		return;
	}
	socket_close(w, host);
}

static void kill_host(struct world *w, int host)
{
	kill_monitor(w, host, true);
	w->sides[host].guest_alive = false;
	if (one_in(w, 2))
		queue_clear(&w->to[!host]);
	w->down_until[host] = w->now + 10 * MS + chance(w, 100 * MS);
}

static void agent_lies(struct world *w, int host)
{
	if (one_in(w, 2))
		feed_kind(w, host, VMFT_IN_LIVE);
	else
		feed(w, host,
		     (struct vmft_event_in){.kind = VMFT_IN_REPLAYED,
					    .position = w->sides[host].core.held + 1});
}

/*
 * A primary's word that there is a pair is never a lie here once the backup has its state: who
 * cannot trust that can trust nothing.
 */
static void peer_lies(struct world *w, int host)
{
	const struct side *s = &w->sides[host];
	struct message lie = {.kind = MESSAGE_BYE, .why = VMFT_WHY_GUEST_ENDED};

	if (!one_in(w, 3) && !is_primary(s))
		lie = (struct message){.kind = MESSAGE_ACK,
				       .position = one_in(w, 3) ? 0 : UINT64_MAX - chance(w, 9),
				       .formed = one_in(w, 2)};
	else if (!one_in(w, 3) && is_primary(s) && !s->core.pointed)
		lie = (struct message){.kind = MESSAGE_FORM};
	send_message(w, host, lie);
}

static void pause_side(struct world *w, int host, uint64_t length, bool whole)
{
	struct side *s = &w->sides[host];

	s->monitor_paused_until = w->now + length;
	if (!whole)
		return;
	s->guest_paused_until = w->now + length;
	later(w, length, JOB_GATE, host, 0);
}

static bool is_brief(enum vmft_state state)
{
	return state != VMFT_STATE_ATTACHING && state != VMFT_STATE_PROTECTED &&
	       state != VMFT_STATE_ALONE;
}

/*
 * Faults that wait for a side to enter a state strike soon after, mostly at that side; where the
 * state may last, now and then much later.
 */
void strike_on(struct world *w, int host, enum vmft_state state)
{
	unsigned doublings = is_brief(state) ? 8 : 13;

	for (unsigned i = 0; i < w->faults; i++) {
		struct fault_plan *f = &w->plan[i];

		if (f->struck || f->on != state || w->now < f->at)
			continue;
		f->struck = true;
		f->host = one_in(w, 3) ? !host : host;
		later(w, chance(w, 16ULL << chance(w, doublings)), JOB_FAULT, 0, i);
	}
}

/* What it is found by takes its time, and may find it at once. */
static void diverge(struct world *w, int host, uint64_t length)
{
	w->sides[host].diverged = true;
	w->ops->diverge(w, host);
	later(w, one_in(w, 2) ? chance(w, 100) : chance(w, length), JOB_DETECT, host, 0);
}

static int victim_of(const struct world *w, const struct fault_plan *f)
{
	if (f->fault == FAULT_AGENT_LIES || f->fault == FAULT_SLOW_BACKUP ||
	    f->fault == FAULT_DIVERGE || f->fault == FAULT_STOP)
		return !w->recorder;
	if (f->fault == FAULT_SWITCHOVER)
		return w->recorder;
	return f->struck ? f->host : f->role ^ w->recorder;
}

static bool fault_applies(const struct world *w, const struct fault_plan *f)
{
	int host = victim_of(w, f);
	const struct side *s = &w->sides[host];

	switch (f->fault) {
	case FAULT_KILL_GUEST:
		return s->guest_alive;
	case FAULT_KILL_MONITOR:
		return s->monitor_alive;
	case FAULT_KILL_HOST:
	case FAULT_PAUSE_SIDE:
	case FAULT_PAUSE_MONITOR:
		return s->monitor_alive && s->guest_alive;
	case FAULT_LINK_RESET:
		return w->sides[0].socket_open || w->sides[1].socket_open;
	case FAULT_PEER_LIES:
		return s->monitor_alive && s->socket_open && w->sides[!host].socket_open &&
		       w->to[!host].count < QUEUE_MAX / 2;
	case FAULT_AGENT_LIES:
		return is_intact(s) && !is_primary(s) && !s->told_live && !s->fenced &&
		       w->now >= s->monitor_paused_until;
	case FAULT_SLOW_BACKUP:
		return is_intact(s) && !is_primary(s);
	case FAULT_DIVERGE:
		return is_intact(s) && !is_primary(s) && !s->guest_runs && !s->fenced &&
		       !s->diverged && s->core.state != VMFT_STATE_FORMING &&
		       (s->core.state != VMFT_STATE_ATTACHING || s->core.pointed);
	case FAULT_SWITCHOVER:
		return is_intact(s) && w->now >= s->monitor_paused_until &&
		       vmft_core_may_hand_over(&s->core);
	case FAULT_STOP:
		return is_intact(s) && w->now >= s->monitor_paused_until &&
		       vmft_core_rule(s->core.side, s->core.state, VMFT_IN_STOPPED, NULL) ==
			   VMFT_RULE_HANDLED;
	case FAULT_DECLARED:
		return w->ran && !w->declared;
	case FAULT_SHUTDOWN:
		/* One that stands still does not end. */
		return s->guest_alive && !s->fenced && !s->frozen &&
		       w->now >= s->guest_paused_until && (!s->guest_runs || w->ops->room(w, host));
	default:
		return true;
	}
}

static void apply(struct world *w, const struct fault_plan *f)
{
	int host = victim_of(w, f);

	switch (f->fault) {
	case FAULT_KILL_GUEST:
		guest_gone(w, host, false);
		break;
	case FAULT_KILL_MONITOR:
		kill_monitor(w, host, false);
		gate_flush(w, host);
		break;
	case FAULT_KILL_HOST:
		kill_host(w, host);
		break;
	case FAULT_PAUSE_SIDE:
	case FAULT_PAUSE_MONITOR:
		pause_side(w, host, f->length, f->fault == FAULT_PAUSE_SIDE);
		break;
	case FAULT_LINK_CUT:
		w->cut_until[!host] = w->now + f->length;
		w->cut_until[host] = w->now + f->length;
		break;
	case FAULT_LINK_ONE_WAY:
		w->cut_until[host] = w->now + f->length;
		break;
	case FAULT_LINK_RESET:
		channel_reset(w);
		break;
	case FAULT_LINK_SLOW:
		w->slow_until = w->now + f->length;
		break;
	case FAULT_ARBITER_DOWN:
		w->arbiter_down_until[host] = w->now + f->length;
		if (one_in(w, 2))
			w->arbiter_down_until[!host] = w->now + f->length;
		break;
	case FAULT_ARBITER_SLOW:
		w->arbiter_slow_until = w->now + f->length;
		break;
	case FAULT_ARBITER_OTHER:
		w->other_until[host] = w->now + f->length;
		if (one_in(w, 2))
			w->other_until[!host] = w->now + f->length;
		break;
	case FAULT_DECLARED:
		w->declared = w->latest;
		break;
	case FAULT_PEER_LIES:
		peer_lies(w, host);
		break;
	case FAULT_AGENT_LIES:
		agent_lies(w, host);
		break;
	case FAULT_SLOW_BACKUP:
		w->slow_apply_until = w->now + f->length;
		break;
	case FAULT_DIVERGE:
		diverge(w, host, f->length);
		break;
	case FAULT_SWITCHOVER:
		w->sides[host].hands_since = w->now;
		feed_kind(w, host, VMFT_IN_HAND_OVER);
		break;
	case FAULT_STOP:
		feed_kind(w, host, VMFT_IN_STOPPED);
		break;
	case FAULT_SHUTDOWN:
		shut_down(w, host);
		break;
	case FAULT_COUNT:
		break;
	}
}

void do_fault(struct world *w, const struct fault_plan *f)
{
	/* Behind it arrives what it sent or held up. */
	uint64_t over = w->now + f->length + 2 * silence_us;

	if (!fault_applies(w, f))
		return;
	note(w, "FAULT %s, %s, %llu us", fault_names[f->fault], host_name(victim_of(w, f)),
	     (unsigned long long)f->length);
	if (w->now > w->healed_at + settle_us)
		check_survived(w, someone_is_live(w) || goes_on(&w->sides[w->recorder]));
	w->struck++;
	/* A VM that was declared dead survives no failover. */
	w->single = is_protected(w) && w->now >= w->healed_at && w->declared != w->latest;
	w->ends = w->single && f->fault == FAULT_SHUTDOWN && victim_of(w, f) == w->recorder;
	if (over > w->healed_at)
		w->healed_at = over;
	w->tally->faults[f->fault]++;
	apply(w, f);
}

static void plan_fault(struct world *w, enum fault fault, int role, uint64_t at, enum vmft_state on)
{
	struct fault_plan *f = &w->plan[w->faults];

	f->fault = fault;
	f->role = role;
	f->at = at;
	f->length = 1 + chance(w, one_in(w, 2) ? fault_length_us : silence_us);
	if (fault == FAULT_SLOW_BACKUP) /* long enough to be seen */
		f->length += fault_length_us / 4;
	f->on = on;
	if (on == VMFT_STATE_COUNT)
		later(w, at, JOB_FAULT, 0, w->faults);
	w->faults++;
}

static void plan_any(struct world *w, uint64_t at, enum vmft_state on)
{
	plan_fault(w, (enum fault)chance(w, FAULT_COUNT), (int)chance(w, 2), at, on);
}

/* Close together, where the races are, some of them while the pair forms. */
static void plan_cluster(struct world *w)
{
	static const unsigned counts[8] = {0, 1, 1, 2, 2, 2, 3, 5};
	uint64_t centre = one_in(w, 5) ? 0 : chance(w, fault_length_us);
	unsigned n = counts[chance(w, 8)];

	for (unsigned i = 0; i < n; i++)
		plan_any(w, centre + chance(w, 8 * MS), VMFT_STATE_COUNT);
}

/* One after the other: a chain of generations. */
static void plan_chain(struct world *w)
{
	unsigned n = 2 + (unsigned)chance(w, FAULTS_MAX - 1);

	for (unsigned i = 0; i < n; i++)
		plan_any(w, i * faults_until_us / n + chance(w, faults_until_us / n),
			 VMFT_STATE_COUNT);
}

/* What has to happen for a side to enter a state. */
static void plan_primer(struct world *w, enum vmft_state on, uint64_t at)
{
	static const enum fault ends[] = {FAULT_KILL_GUEST, FAULT_SHUTDOWN};
	static const enum fault losses[] = {FAULT_KILL_HOST,  FAULT_KILL_GUEST, FAULT_LINK_CUT,
					    FAULT_LINK_RESET, FAULT_PAUSE_SIDE, FAULT_KILL_MONITOR};

	if (on == VMFT_STATE_FORMING || (on == VMFT_STATE_PROTECTED && !at))
		return;
	if (on == VMFT_STATE_WAITING_ARBITER)
		for (int role = 0; role < 2; role++)
			plan_fault(w, FAULT_ARBITER_DOWN, role, at, VMFT_STATE_COUNT);
	if (on == VMFT_STATE_HANDING_OVER || on == VMFT_STATE_HANDED_OVER)
		plan_fault(w, FAULT_SWITCHOVER, 0, at, VMFT_STATE_COUNT);
	else if (on == VMFT_STATE_LAGGING)
		plan_fault(w, FAULT_SLOW_BACKUP, 1, at, VMFT_STATE_COUNT);
	else if (on == VMFT_STATE_ENDING)
		plan_fault(w, FAULT_SHUTDOWN, 0, at, VMFT_STATE_COUNT);
	else if (on == VMFT_STATE_SHIPPING)
		plan_fault(w, ends[chance(w, 2)], 0, at, VMFT_STATE_COUNT);
	else
		plan_fault(w, losses[chance(w, 6)], (int)chance(w, 2), at, VMFT_STATE_COUNT);
}

/* In a state that is soon over, a fault at a random time hardly ever strikes. */
static void plan_strike(struct world *w)
{
	static const enum fault sharp[] = {FAULT_KILL_GUEST, FAULT_KILL_HOST,  FAULT_LINK_RESET,
					   FAULT_PEER_LIES,  FAULT_AGENT_LIES, FAULT_DIVERGE,
					   FAULT_SHUTDOWN,   FAULT_SHUTDOWN};
	static const enum vmft_state favoured[] = {VMFT_STATE_ATTACHING, VMFT_STATE_SEALING,
						   VMFT_STATE_PROTECTED, VMFT_STATE_LAGGING,
						   VMFT_STATE_WAITING_ARBITER};
	enum vmft_state on =
	    one_in(w, 3) ? favoured[chance(w, 5)] : (enum vmft_state)chance(w, VMFT_STATE_FENCED);
	uint64_t at = on == VMFT_STATE_FORMING || one_in(w, 8) ? 0 : chance(w, 100 * MS);
	unsigned n = 1 + one_in(w, 3);

	plan_primer(w, on, at);
	for (unsigned i = 0; i < n; i++) {
		if (one_in(w, 3))
			plan_any(w, at, on);
		else
			plan_fault(w, sharp[chance(w, 8)], (int)chance(w, 2), at, on);
	}
	if (one_in(w, 8))
		plan_any(w, chance(w, faults_until_us), VMFT_STATE_COUNT);
}

void plan_faults(struct world *w)
{
	switch (chance(w, 4)) {
	case 0:
		plan_cluster(w);
		break;
	case 1:
		plan_chain(w);
		break;
	default:
		plan_strike(w);
	}
}
