/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The test-and-set both hosts can reach, now and then. */
#include "sim.h"

void ask_arbiter(struct world *w, int host, uint64_t generation)
{
	const struct side *s = &w->sides[host];

	if (s->told_end)
		broken(w, "a dead guest claims nothing", "%s", host_name(host));
	if (s->entitled)
		broken(w, "a live side asks nobody", "%s", host_name(host));
	if (w->spoil == SPOIL_NO_CLAIM ||
	    (w->spoil == SPOIL_DROP_UNASKED && s->core.why == VMFT_WHY_LAGGED)) {
		later(w, about(w, 500), JOB_ANSWER, host, VMFT_IN_CLAIM_WON);
		return;
	}
	later(w, about(w, w->now < w->arbiter_slow_until ? 80 * MS : MS), JOB_ARBITER, host,
	      generation);
}

bool is_claimant(const struct claimant *c, int host, unsigned life)
{
	return c->is && c->host == host && c->life == life;
}

/* The record a claimant must find of the generation before. */
static bool finds_record(const struct world *w, const struct todo *t, bool elsewhere)
{
	const struct claimant *known = &w->sides[t->side].record;
	const uint64_t before = t->arg - 1;
	const struct claimant *found = elsewhere	      ? &w->other[before - GENERATION]
				       : before == GENERATION ? &w->first
							      : &w->owner[before - GENERATION];

	return known->is && is_claimant(found, known->host, known->life);
}

/* At a place that is not the arbiter's a claim is known by nobody else. */
static bool wins_elsewhere(struct world *w, const struct todo *t)
{
	struct claimant *owner = &w->other[t->arg - GENERATION];

	if (!owner->is)
		*owner = (struct claimant){true, t->side, t->life};
	return is_claimant(owner, t->side, t->life);
}

static void record(struct world *w, const struct todo *t)
{
	w->owner[t->arg - GENERATION] = (struct claimant){true, t->side, t->life};
	if (t->arg > w->latest)
		w->latest = t->arg;
	if (w->latest - GENERATION > w->tally->longest)
		w->tally->longest = w->latest - GENERATION;
	w->pair = false;
	note(w, "arbiter: generation %llu belongs to %s", (unsigned long long)t->arg,
	     host_name(t->side));
}

static void answer_claim(struct world *w, const struct todo *t, uint64_t in, enum vmft_in answer)
{
	later_in_life(w, in, JOB_ANSWER, t->side, t->life, answer);
}

void do_arbiter(struct world *w, const struct todo *t)
{
	const bool elsewhere = w->now < w->other_until[t->side];
	struct claimant *owner;
	enum vmft_in answer;
	bool won;

	if (t->arg <= GENERATION || t->arg > w->latest + 1 ||
	    t->arg - GENERATION >= GENERATIONS_MAX) {
		broken(w, "claims the next generation", "%llu after %llu",
		       (unsigned long long)t->arg, (unsigned long long)w->latest);
		return;
	}
	owner = &w->owner[t->arg - GENERATION];
	if (w->now < w->arbiter_down_until[t->side]) {
		answer_claim(w, t, about(w, 20 * MS), VMFT_IN_CLAIM_UNREACHABLE);
		return;
	}
	if (w->spoil == SPOIL_ANY_ARBITER && elsewhere) {
		answer_claim(w, t, MS,
			     wins_elsewhere(w, t) ? VMFT_IN_CLAIM_WON : VMFT_IN_CLAIM_LOST);
		return;
	}
	if (w->spoil != SPOIL_ANY_ARBITER && !finds_record(w, t, elsewhere)) {
		answer_claim(w, t, about(w, 20 * MS), VMFT_IN_CLAIM_UNREACHABLE);
		return;
	}
	if (w->declared == t->arg - 1 && !owner->is && w->spoil != SPOIL_END_UNSEEN) {
		answer_claim(w, t, MS, VMFT_IN_CLAIM_LOST);
		return;
	}
	if (w->spoil == SPOIL_ARBITER_RACE && !owner->is) {
		later_in_life(w, about(w, 3 * MS), JOB_ARBITER_SET, t->side, t->life, t->arg);
		return;
	}
	won = !owner->is ||
	      (is_claimant(owner, t->side, t->life) && w->spoil != SPOIL_ARBITER_FORGETS);
	if (!owner->is)
		record(w, t);
	/* The answer may get lost after the claim was recorded: the claimant asks again. */
	answer = won ? VMFT_IN_CLAIM_WON : VMFT_IN_CLAIM_LOST;
	if (one_in(w, 8))
		answer = VMFT_IN_CLAIM_UNREACHABLE;
	answer_claim(w, t, about(w, w->now < w->arbiter_slow_until ? 80 * MS : MS), answer);
}

void do_arbiter_set(struct world *w, const struct todo *t)
{
	record(w, t);
	answer_claim(w, t, MS, VMFT_IN_CLAIM_WON);
}

void do_answer(struct world *w, int host, enum vmft_in answer)
{
	struct side *s = &w->sides[host];
	uint64_t i = s->core.generation + 1 - GENERATION;

	if (vmft_core_is_final(&s->core)) {
		feed_kind(w, host, answer);
		return;
	}
	if (answer == VMFT_IN_CLAIM_LOST && is_claimant(&w->owner[i], host, s->life))
		broken(w, "the winner goes on", "%s owns it and was told that it lost",
		       host_name(host));
	/* Under these no arbiter was asked. */
	if (answer == VMFT_IN_CLAIM_WON && w->spoil != SPOIL_NO_CLAIM &&
	    w->spoil != SPOIL_DROP_UNASKED) {
		if (w->told_won[i].is && !is_claimant(&w->told_won[i], host, s->life))
			broken(w, "one winner a generation", "both sides were told they won");
		w->told_won[i] = (struct claimant){true, host, s->life};
	}
	if (answer == VMFT_IN_CLAIM_WON && w->declared == s->core.generation && w->declared)
		broken(w, "a VM that was declared dead is not taken on", "by %s", host_name(host));
	if (answer == VMFT_IN_CLAIM_WON)
		s->record = (struct claimant){true, host, s->life};
	s->entitled |= answer == VMFT_IN_CLAIM_WON;
	feed_kind(w, host, answer);
}
