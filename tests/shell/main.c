/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft-shell: many runs of real monitors, or the proof that the checker can fail. */
#include "shell.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "monitor/common/pair-config.h"

enum {
	LOCKSTEP,
	CHECKPOINT,
	STRATEGIES,
	VARIANTS = 32,
	FIND_RUNS_MAX = 10000,
	SETTLE_MS = 120000,
	RESTED_MS = 300,
	BEYOND_MS = 1500,
	WATCH_MS = 40,
	STEPS_MAX = 3000000,
};

static const struct vmft_strategy_ops *const strategies[STRATEGIES] = {
    &vmft_strategy_lockstep,
    &vmft_strategy_checkpoint,
};

static struct vmft_pair_config parsed[STRATEGIES][VARIANTS];

/* --- random numbers, the agenda ----------------------------------------------------- */

uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint64_t chance(uint64_t below)
{
	world.rng = mix(world.rng);
	return below > 0 ? world.rng % below : 0;
}

bool one_in(uint64_t n)
{
	return chance(n) == 0;
}

static bool is_before(const struct todo *a, const struct todo *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void put(struct todo todo)
{
	unsigned at = world.agenda_count++;

	if (at == AGENDA_MAX) {
		(void)fprintf(stderr, "vmft-shell: the agenda is full\n");
		abort();
	}
	while (at > 0 && is_before(&todo, &world.agenda[(at - 1) / 2])) {
		world.agenda[at] = world.agenda[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	world.agenda[at] = todo;
}

static struct todo take(void)
{
	const struct todo first = world.agenda[0];
	const struct todo last = world.agenda[--world.agenda_count];
	unsigned at = 0;

	for (;;) {
		unsigned next = 2 * at + 1;

		if (next >= world.agenda_count)
			break;
		if (next + 1 < world.agenda_count &&
		    is_before(&world.agenda[next + 1], &world.agenda[next]))
			next++;
		if (!is_before(&world.agenda[next], &last))
			break;
		world.agenda[at] = world.agenda[next];
		at = next;
	}
	world.agenda[at] = last;
	return first;
}

void later(uint64_t delay, enum todo_kind kind, int host, uint64_t arg, uint32_t serial)
{
	put((struct todo){
	    .at = world.now + delay,
	    .order = world.order++,
	    .kind = (uint8_t)kind,
	    .host = (int8_t)host,
	    .arg = arg,
	    .serial = serial,
	});
}

/* --- steps ------------------------------------------------------------------------------ */

static void do_op(void *arg)
{
	loop_do(arg);
}

static void watch(void)
{
	if (!is_protected() || world.now < world.healed_at)
		world.rest_since = world.now;
	if (world.ran && is_hopeless())
		world.done = true;
	if (!is_beyond_help() || world.now < world.healed_at)
		world.helped_at = world.now;
	if (world.now > world.faults_end && world.now > world.healed_at &&
	    (world.now - world.rest_since > RESTED_MS * MS || (is_hopeless() && !world.ran) ||
	     world.now - world.helped_at > BEYOND_MS * MS ||
	     world.now > world.faults_end + SETTLE_MS * MS))
		world.done = true;
	later(WATCH_MS * MS, DO_WATCH, 0, 0, 0);
}

/* Until when a process that this is for is stopped. */
static uint64_t stopped_until(const struct todo *todo)
{
	const struct host *h = &world.host[todo->host];

	switch (todo->kind) {
	case DO_OP:
		return h->stopped_until;
	case DO_SERVICE:
	case DO_REQUEST:
	case DO_GUEST:
		return h->qemu_stopped_until;
	default:
		return 0;
	}
}

static void arrive(const struct todo *todo)
{
	if (todo->arg == 64)
		datagram_deliver();
	else
		sock_arrive((unsigned)todo->arg, todo->serial);
}

static void dispatch(struct todo *todo)
{
	const int host = todo->host;
	struct host *h = &world.host[host];

	switch ((enum todo_kind)todo->kind) {
	case DO_OP:
		enter(host, do_op, todo);
		break;
	case DO_SERVICE:
		if (todo->serial == h->qlife)
			agent_service(host, todo->arg != 0);
		break;
	case DO_REQUEST:
		if (todo->serial == h->qlife)
			agent_request(host);
		break;
	case DO_GUEST:
		if (todo->serial == h->qlife)
			guest_run(host);
		break;
	case DO_ARRIVE:
		arrive(todo);
		break;
	case DO_CONNECT:
		sock_connect_do((unsigned)todo->arg, todo->serial);
		break;
	case DO_ASK:
		arbiter_ask_do(host, (unsigned)todo->arg, todo->serial);
		break;
	case DO_ANSWER:
		arbiter_answer_do(host, (unsigned)todo->arg, todo->serial);
		break;
	case DO_BOOT:
		host_boot_do(host);
		break;
	case DO_FAULT:
		fault_do((unsigned)todo->arg);
		break;
	case DO_WATCH:
		watch();
		break;
	}
}

static void step(void)
{
	struct todo todo = take();
	const uint64_t until = stopped_until(&todo);

	world.now = todo.at;
	if (until > world.now) {
		todo.at = until;
		put(todo); /* in the order it was in */
		return;
	}
	dispatch(&todo);
}

/* --- a run ------------------------------------------------------------------------------- */

static void shape(unsigned which)
{
	const unsigned variant = (unsigned)chance(VARIANTS);

	world.lockstep = which == LOCKSTEP;
	world.strategy = strategies[which];
	world.config = parsed[which][variant];
	world.hosts = variant & 2 ? 3 : 2;
	world.delay = (20 + chance(one_in(4) ? 5000 : 300)) * US;
	world.emptied = one_in(2);
	world.pace = one_in(2) ? 1 : 8;
	world.load_time = one_in(8) ? 3000 * MS : 10 * MS;
	world.guest_every = (2 + chance(one_in(2) ? 8 : 40)) * MS;
	world.apply_every = (1 + chance(3)) * MS;
	world.disk_delay = (20 + chance(one_in(4) ? 20000 : 500)) * US;
}

/* All but what is kept from run to run. */
static void world_clear(void)
{
	world.now = MS;
	world.broken = NULL;
	world.done = world.ran = world.shut_down = world.declared = world.single = world.damage =
	    world.two_arbiters = false;
	world.agenda_count = 0;
	world.order = world.seen = world.live_from = world.formed_held = world.formed_generation =
	    0;
	world.plans = world.struck = 0;
	world.healed_at = world.rest_since = world.helped_at = 0;
	world.tear_in = 0;
	world.slow_until = world.apply_slow_until = world.arbiter_slow_until = 0;
	world.recorder = 0;
	world.current = NULL;
	memset(world.cut_until, 0, sizeof(world.cut_until));
	memset(world.path_cut_until, 0, sizeof(world.path_cut_until));
	memset(world.arbiter_down_until, 0, sizeof(world.arbiter_down_until));
	memset(world.arbiter_other_until, 0, sizeof(world.arbiter_other_until));
	memset(world.answer_lost, 0, sizeof(world.answer_lost));
}

static bool run_seed(uint64_t seed, unsigned which)
{
	uint64_t steps = 0;

	world.seed = seed;
	world.rng = mix(seed);
	world_clear();
	shape(which);
	sock_reset();
	hosts_reset();
	arbiter_reset();
	truth_reset();
	faults_plan();
	later(WATCH_MS * MS, DO_WATCH, 0, 0, 0);
	while (!world.done && !world.broken && world.agenda_count > 0) {
		step();
		if (++steps > STEPS_MAX)
			broken("a run comes to rest", "%llu steps", (unsigned long long)steps);
	}
	if (!world.broken)
		check_end();
	world.tally->steps += steps;
	world.tally->runs++;
	world.tally->virtual_ns += world.now;
	world.tally->failed += world.broken != NULL;
	return !world.broken;
}

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

	printf("vmft-shell: %s, seed %llu: %llu runs, %llu steps, %llu of them of monitors, in "
	       "%.1f s (%.0f a second), %.0f s of virtual time\nvmft-shell: %llu backups went "
	       "live (%.0f a second), %llu attaches, %llu hand-overs, %llu starts, %llu epochs, "
	       "%llu frames (%llu late), longest chain %llu generations\nvmft-shell: faults:",
	       strategies[which]->name, (unsigned long long)o->seed, (unsigned long long)t->runs,
	       (unsigned long long)t->steps, (unsigned long long)t->calls, s, (double)t->calls / s,
	       (double)t->virtual_ns / 1e9, (unsigned long long)t->go_lives,
	       (double)t->go_lives / s, (unsigned long long)t->attached,
	       (unsigned long long)t->handed, (unsigned long long)t->boots,
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

/* --- start -------------------------------------------------------------------------------------
 */

static void parse_variant(unsigned which, unsigned variant)
{
	struct vmft_error err;
	char text[2048];
	int n;

	n = snprintf(
	    text, sizeof(text),
	    "[pair]\nname = vm\narbiter = file:/sim/arbiter\nlog-bytes = 1048576\n"
	    "delta-cache-mib = %u\nsilence-ms = 200\nlag-ms = 100\nlag-drop-ms = 1500\n"
	    "stall-ms = 1000\nepoch-ms = 20\nepoch-min-ms = 5\nepoch-max-ms = 100\n"
	    "strategy = %s\n%s%s%s%s"
	    "[primary]\nchannel = 10.9.0.1:7700\n%s[backup]\nchannel = 10.9.0.2:7700\n%s%s%s",
	    which == CHECKPOINT && variant & 8 ? 1 : 0, strategies[which]->name,
	    variant & 1 ? "grace-ms = 500\n" : "", variant & 4 ? "on-stop = hand-over\n" : "",
	    variant & 8 ? "start = alone\n" : "", variant & 16 ? "save-log = /sim/0/log\n" : "",
	    variant & 1 ? "heartbeat = 10.9.1.1:7701\n" : "",
	    variant & 1 ? "heartbeat = 10.9.1.2:7701\n" : "",
	    variant & 2 ? "[spare]\nchannel = 10.9.0.3:7700\n" : "",
	    (variant & 3) == 3 ? "heartbeat = 10.9.1.3:7701\n" : "");
	if (vmft_pair_config_parse("pair.conf", text, (size_t)n, &parsed[which][variant], &err) <
	    0) {
		(void)fprintf(stderr, "vmft-shell: %s\n", err.text);
		exit(2);
	}
}

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
	for (unsigned s = 0; s < STRATEGIES; s++)
		for (unsigned v = 0; v < VARIANTS; v++)
			parse_variant(s, v);
	hosts_init();
	for (unsigned i = 0; i < STRATEGIES; i++)
		if (o.only < 0 || o.only == (int)i)
			ok &= o.prove ? prove(&o, i) : run_many(&o, i);
	return ok ? 0 : 1;
}
