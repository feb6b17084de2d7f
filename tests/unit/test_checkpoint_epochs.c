/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Epochs of a checkpointed pair, in the monitors: taken, sent, applied, compared. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "epoch_payloads.h"
#include "suites.h"

/* --- both --------------------------------------------------------------------------- */

/* The backup's monitor is lost in the middle of an epoch, or the primary's. */
static void tear(void)
{
	const uint64_t before = pair_epoch;
	unsigned payloads = pair_below(4);

	CU_ASSERT_FATAL(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_takes_epoch();
	while (payloads-- > 0 && pair_takes() && pair_ops->taken(pair_primary.strategy) == before)
		pair_arrives();
	pair_all_applied();
	pair_backup_is(&pair_history[before % HISTORY]);
	pair_ops->halt(pair_primary.strategy);
	while (!pair_is_asked(VMFT_AREA_DROP)) {
		CU_ASSERT_FATAL(pair_is_asked(VMFT_AREA_EPOCH));
		pair_answer(0);
	}
	atomic_store(&pair_primary.link.area->more, 0);
	pair_answer(0);
	CU_ASSERT(pair_ops->is_idle(pair_primary.strategy));
}

/* Many epochs of a guest that writes all over itself: the backup's is the primary's, epoch by
 * epoch, also when the channel runs ahead of what is applied, staging is small, and pairs come
 * and go. */
static void many_epochs(unsigned seed, size_t staging)
{
	pair_setup();
	srand(seed);
	pair_room = staging;
	pair_forms();
	for (unsigned i = 0; i < 120 && !pair_backup.broken; i++) {
		pair_guest_runs();
		if (pair_below(16) == 0) {
			tear();
			pair_forms();
			continue;
		}
		pair_next_epoch();
		if (pair_below(2) == 0)
			pair_spin(0);
		pair_acks();
	}
	pair_all_applied();
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), pair_epoch);
	pair_backup_is(&pair_now);
	CU_ASSERT_EQUAL(pair_primary.broken, 0);
	CU_ASSERT_EQUAL(pair_backup.broken, 0);
	CU_ASSERT(pair_backup.moved > 100);
	pair_down();
}

static void test_many_epochs(void)
{
	many_epochs(1, VMFT_AREA_STAGING_BYTES);
	many_epochs(2, 100 * 1024);
	many_epochs(3, sizeof(struct vmft_area_piece) + BLOCK);
}

/* Without a cache of pages there are no deltas, and the same arrives. */
static void test_no_cache(void)
{
	pair_setup();
	pair_ops->close(pair_primary.strategy);
	pair_primary.config.delta_cache_mib = 0;
	CU_ASSERT_EQUAL_FATAL(
	    pair_ops->open(&(struct vmft_strategy_world){.loop = pair_loop,
							 .link = &pair_primary.link,
							 .config = &pair_primary.config,
							 .disk = pair_primary.disk,
							 .disk_count = DISKS,
							 .moved = pair_on_moved,
							 .broken = pair_on_broken,
							 .disk_failed = pair_on_disk_failed,
							 .user = &pair_primary},
			   &pair_primary.strategy),
	    0);
	pair_forms();
	for (unsigned i = 0; i < 10; i++) {
		pair_guest_runs();
		pair_next_epoch();
		pair_acks();
	}
	pair_all_applied();
	pair_backup_is(&pair_now);
	CU_ASSERT_EQUAL(pair_ops->figures(pair_primary.strategy)->delta, 0);
	pair_down();
}

/* An epoch in which nothing happened: it is one. */
static void test_empty_epoch(void)
{
	pair_up();
	pair_next_epoch();
	pair_acks();
	pair_next_epoch();
	pair_all_applied();
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), 12);
	pair_backup_is(&pair_now);
	pair_down();
}

static void test_figures(void)
{
	const struct vmft_epoch_figures *figures;

	pair_up();
	pair_guest_writes_all();
	atomic_store(&pair_primary.link.area->stop_ns, 100);
	atomic_store(&pair_primary.link.area->save_ns, 1000);
	pair_next_epoch();
	figures = pair_ops->figures(pair_primary.strategy);
	CU_ASSERT_EQUAL(figures->epochs, 1);
	CU_ASSERT_EQUAL(figures->split, 0);
	CU_ASSERT_EQUAL(figures->sample[11].epoch, 11);
	CU_ASSERT_EQUAL(figures->sample[11].value[VMFT_FIGURE_PAUSE], 1100);
	CU_ASSERT(figures->sample[11].value[VMFT_FIGURE_STAGED] > sizeof(pair_now.ram));
	CU_ASSERT(figures->sample[11].value[VMFT_FIGURE_SENT] > 0);
	CU_ASSERT_EQUAL(figures->sample[11].value[VMFT_FIGURE_SENT],
			pair_ops->sent_bytes(pair_primary.strategy));
	CU_ASSERT_EQUAL(figures->pages,
			figures->zero + figures->unchanged + figures->delta + figures->whole);
	/* Of three parts: one that did not fit at once. */
	pair_acks();
	pair_guest_writes_all();
	pair_room = 30 * PAGE;
	pair_next_epoch();
	CU_ASSERT_EQUAL(figures->epochs, 2);
	CU_ASSERT_EQUAL(figures->split, 1);
	CU_ASSERT(figures->sample[12].value[VMFT_FIGURE_PAUSE] > 1100);
	pair_ops->release(pair_primary.strategy, 11, 1);
	CU_ASSERT(figures->sample[11].value[VMFT_FIGURE_COMMIT] > 0);
	CU_ASSERT_EQUAL(figures->sample[12].value[VMFT_FIGURE_COMMIT], 0);
	CU_ASSERT_EQUAL(atomic_load(&pair_primary.link.iface->acked), 11);
	CU_ASSERT_EQUAL(atomic_load(&pair_primary.link.iface->release_until), 1);
	pair_down();
}

/* A new pair's begin with it. */
static void test_figures_of_a_pair(void)
{
	const struct vmft_epoch_figures *figures;

	pair_up();
	pair_guest_writes_all();
	pair_next_epoch();
	pair_all_applied();
	pair_ops->halt(pair_primary.strategy);
	while (!pair_is_asked(VMFT_AREA_DROP))
		pair_answer(0);
	pair_answer(0);
	pair_forms();
	pair_next_epoch();
	figures = pair_ops->figures(pair_primary.strategy);
	CU_ASSERT_EQUAL(figures->epochs, 1);
	CU_ASSERT_EQUAL(figures->sample[pair_epoch].value[VMFT_FIGURE_SENT],
			pair_ops->sent_bytes(pair_primary.strategy));
	CU_ASSERT_EQUAL(figures->sample[pair_epoch - 1].epoch, 0);
	pair_down();
}

/* Two epochs are kept; a third has to wait until the first is applied. */
static void test_two_halves(void)
{
	pair_up();
	for (unsigned i = 1; i <= 2; i++) {
		CU_ASSERT(pair_ops->has_room(pair_backup.strategy));
		CU_ASSERT_EQUAL(pair_send_piece(RAM, i * PAGE, PAGE, VMFT_EPOCH_AS_IS), 0);
		memset(pair_now.ram + i * PAGE, 0xa5, PAGE);
		pair_history[++pair_epoch % HISTORY] = pair_now;
		CU_ASSERT_EQUAL(pair_send_plain_commit(1, PAGE), 0);
	}
	CU_ASSERT_EQUAL(pair_ops->held(pair_backup.strategy), 12);
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), 10);
	CU_ASSERT(!pair_ops->has_room(pair_backup.strategy));
	CU_ASSERT_EQUAL(pair_send_piece(RAM, 3 * PAGE, PAGE, VMFT_EPOCH_AS_IS), -ENOSPC);
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), -ENOSPC);
	for (unsigned i = 0; i < 1000 && !pair_ops->has_room(pair_backup.strategy); i++)
		pair_spin(i < 100 ? 0 : MS);
	CU_ASSERT(pair_ops->applied(pair_backup.strategy) >= 11);
	CU_ASSERT_EQUAL(pair_send_piece(RAM, 3 * PAGE, PAGE, VMFT_EPOCH_AS_IS), 0);
	memset(pair_now.ram + 3 * PAGE, 0xa5, PAGE);
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_plain_commit(1, PAGE), 0);
	pair_all_applied();
	pair_backup_is(&pair_now);
	CU_ASSERT_EQUAL(pair_backup.moved, 3);
	pair_down();
}

/* A later piece of memory is the one that counts, and a change is of what came before it. */
static void test_order_in_memory(void)
{
	pair_up();
	CU_ASSERT_EQUAL(pair_send_piece(RAM, 0, PAGE, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(pair_send_piece(RAM, 0, PAGE, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(pair_send_piece(RAM, 0, PAGE, VMFT_EPOCH_XOR), 0);
	CU_ASSERT_EQUAL(pair_send_piece(RAM, 0, 10, VMFT_EPOCH_AS_IS), 0);
	memset(pair_now.ram, 0, PAGE);
	memset(pair_now.ram, 0xa5, 10);
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_plain_commit(4, 3 * PAGE + 10), 0);
	pair_all_applied();
	pair_backup_is(&pair_now);
	pair_down();
}

/* More than is applied at a go, and more ranges of a disk than are written at once. */
static void test_large_epoch(void)
{
	const unsigned rounds = 4000;

	pair_up();
	for (unsigned i = 0; i < rounds; i++)
		CU_ASSERT_EQUAL(pair_send_piece(RAM, i % RAM_PAGES * PAGE, PAGE, VMFT_EPOCH_AS_IS),
				0);
	for (unsigned i = 0; i < PARTS; i++)
		CU_ASSERT_EQUAL(pair_send_piece(0, i * PART, PART, VMFT_EPOCH_AS_IS), 0);
	memset(pair_now.ram, 0xa5, sizeof(pair_now.ram));
	memset(pair_now.disk[0], 0xa5, DISK_MAX);
	pair_now.disk_bytes[0] = DISK_MAX;
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_plain_commit(rounds + PARTS, (rounds + PARTS) * (uint64_t)PAGE),
			0);
	pair_spin(0);
	pair_all_applied();
	pair_backup_is(&pair_now);
	/* What it took is given back, and the next finds it empty. */
	CU_ASSERT_EQUAL(pair_send_piece(RAM, 0, PAGE, VMFT_EPOCH_ZERO), 0);
	memset(pair_now.ram, 0, PAGE);
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_plain_commit(1, PAGE), 0);
	pair_all_applied();
	pair_backup_is(&pair_now);
	pair_down();
}

/* Zeroes take hardly any room in an epoch, and as long to write as anything else: the loop is not
 * kept for long by them either. */
static void test_large_epoch_of_zeroes(void)
{
	const unsigned rounds = 16384, turns_least = 8;
	unsigned turns = 0;

	pair_up();
	for (unsigned i = 0; i < rounds; i++)
		CU_ASSERT_EQUAL(pair_send_piece(RAM, i % RAM_PAGES * PAGE, PAGE, VMFT_EPOCH_ZERO),
				0);
	memset(pair_now.ram, 0, sizeof(pair_now.ram));
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_plain_commit(rounds, rounds * (uint64_t)PAGE), 0);
	while (pair_ops->applied(pair_backup.strategy) < pair_epoch && turns < 1000) {
		pair_spin(0);
		turns++;
	}
	CU_ASSERT(turns >= turns_least);
	pair_all_applied();
	pair_backup_is(&pair_now);
	pair_down();
}

static void test_go_live(void)
{
	struct vmft_area *area;

	pair_up();
	area = pair_backup.link.area;
	pair_next_epoch();
	pair_all_applied();
	pair_ops->go_live(pair_backup.strategy, pair_epoch);
	for (unsigned i = 0; i < DISKS; i++)
		CU_ASSERT_EQUAL(pair_backup.disk[i].fd, -1);
	CU_ASSERT_EQUAL(atomic_load(&pair_backup.link.iface->command), VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(atomic_load(&area->op), VMFT_AREA_LOAD);
	CU_ASSERT_EQUAL(atomic_load(&area->load_position), pair_epoch);
	CU_ASSERT_EQUAL(atomic_load(&area->load_bytes), pair_now.state_bytes);
	pair_ops->look(pair_backup.strategy);
	CU_ASSERT_EQUAL(pair_backup.broken, 0);
	atomic_store(&area->result, -EIO);
	(void)snprintf(area->error, sizeof(area->error), "a reason");
	atomic_store(&area->done, atomic_load(&area->request));
	pair_ops->look(pair_backup.strategy);
	pair_ops->look(pair_backup.strategy);
	CU_ASSERT_EQUAL(pair_backup.broken, 1);
	CU_ASSERT_STRING_EQUAL(pair_backup.why, "a reason");
	pair_down();
}

int vmft_suite_checkpoint_epochs(void)
{
	static CU_TestInfo tests[] = {
	    {"many epochs", test_many_epochs},
	    {"many epochs without a cache", test_no_cache},
	    {"an empty epoch", test_empty_epoch},
	    {"figures", test_figures},
	    {"figures of a pair", test_figures_of_a_pair},
	    {"two halves", test_two_halves},
	    {"order in memory", test_order_in_memory},
	    {"a large epoch", test_large_epoch},
	    {"a large epoch of zeroes", test_large_epoch_of_zeroes},
	    {"go live", test_go_live},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints: epochs", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
