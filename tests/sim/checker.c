/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The promises, checked against the world itself. */
#include "sim.h"

static const char *const outcome_names[OUTCOME_COUNT] = {
    [OUTCOME_PROTECTED] = "protected", [OUTCOME_LIVE] = "live without a monitor",
    [OUTCOME_ENDED] = "shut down",     [OUTCOME_NEVER_RAN] = "never ran",
    [OUTCOME_PAIR_DEAD] = "pair dead", [OUTCOME_WINNER_DEAD] = "winner dead",
};

const char *outcome_name(enum outcome outcome)
{
	return outcome_names[outcome];
}

bool is_primary(const struct side *s)
{
	return s->core.side == VMFT_SIDE_PRIMARY;
}

/* Its guest may execute and whatever it says can leave. A pause does not make it less live. */
bool is_live(const struct side *s)
{
	return s->guest_alive && s->guest_runs && s->gate_open && !s->fenced;
}

bool is_intact(const struct side *s)
{
	return s->guest_alive && s->monitor_alive;
}

static bool is_well(const struct world *w, const struct side *s)
{
	return is_intact(s) && !s->fenced && s->socket_open && w->now >= s->guest_paused_until &&
	       w->now >= s->monitor_paused_until;
}

/* The guest is protected: any one fault from here on has to be survived. */
bool is_protected(const struct world *w)
{
	const struct side *p = &w->sides[w->recorder];
	const struct side *b = &w->sides[!w->recorder];

	/* One that was handed over is its backup's to take; a fault until it is live is the second.
	 */
	return w->pair && is_well(w, p) && is_well(w, b) && p->guest_runs && !p->gate_open &&
	       p->core.state != VMFT_STATE_HANDED_OVER && b->heard_pair && !b->told_live &&
	       !b->diverged;
}

bool someone_is_live(const struct world *w)
{
	return is_live(&w->sides[0]) || is_live(&w->sides[1]);
}

void check_step(struct world *w)
{
	if (is_live(&w->sides[0]) && is_live(&w->sides[1]))
		broken(w, "never two live", "both gates are open");
}

void check_frame(struct world *w, int host, uint64_t number)
{
	const struct side *s = &w->sides[host];

	if (!s->guest_runs)
		broken(w, "no output in replay", "%s frame %llu", host_name(host),
		       (unsigned long long)number);
	if (number <= s->last_emitted)
		broken(w, "frames leave in order", "%s frame %llu after %llu", host_name(host),
		       (unsigned long long)number, (unsigned long long)s->last_emitted);
	if (host == w->recorder && number <= w->seen)
		broken(w, "frames leave in order", "%s frame %llu, seen before up to %llu",
		       host_name(host), (unsigned long long)number, (unsigned long long)w->seen);
	if (!s->entitled && number > s->honest)
		broken(w, "no frame before its ack", "%s frame %llu, acked %llu", host_name(host),
		       (unsigned long long)number, (unsigned long long)s->honest);
	if (host != w->recorder && number > w->live_from)
		broken(w, "nothing acknowledged lost", "%s frame %llu, %s is live from %llu",
		       host_name(host), (unsigned long long)number, host_name(!host),
		       (unsigned long long)w->live_from);
}

/* Under a spoil only what comes of it is held against it, here and below. */
void check_pair(struct world *w, int host)
{
	const struct side *b = &w->sides[!host];
	uint64_t held = w->ops->covers(w, !host, w->ops->held(w, !host));

	/* Another life: the one that acked is gone, and the primary is about to hear of it. */
	if (b->connection != w->connection)
		return;
	if (held < w->seen && w->spoil != SPOIL_FORM_BEFORE_SEAL &&
	    w->spoil != SPOIL_SEAL_EPOCH_SHORT)
		broken(w, "a pair covers what was seen", "held %llu, frames seen up to %llu",
		       (unsigned long long)held, (unsigned long long)w->seen);
}

void check_go_live(struct world *w, int host)
{
	const struct side *b = &w->sides[host];
	uint64_t at = w->ops->covers(w, host, w->ops->applied(w, host));

	if (b->detected)
		broken(w, "a guest known to have diverged never goes live", "%s", host_name(host));
	if (at < w->seen)
		broken(w, "nothing acknowledged lost", "live at %llu, frames seen up to %llu",
		       (unsigned long long)at, (unsigned long long)w->seen);
	if (!b->heard_pair && w->spoil != SPOIL_ATTACH_CLAIMS_EARLY)
		broken(w, "live only out of a pair", "%s", host_name(host));
}

void check_survived(struct world *w, bool survived)
{
	if (w->single && !w->shutdown && !survived)
		broken(w, "one fault is survived", "%s is %s, %s is %s", host_name(0),
		       vmft_state_name(w->sides[0].core.state), host_name(1),
		       vmft_state_name(w->sides[1].core.state));
}

/* Between being live and being protected, for the time it takes to seal. */
bool goes_on(const struct side *s)
{
	return is_intact(s) && s->guest_runs && !s->fenced;
}

static enum outcome outcome_of(const struct world *w)
{
	if (someone_is_live(w))
		return OUTCOME_LIVE;
	if (is_protected(w))
		return OUTCOME_PROTECTED;
	if (w->shutdown)
		return OUTCOME_ENDED;
	if (!w->ran)
		return OUTCOME_NEVER_RAN;
	return w->pair ? OUTCOME_PAIR_DEAD : OUTCOME_WINNER_DEAD;
}

static bool waits(const struct side *s)
{
	return is_intact(s) && !is_primary(s) && s->core.state == VMFT_STATE_FORMING;
}

/* A guest is slowed for a backup, and only as long as there is one. */
static void check_speed(struct world *w)
{
	const struct side *s = &w->sides[w->recorder];
	const uint64_t since =
	    s->open_since > s->monitor_paused_until ? s->open_since : s->monitor_paused_until;

	if (is_live(s) && s->slowed && s->monitor_alive && !s->keeps &&
	    w->now > since + 5 * beat_us)
		broken(w, "the guest gets its speed back", "%s is slowed, with no backup",
		       host_name(w->recorder));
}

/* At rest: protected, or live where nobody can attach, or two backups that wait for ever. */
void do_watch(struct world *w)
{
	enum outcome outcome = outcome_of(w);
	bool rests = outcome == OUTCOME_PROTECTED ||
		     (outcome == OUTCOME_LIVE && !w->sides[w->recorder].monitor_alive) ||
		     (waits(&w->sides[0]) && waits(&w->sides[1]));

	check_speed(w);
	later(w, watch_us, JOB_WATCH, 0, 0);
	for (unsigned i = 0; i < w->faults; i++)
		rests &= w->now > w->plan[i].at + watch_us;
	w->rested = rests && w->now > w->healed_at ? w->rested + 1 : 0;
	w->done = w->rested >= 5;
}

/* Entered and not left again by the end of a run, these mean that a side hangs. */
static bool is_unresolved(enum vmft_state state)
{
	return state != VMFT_STATE_FORMING && state != VMFT_STATE_FENCED &&
	       state != VMFT_STATE_DIVERGED && state != VMFT_STATE_ENDED;
}

static void check_hosts(struct world *w, enum outcome outcome)
{
	const struct claimant *owner = &w->owner[w->latest - GENERATION];

	for (int host = 0; host < HOSTS; host++) {
		const struct side *s = &w->sides[host];
		bool wins = s->entitled || is_claimant(owner, host, s->life);

		if (!is_intact(s) || is_live(s) || outcome == OUTCOME_PROTECTED)
			continue;
		/* The generation that it won was declared dead: its guest must not go on. */
		if (wins && s->core.state != VMFT_STATE_DIVERGED && w->declared != w->latest)
			broken(w, "the winner goes on", "%s is %s", host_name(host),
			       vmft_state_name(s->core.state));
		if (is_unresolved(s->core.state))
			broken(w,
			       outcome == OUTCOME_LIVE ? "the loser stops" : "a survivor goes on",
			       "%s is %s", host_name(host), vmft_state_name(s->core.state));
	}
}

/* The guest makes progress, and what it says is not held for ever. */
static void check_output(struct world *w)
{
	const struct side *s = &w->sides[w->recorder];
	uint64_t bound = 5 * watch_us;

	if (w->ops->room(w, w->recorder) && w->now - s->last_worked_at > bound)
		broken(w, "output goes on", "%s stands still", host_name(w->recorder));
	if (s->frame_count && w->now - s->frames[s->frame_head].since > bound)
		broken(w, "output goes on", "%s holds frame %llu", host_name(w->recorder),
		       (unsigned long long)s->frames[s->frame_head].number);
}

/* One way or the other. */
static void check_lag(struct world *w)
{
	const struct side *s = &w->sides[w->recorder];

	if (s->core.state == VMFT_STATE_LAGGING && w->now - s->lags_since > drop_us + 5 * watch_us)
		broken(w, "a lag comes to an end", "%s has lagged for %llu ms",
		       host_name(w->recorder), (unsigned long long)((w->now - s->lags_since) / MS));
}

/* Faults are over and the arbiter answers: whoever can carry the VM must do so by now. */
void check_end(struct world *w)
{
	enum outcome outcome = outcome_of(w);

	w->tally->outcomes[outcome]++;
	check_hosts(w, outcome);
	check_survived(w, outcome <= OUTCOME_LIVE);
	if (outcome <= OUTCOME_LIVE) {
		check_output(w);
		check_lag(w);
	}
	if (w->ends && outcome == OUTCOME_ENDED && w->ops->check_ended)
		w->ops->check_ended(w);
	if (w->ends && outcome != OUTCOME_ENDED)
		broken(w, "an orderly end is the end", "%s", outcome_names[outcome]);
	if (w->struck == 0 && outcome != OUTCOME_PROTECTED)
		broken(w, "no fault, no change", "%s", outcome_names[outcome]);
	if (outcome == OUTCOME_LIVE && w->sides[w->recorder].monitor_alive && !w->shutdown)
		broken(w, "redundancy is restored", "%s is %s, %s is %s", host_name(0),
		       vmft_state_name(w->sides[0].core.state), host_name(1),
		       vmft_state_name(w->sides[1].core.state));
}
