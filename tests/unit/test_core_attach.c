/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core of a guest that runs alone and attaches a backup. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>

#include "core_steps.h"
#include "monitor/core/core.h"
#include "suites.h"

static void guest_starts_alone(void)
{
	struct vmft_core core = core_forming(VMFT_SIDE_PRIMARY);
	struct vmft_actions a = STEP(&core, VMFT_IN_START_ALONE);

	STATE_IS(&core, ALONE);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_RUN_GUEST | VMFT_DO_OPEN_GATE);
	CU_ASSERT_EQUAL(core.generation, 7);
	CU_ASSERT(vmft_core_wants_peer(&core));
	a = STEP(&core, VMFT_IN_ATTACH);
	STATE_IS(&core, ATTACHING);
	CU_ASSERT_EQUAL(a.set, 0);
	CU_ASSERT(!vmft_core_wants_peer(&core));
	CU_ASSERT(core_aborts(core_forming(VMFT_SIDE_BACKUP), EVENT(VMFT_IN_START_ALONE)));
}

static void primary_attaches_a_backup(void)
{
	struct vmft_core core = core_attaching(VMFT_SIDE_PRIMARY);
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
	struct vmft_core core = core_sealing();
	struct vmft_actions a;

	STEP(&core, VMFT_IN_ACK, .position = 150, .sent = 200);
	a = STEP(&core, VMFT_IN_GATE_CLOSED, .position = 150);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_FORM_PAIR);

	core = core_sealing(); /* nor at all since the state was taken */
	a = STEP(&core, VMFT_IN_GATE_CLOSED, .position = 0);
	STATE_IS(&core, PROTECTED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_FORM_PAIR);
}

/* In every stage of an attach: unpointed, pointed, sealing, sealed. */
static struct vmft_core attach_stage(int stage)
{
	struct vmft_core core = stage == 0   ? core_attaching(VMFT_SIDE_PRIMARY)
				: stage == 1 ? core_attaching_from(VMFT_SIDE_PRIMARY, 100)
					     : core_sealing();

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
	struct vmft_core core = core_arbitrating(VMFT_SIDE_PRIMARY);
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
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_CAUGHT_UP)));
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
	CU_ASSERT(core_aborts(attach_stage(1), EVENT(VMFT_IN_ACK, .position = 100, .sent = 99)));
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
	struct vmft_core core = core_attaching(VMFT_SIDE_BACKUP);
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
		struct vmft_core core = core_attaching(VMFT_SIDE_BACKUP);
		struct vmft_actions a = core_step(&core, losses[i]);

		STATE_IS(&core, FORMING);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER);
		CU_ASSERT(vmft_core_wants_peer(&core));
		STEP(&core, VMFT_IN_ATTACH);
		STATE_IS(&core, ATTACHING);

		core = core_attaching_from(VMFT_SIDE_BACKUP, 100);
		STEP(&core, VMFT_IN_LOG_HELD, .position = 200);
		STEP(&core, VMFT_IN_REPLAYED, .position = 200);
		a = core_step(&core, losses[i]);
		STATE_IS(&core, ENDED);
		CU_ASSERT_EQUAL(a.set, VMFT_DO_FENCE_GUEST | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
		CU_ASSERT_EQUAL(a.stop, VMFT_WHY_ATTACH_FAILED);
		CU_ASSERT_EQUAL(core.why, VMFT_WHY_ATTACH_FAILED);
	}
}

static void pair_without_a_state_is_none(void)
{
	struct vmft_core core = core_attaching(VMFT_SIDE_BACKUP);
	struct vmft_actions a = STEP(&core, VMFT_IN_PEER_READY);

	STATE_IS(&core, FORMING);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_CLOSE_PEER);
	CU_ASSERT_EQUAL(core.why, VMFT_WHY_PEER_FAULT);
}

static void attaching_backup_says_bye(void)
{
	struct vmft_core core = core_attaching(VMFT_SIDE_BACKUP);
	struct vmft_actions a = STEP(&core, VMFT_IN_GUEST_DIED);

	STATE_IS(&core, ENDED);
	CU_ASSERT_EQUAL(a.set, VMFT_DO_SEND_BYE | VMFT_DO_CLOSE_PEER | VMFT_DO_STOP);
	CU_ASSERT_EQUAL(a.bye, VMFT_WHY_GUEST_DIED);
	core = core_attaching_from(VMFT_SIDE_BACKUP, 100);
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
		struct vmft_core core = core_attaching_from(VMFT_SIDE_BACKUP, 100);
		struct vmft_actions a;

		STEP(&core, VMFT_IN_LOG_HELD, .position = 200);
		a = core_step(&core, faults[i]);
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
	struct vmft_core live = core_arbitrating(VMFT_SIDE_BACKUP);

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

static void mistakes_in_an_attach_abort(void)
{
	struct vmft_core core = core_attaching(VMFT_SIDE_PRIMARY);

	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_CAUGHT_UP)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_ATTACH)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_PEER_READY)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_GATE_CLOSED)));
	core = core_attaching_from(VMFT_SIDE_PRIMARY, 100);
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_ATTACH_POINT, .position = 100)));
	core = core_sealing();
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_CAUGHT_UP)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_ATTACH_POINT, .position = 100)));
	STEP(&core, VMFT_IN_GATE_CLOSED, .position = 200);
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_GATE_CLOSED, .position = 200)));
	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_GATE_CLOSED, .position = 200)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_CLAIM_WON)));
	core = core_attaching(VMFT_SIDE_BACKUP);
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_LOG_HELD, .position = 0)));
	core = core_attaching_from(VMFT_SIDE_BACKUP, 100);
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_ATTACH_POINT, .position = 100)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_LOG_HELD, .position = 99)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_CLAIM_WON)));
}

int vmft_suite_core_attach(void)
{
	static CU_TestInfo tests[] = {
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
	    {"mistakes in an attach abort", mistakes_in_an_attach_abort},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"core: an attach", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
