/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agenda of the world, and one run of it. */
#include "shell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/pair-config.h"

enum {
	SETTLE_MS = 120000,
	RESTED_MS = 300,
	BEYOND_MS = 1500,
	WATCH_MS = 40,
	STEPS_MAX = 3000000,
};

const struct vmft_strategy_ops *const strategies[STRATEGIES] = {
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

static void copy_image(int from, int to)
{
	struct file *disk = &world.host[to].disk;

	memmove(disk->bytes, world.host[from].disk.bytes, DISK_BYTES);
	disk->size = world.host[from].disk.size;
	file_wrote(disk, 0, DISK_BYTES);
}

/*
 * Both sides are gone. In some runs a person says so, stops what is left, copies one of the images
 * to the other hosts, and starts the VM from it: the service managers do the rest. False: nobody
 * does.
 */
static bool begins_again(void)
{
	const int host = (int)chance((uint64_t)world.hosts);

	if (world.restarts == 0 || world.shut_down)
		return false;
	/* Not at an arbiter that is none. */
	if (world.now <= world.healed_at)
		return true;
	world.restarts--;
	world.tally->restarts++;
	note("a person starts the VM again, on host %d", host);
	if (!arbiter_is_over())
		arbiter_declare();
	for (int i = 0; i < world.hosts; i++) {
		host_kill_monitor(i, false);
		qemu_end(i);
		world.host[i].starts_as_primary = i == host;
		copy_image(host, i);
	}
	world.ran = world.declared = world.single = false;
	world.seen = world.live_from = world.formed_held = world.formed_generation = 0;
	world.before_held = world.before_generation = 0;
	truth_reset();
	if (world.faults_end < world.now + RESTED_MS * MS)
		world.faults_end = world.now + RESTED_MS * MS;
	return true;
}

static void watch(void)
{
	if (!is_protected() || world.now < world.healed_at)
		world.rest_since = world.now;
	if (world.ran && is_hopeless() && !begins_again())
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
	if (todo->arg == ARRIVES_DATAGRAM)
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

static void shape(unsigned which, unsigned variant)
{
	world.lockstep = which == LOCKSTEP;
	world.strategy = strategies[which];
	world.config = parsed[which][variant];
	world.hosts = variant & VARIANT_SPARE ? 3 : 2;
	world.delay = (20 + chance(one_in(4) ? 5000 : 300)) * US;
	world.emptied = one_in(2);
	world.restarts = (unsigned)chance(3);
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
	world.order = world.seen = world.live_from = 0;
	world.formed_held = world.formed_generation = world.before_held = world.before_generation =
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

void world_begin(uint64_t seed, unsigned which, int variant)
{
	world.seed = seed;
	world.rng = mix(seed);
	world_clear();
	shape(which, variant < 0 ? (unsigned)chance(VARIANTS) : (unsigned)variant);
	sock_reset();
	datagram_reset();
	hosts_reset();
	arbiter_reset();
	truth_reset();
}

void world_run(uint64_t ns)
{
	const uint64_t until = world.now + ns;

	while (!world.broken && world.agenda_count > 0 && world.agenda[0].at <= until)
		step();
	if (!world.broken)
		world.now = until;
}

bool run_seed(uint64_t seed, unsigned which)
{
	uint64_t steps = 0;

	world_begin(seed, which, -1);
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

/* --- once ------------------------------------------------------------------------------- */

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
	    which == CHECKPOINT && variant & VARIANT_ALONE ? 1 : 0, strategies[which]->name,
	    variant & VARIANT_HEARTBEAT ? "grace-ms = 500\n" : "",
	    variant & VARIANT_HANDS_OVER ? "on-stop = hand-over\n" : "",
	    variant & VARIANT_ALONE ? "start = alone\n" : "",
	    variant & VARIANT_SAVES ? "save-log = /sim/0/log\n" : "",
	    variant & VARIANT_HEARTBEAT ? "heartbeat = 10.9.1.1:7701\n" : "",
	    variant & VARIANT_HEARTBEAT ? "heartbeat = 10.9.1.2:7701\n" : "",
	    variant & VARIANT_SPARE ? "[spare]\nchannel = 10.9.0.3:7700\n" : "",
	    (variant & 3) == (VARIANT_HEARTBEAT | VARIANT_SPARE) ? "heartbeat = 10.9.1.3:7701\n"
								 : "");
	if (vmft_pair_config_parse("pair.conf", text, (size_t)n, &parsed[which][variant], &err) <
	    0) {
		(void)fprintf(stderr, "vmft-shell: %s\n", err.text);
		exit(2);
	}
}

void world_prepare(void)
{
	for (unsigned s = 0; s < STRATEGIES; s++)
		for (unsigned v = 0; v < VARIANTS; v++)
			parse_variant(s, v);
	hosts_init();
}
