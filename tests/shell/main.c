/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft-shell: many runs of real monitors, or the proof that the checker can fail. */
#include "shell.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIND_RUNS_MAX = 10000 };

/* --- many ---------------------------------------------------------------------------------- */

struct options {
	uint64_t seed, runs, steps;
	int only; /* -1: each */
	bool prove, shorten;
	unsigned long mask;
	enum spoil spoil;
};

static void shorten(const struct options *o, uint64_t seed, unsigned which)
{
	const char *promise = world.broken;
	const bool trace = world.trace;

	world.trace = false;
	world.mask = o->mask;
	for (unsigned i = 0; i < FAULTS_MAX; i++) {
		const unsigned long before = world.mask;

		world.mask |= 1ul << i;
		(void)run_seed(seed, which);
		if (!world.broken || strcmp(world.broken, promise) != 0)
			world.mask = before;
	}
	(void)run_seed(seed, which);
	printf("  shortened: --mask %#lx, %u faults are left, %.3f ms\n", world.mask, world.struck,
	       (double)world.now / 1e6);
	world.trace = trace;
}

static void report(const struct options *o, uint64_t seed, unsigned which)
{
	printf("FAILED %s seed %llu at %.3f ms: %s: %s\n", strategies[which]->name,
	       (unsigned long long)seed, (double)world.now / 1e6, world.broken, world.detail);
	printf("  again: vmft-shell --strategy %s --seed %llu --runs 1 --trace%s%s\n",
	       strategies[which]->name, (unsigned long long)seed, o->spoil ? " --break=" : "",
	       o->spoil ? spoil_name(o->spoil) : "");
	if (o->shorten)
		shorten(o, seed, which);
	world.mask = o->mask;
}

static void print_tally(const struct options *o, unsigned which, const struct tally *t, double s)
{
	static const char *const outcomes[OUTCOME_COUNT] = {
	    "protected", "alone", "shut down", "declared dead", "dead", "never ran",
	};

	printf(
	    "vmft-shell: %s, seed %llu: %llu runs, %llu steps, %llu of them of monitors, in "
	    "%.1f s (%.0f a second), %.0f s of virtual time\nvmft-shell: %llu backups went "
	    "live (%.0f a second), %llu attaches, %llu hand-overs, %llu starts, %llu of a VM that "
	    "was lost, %llu epochs, "
	    "%llu frames (%llu late), longest chain %llu generations\nvmft-shell: faults:",
	    strategies[which]->name, (unsigned long long)o->seed, (unsigned long long)t->runs,
	    (unsigned long long)t->steps, (unsigned long long)t->calls, s, (double)t->calls / s,
	    (double)t->virtual_ns / 1e9, (unsigned long long)t->go_lives, (double)t->go_lives / s,
	    (unsigned long long)t->attached, (unsigned long long)t->handed,
	    (unsigned long long)t->boots, (unsigned long long)t->restarts,
	    (unsigned long long)t->epochs, (unsigned long long)t->frames,
	    (unsigned long long)t->late, (unsigned long long)t->longest);
	for (int i = 0; i < FAULT_COUNT; i++)
		printf(" %s %llu", fault_name((enum fault)i), (unsigned long long)t->faults[i]);
	printf("\nvmft-shell: ended:");
	for (int i = 0; i < OUTCOME_COUNT; i++)
		printf(" %s %llu%s", outcomes[i], (unsigned long long)t->outcomes[i],
		       i + 1 < OUTCOME_COUNT ? "," : "");
	printf("\nvmft-shell: %llu runs broke a promise\n", (unsigned long long)t->failed);
}

static double now_s(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool run_many(const struct options *o, unsigned which)
{
	const double began = now_s();
	struct tally tally = {0};

	world.tally = &tally;
	world.spoil = o->spoil;
	for (uint64_t i = 0; o->runs ? i < o->runs : tally.calls < o->steps; i++) {
		if (run_seed(o->seed + i, which))
			continue;
		report(o, o->seed + i, which);
		if (tally.failed >= 10)
			break;
	}
	print_tally(o, which, &tally, now_s() - began);
	return tally.failed == 0;
}

/* --- the proof ------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	bool means[STRATEGIES]; /* something there */
} spoils[SPOIL_COUNT] = {
    [SPOIL_NONE] = {"none", {false, false}},
    [SPOIL_TWO_WINNERS] = {"two-winners", {true, true}},
    [SPOIL_FORGETFUL] = {"forgetful", {true, true}},
    [SPOIL_ANY_ARBITER] = {"any-arbiter", {true, true}},
    [SPOIL_END_UNSEEN] = {"end-unseen", {true, true}},
    [SPOIL_EARLY_RELEASE] = {"early-release", {true, true}},
    [SPOIL_ACK_EARLY] = {"ack-early", {true, true}},
    [SPOIL_UNFORMED_RELEASE] = {"unformed-release", {true, true}},
    [SPOIL_OPEN_SEAL] = {"open-seal", {true, true}},
    [SPOIL_SHORT_SEAL] = {"short-seal", {false, true}},
    [SPOIL_NO_FENCE] = {"no-fence", {true, true}},
    [SPOIL_ORPHAN_OPENS] = {"orphan-opens", {true, true}},
    [SPOIL_LOST_MARK] = {"lost-mark", {true, true}},
    [SPOIL_TORN_STATE] = {"torn-state", {true, true}},
    [SPOIL_NO_RETRY] = {"no-retry", {true, true}},
    [SPOIL_LOST_WRITE] = {"lost-write", {true, true}},
    [SPOIL_ARBITER_RACE] = {"arbiter-race", {true, true}},
    [SPOIL_GATE_DROPS] = {"gate-drops", {true, true}},
    [SPOIL_EPOCH_BEFORE] = {"epoch-before", {false, true}},
    [SPOIL_OLD_DEVICES] = {"old-devices", {false, true}},
    [SPOIL_STAYS_STOPPED] = {"stays-stopped", {false, true}},
    [SPOIL_NO_STOP] = {"no-stop", {false, true}},
    [SPOIL_DIVERGED_UNSAID] = {"diverged-unsaid", {true, false}},
    [SPOIL_END_UNSAID] = {"end-unsaid", {true, false}},
};

const char *spoil_name(enum spoil spoil)
{
	return spoils[spoil].name;
}

static bool find_out(const struct options *o, unsigned which, enum spoil spoil)
{
	struct tally tally = {0};

	world.tally = &tally;
	world.spoil = spoil;
	while (tally.runs < FIND_RUNS_MAX)
		if (!run_seed(o->seed + tally.runs, which)) {
			printf("vmft-shell: %s, %s found out in run %llu: %s: %s\n",
			       strategies[which]->name, spoils[spoil].name,
			       (unsigned long long)tally.runs, world.broken, world.detail);
			return true;
		}
	printf("vmft-shell: %s, %s NOT FOUND OUT\n", strategies[which]->name, spoils[spoil].name);
	return false;
}

static bool prove(const struct options *o, unsigned which)
{
	bool all = true;

	for (int i = SPOIL_NONE + 1; i < SPOIL_COUNT; i++)
		if (spoils[i].means[which])
			all &= find_out(o, which, (enum spoil)i);
	return all;
}

/* --- start ------------------------------------------------------------------------------ */

static int usage(void)
{
	(void)fprintf(stderr,
		      "usage: vmft-shell [--strategy NAME] [--seed N] [--runs N | --steps N] "
		      "[--trace] [--mask FAULTS] [--shorten] [--break=SPOIL | --prove]\n");
	for (int i = 1; i < SPOIL_COUNT; i++)
		(void)fprintf(stderr, " %s", spoils[i].name);
	(void)fputc('\n', stderr);
	return 2;
}

static bool parse_number(const char *text, uint64_t *ret)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 0);
	return !errno && !*end;
}

static bool parse_strategy(const char *name, int *ret)
{
	for (int i = 0; name && i < STRATEGIES; i++)
		if (!strcmp(name, strategies[i]->name))
			*ret = i;
	return *ret >= 0;
}

static bool parse_spoil(const char *name, enum spoil *ret)
{
	for (int i = 1; i < SPOIL_COUNT; i++)
		if (!strcmp(name, spoils[i].name))
			*ret = (enum spoil)i;
	return *ret != SPOIL_NONE;
}

static bool parse_option(struct options *o, char **argv, int *i)
{
	uint64_t mask;

	if (!strcmp(argv[*i], "--trace"))
		return world.trace = true;
	if (!strcmp(argv[*i], "--shorten"))
		return o->shorten = true;
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
	if (!strcmp(argv[*i], "--mask") && parse_number(argv[++*i], &mask)) {
		o->mask = world.mask = mask;
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .steps = 1000000, .only = -1};
	bool ok = true;

	for (int i = 1; i < argc; i++)
		if (!parse_option(&o, argv, &i))
			return usage();
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	world_prepare();
	for (unsigned i = 0; i < STRATEGIES; i++)
		if (o.only < 0 || o.only == (int)i)
			ok &= o.prove ? prove(&o, i) : run_many(&o, i);
	return ok ? 0 : 1;
}
