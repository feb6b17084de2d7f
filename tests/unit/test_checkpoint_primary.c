/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The primary's half of a checkpointed pair: when epochs are asked for, and its agent's faults. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "epoch_pair.h"
#include "suites.h"

/* --- the primary alone --------------------------------------------------------------- */

/* An epoch whose payloads nobody looks at. */
static void lose_epoch(void)
{
	CU_ASSERT_FATAL(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_takes_epoch();
	while (pair_takes())
		;
}

static void paced(uint32_t ms)
{
	pair_setup();
	pair_primary.config.epoch_ms = pair_primary.config.epoch_max_ms = ms;
	pair_forms();
}

/* So many that the backup has not acknowledged, and no more. */
static void test_unacked(void)
{
	pair_up();
	for (unsigned i = 0; i < 4; i++)
		lose_epoch();
	CU_ASSERT(pair_stays_silent());
	pair_ops->acked(pair_primary.strategy, 10); /* nothing new */
	CU_ASSERT(pair_stays_silent());
	pair_ops->acked(pair_primary.strategy, 11);
	lose_epoch();
	CU_ASSERT(pair_stays_silent());
	pair_ops->acked(pair_primary.strategy, 15);
	pair_ops->acked(pair_primary.strategy, 12); /* late */
	for (unsigned i = 0; i < 4; i++)
		lose_epoch();
	CU_ASSERT(pair_stays_silent());
	pair_down();
}

/* No next one before what was staged is given out: the agent would write over it. */
static void test_one_at_a_time(void)
{
	pair_up();
	pair_guest_writes_all();
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_ops->look(pair_primary.strategy);
	pair_takes_epoch();
	CU_ASSERT(pair_stays_silent());
	CU_ASSERT(pair_ops->backlog_ns(pair_primary.strategy, vmft_loop_now()) >= 20 * MS);
	CU_ASSERT(pair_takes());
	CU_ASSERT(pair_stays_silent());
	while (pair_takes())
		;
	CU_ASSERT_EQUAL(pair_ops->backlog_ns(pair_primary.strategy, vmft_loop_now()), 0);
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_down();
}

/* What waits for the end of the epoch under way ends it early; output of one that has ended waits
 * for the channel. */
static void test_output_ends_epoch(void)
{
	struct vmft_iface *iface;

	paced(5000);
	iface = pair_primary.link.iface;
	CU_ASSERT(pair_stays_silent());
	atomic_store(&iface->gate_newest, pair_epoch);
	atomic_store(&iface->gate_frames, 1);
	pair_ops->look(pair_primary.strategy);
	CU_ASSERT(pair_stays_silent());
	atomic_store(&iface->gate_newest, pair_epoch + 1);
	pair_ops->look(pair_primary.strategy);
	CU_ASSERT(!pair_stays_silent());
	pair_takes_epoch();
	while (pair_takes())
		;
	CU_ASSERT_EQUAL(pair_ops->figures(pair_primary.strategy)->early, 1);
	CU_ASSERT(pair_stays_silent());
	pair_down();
}

/* Seen outside while the gate was closing: the pair is not sealed before that epoch is held. */
static void test_closing_gate_ends_epoch(void)
{
	paced(5000);
	atomic_store(&pair_primary.link.iface->gate_closed_at, pair_epoch + 1);
	pair_ops->look(pair_primary.strategy);
	CU_ASSERT(pair_stays_silent());
	atomic_store(&pair_primary.link.iface->gate_closed_at, pair_epoch + 2);
	pair_ops->look(pair_primary.strategy);
	CU_ASSERT(!pair_stays_silent());
	pair_down();
}

static void test_frozen(void)
{
	pair_up();
	atomic_store(&pair_primary.link.iface->frozen_at, pair_epoch + 1);
	CU_ASSERT(pair_stays_silent());
	pair_ops->look(pair_primary.strategy);
	CU_ASSERT(pair_stays_silent());
	atomic_store(&pair_primary.link.iface->frozen_at, 0);
	pair_ops->look(pair_primary.strategy);
	CU_ASSERT(!pair_stays_silent());
	pair_down();
}

static void asks_to_drop_once(void)
{
	CU_ASSERT_FATAL(pair_is_asked(VMFT_AREA_DROP));
	CU_ASSERT(!pair_ops->is_idle(pair_primary.strategy));
	pair_ops->halt(pair_primary.strategy);
	atomic_store(&pair_primary.link.area->more, 0);
	pair_answer(0);
	CU_ASSERT(pair_ops->is_idle(pair_primary.strategy));
	CU_ASSERT(!pair_takes());
	CU_ASSERT(pair_stays_silent());
	CU_ASSERT(!pair_is_asked(VMFT_AREA_DROP));
	CU_ASSERT(pair_ops->is_empty(pair_primary.strategy));
}

/* The backup is lost, at each point of an epoch: the agent is told to stop marking, once, and
 * what it had staged is void. */
static void test_halt(void)
{
	/* nothing asked */
	paced(5000);
	CU_ASSERT(!pair_ops->is_idle(pair_primary.strategy));
	pair_ops->halt(pair_primary.strategy);
	asks_to_drop_once();
	pair_down();

	/* asked and not answered */
	pair_up();
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_ops->halt(pair_primary.strategy);
	CU_ASSERT(pair_is_asked(VMFT_AREA_EPOCH));
	pair_takes_epoch();
	asks_to_drop_once();
	pair_down();

	/* staged; given out in part; more of it to be staged */
	for (unsigned step = 0; step < 3; step++) {
		pair_up();
		pair_guest_writes_all();
		if (step == 2)
			pair_room = 30 * PAGE;
		CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
		pair_takes_epoch();
		if (step == 1)
			CU_ASSERT(pair_takes());
		pair_ops->halt(pair_primary.strategy);
		asks_to_drop_once();
		/* A new pair finds nothing of it. */
		pair_room = VMFT_AREA_STAGING_BYTES;
		pair_forms();
		pair_guest_runs();
		pair_next_epoch();
		pair_all_applied();
		pair_backup_is(&pair_now);
		pair_down();
	}

	/* more of it asked for */
	pair_up();
	pair_guest_writes_all();
	pair_room = 30 * PAGE;
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_takes_epoch();
	while (pair_takes())
		;
	CU_ASSERT(pair_is_asked(VMFT_AREA_EPOCH));
	pair_ops->halt(pair_primary.strategy);
	pair_takes_epoch();
	asks_to_drop_once();
	pair_down();
}

/* The monitor is told once that its guest is not protected, and the agent is told to let the guest
 * run. */
static void primary_breaks(const char *why)
{
	CU_ASSERT_EQUAL(pair_primary.broken, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(pair_primary.why, why));
	CU_ASSERT(!pair_takes());
	asks_to_drop_once();
	CU_ASSERT_EQUAL(pair_primary.broken, 1);
	pair_down();
}

static void test_agent_fails(void)
{
	pair_up();
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	(void)snprintf(pair_primary.link.area->error, sizeof(pair_primary.link.area->error),
		       "a reason");
	pair_answer(-EIO);
	primary_breaks("a reason");
}

static void answers_nonsense(uint64_t staged, uint64_t state, uint64_t position)
{
	struct vmft_area *area;

	pair_up();
	area = pair_primary.link.area;
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	atomic_store(&area->staged_bytes, staged);
	atomic_store(&area->state_bytes, state);
	atomic_store(&area->point_position, position);
	atomic_store(&area->more, 0);
	pair_answer(0);
	primary_breaks("is not valid");
}

static void test_agent_answers_nonsense(void)
{
	answers_nonsense(VMFT_AREA_STAGING_BYTES + 1, 100, 11);
	answers_nonsense(UINT64_MAX, 100, 11);
	answers_nonsense(0, VMFT_AREA_STATE_BYTES + 1, 11);
	answers_nonsense(0, 100, 10);
	answers_nonsense(0, 100, 12);
}

static void stages_nonsense(struct vmft_area_piece piece, uint64_t staged)
{
	struct vmft_area *area;

	pair_up();
	area = pair_primary.link.area;
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	memcpy((uint8_t *)area + area->staging_at, &piece, sizeof(piece));
	atomic_store(&area->staged_bytes, staged);
	atomic_store(&area->state_bytes, 100);
	atomic_store(&area->point_position, pair_epoch + 1);
	pair_answer(0);
	CU_ASSERT_EQUAL(pair_ops->take(pair_primary.strategy, pair_message.bytes,
				       sizeof(pair_message.bytes), &pair_message.position),
			-EBADMSG);
	pair_down();
}

/* The monitor of the primary gives up its backup then. */
static void test_agent_stages_nonsense(void)
{
	const uint64_t head = sizeof(struct vmft_area_piece);

	stages_nonsense((struct vmft_area_piece){0, RAM, PAGE}, head - 1);
	stages_nonsense((struct vmft_area_piece){0, RAM, PAGE}, head + PAGE - 1);
	stages_nonsense((struct vmft_area_piece){0, 0, BLOCK + 1}, head + 2 * BLOCK);
	stages_nonsense((struct vmft_area_piece){0, 0, UINT32_MAX}, head + 2 * BLOCK);
	stages_nonsense((struct vmft_area_piece){0, VMFT_AREA_REGIONS_MAX, PAGE}, head + PAGE);
	stages_nonsense((struct vmft_area_piece){0, RAM, PAGE + 1}, head + 2 * PAGE);
	stages_nonsense((struct vmft_area_piece){0, RAM, 0}, head);
	stages_nonsense((struct vmft_area_piece){1, RAM, PAGE}, head + PAGE);
}

/* What the agent writes over the area's header changes nothing: it was looked at once. */
static void test_agent_moves_the_area(void)
{
	const struct vmft_area_piece piece = {.offset = 1, .region = 40, .bytes = 0};
	struct vmft_area *area;
	uint64_t area_bytes;

	pair_up();
	area = pair_primary.link.area;
	area_bytes = area->area_bytes;
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	memcpy((uint8_t *)area + area->staging_at, &piece, sizeof(piece));
	atomic_store(&area->staged_bytes, sizeof(piece));
	atomic_store(&area->state_bytes, 100);
	atomic_store(&area->point_position, pair_epoch + 1);
	area->disk_count = 1000;
	area->staging_at = area->state_at = UINT64_C(1) << 60;
	pair_answer(0);
	CU_ASSERT_EQUAL(pair_ops->take(pair_primary.strategy, pair_message.bytes,
				       sizeof(pair_message.bytes), &pair_message.position),
			-EBADMSG);
	area->area_bytes = area_bytes;
	pair_down();
}

/* The guest has switched itself off: what it did last is one more epoch, whatever the pacer and a
 * drill say; then there is no more. */
static void test_finish_alive(void)
{
	paced(5000);
	atomic_store(&pair_primary.link.iface->frozen_at, pair_epoch + 1);
	CU_ASSERT(pair_stays_silent());
	CU_ASSERT(!pair_ops->is_empty(pair_primary.strategy));
	pair_guest_runs();
	pair_ops->finish(pair_primary.strategy, true);
	CU_ASSERT(pair_is_asked(VMFT_AREA_EPOCH));
	CU_ASSERT(!pair_ops->is_empty(pair_primary.strategy));
	pair_ship_epoch();
	CU_ASSERT(pair_ops->is_empty(pair_primary.strategy));
	CU_ASSERT(pair_stays_silent());
	pair_acks();
	pair_ops->finish(pair_primary.strategy, true);
	CU_ASSERT(pair_stays_silent());
	pair_all_applied();
	pair_backup_is(&pair_now);
	pair_down();
}

/* One that was asked for before its end was known may lack it: there is one more. */
static void test_finish_asked(void)
{
	pair_up();
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_ops->finish(pair_primary.strategy, true);
	pair_ship_epoch();
	CU_ASSERT(!pair_ops->is_empty(pair_primary.strategy));
	CU_ASSERT(pair_is_asked(VMFT_AREA_EPOCH));
	pair_ship_epoch();
	CU_ASSERT(pair_ops->is_empty(pair_primary.strategy));
	CU_ASSERT(pair_stays_silent());
	pair_down();
}

/* The last is bound by acks like any other. */
static void test_finish_unacked(void)
{
	pair_up();
	for (unsigned i = 0; i < 4; i++)
		lose_epoch();
	pair_ops->finish(pair_primary.strategy, true);
	CU_ASSERT(!pair_is_asked(VMFT_AREA_EPOCH));
	CU_ASSERT(!pair_ops->is_empty(pair_primary.strategy));
	pair_ops->acked(pair_primary.strategy, 11);
	CU_ASSERT(pair_is_asked(VMFT_AREA_EPOCH));
	pair_down();
}

/* QEMU is gone: what it had staged whole is still there, the rest is not. */
static void test_finish_gone(void)
{
	paced(5000);
	pair_ops->finish(pair_primary.strategy, false);
	CU_ASSERT(pair_ops->is_empty(pair_primary.strategy));
	CU_ASSERT(!pair_takes());
	pair_down();

	pair_up(); /* asked, never answered */
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_ops->finish(pair_primary.strategy, false);
	CU_ASSERT(pair_ops->is_empty(pair_primary.strategy));
	CU_ASSERT(!pair_takes());
	pair_down();

	pair_up(); /* answered, not looked at */
	pair_guest_runs();
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_takes_epoch();
	pair_ops->finish(pair_primary.strategy, false);
	CU_ASSERT(!pair_ops->is_empty(pair_primary.strategy));
	while (pair_takes())
		pair_arrives();
	CU_ASSERT(pair_ops->is_empty(pair_primary.strategy));
	CU_ASSERT_EQUAL(pair_ops->held(pair_backup.strategy), 11);
	pair_all_applied();
	pair_backup_is(&pair_now);
	pair_down();

	pair_up(); /* half of it */
	pair_guest_writes_all();
	pair_room = 30 * PAGE;
	CU_ASSERT(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_takes_epoch();
	CU_ASSERT(pair_takes());
	pair_arrives();
	pair_ops->finish(pair_primary.strategy, false);
	CU_ASSERT(pair_ops->is_empty(pair_primary.strategy));
	CU_ASSERT(!pair_takes());
	pair_all_applied();
	pair_backup_is(&pair_history[pair_epoch % HISTORY]);
	pair_down();
}

/* Without a backup there is nothing to give out. */
static void test_never_paired(void)
{
	pair_setup();
	CU_ASSERT(pair_ops->is_empty(pair_primary.strategy));
	CU_ASSERT(pair_ops->is_idle(pair_primary.strategy));
	CU_ASSERT(!pair_takes());
	pair_ops->acked(pair_primary.strategy, 5);
	pair_ops->look(pair_primary.strategy);
	pair_ops->halt(pair_primary.strategy);
	pair_ops->finish(pair_primary.strategy, true);
	CU_ASSERT(pair_stays_silent());
	CU_ASSERT(pair_ops->is_idle(pair_primary.strategy));
	CU_ASSERT_EQUAL(pair_ops->backlog_ns(pair_primary.strategy, vmft_loop_now()), 0);
	pair_down();
}

int vmft_suite_checkpoint_primary(void)
{
	static CU_TestInfo tests[] = {
	    {"so many not acknowledged", test_unacked},
	    {"one at a time", test_one_at_a_time},
	    {"output ends an epoch", test_output_ends_epoch},
	    {"a closing gate ends an epoch", test_closing_gate_ends_epoch},
	    {"frozen", test_frozen},
	    {"halt", test_halt},
	    {"the agent fails", test_agent_fails},
	    {"the agent answers nonsense", test_agent_answers_nonsense},
	    {"the agent stages nonsense", test_agent_stages_nonsense},
	    {"the agent moves the area", test_agent_moves_the_area},
	    {"finish alive", test_finish_alive},
	    {"finish, one asked for", test_finish_asked},
	    {"finish, some not acknowledged", test_finish_unacked},
	    {"finish gone", test_finish_gone},
	    {"never paired", test_never_paired},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints: the primary", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
