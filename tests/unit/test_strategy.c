/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's tables of operations: what the two strategies answer differently. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "agent_world.h"
#include "suites.h"

#include "monitor/agent/checkpoint.h"
#include "monitor/agent/feed.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/tap.h"

static const struct vmft_agent_strategy_ops *const tables[] = {&vmft_agent_lockstep,
							       &vmft_agent_checkpoint};

/* Callers do not look whether an operation is there. */
static void test_tables_are_complete(void)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		void (*op[sizeof(*tables[i]) / sizeof(void (*)(void))])(void);

		memcpy(op, tables[i], sizeof(*tables[i]));
		for (size_t k = 0; k < sizeof(op) / sizeof(op[0]); k++)
			CU_ASSERT(op[k] != NULL);
	}
}

static void test_lockstep_has_no_epochs(void)
{
	world_up(1u << 20, NULL, 0);
	CU_ASSERT_EQUAL(vmft_agent_lockstep.epoch(world.area), -EINVAL);
	CU_ASSERT_NOT_EQUAL(world.area->error[0], '\0');
	world.area->error[0] = '\0';
	CU_ASSERT_EQUAL(vmft_agent_lockstep.prove(world.area), -EINVAL);
	CU_ASSERT_NOT_EQUAL(world.area->error[0], '\0');
	world_down();
}

static void test_checkpoint_has_no_log(void)
{
	world_up(1u << 20, NULL, 0);
	errno = 0;
	CU_ASSERT_PTR_NULL(vmft_agent_checkpoint.open_log("wb"));
	CU_ASSERT_EQUAL(errno, ENOENT);
	CU_ASSERT(!atomic_load(&vmft_agent.armed));
	world_down();
}

static void test_output_position(void)
{
	world_up(1u << 20, NULL, 0);
	vmft_tap.cursor.fed = 77;
	atomic_store(&vmft_checkpoint.epoch, 5);
	CU_ASSERT_EQUAL(vmft_agent_lockstep.output_position(), 77);
	CU_ASSERT_EQUAL(vmft_agent_checkpoint.output_position(), 6);
	world_down();
}

/* One wakes the thread that waits, the other stops the guest; a stall is counted once. */
static void test_gate_full(void)
{
	world_up(1u << 20, NULL, 0);
	CU_ASSERT(vmft_agent_lockstep.gate_full());
	CU_ASSERT_EQUAL(atomic_load(&world.iface->gate_stalls), 1);
	/* It is known already, and the main loop about to stop the guest. */
	atomic_store(&vmft_checkpoint.gate_full, true);
	CU_ASSERT(!vmft_agent_checkpoint.gate_full());
	CU_ASSERT_EQUAL(atomic_load(&world.iface->gate_stalls), 1);
	world_down();
}

static void test_disk_answer(void)
{
	static const struct {
		bool logging, open, replica;
		enum vmft_disk_answer lockstep, checkpoint;
	} rows[] = {
	    {false, true, false, VMFT_DISK_TELL, VMFT_DISK_TELL}, /* alone */
	    {true, false, false, VMFT_DISK_HOLD, VMFT_DISK_HOLD}, /* a pair's primary */
	    {true, true, false, VMFT_DISK_HOLD, VMFT_DISK_TELL},  /* attach point, no pair yet */
	    {false, false, true, VMFT_DISK_REPEAT, VMFT_DISK_TELL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		world_up(1u << 20, NULL, 0);
		atomic_store(&vmft_agent.logging, rows[i].logging);
		atomic_store(&vmft_agent.open, rows[i].open);
		if (rows[i].replica)
			CU_ASSERT_PTR_NOT_NULL(vmft_feed_open());
		CU_ASSERT_EQUAL(vmft_agent_lockstep.disk_answer(), rows[i].lockstep);
		CU_ASSERT_EQUAL(vmft_agent_checkpoint.disk_answer(), rows[i].checkpoint);
		atomic_store(&vmft_feed.phase, VMFT_FEED_LEFT); /* went live */
		if (rows[i].replica)
			CU_ASSERT_EQUAL(vmft_agent_lockstep.disk_answer(), VMFT_DISK_TELL);
		world_down();
	}
}

int vmft_suite_strategy(void)
{
	CU_pSuite suite = CU_add_suite("agent strategies", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_tables_are_complete) ||
	    !CU_ADD_TEST(suite, test_lockstep_has_no_epochs) ||
	    !CU_ADD_TEST(suite, test_checkpoint_has_no_log) ||
	    !CU_ADD_TEST(suite, test_output_position) || !CU_ADD_TEST(suite, test_gate_full) ||
	    !CU_ADD_TEST(suite, test_disk_answer))
		return -1;
	return 0;
}
