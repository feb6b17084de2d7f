/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft-sim: many runs, or the proof that the checker can fail. */
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LOCKSTEP,
	CHECKPOINT,
	STRATEGIES,
	FIND_RUNS_MAX = 20000,
};

static const struct strategy_ops *const strategies[STRATEGIES] = {
    [LOCKSTEP] = &strategy_lockstep,
    [CHECKPOINT] = &strategy_checkpoint,
};

/*
 * The promise each of them breaks, by strategy; others may break on the way. NULL: it means
 * nothing there. Checkpoints keep being cut, and acked, while the guest waits for its output.
 */
static const struct {
	const char *name;
	const char *promise[STRATEGIES];
} spoils[SPOIL_COUNT] = {
    [SPOIL_NONE] = {"none", {NULL, NULL}},
#define IN_BOTH(promise)                                                                           \
	{                                                                                          \
		promise, promise                                                                   \
	}
    [SPOIL_EARLY_RELEASE] = {"early-release", IN_BOTH("no frame before its ack")},
    [SPOIL_NO_CLAIM] = {"no-claim", IN_BOTH("never two live")},
    [SPOIL_LIVE_BEFORE_DRAIN] = {"live-before-drain", IN_BOTH("nothing acknowledged lost")},
    [SPOIL_ACK_BEFORE_HELD] = {"ack-before-held", IN_BOTH("no frame before its ack")},
    [SPOIL_ARBITER_RACE] = {"arbiter-race", IN_BOTH("one winner a generation")},
    [SPOIL_ARBITER_FORGETS] = {"arbiter-forgets", IN_BOTH("the winner goes on")},
    [SPOIL_ANY_ARBITER] = {"any-arbiter", IN_BOTH("one winner a generation")},
    [SPOIL_END_UNSEEN] = {"end-unseen", IN_BOTH("a VM that was declared dead is not taken on")},
    [SPOIL_NO_FENCE] = {"no-fence", IN_BOTH("never two live")},
    [SPOIL_GATE_ORPHAN] = {"gate-orphan", IN_BOTH("never two live")},
    [SPOIL_GATE_DROPS] = {"gate-drops", IN_BOTH("frames leave in order")},
    [SPOIL_NO_RETRY] = {"no-retry", IN_BOTH("the winner goes on")},
    [SPOIL_LOG_GAP] = {"log-gap", {"equal state", "memory is the epoch's"}},
    [SPOIL_STALE_STATE] = {"stale-state", {"equal state", NULL}},
    [SPOIL_FORM_BEFORE_SEAL] = {"form-before-seal", IN_BOTH("nothing acknowledged lost")},
    [SPOIL_RELEASE_UNFORMED] = {"release-unformed", IN_BOTH("no frame before its ack")},
    [SPOIL_ATTACH_CLAIMS_EARLY] = {"attach-claims-early", IN_BOTH("never two live")},
    [SPOIL_NO_CLOSE_GATE] = {"no-close-gate", IN_BOTH("no frame before its ack")},
    [SPOIL_NO_ACK_AGAIN] = {"no-ack-again", {"output goes on", NULL}},
    [SPOIL_DIVERGED_LIVE] = {"diverged-live",
			     IN_BOTH("a guest known to have diverged never goes live")},
    [SPOIL_STAYS_LAGGING] = {"stays-lagging", IN_BOTH("a lag comes to an end")},
    [SPOIL_STAYS_SLOW] = {"stays-slow", IN_BOTH("the guest gets its speed back")},
    [SPOIL_DROP_UNASKED] = {"drop-unasked", IN_BOTH("never two live")},
    [SPOIL_HANDED_UNASKED] = {"handed-unasked", IN_BOTH("never two live")},
    [SPOIL_EPOCH_BEFORE] = {"epoch-before", {NULL, "no frame before its ack"}},
    [SPOIL_ACK_FIRST_FRAME] = {"ack-first-frame", {NULL, "no frame before its ack"}},
    [SPOIL_TORN_EPOCH] = {"torn-epoch", {NULL, "memory is the epoch's"}},
    [SPOIL_MEMORY_EARLY] = {"memory-early", {NULL, "memory is the epoch's"}},
    [SPOIL_DISK_EARLY] = {"disk-early", {NULL, "disks are the epoch's"}},
    [SPOIL_OLD_DEVICES] = {"old-devices", {NULL, "device state is the epoch's"}},
    [SPOIL_COMMIT_EARLY] = {"commit-early", {NULL, "disks are the epoch's"}},
    [SPOIL_HALF_STAGED] = {"half-staged", {NULL, "memory is the epoch's"}},
    [SPOIL_NO_STOP] = {"no-stop", {NULL, "memory is the epoch's"}},
    [SPOIL_SEAL_EPOCH_SHORT] = {"seal-epoch-short", {NULL, "nothing acknowledged lost"}},
    [SPOIL_LOST_DIRTY_BIT] = {"lost-dirty-bit", {NULL, "memory is the epoch's"}},
    [SPOIL_NO_LAST_EPOCH] = {"no-last-epoch", {NULL, "an orderly end leaves equal disks"}},
    [SPOIL_STAYS_STOPPED] = {"stays-stopped", {NULL, "output goes on"}},
    [SPOIL_RUN_AHEAD] = {"run-ahead", {NULL, "output goes on"}},
    [SPOIL_RESET_OVERTAKES] = {"reset-overtakes", {NULL, "an orderly end is the end"}},
#undef IN_BOTH
};

struct options {
	uint64_t seed, runs, steps;
	const struct strategy_ops *only; /* NULL: each of them */
	enum spoil spoil;
	bool trace, prove, quiet;
};

/* What the runs with one strategy share. */
struct bench {
	int which;
	const struct strategy_ops *ops;
	struct strategy *strategy;
	struct world *w;
};

/* Whether every promise held. */
static bool run_seed(const struct options *o, uint64_t seed, struct tally *tally,
		     const struct bench *b)
{
	struct world *w = b->w;

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->rng = mix(seed);
	w->spoil = o->spoil;
	w->trace = o->trace;
	w->tally = tally;
	w->ops = b->ops;
	w->strategy = b->strategy;
	world_run(w);
	if (!w->broken)
		return true;
	tally->failed++;
	if (o->quiet)
		return false;
	printf("FAILED %s seed %llu at %.3f ms: %s: %s\n", b->ops->name, (unsigned long long)seed,
	       (double)w->now / (double)MS, w->broken, w->detail);
	printf("  again: vmft-sim --strategy %s --seed %llu --runs 1 --trace%s%s\n", b->ops->name,
	       (unsigned long long)seed, o->spoil ? " --break=" : "",
	       o->spoil ? spoils[o->spoil].name : "");
	return false;
}

/* Whether an entry of the core's table has a handler, and the strategy a way to get there. */
static bool is_reachable(const struct strategy_ops *ops, int side, int state, int in)
{
	bool forms =
	    state == VMFT_STATE_FORMING &&
	    (in == VMFT_IN_PEER_READY ||
	     (side == VMFT_SIDE_PRIMARY && (in == VMFT_IN_PEER_LOST || in == VMFT_IN_PEER_ENDED)));

	return vmft_core_rule((enum vmft_side)side, (enum vmft_state)state, (enum vmft_in)in,
			      NULL) == VMFT_RULE_HANDLED &&
	       !(forms && ops->starts_alone);
}

/* Those met in this simulation, or all there are. */
static unsigned reached(const struct strategy_ops *ops, const struct tally *t, bool only_met)
{
	unsigned count = 0;

	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int state = 0; state < VMFT_STATE_COUNT; state++)
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				count += is_reachable(ops, side, state, in) &&
					 (!only_met || t->reached[side][state][in]);
	return count;
}

static void print_unreached(const struct strategy_ops *ops, const struct tally *t)
{
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int state = 0; state < VMFT_STATE_COUNT; state++)
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				if (is_reachable(ops, side, state, in) &&
				    !t->reached[side][state][in])
					printf("vmft-sim: not reached: %s %s %s\n",
					       vmft_side_name((enum vmft_side)side),
					       vmft_state_name((enum vmft_state)state),
					       vmft_in_name((enum vmft_in)in));
}

static void print_tally(const struct options *o, const struct bench *b, const struct tally *t)
{
	uint64_t faults = 0;

	for (int i = 0; i < FAULT_COUNT; i++)
		faults += t->faults[i];
	printf("vmft-sim: %s, seed %llu, %llu steps, %llu core events, %llu runs, %llu frames, "
	       "%llu faults:",
	       b->ops->name, (unsigned long long)o->seed, (unsigned long long)t->steps,
	       (unsigned long long)t->core_steps, (unsigned long long)t->runs,
	       (unsigned long long)t->frames, (unsigned long long)faults);
	for (int i = 0; i < FAULT_COUNT; i++)
		printf(" %s %llu", fault_name((enum fault)i), (unsigned long long)t->faults[i]);
	printf(
	    "\nvmft-sim: %llu backups went live, %llu attaches, %llu of them to the end, longest "
	    "chain %llu generations\nvmft-sim: ended:",
	    (unsigned long long)t->go_lives, (unsigned long long)t->attaches,
	    (unsigned long long)t->attached, (unsigned long long)t->longest);
	for (int i = 0; i < OUTCOME_COUNT; i++)
		printf(" %s %llu%s", outcome_name((enum outcome)i),
		       (unsigned long long)t->outcomes[i], i + 1 < OUTCOME_COUNT ? "," : "");
	printf(
	    "\nvmft-sim: %u of %u entries of the core's table reached, %llu frames released late\n",
	    reached(b->ops, t, true), reached(b->ops, t, false), (unsigned long long)t->late);
	printf("vmft-sim: pairs lagged %llu times, %llu backups given up for it; %llu guests found "
	       "to have diverged; %llu guests handed over, %llu hand-overs called off\n",
	       (unsigned long long)t->lagged, (unsigned long long)t->dropped,
	       (unsigned long long)t->detected, (unsigned long long)t->handed,
	       (unsigned long long)t->handed_back);
	if (t->epochs)
		printf("vmft-sim: %llu epochs cut, %llu held by a backup, %llu of them waited for "
		       "the one before; thrown away: %llu torn, %llu half staged\n",
		       (unsigned long long)t->epochs, (unsigned long long)t->commits,
		       (unsigned long long)t->waits, (unsigned long long)t->torn,
		       (unsigned long long)t->halves);
	if (o->steps >= 5000000 && !o->runs)
		print_unreached(b->ops, t);
	printf("vmft-sim: %llu runs broke a promise\n", (unsigned long long)t->failed);
}

static bool run_many(const struct options *o, const struct bench *b)
{
	struct tally tally = {0};

	for (uint64_t i = 0; o->runs ? i < o->runs : tally.steps < o->steps; i++)
		if (!run_seed(o, o->seed + i, &tally, b) && tally.failed >= 10)
			break;
	print_tally(o, b, &tally);
	return tally.failed == 0;
}

/* Runs until the promise is broken that this spoil is there to break; 0 if it never is. */
static uint64_t find_out(const struct options *o, const struct bench *b)
{
	struct tally tally = {0};

	while (tally.runs < FIND_RUNS_MAX)
		if (!run_seed(o, o->seed + tally.runs, &tally, b) &&
		    !strcmp(b->w->broken, spoils[o->spoil].promise[b->which]))
			return tally.runs;
	return 0;
}

/* A checker that never complains proves nothing: each spoilt world has to be found out. */
static bool prove(const struct options *o, const struct bench *b)
{
	bool all = true;

	for (int i = SPOIL_NONE + 1; i < SPOIL_COUNT; i++) {
		struct options spoilt = *o;
		uint64_t runs;

		if (!spoils[i].promise[b->which])
			continue;
		spoilt.spoil = (enum spoil)i;
		spoilt.quiet = true;
		runs = find_out(&spoilt, b);
		if (runs)
			printf("vmft-sim: %s, %s found out in run %llu: %s: %s\n", b->ops->name,
			       spoils[i].name, (unsigned long long)runs, b->w->broken,
			       b->w->detail);
		else
			printf("vmft-sim: %s, %s NOT FOUND OUT\n", b->ops->name, spoils[i].name);
		all &= runs != 0;
	}
	return all;
}

static bool simulate(const struct options *o, int which)
{
	const struct strategy_ops *ops = strategies[which];
	struct bench b = {which, ops, ops->open(), malloc(sizeof(*b.w))};
	bool ok = false;

	if (b.strategy && b.w)
		ok = o->prove ? prove(o, &b) : run_many(o, &b);
	free(b.w);
	if (b.strategy)
		ops->close(b.strategy);
	return ok;
}

static int usage(void)
{
	fprintf(stderr, "usage: vmft-sim [--strategy NAME] [--seed N] [--runs N | --steps N] "
			"[--trace] [--break=SPOIL | --prove]\nNAME:");
	for (int i = 0; i < STRATEGIES; i++)
		fprintf(stderr, " %s", strategies[i]->name);
	fprintf(stderr, "\nSPOIL:");
	for (int i = 1; i < SPOIL_COUNT; i++)
		fprintf(stderr, " %s", spoils[i].name);
	fputc('\n', stderr);
	return 2;
}

static bool parse_number(const char *text, uint64_t *ret)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return !errno && !*end;
}

static bool parse_spoil(const char *name, enum spoil *ret)
{
	for (int i = 1; i < SPOIL_COUNT; i++) {
		if (!strcmp(name, spoils[i].name)) {
			*ret = (enum spoil)i;
			return true;
		}
	}
	return false;
}

static bool parse_strategy(const char *name, const struct strategy_ops **ret)
{
	for (int i = 0; name && i < STRATEGIES; i++)
		if (!strcmp(name, strategies[i]->name))
			*ret = strategies[i];
	return *ret != NULL;
}

static bool parse_option(struct options *o, char **argv, int *i)
{
	if (!strcmp(argv[*i], "--trace"))
		return o->trace = true;
	if (!strcmp(argv[*i], "--prove"))
		return o->prove = true;
	if (!strncmp(argv[*i], "--break=", 8))
		return parse_spoil(argv[*i] + 8, &o->spoil);
	if (!strcmp(argv[*i], "--strategy"))
		return parse_strategy(argv[++*i], &o->only);
	if (!strcmp(argv[*i], "--seed"))
		return parse_number(argv[++*i], &o->seed);
	if (!strcmp(argv[*i], "--runs"))
		return parse_number(argv[++*i], &o->runs);
	if (!strcmp(argv[*i], "--steps"))
		return parse_number(argv[++*i], &o->steps);
	return false;
}

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .steps = 5000000};
	bool ok = true;

	for (int i = 1; i < argc; i++)
		if (!parse_option(&o, argv, &i))
			return usage();
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < STRATEGIES; i++)
		if (!o.only || o.only == strategies[i])
			ok &= simulate(&o, i);
	return ok ? 0 : 1;
}
