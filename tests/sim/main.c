/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft-sim: many runs, or the proof that the checker can fail. */
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The promise each of them breaks; others may break on the way. */
static const struct {
	const char *name;
	const char *promise;
} spoils[SPOIL_COUNT] = {
    [SPOIL_NONE] = {"none", ""},
    [SPOIL_EARLY_RELEASE] = {"early-release", "no frame before its ack"},
    [SPOIL_NO_CLAIM] = {"no-claim", "never two live"},
    [SPOIL_LIVE_BEFORE_DRAIN] = {"live-before-drain", "nothing acknowledged lost"},
    [SPOIL_ACK_BEFORE_HELD] = {"ack-before-held", "no frame before its ack"},
    [SPOIL_ARBITER_RACE] = {"arbiter-race", "one winner a generation"},
    [SPOIL_ARBITER_FORGETS] = {"arbiter-forgets", "the winner goes on"},
    [SPOIL_NO_FENCE] = {"no-fence", "never two live"},
    [SPOIL_GATE_ORPHAN] = {"gate-orphan", "never two live"},
    [SPOIL_GATE_DROPS] = {"gate-drops", "frames leave in order"},
    [SPOIL_NO_RETRY] = {"no-retry", "the winner goes on"},
    [SPOIL_LOG_GAP] = {"log-gap", "equal state"},
    [SPOIL_STALE_STATE] = {"stale-state", "equal state"},
    [SPOIL_FORM_BEFORE_SEAL] = {"form-before-seal", "nothing acknowledged lost"},
    [SPOIL_RELEASE_UNFORMED] = {"release-unformed", "no frame before its ack"},
    [SPOIL_ATTACH_CLAIMS_EARLY] = {"attach-claims-early", "never two live"},
    [SPOIL_NO_CLOSE_GATE] = {"no-close-gate", "no frame before its ack"},
    [SPOIL_NO_ACK_AGAIN] = {"no-ack-again", "output goes on"},
};

static const struct strategy_ops *const strategies[] = {&strategy_lockstep};

enum {
	STRATEGIES = sizeof(strategies) / sizeof(strategies[0]),
};

struct options {
	uint64_t seed, runs, steps;
	const struct strategy_ops *only; /* NULL: each of them */
	enum spoil spoil;
	bool trace, prove, quiet;
};

/* What the runs with one strategy share. */
struct bench {
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

/* Entries with a handler: those met in this simulation, or all there are. */
static unsigned reached(const struct tally *t, bool only_met)
{
	unsigned count = 0;

	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int state = 0; state < VMFT_STATE_COUNT; state++)
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				count +=
				    vmft_core_rule((enum vmft_side)side, (enum vmft_state)state,
						   (enum vmft_in)in, NULL) == VMFT_RULE_HANDLED &&
				    (!only_met || t->reached[side][state][in]);
	return count;
}

static void print_unreached(const struct tally *t)
{
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int state = 0; state < VMFT_STATE_COUNT; state++)
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				if (vmft_core_rule((enum vmft_side)side, (enum vmft_state)state,
						   (enum vmft_in)in, NULL) == VMFT_RULE_HANDLED &&
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
	    reached(t, true), reached(t, false), (unsigned long long)t->late);
	if (o->steps >= 5000000 && !o->runs)
		print_unreached(t);
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

	while (tally.runs < 5000)
		if (!run_seed(o, o->seed + tally.runs, &tally, b) &&
		    !strcmp(b->w->broken, spoils[o->spoil].promise))
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

static bool simulate(const struct options *o, const struct strategy_ops *ops)
{
	struct bench b = {.ops = ops, .strategy = ops->open(), .w = malloc(sizeof(*b.w))};
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
			ok &= simulate(&o, strategies[i]);
	return ok ? 0 : 1;
}
