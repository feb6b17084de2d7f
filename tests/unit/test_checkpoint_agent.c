/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent does inside QEMU with a guest whose strategy is checkpoint: what an epoch takes of
 * the guest, also when it is more than the staging area holds.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checkpoint_qemu.h"
#include "fake_qemu.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/track.h"
#include "monitor/common/area-setup.h"
#include "suites.h"

static void lengths_of_images(struct pieces *p)
{
	piece_is(p, 0, 100 * BLOCK, 0);
	piece_is(p, 1, 3 * BLOCK + 100, 0);
}

/* --- the first epoch ----------------------------------------------------------- */

/* An epoch takes what is marked and what was written since, with the state. The guest then goes on
 * and is still tracked. */
static void test_point(void)
{
	struct pieces p = {0};

	checkpoint_up();
	(void)!pwrite(disk[0], "x", 1, 7 * BLOCK);
	guest_writes(RAM, 1, 0xe1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	guest_writes(RAM, 1, 0xe2);
	guest_writes(BIOS, 3, 0xe3);
	area_budget(BLOCK + 2 * PAGE);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	calls_are(STOPPED SAVED WENT_ON);
	piece_is(&p, 0, 7 * BLOCK, VMFT_DISK_PART_BYTES);
	lengths_of_images(&p);
	piece_is(&p, RAM, PAGE, PAGE);
	piece_is(&p, BIOS, 3 * PAGE, 100);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(atomic_load(&area->state_bytes), qemu.state_bytes);
	CU_ASSERT_EQUAL(memcmp((uint8_t *)area + area->state_at, qemu.state, qemu.state_bytes), 0);
	CU_ASSERT_EQUAL(epochs_taken(), 1);
	CU_ASSERT_EQUAL(atomic_load(&area->point_position), 1);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	CU_ASSERT(atomic_load(&vmft_track.disks));
	CU_ASSERT_EQUAL(qemu.log_stops, 0);
	for (unsigned i = 0; i < REGIONS; i++)
		CU_ASSERT(area_nothing_marked(i));
	qemu_down();
}

/* One page over the budget: the guest goes on as before, and all marks stay for another try. */
static void test_point_over_budget(void)
{
	struct pieces p = {0};

	checkpoint_up();
	(void)!pwrite(disk[0], "x", 1, 7 * BLOCK);
	guest_writes(RAM, 3, 1);
	guest_writes(VRAM, 4, 1);
	area_budget(BLOCK + 2 * PAGE - 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -E2BIG);
	calls_are(STOPPED SAVED WENT_ON);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 << 7);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 3);
	CU_ASSERT_EQUAL(area_marks(VRAM, 0), 1 << 4);
	CU_ASSERT_EQUAL(epochs_taken(), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	area_budget(BLOCK + 2 * PAGE);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	piece_is(&p, 0, 7 * BLOCK, VMFT_DISK_PART_BYTES);
	lengths_of_images(&p);
	piece_is(&p, RAM, 3 * PAGE, PAGE);
	piece_is(&p, VRAM, 4 * PAGE, PAGE);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(epochs_taken(), 1);
	qemu_down();
}

/* Within the budget and more than staging holds: what was staged is marked again. */
static void test_point_staging_full(void)
{
	const unsigned pages = 20000;

	qemu_up_checkpoint(pages * (uint64_t)PAGE);
	area_budget(UINT64_MAX);
	for (unsigned i = 0; i < pages; i++)
		guest_writes(RAM, i, 1);
	(void)!pwrite(disk[0], "x", 1, 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -E2BIG);
	CU_ASSERT_EQUAL(area_all_marks(RAM), pages);
	CU_ASSERT_EQUAL(area_all_marks(0), 1);
	CU_ASSERT(qemu.running);
	CU_ASSERT_EQUAL(epochs_taken(), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	qemu_down();
}

/* These are refused, and the guest is not touched. */
static void test_untouched(void)
{
	checkpoint_up();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EINVAL);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EINVAL);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	qemu.running = false;
	world.run_state = QEMU_PAUSED;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EAGAIN);
	calls_are("");
	CU_ASSERT_EQUAL(epochs_taken(), 0);
	qemu_down();
}

/* --- epochs -------------------------------------------------------------------- */

/* Each epoch takes what was written since the last one. */
static void test_epochs(void)
{
	struct pieces p = {0};

	checkpoint_attached();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED WENT_ON);
	lengths_of_images(&p);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(epochs_taken(), 2);
	guest_writes(RAM, RAM_PAGES - 1, 0xe1);
	p.at = 0;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	lengths_of_images(&p);
	piece_is(&p, RAM, (RAM_PAGES - 1) * PAGE, PAGE);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(epochs_taken(), 3);
	CU_ASSERT_EQUAL(atomic_load(&area->point_position), 3);
	qemu_down();
}

/* Of a block of an image only the written parts are taken, adjacent parts in one piece. A block
 * whose parts were not noted is taken whole. */
static void test_disk_parts(void)
{
	enum { PART = VMFT_DISK_PART_BYTES };
	static char bytes[2 * PART];
	struct pieces p = {0};

	checkpoint_attached();
	(void)!pwrite(disk[0], bytes, 1, 5 * BLOCK + 3 * PART);
	(void)!pwrite(disk[0], bytes, PART + 1, 5 * BLOCK + 6 * PART - 1);
	(void)!pwrite(disk[0], bytes, 2, 6 * BLOCK - 1);
	vmft_track_mark(&area->region[1], 2, 3);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	piece_is(&p, 0, 5 * BLOCK + 3 * PART, PART);
	piece_is(&p, 0, 5 * BLOCK + 5 * PART, 2 * PART);
	piece_is(&p, 0, 5 * BLOCK + 15 * PART, PART);
	piece_is(&p, 0, 6 * BLOCK, PART);
	piece_is(&p, 0, 100 * BLOCK, 0);
	piece_is(&p, 1, 2 * BLOCK, BLOCK);
	piece_is(&p, 1, 3 * BLOCK, 100);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	no_more_pieces(&p);
	/* Nothing of it is left for the next epoch. */
	(void)!pwrite(disk[0], bytes, 1, 5 * BLOCK + 9 * PART);
	p.at = 0;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	piece_is(&p, 0, 5 * BLOCK + 9 * PART, PART);
	lengths_of_images(&p);
	no_more_pieces(&p);
	qemu_down();
}

/* When an epoch fails, its blocks are marked again as whole blocks. */
static void test_disk_parts_undone(void)
{
	struct pieces p = {0};

	checkpoint_attached();
	(void)!pwrite(disk[0], "x", 1, 5 * BLOCK);
	qemu.blocks--;
	CU_ASSERT(agent_ask(VMFT_AREA_EPOCH) < 0);
	qemu.blocks++;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	piece_is(&p, 0, 5 * BLOCK, VMFT_DISK_PART_BYTES);
	lengths_of_images(&p);
	no_more_pieces(&p);

	(void)!pwrite(disk[0], "x", 1, 5 * BLOCK);
	guest_writes(RAM, 1, 1);
	p.at = 0;
	close(disk[1]);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EBADF);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 << 5);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_disk_parts(area, 0)[5]), UINT16_MAX);
	disk[1] = memfd_create("disk", 0);
	qemu_down();
}

/* An image with data in QEMU's memory is flushed while nothing is under way, and what that writes
 * is taken; a raw one, durable or not, is not waited for. */
static int flush_writes(void)
{
	CU_ASSERT(!qemu.running);
	(void)!pwrite(disk[1], "table", 5, BLOCK);
	return qemu_flush_all();
}

static void test_epoch_flushes(void)
{
	struct pieces p = {0};

	checkpoint_attached();
	vmft_agent.flush = true;
	vmft_qemu.symbols.bdrv_flush_all = flush_writes;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED "flush " SAVED WENT_ON);
	piece_is(&p, 0, 100 * BLOCK, 0);
	piece_is(&p, 1, BLOCK, VMFT_DISK_PART_BYTES);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	no_more_pieces(&p);
	qemu_down();
}

/* A device that is saved writes to the guest's memory: that belongs to the same epoch. */
static int save_writes(void *file)
{
	guest_writes(RAM, 9, 0x99);
	return qemu_save_device_state(file);
}

static void test_saved_before_scanned(void)
{
	struct pieces p = {0};

	checkpoint_attached();
	vmft_qemu.symbols.qemu_save_device_state = save_writes;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	lengths_of_images(&p);
	piece_is(&p, RAM, 9 * PAGE, PAGE);
	no_more_pieces(&p);
	qemu_down();
}

static void went_on_after_failure(const char *calls)
{
	calls_are(calls);
	CU_ASSERT_EQUAL(epochs_taken(), 1);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 3);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	CU_ASSERT(qemu.running);
}

/* After any failure there is no new epoch, and the guest goes on with its marks. */
static void test_epoch_fails(void)
{
	checkpoint_attached();
	guest_writes(RAM, 3, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	qemu.save_result = -1;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EIO);
	went_on_after_failure(STOPPED SAVED WENT_ON);
	qemu.save_result = 0;
	qemu.blocks--;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -ENOENT);
	went_on_after_failure(STOPPED SAVED WENT_ON);
	qemu.blocks++;
	vmft_track_written(disk[1], 4 * BLOCK, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EFBIG);
	went_on_after_failure(STOPPED SAVED WENT_ON);
	atomic_store(&area->disk_overflow, 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	CU_ASSERT_EQUAL(epochs_taken(), 2);
	qemu_down();
}

static void test_epoch_state_too_large(void)
{
	uint8_t *state = calloc(1, VMFT_AREA_STATE_BYTES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(state);
	checkpoint_attached();
	guest_writes(RAM, 3, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	qemu.state = state;
	qemu.state_bytes = VMFT_AREA_STATE_BYTES;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EFBIG);
	went_on_after_failure(STOPPED SAVED WENT_ON);
	qemu_down();
	free(state);
}

/* A guest that somebody has paused, or that has switched itself off, has epochs too, and is
 * not started by them. */
static void test_paused_is_not_started(void)
{
	static const int states[] = {QEMU_PAUSED, QEMU_SHUTDOWN};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		struct pieces p = {0};

		checkpoint_attached();
		guest_writes(RAM, 3, 1);
		qemu.running = false;
		world.run_state = states[i];
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
		calls_are("drain " SAVED);
		lengths_of_images(&p);
		piece_is(&p, RAM, 3 * PAGE, PAGE);
		no_more_pieces(&p);
		CU_ASSERT_EQUAL(epochs_taken(), 2);
		CU_ASSERT_EQUAL(world.run_state, states[i]);
		qemu_down();
	}
}

static void test_times(void)
{
	checkpoint_attached();
	qemu.pause_takes_ns = 300;
	qemu.save_takes_ns = 2000;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->stop_ns), 300);
	CU_ASSERT_EQUAL(atomic_load(&area->save_ns), 2000);
	CU_ASSERT_EQUAL(atomic_load(&area->scan_ns), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->copy_ns), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->start_ns), 0);
	qemu_down();
}

/* --- more than staging holds --------------------------------------------------- */

/* Notes which pages there are among what was staged. */
static void count_pages(uint8_t *seen)
{
	const uint64_t end = atomic_load(&area->staged_bytes);
	uint64_t at = 0;

	CU_ASSERT_FATAL(end <= VMFT_AREA_STAGING_BYTES);
	while (at < end) {
		struct vmft_area_piece piece;

		memcpy(&piece, (uint8_t *)area + area->staging_at + at, sizeof(piece));
		if (piece.region == RAM)
			seen[piece.offset / PAGE]++;
		at += sizeof(piece) + (piece.bytes + 15u) / 16 * 16;
	}
}

/* The guest stays stopped until the last part of an epoch is staged; each page is staged once. */
static void test_more(void)
{
	uint8_t *seen = calloc(1, MANY_PAGES);
	unsigned parts = 0, wrong = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
	checkpoint_many_written();
	do {
		CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_EPOCH), 0);
		count_pages(seen);
		if (parts++ == 0)
			calls_are(STOPPED SAVED);
		if (!atomic_load(&area->more))
			break;
		CU_ASSERT(!qemu.running);
		CU_ASSERT_EQUAL(epochs_taken(), 1);
		CU_ASSERT_EQUAL(atomic_load(&area->state_bytes), qemu.state_bytes);
	} while (parts < 10);
	calls_are(WENT_ON);
	CU_ASSERT_EQUAL(parts, 3);
	CU_ASSERT_EQUAL(epochs_taken(), 2);
	for (unsigned i = 0; i < MANY_PAGES; i++)
		wrong += seen[i] != 1;
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(area_nothing_marked(RAM));
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	qemu_down();
	free(seen);
}

/* The backup is lost between two parts: the guest goes on, and there is no new epoch. */
static void test_more_dropped(void)
{
	checkpoint_many_written();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	calls_are(WENT_ON);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	CU_ASSERT_EQUAL(epochs_taken(), 1);
	CU_ASSERT_EQUAL(qemu.log_stops, 1);
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0); /* again: nothing */
	calls_are("");
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EINVAL);
	qemu_down();
}

/* A later part fails: the guest goes on, and there is no new epoch. */
static void test_more_fails(void)
{
	checkpoint_many_written();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.blocks = 0;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -ENOENT);
	qemu.blocks = REGIONS - RAM;
	calls_are(STOPPED SAVED WENT_ON);
	CU_ASSERT_EQUAL(epochs_taken(), 1);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	qemu_down();
}

/* Somebody has QEMU start the guest in between ("cont"): what was staged so far is older than its
 * memory, so the epoch ends with a state of now and all that was written since. */
static void test_more_and_cont(void)
{
	uint8_t *seen = calloc(1, MANY_PAGES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
	checkpoint_many_written();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	qemu.ticks = true;
	vmft_qemu.symbols.vm_start();
	calls_are("vm-start ");
	guest_writes(RAM, 0, 0xff);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	count_pages(seen);
	CU_ASSERT_EQUAL(seen[0], 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(WENT_ON);
	CU_ASSERT_EQUAL(epochs_taken(), 2);
	qemu_down();
	free(seen);
}

int vmft_suite_checkpoint_agent(void)
{
	static CU_TestInfo tests[] = {
	    {"point", test_point},
	    {"point over budget", test_point_over_budget},
	    {"point with staging full", test_point_staging_full},
	    {"the guest is left untouched", test_untouched},
	    {"epochs", test_epochs},
	    {"parts of an image's blocks", test_disk_parts},
	    {"parts are marked again", test_disk_parts_undone},
	    {"an epoch flushes", test_epoch_flushes},
	    {"saved before it is scanned", test_saved_before_scanned},
	    {"an epoch fails", test_epoch_fails},
	    {"an epoch with too large a state", test_epoch_state_too_large},
	    {"a paused guest is not started", test_paused_is_not_started},
	    {"times", test_times},
	    {"more than staging holds", test_more},
	    {"more, and dropped", test_more_dropped},
	    {"more, and it fails", test_more_fails},
	    {"more, and started in between", test_more_and_cont},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints, inside QEMU: epochs", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
