/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "monitor/core/core.h"
#include "monitor/core/queue.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef VMFT_SOURCE_ROOT
#define VMFT_SOURCE_ROOT "."
#endif

#define EVENT(...)	((struct vmft_event_in){.kind = __VA_ARGS__})
#define STEP(core, ...) step((core), EVENT(__VA_ARGS__))
#define STATE_IS(core, name)                                                                       \
	CU_ASSERT_STRING_EQUAL(vmft_state_name((core)->state), vmft_state_name(VMFT_STATE_##name))

int vmft_suite_core(void);

static struct vmft_actions step(struct vmft_core *core, struct vmft_event_in event)
{
	struct vmft_actions actions;

	memset(&actions, 0xa5, sizeof(actions)); /* every field must be filled anew */
	vmft_core_step(core, &event, &actions);
	CU_ASSERT_EQUAL(actions.set >> VMFT_DO_COUNT, 0);
	return actions;
}

static struct vmft_core forming(enum vmft_side side)
{
	struct vmft_core core;

	memset(&core, 0xa5, sizeof(core));
	vmft_core_init(&core, side, 7);
	return core;
}

static struct vmft_core protected_at(enum vmft_side side, uint64_t position)
{
	struct vmft_core core = forming(side);

	STEP(&core, VMFT_IN_PEER_READY);
	if (side == VMFT_SIDE_PRIMARY)
		STEP(&core, VMFT_IN_ACK, .position = position, .sent = position, .formed = true);
	else
		STEP(&core, VMFT_IN_LOG_HELD, .position = position);
	return core;
}

/* A primary that was started alone, or a fresh backup, and its new peer. */
static struct vmft_core attaching(enum vmft_side side)
{
	struct vmft_core core = forming(side);

	if (side == VMFT_SIDE_PRIMARY)
		STEP(&core, VMFT_IN_START_ALONE);
	STEP(&core, VMFT_IN_ATTACH);
	STATE_IS(&core, ATTACHING);
	return core;
}

static struct vmft_core attaching_from(enum vmft_side side, uint64_t position)
{
	struct vmft_core core = attaching(side);

	STEP(&core, VMFT_IN_ATTACH_POINT, .position = position);
	return core;
}

static struct vmft_core sealing(void)
{
	struct vmft_core core = attaching_from(VMFT_SIDE_PRIMARY, 100);

	STEP(&core, VMFT_IN_CAUGHT_UP);
	STATE_IS(&core, SEALING);
	return core;
}

static struct vmft_core arbitrating(enum vmft_side side)
{
	struct vmft_core core = protected_at(side, 100);

	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	if (side == VMFT_SIDE_BACKUP)
		STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	STATE_IS(&core, ARBITRATING);
	return core;
}

static struct vmft_core handing_over(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_PRIMARY, 100);

	STEP(&core, VMFT_IN_HAND_OVER);
	STATE_IS(&core, HANDING_OVER);
	return core;
}

static struct vmft_core handed_over(void)
{
	struct vmft_core core = handing_over();

	STEP(&core, VMFT_IN_ALL_HANDED, .position = 100);
	STATE_IS(&core, HANDED_OVER);
	return core;
}

/* Brings a side into a state by real events; false where it can never be. */
static bool reach(enum vmft_side side, enum vmft_state state, struct vmft_core *ret)
{
	bool primary = side == VMFT_SIDE_PRIMARY;

	*ret = forming(side);
	if (state == VMFT_STATE_FORMING)
		return true;
	if (state == VMFT_STATE_ATTACHING || state == VMFT_STATE_SEALING)
		*ret = attaching(side);
	else
		*ret = state <= VMFT_STATE_ENDING ? protected_at(side, 100) : arbitrating(side);
	switch (state) {
	case VMFT_STATE_SEALING:
		if (primary)
			*ret = sealing();
		break;
	case VMFT_STATE_LAGGING:
		if (primary)
			STEP(ret, VMFT_IN_LAGS);
		break;
	case VMFT_STATE_SHIPPING:
		if (primary)
			STEP(ret, VMFT_IN_GUEST_DIED);
		break;
	case VMFT_STATE_HANDING_OVER:
		if (primary)
			*ret = handing_over();
		break;
	case VMFT_STATE_HANDED_OVER:
		if (primary)
			*ret = handed_over();
		break;
	case VMFT_STATE_DRAINING:
		STEP(ret, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
		break;
	case VMFT_STATE_ENDING:
		STEP(ret, VMFT_IN_PEER_ENDED);
		break;
	case VMFT_STATE_WAITING_ARBITER:
		STEP(ret, VMFT_IN_CLAIM_UNREACHABLE);
		break;
	case VMFT_STATE_GOING_LIVE:
		STEP(ret, VMFT_IN_CLAIM_WON);
		break;
	case VMFT_STATE_ALONE:
		STEP(ret, VMFT_IN_CLAIM_WON);
		if (!primary)
			STEP(ret, VMFT_IN_LIVE);
		break;
	case VMFT_STATE_FENCED:
		STEP(ret, VMFT_IN_CLAIM_LOST);
		break;
	case VMFT_STATE_DIVERGED:
		if (!primary)
			STEP(ret, VMFT_IN_DIVERGED);
		break;
	case VMFT_STATE_ENDED:
		STEP(ret, VMFT_IN_GUEST_DIED);
		break;
	default:
		break;
	}
	return ret->side == side && ret->state == state;
}

/* Whether the step aborts. In a child, without a core file and with its last words kept quiet. */
static bool aborts(struct vmft_core core, struct vmft_event_in event)
{
	struct vmft_actions actions;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		signal(SIGABRT, SIG_DFL);
		if (null >= 0)
			dup2(null, STDERR_FILENO);
		vmft_core_step(&core, &event, &actions);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		CU_FAIL("fork");
		return false;
	}
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void check_pair(const struct vmft_core *at, enum vmft_in kind)
{
	struct vmft_event_in event = EVENT(kind, .why = VMFT_WHY_SILENCE, .position = at->held);
	struct vmft_core core = *at;
	struct vmft_actions actions;
	uint32_t next;

	if (kind == VMFT_IN_ACK || kind == VMFT_IN_ALL_HANDED)
		event.position = event.sent = at->acked;
	if (at->state == VMFT_STATE_ATTACHING &&
	    (kind == VMFT_IN_CAUGHT_UP || kind == VMFT_IN_LOG_HELD))
		core.pointed = true; /* without it they abort, see below */
	switch (vmft_core_rule(at->side, at->state, kind, &next)) {
	case VMFT_RULE_FORBIDDEN:
		CU_ASSERT_EQUAL(next, 0);
		if (!aborts(*at, event))
			fprintf(stderr, "%s %s %s does not abort\n", vmft_side_name(at->side),
				vmft_state_name(at->state), vmft_in_name(kind));
		CU_ASSERT(aborts(*at, event));
		break;
	case VMFT_RULE_IGNORED:
		event.position = event.sent = 12345;
		actions = step(&core, event);
		CU_ASSERT_EQUAL(memcmp(&core, at, sizeof(core)), 0);
		CU_ASSERT_EQUAL(actions.set, 0);
		break;
	case VMFT_RULE_HANDLED:
		step(&core, event);
		CU_ASSERT((next & (1U << core.state)) != 0);
		break;
	}
}

static void every_pair_of_state_and_event(void)
{
	unsigned reachable = 0;

	for (int side = 0; side < VMFT_SIDE_COUNT; side++) {
		for (int state = 0; state < VMFT_STATE_COUNT; state++) {
			struct vmft_core core;

			if (!reach((enum vmft_side)side, (enum vmft_state)state, &core)) {
				for (int in = 0; in < VMFT_IN_COUNT; in++)
					CU_ASSERT_EQUAL(vmft_core_rule((enum vmft_side)side,
								       (enum vmft_state)state,
								       (enum vmft_in)in, NULL),
							VMFT_RULE_FORBIDDEN);
				continue;
			}
			reachable++;
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				check_pair(&core, (enum vmft_in)in);
		}
	}
	CU_ASSERT_EQUAL(reachable, 24); /* 13 of the primary, 11 of the backup */
}

static void final_states_do_nothing(void)
{
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int in = 0; in < VMFT_IN_COUNT; in++)
			for (int state = VMFT_STATE_FENCED; state <= VMFT_STATE_ENDED; state++)
				CU_ASSERT(vmft_core_rule((enum vmft_side)side,
							 (enum vmft_state)state, (enum vmft_in)in,
							 NULL) != VMFT_RULE_HANDLED);
}

static void pair_forms(void)
{
	struct vmft_core core = forming(VMFT_SIDE_PRIMARY);
	struct vmft_actions a;

	CU_ASSERT(vmft_core_wants_peer(&core));
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	STATE_IS(&core, FORMING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER);
	a = STEP(&core, VMFT_IN_PEER_READY);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_RUN_GUEST);
	CU_ASSERT_EQUAL(core.why, VMFT_WHY_NONE);
	CU_ASSERT_EQUAL(core.lost, VMFT_WHY_NONE);
	CU_ASSERT(!vmft_core_wants_peer(&core));
}

static void acks_release_output(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_PRIMARY, 100);
	struct vmft_actions a =
	    STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200, .formed = true);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_SET_RELEASE);
	CU_ASSERT_EQUAL(a.release, 150);
	CU_ASSERT_EQUAL(core.released, 150);
	a = STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200, .formed = true);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_ACK, .position = 200, .sent = 200, .formed = true);
	CU_ASSERT_EQUAL(a.release, 200);
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_ACK, .position = 200, .sent = 199)));
}

/* The same position releases what it covers as soon as it comes from a backup of the pair. */
static void unformed_acks_release_nothing(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_PRIMARY, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200);

	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, 0);
	CU_ASSERT_EQUAL(core.acked, 150);
	CU_ASSERT_EQUAL(core.released, 100);
	a = STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200, .formed = true);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SET_RELEASE);
	CU_ASSERT_EQUAL(a.release, 150);
	a = STEP(&core, VMFT_IN_ACK, .position = 149, .sent = 200);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
}

static void lying_acks_cost_the_peer(void)
{
	static const uint64_t lies[] = {99, 201, UINT64_MAX};

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct vmft_core core = protected_at(VMFT_SIDE_PRIMARY, 100);
		struct vmft_actions a = STEP(&core, VMFT_IN_ACK, .position = lies[i], .sent = 200);

		STATE_IS(&core, ARBITRATING);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
		CU_ASSERT_EQUAL(core.acked, 100);
		CU_ASSERT_EQUAL(core.lost, VMFT_WHY_PEER_FAULT);
		core = protected_at(VMFT_SIDE_PRIMARY, 100);
		STEP(&core, VMFT_IN_GUEST_DIED);
		a = STEP(&core, VMFT_IN_ACK, .position = lies[i], .sent = 200);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	}
}

static void primary_goes_on_alone(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_PRIMARY, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);

	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
	CU_ASSERT_EQUAL(a.generation, 8);
	CU_ASSERT_EQUAL(core.generation, 7);
	a = STEP(&core, VMFT_IN_ACK, .position = 120, .sent = 120);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_CLAIM_WON);
	STATE_IS(&core, ALONE);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_OPEN_GATE);
	CU_ASSERT_EQUAL(core.generation, 8);
	CU_ASSERT_EQUAL(core.why, VMFT_WHY_SILENCE);
	a = STEP(&core, VMFT_IN_GUEST_ENDED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.stop, VMFT_WHY_GUEST_ENDED);
}

static void backup_drains_claims_and_goes_live(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_BACKUP, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_LOG_HELD, .position = 200);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_ACK);
	CU_ASSERT_EQUAL(a.ack, 200);
	STEP(&core, VMFT_IN_REPLAYED, .position = 150);
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	STATE_IS(&core, DRAINING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER);
	a = STEP(&core, VMFT_IN_LOG_HELD, .position = 300);
	CU_ASSERT_EQUAL(a.set, 0);
	CU_ASSERT_EQUAL(core.held, 200);
	a = STEP(&core, VMFT_IN_REPLAYED, .position = 199);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_REPLAYED, .position = 200);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLAIM);
	CU_ASSERT_EQUAL(a.generation, 8);
	a = STEP(&core, VMFT_IN_CLAIM_WON);
	STATE_IS(&core, GOING_LIVE);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_GO_LIVE | VMFT_DO_OPEN_GATE);
	CU_ASSERT_EQUAL(a.live_at, 200);
	a = STEP(&core, VMFT_IN_LIVE);
	STATE_IS(&core, ALONE);
	CU_ASSERT_EQUAL(a.set, 0);
	CU_ASSERT_EQUAL(core.generation, 8);
	CU_ASSERT_EQUAL(core.side, VMFT_SIDE_PRIMARY);
	CU_ASSERT(vmft_core_wants_peer(&core));
}

static void drained_backup_claims_at_once(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_BACKUP, 100);
	struct vmft_actions a;

	STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_PEER_GUEST_DIED);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
}

static void loser_is_fenced(void)
{
	for (int side = 0; side < VMFT_SIDE_COUNT; side++) {
		struct vmft_core core = arbitrating((enum vmft_side)side);
		struct vmft_actions a = STEP(&core, VMFT_IN_CLAIM_LOST);

		STATE_IS(&core, FENCED);
		CU_ASSERT(vmft_core_is_final(&core));
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FENCE_GUEST | VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.stop, VMFT_WHY_CLAIM_LOST);
		CU_ASSERT_EQUAL(core.generation, 7);
	}
}

static void unreachable_arbiter_is_asked_again(void)
{
	for (int side = 0; side < VMFT_SIDE_COUNT; side++) {
		struct vmft_core core = arbitrating((enum vmft_side)side);

		for (int i = 0; i < 3; i++) {
			struct vmft_actions a = STEP(&core, VMFT_IN_CLAIM_UNREACHABLE);

			STATE_IS(&core, WAITING_ARBITER);
			CU_ASSERT_EQUAL(a.set, VMFT_DO_START_RETRY_TIMER);
			CU_ASSERT_EQUAL(core.why, VMFT_WHY_ARBITER_UNREACHABLE);
			a = STEP(&core, VMFT_IN_RETRY_TIMER);
			STATE_IS(&core, ARBITRATING);
			CU_ASSERT_EQUAL(a.set, VMFT_DO_CLAIM);
			CU_ASSERT_EQUAL(a.generation, 8);
		}
		STEP(&core, VMFT_IN_CLAIM_WON);
		CU_ASSERT_EQUAL(core.why, VMFT_WHY_CONNECTION);
	}
}

static void dead_primary_ships_and_says_bye(void)
{
	static const struct {
		enum vmft_in end;
		enum vmft_why why;
	} ends[] = {{VMFT_IN_GUEST_DIED, VMFT_WHY_GUEST_DIED},
		    {VMFT_IN_GUEST_ENDED, VMFT_WHY_GUEST_ENDED}};

	for (int i = 0; i < 2; i++) {
		struct vmft_core core = protected_at(VMFT_SIDE_PRIMARY, 100);
		struct vmft_actions a = STEP(&core, ends[i].end);

		STATE_IS(&core, SHIPPING);
		CU_ASSERT_EQUAL(a.set, 0);
		a = STEP(&core, VMFT_IN_ACK, .position = 110, .sent = 120);
		CU_ASSERT_EQUAL(a.set, 0);
		a = STEP(&core, VMFT_IN_LOG_SHIPPED);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.bye, ends[i].why);
		CU_ASSERT_EQUAL(a.stop, ends[i].why);

		core = protected_at(VMFT_SIDE_PRIMARY, 100);
		STEP(&core, ends[i].end);
		a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.stop, ends[i].why);
	}
}

static void dead_guest_never_claims(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_BACKUP, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_GUEST_DIED);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	CU_ASSERT_EQUAL(a.set, 0);

	core = protected_at(VMFT_SIDE_BACKUP, 100);
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	STEP(&core, VMFT_IN_GUEST_DIED);
	a = STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	CU_ASSERT_EQUAL(a.set, 0);

	for (int side = 0; side < VMFT_SIDE_COUNT; side++) {
		core = arbitrating((enum vmft_side)side);
		a = STEP(&core, VMFT_IN_GUEST_DIED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_STOP);
		a = STEP(&core, VMFT_IN_CLAIM_WON);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, 0);
		CU_ASSERT_EQUAL(core.generation, 7);
	}
}

static void orderly_end_is_replayed_to_the_end(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_BACKUP, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_PEER_ENDED);

	STATE_IS(&core, ENDING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER);
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	STATE_IS(&core, ENDING);
	a = STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	STATE_IS(&core, ENDED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.stop, VMFT_WHY_GUEST_ENDED);

	core = protected_at(VMFT_SIDE_PRIMARY, 100);
	a = STEP(&core, VMFT_IN_PEER_ENDED);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(core.lost, VMFT_WHY_PEER_GUEST_ENDED);
}

static void lag_changes_nothing_but_the_state(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_PRIMARY, 100);
	struct vmft_actions actions = STEP(&core, VMFT_IN_LAGS);

	STATE_IS(&core, LAGGING);
	CU_ASSERT(vmft_core_is_paired(&core));
	CU_ASSERT_EQUAL(actions.set, 0);
	actions = STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200, .formed = true);
	STATE_IS(&core, LAGGING);
	CU_ASSERT_EQUAL(actions.set, VMFT_DO_SET_RELEASE);
	CU_ASSERT_EQUAL(actions.release, 150);
	actions = STEP(&core, VMFT_IN_KEEPS_UP);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(actions.set, 0);
	/* One that never does is given up, and the arbiter asked, as for any other loss. */
	STEP(&core, VMFT_IN_LAGS);
	actions = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_LAGGED);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(actions.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
	STEP(&core, VMFT_IN_CLAIM_WON);
	CU_ASSERT_EQUAL(core.why, VMFT_WHY_LAGGED);
}

static void primary_hands_over(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_PRIMARY, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_HAND_OVER);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_FREEZE_GUEST);
	CU_ASSERT(vmft_core_is_paired(&core));
	CU_ASSERT(!vmft_core_may_hand_over(&core));
	a = STEP(&core, VMFT_IN_ACK, .position = 120, .sent = 120, .formed = true);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SET_RELEASE);
	a = STEP(&core, VMFT_IN_ALL_HANDED, .position = 120);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_HANDED_OVER);
	STATE_IS(&core, HANDED_OVER);
	CU_ASSERT(!vmft_core_is_paired(&core));
	a = STEP(&core, VMFT_IN_ACK, .position = 120, .sent = 120, .formed = true);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_PEER_TOOK_OVER);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.stop, VMFT_WHY_HANDED_OVER);
	STATE_IS(&core, ENDED);
}

/* Before the goodbye it is a pair as any; after it, only who wins goes on. */
static void hand_over_that_fails(void)
{
	struct vmft_core core = handing_over();
	struct vmft_actions a = STEP(&core, VMFT_IN_HAND_BACK);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_THAW_GUEST);
	STATE_IS(&core, PROTECTED);

	core = handing_over();
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
	a = STEP(&core, VMFT_IN_CLAIM_WON);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_OPEN_GATE | VMFT_DO_THAW_GUEST);
	STATE_IS(&core, ALONE);

	core = handing_over();
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
	STEP(&core, VMFT_IN_CLAIM_LOST);
	STATE_IS(&core, FENCED);

	core = handed_over();
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
	a = STEP(&core, VMFT_IN_CLAIM_WON);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_OPEN_GATE | VMFT_DO_THAW_GUEST);
	CU_ASSERT_EQUAL(core.generation, 8);
	STATE_IS(&core, ALONE);

	/* The backup has it, which is what was wanted. */
	core = handed_over();
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	a = STEP(&core, VMFT_IN_CLAIM_LOST);
	CU_ASSERT_EQUAL(a.stop, VMFT_WHY_HANDED_OVER);
	STATE_IS(&core, ENDED);

	core = handing_over();
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_ALL_HANDED, .position = 99)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_ALL_HANDED, .position = 101)));
}

/* The connection stays until it is live, or will not be. */
static void backup_is_handed_a_guest(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_BACKUP, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_PEER_HANDS_OVER);

	CU_ASSERT_EQUAL(a.set, 0);
	STATE_IS(&core, DRAINING);
	a = STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLAIM);
	STEP(&core, VMFT_IN_CLAIM_WON);
	a = STEP(&core, VMFT_IN_LIVE);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_TOOK_OVER);
	STATE_IS(&core, ALONE);

	core = protected_at(VMFT_SIDE_BACKUP, 100);
	STEP(&core, VMFT_IN_PEER_HANDS_OVER);
	a = STEP(&core, VMFT_IN_GUEST_DIED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);

	core = protected_at(VMFT_SIDE_BACKUP, 100);
	STEP(&core, VMFT_IN_PEER_HANDS_OVER);
	a = STEP(&core, VMFT_IN_DIVERGED);
	CU_ASSERT((a.set & VMFT_DO_SEND_BYE) != 0);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_DIVERGED);
}

/* Where no guest lives; anywhere else it is the guest that is ended. */
static void side_is_told_to_stop(void)
{
	struct vmft_core core = forming(VMFT_SIDE_PRIMARY);
	struct vmft_actions a = STEP(&core, VMFT_IN_STOPPED);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.stop, VMFT_WHY_STOPPED);
	STATE_IS(&core, ENDED);

	core = protected_at(VMFT_SIDE_BACKUP, 100);
	a = STEP(&core, VMFT_IN_STOPPED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_STOPPED);
	STATE_IS(&core, ENDED);

	core = attaching(VMFT_SIDE_BACKUP);
	a = STEP(&core, VMFT_IN_STOPPED);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_STOPPED);
	STATE_IS(&core, ENDED);

	core = protected_at(VMFT_SIDE_PRIMARY, 100);
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_PEER_STOPPED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
}

static void diverged_backup_never_goes_live(void)
{
	static const enum vmft_state states[] = {
	    VMFT_STATE_ATTACHING,   VMFT_STATE_PROTECTED,	VMFT_STATE_DRAINING,
	    VMFT_STATE_ARBITRATING, VMFT_STATE_WAITING_ARBITER, VMFT_STATE_GOING_LIVE,
	};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		struct vmft_actions actions;
		struct vmft_core core;
		bool peer;

		CU_ASSERT_FATAL(reach(VMFT_SIDE_BACKUP, states[i], &core));
		peer = core.lost == VMFT_WHY_NONE;
		actions = STEP(&core, VMFT_IN_DIVERGED);
		STATE_IS(&core, DIVERGED);
		CU_ASSERT(vmft_core_is_final(&core));
		CU_ASSERT(actions.set & VMFT_DO_FENCE_GUEST);
		CU_ASSERT(actions.set & VMFT_DO_STOP);
		CU_ASSERT_EQUAL(actions.stop, VMFT_WHY_DIVERGED);
		CU_ASSERT_EQUAL(!!(actions.set & VMFT_DO_SEND_BYE), peer);
		CU_ASSERT_EQUAL(!!(actions.set & VMFT_DO_CLOSE_PEER), peer);
		actions = STEP(&core, VMFT_IN_CLAIM_WON);
		CU_ASSERT_EQUAL(actions.set, 0);
		STATE_IS(&core, DIVERGED);
	}
}

static void faulty_agent_is_fenced(void)
{
	static const struct vmft_event_in faults[] = {
	    {.kind = VMFT_IN_REPLAYED, .position = 101},
	    {.kind = VMFT_IN_REPLAYED, .position = 49},
	    {.kind = VMFT_IN_LIVE},
	};

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct vmft_core core = protected_at(VMFT_SIDE_BACKUP, 100);
		struct vmft_actions a;

		STEP(&core, VMFT_IN_REPLAYED, .position = 50);
		a = step(&core, faults[i]);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FENCE_GUEST | VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER |
					   VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);
		CU_ASSERT_EQUAL(a.stop, VMFT_WHY_AGENT_FAULT);

		core = protected_at(VMFT_SIDE_BACKUP, 100);
		STEP(&core, VMFT_IN_REPLAYED, .position = 50);
		STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
		a = step(&core, faults[i]);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FENCE_GUEST | VMFT_DO_STOP);
	}
}

static void guest_starts_alone(void)
{
	struct vmft_core core = forming(VMFT_SIDE_PRIMARY);
	struct vmft_actions a = STEP(&core, VMFT_IN_START_ALONE);

	STATE_IS(&core, ALONE);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_RUN_GUEST | VMFT_DO_OPEN_GATE);
	CU_ASSERT_EQUAL(core.generation, 7);
	CU_ASSERT(vmft_core_wants_peer(&core));
	a = STEP(&core, VMFT_IN_ATTACH);
	STATE_IS(&core, ATTACHING);
	CU_ASSERT_EQUAL(a.set, 0);
	CU_ASSERT(!vmft_core_wants_peer(&core));
	CU_ASSERT(aborts(forming(VMFT_SIDE_BACKUP), EVENT(VMFT_IN_START_ALONE)));
}

static void primary_attaches_a_backup(void)
{
	struct vmft_core core = attaching(VMFT_SIDE_PRIMARY);
	struct vmft_actions a = STEP(&core, VMFT_IN_ATTACH_POINT, .position = 100);

	STATE_IS(&core, ATTACHING);
	CU_ASSERT_EQUAL(a.set, 0);
	CU_ASSERT_EQUAL(core.acked, 100);
	CU_ASSERT_EQUAL(core.released, 0);
	a = STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_CAUGHT_UP);
	STATE_IS(&core, SEALING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_GATE);
	a = STEP(&core, VMFT_IN_ACK, .position = 190, .sent = 250);
	STATE_IS(&core, SEALING);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_GATE_CLOSED, .position = 200);
	STATE_IS(&core, SEALING);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_ACK, .position = 199, .sent = 250);
	STATE_IS(&core, SEALING);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_ACK, .position = 200, .sent = 250);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_FORM_PAIR);
	CU_ASSERT_EQUAL(core.why, VMFT_WHY_NONE);
	a = STEP(&core, VMFT_IN_ACK, .position = 250, .sent = 250);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_ACK, .position = 250, .sent = 250, .formed = true);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SET_RELEASE);
	CU_ASSERT_EQUAL(a.release, 250);
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
	CU_ASSERT_EQUAL(a.generation, 8);
}

/* Nothing was seen outside that the backup has not acked before the gate was closed. */
static void sealed_at_once(void)
{
	struct vmft_core core = sealing();
	struct vmft_actions a;

	STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200);
	a = STEP(&core, VMFT_IN_GATE_CLOSED, .position = 150);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_FORM_PAIR);

	core = sealing(); /* nor at all since the state was taken */
	a = STEP(&core, VMFT_IN_GATE_CLOSED, .position = 0);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_FORM_PAIR);
}

/* In every stage of an attach: unpointed, pointed, sealing, sealed. */
static struct vmft_core attach_stage(int stage)
{
	struct vmft_core core = stage == 0   ? attaching(VMFT_SIDE_PRIMARY)
				: stage == 1 ? attaching_from(VMFT_SIDE_PRIMARY, 100)
					     : sealing();

	if (stage == 3)
		STEP(&core, VMFT_IN_GATE_CLOSED, .position = 200);
	return core;
}

static void failed_attach_asks_nobody(void)
{
	for (int stage = 0; stage < 4; stage++) {
		struct vmft_core core = attach_stage(stage);
		struct vmft_actions a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);

		STATE_IS(&core, ALONE);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_OPEN_GATE);
		CU_ASSERT_EQUAL(core.generation, 7);
		CU_ASSERT_EQUAL(core.lost, VMFT_WHY_SILENCE);
		CU_ASSERT_EQUAL(core.why, VMFT_WHY_SILENCE);
		CU_ASSERT(vmft_core_wants_peer(&core));
		core = attach_stage(stage);
		a = STEP(&core, VMFT_IN_PEER_ENDED);
		STATE_IS(&core, ALONE);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_OPEN_GATE);
		CU_ASSERT_EQUAL(core.lost, VMFT_WHY_PEER_GUEST_ENDED);
	}
}

/* Nothing is left of the pair before, nor of an attach: not its point, its seal, its acks. */
static void attach_begins_anew(void)
{
	struct vmft_core core = arbitrating(VMFT_SIDE_PRIMARY);
	struct vmft_actions a;

	STEP(&core, VMFT_IN_CLAIM_WON);
	STEP(&core, VMFT_IN_ATTACH);
	STEP(&core, VMFT_IN_ATTACH_POINT, .position = 500);
	CU_ASSERT_EQUAL(core.acked, 500);
	CU_ASSERT_EQUAL(core.released, 0);
	STEP(&core, VMFT_IN_CAUGHT_UP);
	STEP(&core, VMFT_IN_GATE_CLOSED, .position = 600);
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	STEP(&core, VMFT_IN_ATTACH);
	CU_ASSERT_EQUAL(core.lost, VMFT_WHY_NONE);
	CU_ASSERT_EQUAL(core.why, VMFT_WHY_NONE);
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_CAUGHT_UP)));
	STEP(&core, VMFT_IN_ATTACH_POINT, .position = 1000);
	CU_ASSERT_EQUAL(core.acked, 1000);
	STEP(&core, VMFT_IN_CAUGHT_UP);
	STEP(&core, VMFT_IN_ACK, .position = 1100, .sent = 1200);
	STATE_IS(&core, SEALING);
	a = STEP(&core, VMFT_IN_GATE_CLOSED, .position = 1100);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_FORM_PAIR);
}

static void lying_acks_end_an_attach(void)
{
	static const struct {
		int stage;
		uint64_t position;
	} lies[] = {
	    {0, 0}, /* there was no log yet */
	    {0, 1}, {1, 99}, {1, 201}, {2, 99}, {2, 201}, {3, 99}, {3, UINT64_MAX},
	};

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct vmft_core core = attach_stage(lies[i].stage);
		uint64_t acked = core.acked;
		struct vmft_actions a = STEP(&core, VMFT_IN_ACK, .position = lies[i].position,
					     .sent = 200, .formed = true);

		STATE_IS(&core, ALONE);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_OPEN_GATE);
		CU_ASSERT_EQUAL(core.lost, VMFT_WHY_PEER_FAULT);
		CU_ASSERT_EQUAL(core.acked, acked);
	}
	CU_ASSERT(aborts(attach_stage(1), EVENT(VMFT_IN_ACK, .position = 100, .sent = 99)));
}

static void attaching_primary_says_bye(void)
{
	for (int stage = 0; stage < 4; stage++) {
		struct vmft_core core = attach_stage(stage);
		struct vmft_actions a = STEP(&core, VMFT_IN_GUEST_DIED);

		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);
		core = attach_stage(stage);
		a = STEP(&core, VMFT_IN_GUEST_ENDED);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_ENDED);
		CU_ASSERT_EQUAL(a.stop, VMFT_WHY_GUEST_ENDED);
	}
}

static void backup_is_attached(void)
{
	struct vmft_core core = attaching(VMFT_SIDE_BACKUP);
	struct vmft_actions a = STEP(&core, VMFT_IN_ATTACH_POINT, .position = 100);

	STATE_IS(&core, ATTACHING);
	CU_ASSERT_EQUAL(a.set, 0);
	CU_ASSERT_EQUAL(core.held, 100);
	CU_ASSERT_EQUAL(core.replayed, 100);
	a = STEP(&core, VMFT_IN_LOG_HELD, .position = 100);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_LOG_HELD, .position = 200);
	STATE_IS(&core, ATTACHING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_ACK);
	CU_ASSERT_EQUAL(a.ack, 200);
	a = STEP(&core, VMFT_IN_REPLAYED, .position = 150);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_PEER_READY);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, 0);
	STEP(&core, VMFT_IN_REPLAYED, .position = 200);
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
	CU_ASSERT_EQUAL(a.generation, 8);
}

/* Whatever it holds: without the primary's word that there is a pair it never claims. */
static void unformed_backup_never_claims(void)
{
	static const struct vmft_event_in losses[] = {
	    {.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION},
	    {.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_PEER_GUEST_DIED},
	    {.kind = VMFT_IN_PEER_ENDED},
	};

	for (unsigned i = 0; i < sizeof(losses) / sizeof(losses[0]); i++) {
		struct vmft_core core = attaching(VMFT_SIDE_BACKUP);
		struct vmft_actions a = step(&core, losses[i]);

		STATE_IS(&core, FORMING);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER);
		CU_ASSERT(vmft_core_wants_peer(&core));
		STEP(&core, VMFT_IN_ATTACH);
		STATE_IS(&core, ATTACHING);

		core = attaching_from(VMFT_SIDE_BACKUP, 100);
		STEP(&core, VMFT_IN_LOG_HELD, .position = 200);
		STEP(&core, VMFT_IN_REPLAYED, .position = 200);
		a = step(&core, losses[i]);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FENCE_GUEST | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.stop, VMFT_WHY_ATTACH_FAILED);
		CU_ASSERT_EQUAL(core.why, VMFT_WHY_ATTACH_FAILED);
	}
}

static void pair_without_a_state_is_none(void)
{
	struct vmft_core core = attaching(VMFT_SIDE_BACKUP);
	struct vmft_actions a = STEP(&core, VMFT_IN_PEER_READY);

	STATE_IS(&core, FORMING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER);
	CU_ASSERT_EQUAL(core.why, VMFT_WHY_PEER_FAULT);
}

static void attaching_backup_says_bye(void)
{
	struct vmft_core core = attaching(VMFT_SIDE_BACKUP);
	struct vmft_actions a = STEP(&core, VMFT_IN_GUEST_DIED);

	STATE_IS(&core, ENDED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);
	core = attaching_from(VMFT_SIDE_BACKUP, 100);
	a = STEP(&core, VMFT_IN_GUEST_ENDED);
	STATE_IS(&core, ENDED);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_ENDED);
}

static void faulty_agent_ends_an_attach(void)
{
	static const struct vmft_event_in faults[] = {
	    {.kind = VMFT_IN_REPLAYED, .position = 201},
	    {.kind = VMFT_IN_REPLAYED, .position = 99},
	    {.kind = VMFT_IN_LIVE},
	};

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		struct vmft_core core = attaching_from(VMFT_SIDE_BACKUP, 100);
		struct vmft_actions a;

		STEP(&core, VMFT_IN_LOG_HELD, .position = 200);
		a = step(&core, faults[i]);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FENCE_GUEST | VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER |
					   VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);
		CU_ASSERT_EQUAL(a.stop, VMFT_WHY_AGENT_FAULT);
	}
}

/* A to B to A: each generation's winner takes in the next backup. */
static void generations_make_a_chain(void)
{
	struct vmft_core live = arbitrating(VMFT_SIDE_BACKUP);

	STEP(&live, VMFT_IN_CLAIM_WON);
	STEP(&live, VMFT_IN_LIVE);
	for (uint64_t generation = 8; generation < 11; generation++) {
		uint64_t at = 1000 * generation;
		struct vmft_core next;
		struct vmft_actions a;

		CU_ASSERT_EQUAL(live.generation, generation);
		vmft_core_init(&next, VMFT_SIDE_BACKUP, generation);
		STEP(&live, VMFT_IN_ATTACH);
		STEP(&next, VMFT_IN_ATTACH);
		STEP(&live, VMFT_IN_ATTACH_POINT, .position = at);
		STEP(&next, VMFT_IN_ATTACH_POINT, .position = at);
		STEP(&live, VMFT_IN_CAUGHT_UP);
		a = STEP(&live, VMFT_IN_GATE_CLOSED, .position = at);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FORM_PAIR);
		STEP(&next, VMFT_IN_PEER_READY);
		a = STEP(&next, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
		CU_ASSERT_EQUAL(a.generation, generation + 1);
		a = STEP(&next, VMFT_IN_CLAIM_WON);
		CU_ASSERT_EQUAL(a.live_at, at);
		STEP(&next, VMFT_IN_LIVE);
		STATE_IS(&next, ALONE);
		live = next;
	}
}

static void mistakes_of_the_caller_abort(void)
{
	struct vmft_core core = protected_at(VMFT_SIDE_BACKUP, 100);

	CU_ASSERT(aborts(core, EVENT(VMFT_IN_LOG_HELD, .position = 99)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_PEER_LOST, .why = VMFT_WHY_NONE)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_PEER_LOST, .why = VMFT_WHY_GUEST_DIED)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_COUNT)));
	core.state = VMFT_STATE_COUNT;
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_PEER_ENDED)));
	core = arbitrating(VMFT_SIDE_BACKUP);
	core.held = 101;
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_CLAIM_WON)));
}

static void mistakes_in_an_attach_abort(void)
{
	struct vmft_core core = attaching(VMFT_SIDE_PRIMARY);

	CU_ASSERT(aborts(core, EVENT(VMFT_IN_CAUGHT_UP)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_ATTACH)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_PEER_READY)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_GATE_CLOSED)));
	core = attaching_from(VMFT_SIDE_PRIMARY, 100);
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_ATTACH_POINT, .position = 100)));
	core = sealing();
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_CAUGHT_UP)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_ATTACH_POINT, .position = 100)));
	STEP(&core, VMFT_IN_GATE_CLOSED, .position = 200);
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_GATE_CLOSED, .position = 200)));
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_GATE_CLOSED, .position = 200)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_CLAIM_WON)));
	core = attaching(VMFT_SIDE_BACKUP);
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_LOG_HELD, .position = 0)));
	core = attaching_from(VMFT_SIDE_BACKUP, 100);
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_ATTACH_POINT, .position = 100)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_LOG_HELD, .position = 99)));
	CU_ASSERT(aborts(core, EVENT(VMFT_IN_CLAIM_WON)));
}

static void everything_has_a_name(void)
{
	for (int i = 0; i < VMFT_STATE_COUNT; i++)
		CU_ASSERT_STRING_NOT_EQUAL(vmft_state_name((enum vmft_state)i), "?");
	for (int i = 0; i < VMFT_IN_COUNT; i++)
		CU_ASSERT_STRING_NOT_EQUAL(vmft_in_name((enum vmft_in)i), "?");
	for (int i = 0; i < VMFT_DO_COUNT; i++)
		CU_ASSERT_STRING_NOT_EQUAL(vmft_do_name((enum vmft_do)(1U << i)), "?");
	for (int i = 0; i < VMFT_WHY_COUNT; i++)
		CU_ASSERT_STRING_NOT_EQUAL(vmft_why_text((enum vmft_why)i), "?");
	CU_ASSERT_STRING_EQUAL(vmft_state_name(VMFT_STATE_COUNT), "?");
}

/* The diagram of docs/failover.md: [side][from][to][event], changes of state only. */
typedef bool diagram[VMFT_SIDE_COUNT][VMFT_STATE_COUNT][VMFT_STATE_COUNT][VMFT_IN_COUNT];

static int find_name(const char *word, int count, const char *(*name)(int))
{
	for (int i = 0; i < count; i++)
		if (!strcmp(word, name(i)))
			return i;
	return -1;
}

static const char *side_name(int i)
{
	return vmft_side_name((enum vmft_side)i);
}

static const char *state_name(int i)
{
	return vmft_state_name((enum vmft_state)i);
}

static const char *in_name(int i)
{
	return vmft_in_name((enum vmft_in)i);
}

static bool read_transition(char *line, diagram *ret)
{
	char *save = NULL;
	char *word = strtok_r(line, " \n", &save);
	int side, from, to;

	if (!word)
		return true;
	side = find_name(word, VMFT_SIDE_COUNT, side_name);
	word = strtok_r(NULL, " \n", &save);
	from = word ? find_name(word, VMFT_STATE_COUNT, state_name) : -1;
	word = strtok_r(NULL, " \n", &save);
	if (!word || strcmp(word, "->"))
		return false;
	word = strtok_r(NULL, " \n", &save);
	to = word ? find_name(word, VMFT_STATE_COUNT, state_name) : -1;
	if (side < 0 || from < 0 || to < 0)
		return false;
	while ((word = strtok_r(NULL, " \n", &save))) {
		int in = find_name(word, VMFT_IN_COUNT, in_name);

		if (in < 0 || (*ret)[side][from][to][in])
			return false;
		(*ret)[side][from][to][in] = true;
	}
	return true;
}

static bool read_diagram(diagram *ret)
{
	FILE *file = fopen(VMFT_SOURCE_ROOT "/docs/failover.md", "re");
	char line[256];
	bool inside = false, seen = false, good = true;

	if (!file)
		return false;
	while (good && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "```", 3)) {
			inside = !strcmp(line, "```transitions\n");
			seen |= inside;
			continue;
		}
		if (inside)
			good = read_transition(line, ret);
	}
	fclose(file);
	return good && seen;
}

static void document_shows_the_table(void)
{
	static diagram drawn;

	memset(drawn, 0, sizeof(drawn));
	CU_ASSERT_FATAL(read_diagram(&drawn));
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int from = 0; from < VMFT_STATE_COUNT; from++)
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				for (int to = 0; to < VMFT_STATE_COUNT; to++) {
					uint32_t next;
					bool is;

					vmft_core_rule((enum vmft_side)side, (enum vmft_state)from,
						       (enum vmft_in)in, &next);
					is = to != from && next & (1U << to);
					if (is != drawn[side][from][to][in])
						fprintf(stderr,
							"docs/failover.md: %s %s -> %s %s\n",
							side_name(side), state_name(from),
							state_name(to), in_name(in));
					CU_ASSERT_EQUAL(is, drawn[side][from][to][in]);
				}
}

/* --- events that wait ------------------------------------------------------------ */

static void events_come_out_in_their_order(void)
{
	const struct vmft_core core = protected_at(VMFT_SIDE_BACKUP, 0);
	struct vmft_core_queue queue = {0};
	struct vmft_event_in next;

	for (uint64_t turn = 0; turn < 3; turn++) {
		for (uint64_t i = 0; i < VMFT_CORE_QUEUE_MAX - 1; i++)
			vmft_core_queue_put(
			    &queue, &core,
			    &(struct vmft_event_in){.kind = VMFT_IN_LOG_HELD, .position = i});
		for (uint64_t i = 0; i < VMFT_CORE_QUEUE_MAX - 1; i++)
			CU_ASSERT(vmft_core_queue_take(&queue, &core, &next) && next.position == i);
		CU_ASSERT_FALSE(vmft_core_queue_take(&queue, &core, &next));
	}
}

/* The guest dies at the attach point: the point that was reported as well is void. */
static void event_that_another_made_void_is_dropped(void)
{
	struct vmft_core core = attaching(VMFT_SIDE_BACKUP);
	struct vmft_core_queue queue = {0};
	struct vmft_actions actions;
	struct vmft_event_in next;

	vmft_core_queue_put(&queue, &core, &(struct vmft_event_in){.kind = VMFT_IN_GUEST_DIED});
	vmft_core_queue_put(&queue, &core, &(struct vmft_event_in){.kind = VMFT_IN_ATTACH_POINT});
	vmft_core_queue_put(
	    &queue, &core,
	    &(struct vmft_event_in){.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION});
	CU_ASSERT(vmft_core_queue_take(&queue, &core, &next));
	CU_ASSERT_EQUAL(next.kind, VMFT_IN_GUEST_DIED);
	vmft_core_step(&core, &next, &actions);
	CU_ASSERT_EQUAL(core.state, VMFT_STATE_ENDED);
	CU_ASSERT(vmft_core_queue_take(&queue, &core, &next));
	CU_ASSERT_EQUAL(next.kind, VMFT_IN_PEER_LOST);
	CU_ASSERT_FALSE(vmft_core_queue_take(&queue, &core, &next));
}

/* What was forbidden from the start still reaches the core, which aborts on it. */
static void mistake_of_the_caller_is_not_dropped(void)
{
	const struct vmft_core core = forming(VMFT_SIDE_BACKUP);
	struct vmft_core_queue queue = {0};
	struct vmft_event_in next;

	vmft_core_queue_put(&queue, &core, &(struct vmft_event_in){.kind = VMFT_IN_CLAIM_WON});
	CU_ASSERT(vmft_core_queue_take(&queue, &core, &next));
	CU_ASSERT_EQUAL(next.kind, VMFT_IN_CLAIM_WON);
	CU_ASSERT(aborts(core, next));
}

int vmft_suite_core(void)
{
	CU_TestInfo tests[] = {
	    {"every pair of state and event is defined", every_pair_of_state_and_event},
	    {"final states do nothing", final_states_do_nothing},
	    {"a pair forms", pair_forms},
	    {"acks release output", acks_release_output},
	    {"unformed acks release nothing", unformed_acks_release_nothing},
	    {"lying acks cost the peer", lying_acks_cost_the_peer},
	    {"the primary goes on alone", primary_goes_on_alone},
	    {"the backup drains, claims, goes live", backup_drains_claims_and_goes_live},
	    {"a drained backup claims at once", drained_backup_claims_at_once},
	    {"the loser is fenced", loser_is_fenced},
	    {"an unreachable arbiter is asked again", unreachable_arbiter_is_asked_again},
	    {"a dead primary ships its log", dead_primary_ships_and_says_bye},
	    {"a dead guest never claims", dead_guest_never_claims},
	    {"an orderly end is replayed", orderly_end_is_replayed_to_the_end},
	    {"lag changes nothing but the state", lag_changes_nothing_but_the_state},
	    {"a side is told to stop", side_is_told_to_stop},
	    {"a primary hands over", primary_hands_over},
	    {"a hand-over that fails", hand_over_that_fails},
	    {"a backup is handed a guest", backup_is_handed_a_guest},
	    {"a diverged backup never goes live", diverged_backup_never_goes_live},
	    {"a faulty agent is fenced", faulty_agent_is_fenced},
	    {"the guest starts alone", guest_starts_alone},
	    {"a primary attaches a backup", primary_attaches_a_backup},
	    {"a pair may be sealed at once", sealed_at_once},
	    {"a failed attach asks nobody", failed_attach_asks_nobody},
	    {"an attach begins anew", attach_begins_anew},
	    {"lying acks end an attach", lying_acks_end_an_attach},
	    {"an attaching primary says goodbye", attaching_primary_says_bye},
	    {"a backup is attached", backup_is_attached},
	    {"an unformed backup never claims", unformed_backup_never_claims},
	    {"a pair without a state is none", pair_without_a_state_is_none},
	    {"an attaching backup says goodbye", attaching_backup_says_bye},
	    {"a faulty agent ends an attach", faulty_agent_ends_an_attach},
	    {"generations make a chain", generations_make_a_chain},
	    {"mistakes of the caller abort", mistakes_of_the_caller_abort},
	    {"mistakes in an attach abort", mistakes_in_an_attach_abort},
	    {"events come out in their order", events_come_out_in_their_order},
	    {"an event that another made void is dropped", event_that_another_made_void_is_dropped},
	    {"a mistake of the caller is not dropped", mistake_of_the_caller_is_not_dropped},
	    {"everything has a name", everything_has_a_name},
	    {"the document shows the table", document_shows_the_table},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"core", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
