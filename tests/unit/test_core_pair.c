/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core of a pair: it forms, releases output, loses a side, hands over and ends. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>

#include "core_steps.h"
#include "monitor/core/core.h"
#include "suites.h"

static void pair_forms(void)
{
	struct vmft_core core = core_forming(VMFT_SIDE_PRIMARY);
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
	struct vmft_core core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
	struct vmft_actions a =
	    STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200, .formed = true);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_SET_RELEASE);
	CU_ASSERT_EQUAL(a.release, 150);
	CU_ASSERT_EQUAL(core.released, 150);
	a = STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200, .formed = true);
	CU_ASSERT_EQUAL(a.set, 0);
	a = STEP(&core, VMFT_IN_ACK, .position = 200, .sent = 200, .formed = true);
	CU_ASSERT_EQUAL(a.release, 200);
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_ACK, .position = 200, .sent = 199)));
}

/* The same position releases what it covers as soon as it comes from a backup of the pair. */
static void unformed_acks_release_nothing(void)
{
	struct vmft_core core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
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
		struct vmft_core core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
		struct vmft_actions a = STEP(&core, VMFT_IN_ACK, .position = lies[i], .sent = 200);

		STATE_IS(&core, ARBITRATING);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
		CU_ASSERT_EQUAL(core.acked, 100);
		CU_ASSERT_EQUAL(core.lost, VMFT_WHY_PEER_FAULT);
		core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
		STEP(&core, VMFT_IN_GUEST_DIED);
		a = STEP(&core, VMFT_IN_ACK, .position = lies[i], .sent = 200);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	}
}

static void primary_goes_on_alone(void)
{
	struct vmft_core core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
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
	struct vmft_core core = core_protected_at(VMFT_SIDE_BACKUP, 100);
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
	struct vmft_core core = core_protected_at(VMFT_SIDE_BACKUP, 100);
	struct vmft_actions a;

	STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_PEER_GUEST_DIED);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
}

static void loser_is_fenced(void)
{
	for (int side = 0; side < VMFT_SIDE_COUNT; side++) {
		struct vmft_core core = core_arbitrating((enum vmft_side)side);
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
		struct vmft_core core = core_arbitrating((enum vmft_side)side);

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
		struct vmft_core core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
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

		core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
		STEP(&core, ends[i].end);
		a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.stop, ends[i].why);
	}
}

static void dead_guest_never_claims(void)
{
	struct vmft_core core = core_protected_at(VMFT_SIDE_BACKUP, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_GUEST_DIED);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	CU_ASSERT_EQUAL(a.set, 0);

	core = core_protected_at(VMFT_SIDE_BACKUP, 100);
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	STEP(&core, VMFT_IN_GUEST_DIED);
	a = STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	CU_ASSERT_EQUAL(a.set, 0);

	for (int side = 0; side < VMFT_SIDE_COUNT; side++) {
		core = core_arbitrating((enum vmft_side)side);
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
	struct vmft_core core = core_protected_at(VMFT_SIDE_BACKUP, 100);
	struct vmft_actions a = STEP(&core, VMFT_IN_PEER_ENDED);

	STATE_IS(&core, ENDING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER);
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	STATE_IS(&core, ENDING);
	a = STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	STATE_IS(&core, ENDED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.stop, VMFT_WHY_GUEST_ENDED);

	core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
	a = STEP(&core, VMFT_IN_PEER_ENDED);
	STATE_IS(&core, ARBITRATING);
	CU_ASSERT_EQUAL(core.lost, VMFT_WHY_PEER_GUEST_ENDED);
}

static void lag_changes_nothing_but_the_state(void)
{
	struct vmft_core core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
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
	struct vmft_core core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
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

/* Before the goodbye the two are a pair as before. After it only the side that wins goes on. */
static void hand_over_that_fails(void)
{
	struct vmft_core core = core_handing_over();
	struct vmft_actions a = STEP(&core, VMFT_IN_HAND_BACK);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_THAW_GUEST);
	STATE_IS(&core, PROTECTED);

	core = core_handing_over();
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
	a = STEP(&core, VMFT_IN_CLAIM_WON);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_OPEN_GATE | VMFT_DO_THAW_GUEST);
	STATE_IS(&core, ALONE);

	core = core_handing_over();
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
	STEP(&core, VMFT_IN_CLAIM_LOST);
	STATE_IS(&core, FENCED);

	core = core_handed_over();
	a = STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_CLAIM);
	a = STEP(&core, VMFT_IN_CLAIM_WON);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_OPEN_GATE | VMFT_DO_THAW_GUEST);
	CU_ASSERT_EQUAL(core.generation, 8);
	STATE_IS(&core, ALONE);

	/* The backup has it, which is what was wanted. */
	core = core_handed_over();
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	a = STEP(&core, VMFT_IN_CLAIM_LOST);
	CU_ASSERT_EQUAL(a.stop, VMFT_WHY_HANDED_OVER);
	STATE_IS(&core, ENDED);

	core = core_handing_over();
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_ALL_HANDED, .position = 99)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_ALL_HANDED, .position = 101)));
}

/* The connection stays until it is live, or will not be. */
static void backup_is_handed_a_guest(void)
{
	struct vmft_core core = core_protected_at(VMFT_SIDE_BACKUP, 100);
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

	core = core_protected_at(VMFT_SIDE_BACKUP, 100);
	STEP(&core, VMFT_IN_PEER_HANDS_OVER);
	a = STEP(&core, VMFT_IN_GUEST_DIED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);

	core = core_protected_at(VMFT_SIDE_BACKUP, 100);
	STEP(&core, VMFT_IN_PEER_HANDS_OVER);
	a = STEP(&core, VMFT_IN_DIVERGED);
	CU_ASSERT((a.set & VMFT_DO_SEND_BYE) != 0);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_DIVERGED);
}

/* Where no guest lives; anywhere else it is the guest that is ended. */
static void side_is_told_to_stop(void)
{
	struct vmft_core core = core_forming(VMFT_SIDE_PRIMARY);
	struct vmft_actions a = STEP(&core, VMFT_IN_STOPPED);

	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.stop, VMFT_WHY_STOPPED);
	STATE_IS(&core, ENDED);

	core = core_protected_at(VMFT_SIDE_BACKUP, 100);
	a = STEP(&core, VMFT_IN_STOPPED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_STOPPED);
	STATE_IS(&core, ENDED);

	core = core_attaching(VMFT_SIDE_BACKUP);
	a = STEP(&core, VMFT_IN_STOPPED);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_STOPPED);
	STATE_IS(&core, ENDED);

	core = core_protected_at(VMFT_SIDE_PRIMARY, 100);
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

		CU_ASSERT_FATAL(core_reach(VMFT_SIDE_BACKUP, states[i], &core));
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
		struct vmft_core core = core_protected_at(VMFT_SIDE_BACKUP, 100);
		struct vmft_actions a;

		STEP(&core, VMFT_IN_REPLAYED, .position = 50);
		a = core_step(&core, faults[i]);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FENCE_GUEST | VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER |
					   VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);
		CU_ASSERT_EQUAL(a.stop, VMFT_WHY_AGENT_FAULT);

		core = core_protected_at(VMFT_SIDE_BACKUP, 100);
		STEP(&core, VMFT_IN_REPLAYED, .position = 50);
		STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
		a = core_step(&core, faults[i]);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FENCE_GUEST | VMFT_DO_STOP);
	}
}

int vmft_suite_core_pair(void)
{
	static CU_TestInfo tests[] = {
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
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"core: a pair", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
