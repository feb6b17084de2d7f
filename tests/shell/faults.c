/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes wrong, and when: at a random time, or as a core enters a state. */
#include "shell.h"

#include <errno.h>

enum {
	EACH_MS = 250,
	CHAIN_MS = 400,
	SHORT_MS = 150,
	LONG_MS = 900,
	SOON_MS = 60,
	HEAL_MS = 400,
	WAITS_MS = 8000
};

static const char *const names[FAULT_COUNT] = {
    [FAULT_KILL_QEMU] = "kill-qemu",
    [FAULT_KILL_MONITOR] = "kill-monitor",
    [FAULT_KILL_HOST] = "kill-host",
    [FAULT_KILL_AT_CALL] = "kill-at-call",
    [FAULT_STOP_HOST] = "stop-host",
    [FAULT_STOP_MONITOR] = "stop-monitor",
    [FAULT_STOP_QEMU] = "stop-qemu",
    [FAULT_LINK_CUT] = "link-cut",
    [FAULT_LINK_ONE_WAY] = "link-one-way",
    [FAULT_LINK_RESET] = "link-reset",
    [FAULT_LINK_SLOW] = "link-slow",
    [FAULT_LINK_DAMAGED] = "link-damaged",
    [FAULT_LINK_TORN] = "link-torn",
    [FAULT_PATH_CUT] = "path-cut",
    [FAULT_ARBITER_DOWN] = "arbiter-down",
    [FAULT_ARBITER_SLOW] = "arbiter-slow",
    [FAULT_ARBITER_ANSWER_LOST] = "arbiter-answer-lost",
    [FAULT_ARBITER_OTHER] = "arbiter-other",
    [FAULT_DECLARED] = "declared-dead",
    [FAULT_AGENT_ERROR] = "agent-error",
    [FAULT_AGENT_HANGS] = "agent-hangs",
    [FAULT_AGENT_DIES] = "agent-dies",
    [FAULT_AGENT_BROKEN] = "agent-broken",
    [FAULT_DIVERGE] = "diverge",
    [FAULT_DISK_FULL] = "disk-full",
    [FAULT_DISK_BROKEN] = "disk-broken",
    [FAULT_MEMORY] = "memory",
    [FAULT_CALL] = "call",
    [FAULT_SLOW_BACKUP] = "slow-backup",
    [FAULT_SWITCHOVER] = "switchover",
    [FAULT_TERM_MONITOR] = "term-monitor",
    [FAULT_TERM_QEMU] = "term-qemu",
    [FAULT_SHUTDOWN] = "shutdown",
};

const char *fault_name(enum fault fault)
{
	return names[fault];
}

/* --- each of them ------------------------------------------------------------------- */

static void hand_over(void *user)
{
	struct vmft_monitor *m = user;

	(void)vmft_handover_begin(&m->handover, NULL, NULL);
}

static void diverge(int host)
{
	const struct vmft_monitor *m = &world.host[host].m;

	if (world.lockstep && world.host[host].q.replays &&
	    (m->core.state == VMFT_STATE_PROTECTED || m->core.state == VMFT_STATE_ATTACHING))
		agent_now_diverged(host);
}

static void shut_down(int host)
{
	const struct host *h = &world.host[host];

	if (h->q.runs && !h->q.frozen && !h->q.blocked && h->qemu_stopped_until <= world.now)
		guest_shut_down(host);
}

static void term_qemu(int host)
{
	struct host *h = &world.host[host];
	struct vmft_iface *iface = (void *)h->iface.bytes;

	if (!h->q.up)
		return;
	atomic_fetch_add(&iface->stop_asked, 1);
	if (h->q.orphaned)
		guest_shut_down(host);
	else
		fd_ring(h->bell_monitor);
}

static void break_agent(int host)
{
	struct vmft_iface *iface = (void *)world.host[host].iface.bytes;

	if (!is_alive(host) || world.host[host].q.boots_at > 0)
		return;
	atomic_store(&iface->agent_state, VMFT_AGENT_BROKEN);
	fd_ring(world.host[host].bell_monitor);
}

/* Each phase of an attach and of an epoch is a request of its own. */
static void spoil_requests(const struct plan *f, struct qemu *q)
{
	q->spoilt.armed = true;
	q->spoilt.how = f->fault == FAULT_AGENT_ERROR	? REQUEST_FAILS
			: f->fault == FAULT_AGENT_HANGS ? REQUEST_HANGS
			: f->fault == FAULT_AGENT_DIES	? REQUEST_KILLS
							: REQUEST_BREAKS;
	q->spoilt.op = (uint8_t)(one_in(3) ? 0 : 1 + chance(VMFT_AREA_PROVE));
	if (!world.lockstep && (one_in(2) || q->spoilt.how == REQUEST_BREAKS))
		q->spoilt.op = VMFT_AREA_EPOCH;
	q->spoilt.second = q->spoilt.op == VMFT_AREA_EPOCH && one_in(2);
}

static void apply(const struct plan *f, int host)
{
	struct host *h = &world.host[host];
	const uint64_t until = world.now + f->length;

	switch (f->fault) {
	case FAULT_KILL_QEMU:
		qemu_end(host);
		break;
	case FAULT_KILL_MONITOR:
		host_kill_monitor(host, false);
		break;
	case FAULT_KILL_HOST:
		host_kill(host, f->length);
		break;
	case FAULT_STOP_HOST:
		h->stopped_until = h->qemu_stopped_until = until;
		break;
	case FAULT_STOP_MONITOR:
		h->stopped_until = until;
		break;
	case FAULT_STOP_QEMU:
		h->qemu_stopped_until = until;
		break;
	case FAULT_LINK_RESET:
		sock_break();
		break;
	case FAULT_LINK_SLOW:
		world.slow_until = until;
		break;
	case FAULT_LINK_DAMAGED:
		world.damage = true;
		break;
	case FAULT_LINK_TORN:
		world.tear_in = 1 + chance(UINT64_C(1) << chance(14));
		break;
	case FAULT_PATH_CUT:
		world.path_cut_until[host] = until;
		break;
	case FAULT_ARBITER_DOWN:
		for (int i = 0; i < world.hosts; i++)
			if (i == host || one_in(2))
				world.arbiter_down_until[i] = until;
		break;
	case FAULT_ARBITER_SLOW:
		world.arbiter_slow_until = until;
		break;
	case FAULT_ARBITER_ANSWER_LOST:
		world.answer_lost[host] = true;
		break;
	case FAULT_ARBITER_OTHER:
		world.arbiter_other_until[host] = until;
		world.two_arbiters = true;
		break;
	case FAULT_DECLARED:
		arbiter_declare();
		world.declared = true;
		break;
	case FAULT_AGENT_ERROR:
	case FAULT_AGENT_HANGS:
	case FAULT_AGENT_DIES:
		spoil_requests(f, &h->q);
		break;
	case FAULT_AGENT_BROKEN:
		/* At once, or while it is asked for something. */
		if (one_in(2))
			break_agent(host);
		else
			spoil_requests(f, &h->q);
		break;
	case FAULT_DIVERGE:
		diverge(host);
		break;
	case FAULT_DISK_FULL:
		h->disk.broken = ENOSPC;
		break;
	case FAULT_DISK_BROKEN:
		h->disk.broken = EIO;
		break;
	case FAULT_MEMORY:
		h->ran_out = true;
		break;
	case FAULT_CALL:
		h->fails = (uint8_t)chance(CALL_COUNT);
		h->fails_in = 1 + chance(UINT64_C(1) << chance(5));
		break;
	case FAULT_SLOW_BACKUP:
		world.apply_slow_until = until;
		break;
	case FAULT_SWITCHOVER:
		if (h->stopped_until <= world.now)
			enter(host, hand_over, &h->m);
		break;
	case FAULT_TERM_MONITOR:
		if (h->up)
			fd_ring(h->m.stop.fd);
		break;
	case FAULT_TERM_QEMU:
		term_qemu(host);
		break;
	case FAULT_SHUTDOWN:
		shut_down(host);
		break;
	default:
		break;
	}
}

static bool applies(const struct plan *f, int host)
{
	const struct host *h = &world.host[host];

	switch (f->fault) {
	case FAULT_KILL_QEMU:
	case FAULT_AGENT_ERROR:
	case FAULT_AGENT_HANGS:
	case FAULT_AGENT_DIES:
		return h->q.up;
	case FAULT_KILL_MONITOR:
	case FAULT_KILL_AT_CALL:
	case FAULT_STOP_HOST:
	case FAULT_STOP_MONITOR:
	case FAULT_STOP_QEMU:
		return h->up;
	case FAULT_SWITCHOVER:
		return h->up && vmft_core_may_hand_over(&h->m.core);
	case FAULT_ARBITER_OTHER:
		return world.ran; /* or the VM would begin there */
	case FAULT_DECLARED:
		return world.ran && !world.declared && one_in(4);
	case FAULT_TERM_MONITOR:
	case FAULT_TERM_QEMU:
	case FAULT_SHUTDOWN:
		return h->up && one_in(3); /* or there would be no long runs */
	default:
		return true;
	}
}

static int victim_of(const struct plan *f)
{
	if (f->fault == FAULT_SWITCHOVER || f->fault == FAULT_SHUTDOWN || f->role == 0)
		return world.recorder;
	for (int i = 0; i < world.hosts; i++)
		if (i != world.recorder && world.host[i].up &&
		    world.host[i].m.core.state != VMFT_STATE_FORMING)
			return i;
	return (world.recorder + 1 + (int)chance((uint64_t)world.hosts - 1)) % world.hosts;
}

/* A guest that dies at the second fault makes no chain: most losses wait for a backup, a while. */
static bool comes_later(const struct plan *f, unsigned which)
{
	const uint64_t soon = 5 * MS + chance(40 * MS);

	if (!f->waits || (is_protected() && world.now >= world.healed_at) ||
	    world.now > f->at + WAITS_MS * MS)
		return false;
	if (world.faults_end < world.now + soon)
		world.faults_end = world.now + soon;
	later(soon, DO_FAULT, 0, which, 0);
	return true;
}

/* Until when a fault has effects: a connection or process that has ended has ended at once. */
static void heal(const struct plan *f)
{
	const bool at_once = f->fault == FAULT_KILL_QEMU || f->fault == FAULT_KILL_MONITOR ||
			     f->fault == FAULT_LINK_RESET;
	const uint64_t over = world.now + (at_once ? SOON_MS * MS : f->length + HEAL_MS * MS);

	if (over > world.healed_at)
		world.healed_at = over;
}

/* Called a second time when what a fault has broken works again. */
void fault_do(unsigned which)
{
	struct plan *f = &world.plan[which % FAULTS_MAX];
	const int host = which >= FAULTS_MAX ? (int)(which / FAULTS_MAX) - 1 : victim_of(f);
	struct host *h = &world.host[host];

	if (which >= FAULTS_MAX) {
		h->disk.broken = 0;
		h->ran_out = false;
		h->dies_in = h->fails_in = 0;
		h->q.spoilt.armed = false;
		world.tear_in = 0;
		world.answer_lost[host] = false;
		/* A backup whose mark is at the wrong place says so, and a person starts it anew.
		 */
		if (f->fault == FAULT_ARBITER_OTHER && h->opened_other)
			host_kill_monitor(host, false);
		return;
	}
	if (world.mask >> which & 1 || comes_later(f, which) || !applies(f, host))
		return;
	world.single = is_protected() && !world.declared && world.now >= world.healed_at &&
		       f->fault != FAULT_DECLARED;
	note("FAULT %u, %s, host %d, %.1f ms%s", which, names[f->fault], host,
	     (double)f->length / 1e6, world.single ? ", a protected pair" : "");
	world.struck++;
	world.last = f->fault;
	world.tally->faults[f->fault]++;
	heal(f);
	if (f->fault == FAULT_LINK_CUT || f->fault == FAULT_LINK_ONE_WAY) {
		const uint64_t until = world.now + f->length;

		for (int i = 0; i < world.hosts; i++) {
			world.cut_until[host][i] = until;
			if (f->fault == FAULT_LINK_CUT)
				world.cut_until[i][host] = until;
		}
	} else if (f->fault == FAULT_KILL_AT_CALL) {
		h->dies_in = 1 + chance(UINT64_C(1) << chance(9));
	} else {
		apply(f, host);
	}
	later(f->length, DO_FAULT, 0, (uint64_t)(host + 1) * FAULTS_MAX + which, 0);
}

/* --- plans ------------------------------------------------------------------------------ */

static struct plan *plan_one(uint64_t at, uint8_t on)
{
	struct plan *f = &world.plan[world.plans];

	f->fault = (enum fault)chance(FAULT_COUNT);
	f->role = (int)chance(2);
	f->at = at;
	f->on = on;
	f->struck = f->waits = false;
	f->length = (1 + chance(one_in(3) ? LONG_MS : SHORT_MS)) * MS;
	if (on == VMFT_STATE_COUNT)
		later(at, DO_FAULT, 0, world.plans, 0);
	world.plans++;
	return f;
}

/* Those that wait for a core to enter a state strike soon afterwards. */
void faults_entered(int host, uint8_t state)
{
	(void)host;
	for (unsigned i = 0; i < world.plans; i++) {
		struct plan *f = &world.plan[i];

		if (f->struck || f->on != state || world.now < f->at)
			continue;
		f->struck = true;
		later(chance((20 * US) << chance(14)), DO_FAULT, 0, i, 0);
	}
}

static bool is_arbiters(enum fault fault)
{
	return fault >= FAULT_ARBITER_DOWN && fault <= FAULT_DECLARED;
}

/* Whoever runs the guest is lost, or its backup takes it so. */
static void plan_loss(uint64_t at)
{
	static const enum fault losses[] = {FAULT_KILL_HOST,  FAULT_KILL_QEMU,	 FAULT_LINK_CUT,
					    FAULT_LINK_RESET, FAULT_STOP_HOST,	 FAULT_KILL_MONITOR,
					    FAULT_STOP_QEMU,  FAULT_KILL_AT_CALL};
	struct plan *f = plan_one(at, VMFT_STATE_COUNT);

	f->fault = losses[chance(8)];
	f->role = (int)one_in(4);
	f->waits = !one_in(4);
	if (f->fault == FAULT_STOP_HOST || f->fault == FAULT_STOP_QEMU ||
	    f->fault == FAULT_LINK_CUT)
		f->length += SHORT_MS * MS;
}

/* In a state that is soon over, where the races are. */
static void plan_strike(uint64_t at)
{
	static const enum vmft_state favoured[] = {
	    VMFT_STATE_ATTACHING,   VMFT_STATE_ATTACHING,  VMFT_STATE_SEALING,
	    VMFT_STATE_ARBITRATING, VMFT_STATE_GOING_LIVE, VMFT_STATE_HANDING_OVER,
	};
	static const enum fault sharp[] = {FAULT_AGENT_BROKEN, FAULT_KILL_QEMU,	  FAULT_KILL_HOST,
					   FAULT_KILL_AT_CALL, FAULT_MEMORY,	  FAULT_AGENT_ERROR,
					   FAULT_LINK_RESET,   FAULT_AGENT_HANGS, FAULT_AGENT_DIES,
					   FAULT_CALL,	       FAULT_CALL,	  FAULT_CALL,
					   FAULT_LINK_TORN};
	const uint8_t on = (uint8_t)(one_in(2) ? favoured[chance(6)] : chance(VMFT_STATE_FENCED));
	struct plan *f;

	if (world.plans == FAULTS_MAX)
		return;
	f = plan_one(at, on);
	if (one_in(2))
		f->fault = sharp[chance(sizeof(sharp) / sizeof(sharp[0]))];
}

/* A long chain: each loss strikes a pair that has formed again. */
static void plan_chain(uint64_t first)
{
	while (world.plans < FAULTS_MAX - 3) {
		const uint64_t at = first + world.plans * CHAIN_MS * MS;

		if (one_in(8)) {
			(void)plan_one(at, VMFT_STATE_COUNT);
			continue;
		}
		plan_loss(at);
		world.plan[world.plans - 1].waits = true;
	}
	world.faults_end = world.now + first + world.plans * CHAIN_MS * MS;
}

/*
 * A pair has to form first, mostly; then one after the other, or close together. What the arbiter
 * does matters when somebody asks it, so a loss comes with it now and then.
 */
void faults_plan(void)
{
	const unsigned n = (unsigned)chance(FAULTS_MAX);
	const uint64_t first = one_in(8) ? 0 : 500 * MS;
	const uint64_t span = one_in(3) ? 200 * MS : (1 + n) * EACH_MS * MS;

	if (one_in(4)) {
		plan_chain(first);
		return;
	}
	for (unsigned i = 0; i < n && world.plans < FAULTS_MAX - 4; i++) {
		const uint64_t at = first + chance(span);

		if (one_in(2))
			plan_loss(at);
		else if (is_arbiters(plan_one(at, VMFT_STATE_COUNT)->fault) && one_in(2))
			plan_loss(at + chance(SOON_MS * MS));
	}
	for (unsigned i = 0; i < 3; i++)
		plan_strike(chance(first + span));
	world.faults_end = world.now + first + span;
}
