/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent does inside QEMU with a guest whose strategy is checkpoint: when it is stopped
 * and goes on, what an epoch takes of it, and what its output waits for.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include "fake_qemu.h"
#include "monitor/agent/announce.h"
#include "monitor/agent/checkpoint.h"
#include "monitor/agent/input.h"
#include "monitor/agent/requests.h"
#include "monitor/agent/signals.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/track.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/exit-codes.h"
#include "suites.h"

#define PAUSED	"runstate:7 ticks-off pause notify:0:7 "
#define STOPPED PAUSED "drain "
#define SAVED	"store-running save close "
#define WENT_ON "ticks-on runstate:9 notify:1:9 resume "

#define GATE_LIMIT 1000u /* of world_up() */

/* Of QEMU's TimersState; the second as world_up() has it. */
enum { TICKS_OFFSET = 8, CLOCK_OFFSET = 56 };

static void setup(void)
{
	qemu_up_checkpoint(RAM_PAGES * (uint64_t)PAGE);
	area_budget(UINT64_MAX);
}

/* What QEMU was told since it was asked last. */
static void calls_are(const char *want)
{
	CU_ASSERT_STRING_EQUAL(qemu.calls, want);
	qemu.calls[0] = '\0';
}

/* A guest that a backup is sent the epochs of; one has been taken. */
static void attached(void)
{
	setup();
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	qemu.calls[0] = '\0';
}

static void lengths_of_images(struct pieces *p)
{
	piece_is(p, 0, 100 * BLOCK, 0);
	piece_is(p, 1, 3 * BLOCK + 100, 0);
}

static uint64_t epochs(void)
{
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position),
			atomic_load(&vmft_checkpoint.epoch));
	return atomic_load(&vmft_agent.iface->log_position);
}

static uint64_t timer(size_t offset)
{
	uint64_t value;

	memcpy(&value, world.timers_state + offset, sizeof(value));
	return value;
}

/* --- the first epoch ---------------------------------------------------------- */

/* What is marked and what was written since is taken, with the state; the guest goes on and is
 * tracked on. */
static void test_point(void)
{
	struct pieces p = {0};

	setup();
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
	CU_ASSERT_EQUAL(epochs(), 1);
	CU_ASSERT_EQUAL(atomic_load(&area->point_position), 1);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	CU_ASSERT(atomic_load(&vmft_track.disks));
	CU_ASSERT_EQUAL(qemu.log_stops, 0);
	for (unsigned i = 0; i < REGIONS; i++)
		CU_ASSERT(area_nothing_marked(i));
	qemu_down();
}

/* One page over the budget: the guest goes on as it was and all stays marked for another try. */
static void test_point_over_budget(void)
{
	struct pieces p = {0};

	setup();
	(void)!pwrite(disk[0], "x", 1, 7 * BLOCK);
	guest_writes(RAM, 3, 1);
	guest_writes(VRAM, 4, 1);
	area_budget(BLOCK + 2 * PAGE - 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -E2BIG);
	calls_are(STOPPED SAVED WENT_ON);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 << 7);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 3);
	CU_ASSERT_EQUAL(area_marks(VRAM, 0), 1 << 4);
	CU_ASSERT_EQUAL(epochs(), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	area_budget(BLOCK + 2 * PAGE);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	piece_is(&p, 0, 7 * BLOCK, VMFT_DISK_PART_BYTES);
	lengths_of_images(&p);
	piece_is(&p, RAM, 3 * PAGE, PAGE);
	piece_is(&p, VRAM, 4 * PAGE, PAGE);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(epochs(), 1);
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
	CU_ASSERT_EQUAL(epochs(), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	qemu_down();
}

/* Refused before the guest is touched. */
static void test_untouched(void)
{
	setup();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EINVAL);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EINVAL);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	qemu.running = false;
	world.run_state = QEMU_PAUSED;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EAGAIN);
	calls_are("");
	CU_ASSERT_EQUAL(epochs(), 0);
	qemu_down();
}

/* --- epochs ------------------------------------------------------------------- */

/* Each takes what was written since the last. */
static void test_epochs(void)
{
	struct pieces p = {0};

	attached();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED WENT_ON);
	lengths_of_images(&p);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(epochs(), 2);
	guest_writes(RAM, RAM_PAGES - 1, 0xe1);
	p.at = 0;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	lengths_of_images(&p);
	piece_is(&p, RAM, (RAM_PAGES - 1) * PAGE, PAGE);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(epochs(), 3);
	CU_ASSERT_EQUAL(atomic_load(&area->point_position), 3);
	qemu_down();
}

/* Only what was written of a block of an image, runs of parts in one piece; of a block whose
 * parts nobody has noted, all. */
static void test_disk_parts(void)
{
	enum { PART = VMFT_DISK_PART_BYTES };
	static char bytes[2 * PART];
	struct pieces p = {0};

	attached();
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
	/* Nothing of it is left for the next. */
	(void)!pwrite(disk[0], bytes, 1, 5 * BLOCK + 9 * PART);
	p.at = 0;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	piece_is(&p, 0, 5 * BLOCK + 9 * PART, PART);
	lengths_of_images(&p);
	no_more_pieces(&p);
	qemu_down();
}

/* An epoch that fails is marked again as a whole block, whatever of it had been written. */
static void test_disk_parts_undone(void)
{
	struct pieces p = {0};

	attached();
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

	attached();
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

	attached();
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
	CU_ASSERT_EQUAL(epochs(), 1);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 3);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	CU_ASSERT(qemu.running);
}

/* Whatever goes wrong, it is no epoch, and the guest goes on with its marks. */
static void test_epoch_fails(void)
{
	attached();
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
	CU_ASSERT_EQUAL(epochs(), 2);
	qemu_down();
}

static void test_epoch_state_too_large(void)
{
	uint8_t *state = calloc(1, VMFT_AREA_STATE_BYTES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(state);
	attached();
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

		attached();
		guest_writes(RAM, 3, 1);
		qemu.running = false;
		world.run_state = states[i];
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
		calls_are("drain " SAVED);
		lengths_of_images(&p);
		piece_is(&p, RAM, 3 * PAGE, PAGE);
		no_more_pieces(&p);
		CU_ASSERT_EQUAL(epochs(), 2);
		CU_ASSERT_EQUAL(world.run_state, states[i]);
		qemu_down();
	}
}

static void test_times(void)
{
	attached();
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

/* --- more than staging holds -------------------------------------------------- */

#define MANY_PAGES 40000u /* more than twice what staging holds */

static void many_written(void)
{
	qemu_up_checkpoint(MANY_PAGES * (uint64_t)PAGE);
	area_budget(UINT64_MAX);
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	qemu.calls[0] = '\0';
	for (unsigned i = 0; i < MANY_PAGES; i++)
		guest_writes(RAM, i, (uint8_t)(i >> 8));
	(void)!pwrite(disk[0], "x", 1, 0);
}

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

/* The guest stays stopped until the last of an epoch is staged, each page of it once. */
static void test_more(void)
{
	uint8_t *seen = calloc(1, MANY_PAGES);
	unsigned parts = 0, wrong = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
	many_written();
	do {
		CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_EPOCH), 0);
		count_pages(seen);
		if (parts++ == 0)
			calls_are(STOPPED SAVED);
		if (!atomic_load(&area->more))
			break;
		CU_ASSERT(!qemu.running);
		CU_ASSERT_EQUAL(epochs(), 1);
		CU_ASSERT_EQUAL(atomic_load(&area->state_bytes), qemu.state_bytes);
	} while (parts < 10);
	calls_are(WENT_ON);
	CU_ASSERT_EQUAL(parts, 3);
	CU_ASSERT_EQUAL(epochs(), 2);
	for (unsigned i = 0; i < MANY_PAGES; i++)
		wrong += seen[i] != 1;
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(area_nothing_marked(RAM));
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	qemu_down();
	free(seen);
}

/* The backup is lost in between: the guest goes on, and it was no epoch. */
static void test_more_dropped(void)
{
	many_written();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	calls_are(WENT_ON);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	CU_ASSERT_EQUAL(epochs(), 1);
	CU_ASSERT_EQUAL(qemu.log_stops, 1);
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0); /* again: nothing */
	calls_are("");
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EINVAL);
	qemu_down();
}

/* An error in a later part: the guest goes on, this is no epoch. */
static void test_more_fails(void)
{
	many_written();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.blocks = 0;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -ENOENT);
	qemu.blocks = REGIONS - RAM;
	calls_are(STOPPED SAVED WENT_ON);
	CU_ASSERT_EQUAL(epochs(), 1);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 0);
	qemu_down();
}

/* Somebody has QEMU start the guest in between ("cont"): what was staged so far is older than its
 * memory, so the epoch ends with a state of now and all that was written since. */
static void test_more_and_cont(void)
{
	uint8_t *seen = calloc(1, MANY_PAGES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
	many_written();
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
	CU_ASSERT_EQUAL(epochs(), 2);
	qemu_down();
	free(seen);
}

/* --- clocks ------------------------------------------------------------------- */

/* Since then nothing was taken off the guest's clocks: they are the host's and the same offset. */
static void clocks_ran_on(uint64_t since_tsc)
{
	CU_ASSERT(qemu.ticks);
	CU_ASSERT_EQUAL(timer(CLOCK_OFFSET), 0);
	CU_ASSERT(-timer(TICKS_OFFSET) < __rdtsc() - since_tsc);
	CU_ASSERT_EQUAL(qemu.kvm_ahead, 0);
}

/* The end of an epoch takes nothing off the guest's clocks, KVM's included, which is set as it was
 * read. What is saved is the reading at the stop. */
static void test_clocks_run_on(void)
{
	const uint64_t began = __rdtsc();

	attached();
	qemu.pause_takes_ns = 300;
	qemu.save_takes_ns = 2000;
	memset(world.timers_state, 0, sizeof(world.timers_state));
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	clocks_ran_on(began);
	for (size_t i = 0; i < sizeof(world.timers_state); i++)
		if (i / 8 != TICKS_OFFSET / 8)
			CU_ASSERT_EQUAL(world.timers_state[i], 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	clocks_ran_on(began);
	qemu_down();
}

/* Over all parts of an epoch. */
static void test_clocks_run_on_over_parts(void)
{
	const uint64_t began = __rdtsc();

	many_written();
	memset(world.timers_state, 0, sizeof(world.timers_state));
	while (agent_ask(VMFT_AREA_EPOCH) == 0 && atomic_load(&area->more))
		world.now += 1000;
	clocks_ran_on(began);
	qemu_down();
}

/* What somebody else sets KVM's clock to is what it gets. */
static void test_kvm_clock_of_others(void)
{
	struct kvm_clock_data data = {.clock = 5000};

	attached();
	CU_ASSERT_EQUAL(ioctl(-1, KVM_GET_CLOCK, &data), 0);
	world.now += 700;
	data.clock = 5000;
	CU_ASSERT_EQUAL(ioctl(-1, KVM_SET_CLOCK, &data), 0);
	CU_ASSERT_EQUAL(data.clock, 5000);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	data.clock = 6000;
	CU_ASSERT_EQUAL(ioctl(-1, KVM_SET_CLOCK, &data), 0);
	CU_ASSERT_EQUAL(data.clock, 6000);
	qemu_down();
}

/* --- frozen ------------------------------------------------------------------- */

/* A drill's guest stops where an epoch ends, is seen to, and goes on where it was; its clocks
 * have gone on. */
static void test_frozen(void)
{
	const uint64_t began = __rdtsc();
	unsigned rung;

	attached();
	memset(world.timers_state, 0, sizeof(world.timers_state));
	atomic_store(&vmft_agent.iface->freeze, 1);
	vmft_agent.strategy->service();
	CU_ASSERT(qemu.running);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frozen_at), 0);
	rung = atomic_load(&world.rung);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	CU_ASSERT(atomic_load(&world.rung) > rung);
	CU_ASSERT_EQUAL(epochs(), 2);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frozen_at), 3);
	world.now += 1000;
	vmft_agent.strategy->service();
	calls_are("");
	atomic_store(&vmft_agent.iface->freeze, 0);
	vmft_agent.strategy->service();
	calls_are(WENT_ON);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frozen_at), 0);
	clocks_ran_on(began);
	vmft_agent.strategy->service();
	calls_are("");
	qemu_down();
}

/* It may be asked for its last epoch, and be dropped, and stays where it is. */
static void test_frozen_stays(void)
{
	attached();
	atomic_store(&vmft_agent.iface->freeze, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(SAVED);
	CU_ASSERT_EQUAL(epochs(), 3);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	calls_are("");
	CU_ASSERT(!qemu.running);
	atomic_store(&vmft_agent.iface->freeze, 0);
	vmft_agent.strategy->service();
	calls_are(WENT_ON);
	qemu_down();
}

/* Somebody has QEMU start it meanwhile: an epoch is not taken of a guest that runs. */
static void test_frozen_and_cont(void)
{
	attached();
	atomic_store(&vmft_agent.iface->freeze, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	vmft_qemu.symbols.vm_start();
	qemu.calls[0] = '\0';
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	/* Thawed, there is nothing to be done for it, and nothing for its clocks. */
	vmft_qemu.symbols.vm_start();
	qemu.calls[0] = '\0';
	memset(world.timers_state, 0, sizeof(world.timers_state));
	atomic_store(&vmft_agent.iface->freeze, 0);
	vmft_agent.strategy->service();
	calls_are("");
	CU_ASSERT_EQUAL(timer(CLOCK_OFFSET), 0);
	qemu_down();
}

/* --- fenced ------------------------------------------------------------------- */

static void fence(void)
{
	atomic_store(&vmft_agent.fenced, true);
	vmft_gate_mode_changed();
}

/* Whatever it was stopped for, a guest that is fenced meanwhile never runs again. */
static void test_fenced_stays(void)
{
	many_written();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.calls[0] = '\0';
	fence();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	calls_are("");
	CU_ASSERT(!qemu.running);
	qemu_down();

	attached();
	atomic_store(&vmft_agent.iface->freeze, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.calls[0] = '\0';
	fence();
	atomic_store(&vmft_agent.iface->freeze, 0);
	vmft_agent.strategy->service();
	calls_are("");
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* Also one that was told to start and has not come to it: starting it would take QEMU's own
 * request to stop with it. */
static void test_fenced_before_start(void)
{
	setup();
	qemu.running = false;
	qemu.deferred = true;
	vmft_agent.strategy->start(false);
	fence();
	main_loop_runs();
	calls_are("");
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* --- the gate ----------------------------------------------------------------- */

static void guest_sends(size_t n)
{
	static char frame[2 * GATE_LIMIT];
	struct iovec iov = {.iov_base = frame, .iov_len = n};

	CU_ASSERT_EQUAL(vmft_gate_writev(world.tap[1], &iov, 1), (ssize_t)n);
}

static void acked(uint64_t epoch)
{
	atomic_store(&vmft_agent.iface->release_until, UINT64_MAX);
	atomic_store(&vmft_agent.iface->acked, epoch);
	(void)vmft_gate_service();
}

static uint64_t held(void)
{
	return atomic_load(&vmft_agent.iface->gate_frames);
}

/* A frame depends on the epoch it is sent in, which ends later. */
static void test_output_depends_on(void)
{
	attached();
	guest_sends(10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_newest), 2);
	acked(1);
	CU_ASSERT_EQUAL(held(), 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	guest_sends(10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_newest), 3);
	CU_ASSERT_EQUAL(held(), 2);
	acked(2);
	CU_ASSERT_EQUAL(held(), 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	acked(3);
	CU_ASSERT_EQUAL(held(), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frames_released), 2);
	CU_ASSERT_EQUAL(world.broken, 0);
	guest_sends(10);
	acked(4); /* there is no such epoch */
	CU_ASSERT_EQUAL(held(), 1);
	CU_ASSERT_EQUAL(world.broken, 1);
	qemu_down();
}

/* A guest that is alone sends at once; when its gate closes, what has left is told. */
static void test_gate_closes(void)
{
	attached();
	vmft_gate_open();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_closed_at), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	guest_sends(10);
	CU_ASSERT_EQUAL(held(), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_closed_at), 3 + 1);
	guest_sends(10);
	CU_ASSERT_EQUAL(held(), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_newest), 4);
	qemu_down();
}

static char sent_text[64];

static ssize_t records_writev(int fd, const struct iovec *iov, int count)
{
	CU_ASSERT_EQUAL(fd, world.tap[0]);
	CU_ASSERT_EQUAL(count, 1);
	(void)strncat(sent_text, iov->iov_base, iov->iov_len);
	return (ssize_t)iov->iov_len;
}

static void guest_says(const char *text)
{
	struct iovec iov = {.iov_base = (void *)text, .iov_len = strlen(text)};

	CU_ASSERT_EQUAL(vmft_gate_writev(world.tap[0], &iov, 1), (ssize_t)strlen(text));
}

/* What the gate of a guest that is handed over holds is copied, and stays, until it is known whose
 * it is to send. */
static void test_gate_is_handed_over(void)
{
	ssize_t (*before)(int, const struct iovec *, int);
	struct vmft_iface *iface;

	attached();
	iface = vmft_agent.iface;
	before = vmft_libc_table.writev;
	vmft_libc_table.writev = records_writev;
	sent_text[0] = '\0';
	guest_says("one ");
	guest_says("another");
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	vmft_gate_keep_service();
	CU_ASSERT_EQUAL(atomic_load(&iface->kept_output), 0);
	atomic_store(&iface->keep_output, 1);
	vmft_gate_keep_service();
	CU_ASSERT_EQUAL(atomic_load(&iface->kept_output), 1 + 16 + 16);
	acked(2);
	CU_ASSERT_EQUAL(held(), 2);
	CU_ASSERT_STRING_EQUAL(sent_text, "");

	/* As the other side does it, which has it in the same place. */
	atomic_store(&iface->take_output, 16 + 16);
	vmft_gate_take_output();
	CU_ASSERT_STRING_EQUAL(sent_text, "one another");
	atomic_store(&iface->take_output, 16 + 15); /* the last is not whole */
	sent_text[0] = '\0';
	vmft_gate_take_output();
	CU_ASSERT_STRING_EQUAL(sent_text, "one ");
	atomic_store(&iface->take_output, UINT64_MAX);
	vmft_gate_take_output();
	CU_ASSERT_STRING_EQUAL(sent_text, "one ");

	/* It is called off: they leave here. */
	atomic_store(&iface->keep_output, 0);
	vmft_gate_keep_service();
	CU_ASSERT_EQUAL(atomic_load(&iface->kept_output), 0);
	acked(2);
	CU_ASSERT_EQUAL(held(), 0);
	CU_ASSERT_STRING_EQUAL(sent_text, "one one another");
	vmft_libc_table.writev = before;
	qemu_down();
}

/* A reset or power-off that the guest has asked for is the main loop's to deal with first: an
 * epoch in between would be of a guest that has asked, in a machine that does not know. */
static void test_wish_pending(void)
{
	int *const wishes[] = {&qemu.reset_requested, &qemu.shutdown_requested};

	for (size_t i = 0; i < 2; i++) {
		uint32_t asked;

		attached();
		qemu.deferred = true;
		*wishes[i] = 6;
		asked = atomic_load(&area->request) + 1;
		atomic_store(&area->op, VMFT_AREA_EPOCH);
		atomic_store(&area->request, asked);
		vmft_requests_service();
		main_loop_comes_round();
		calls_are(STOPPED WENT_ON);
		CU_ASSERT_NOT_EQUAL(atomic_load(&area->done), asked);
		*wishes[i] = 0;
		main_loop_comes_round();
		calls_are(STOPPED SAVED WENT_ON);
		CU_ASSERT_EQUAL(atomic_load(&area->done), asked);
		CU_ASSERT_EQUAL(epochs(), 2);
		*wishes[i] = 6;
		guest_sends(900);
		guest_sends(900);
		main_loop_comes_round();
		calls_are(STOPPED WENT_ON);
		*wishes[i] = 0;
		main_loop_comes_round();
		calls_are(STOPPED);
		qemu_down();
	}
}

/* A full gate does not keep the thread that sends, which may be the one that takes the epoch it
 * waits for: the main loop stops the guest, epochs are taken all the same, and room lets it go
 * on, with clocks that have gone on. */
static void test_gate_full(void)
{
	const uint64_t began = __rdtsc();

	attached();
	memset(world.timers_state, 0, sizeof(world.timers_state));
	qemu.deferred = true;
	guest_sends(600);
	CU_ASSERT_EQUAL(qemu.bottom_halves, 0);
	guest_sends(600);
	guest_sends(600);
	CU_ASSERT_EQUAL(held(), 3);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_stalls), 1);
	CU_ASSERT_EQUAL(qemu.bottom_halves, 1);
	calls_are("");
	main_loop_runs();
	calls_are(STOPPED);
	world.now += 1000;
	qemu.deferred = false;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(SAVED);
	CU_ASSERT_EQUAL(epochs(), 2);
	qemu.deferred = true;
	acked(2);
	CU_ASSERT_EQUAL(held(), 0);
	main_loop_runs();
	calls_are(WENT_ON);
	clocks_ran_on(began);
	/* It may fill up anew. */
	guest_sends(900);
	guest_sends(900);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_stalls), 2);
	main_loop_runs();
	calls_are(STOPPED);
	qemu_down();
}

/* Half of it must be free again, or the guest would stop and go on with each frame. */
static void test_gate_half_full(void)
{
	attached();
	guest_sends(450);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.calls[0] = '\0';
	guest_sends(501);
	guest_sends(100);
	calls_are(STOPPED);
	acked(2);
	CU_ASSERT_EQUAL(held(), 2);
	calls_are("");
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	acked(3);
	calls_are(SAVED WENT_ON);
	qemu_down();
}

/* It was full and has room before the main loop comes round, or the gate is opened: nothing is
 * stopped for. */
static void test_gate_full_for_a_moment(void)
{
	attached();
	guest_sends(600);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.calls[0] = '\0';
	qemu.deferred = true;
	guest_sends(401);
	acked(2);
	main_loop_runs();
	calls_are("");
	guest_sends(600);
	vmft_gate_open();
	main_loop_runs();
	calls_are("");
	CU_ASSERT(qemu.running);
	qemu_down();
}

/* The backup is lost and the arbiter says that this side goes on: the gate opens, the guest too. */
static void test_gate_full_and_opened(void)
{
	attached();
	guest_sends(600);
	guest_sends(600);
	calls_are(STOPPED);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	calls_are("");
	vmft_gate_open();
	(void)vmft_gate_service();
	calls_are(WENT_ON);
	CU_ASSERT_EQUAL(held(), 0);
	qemu_down();
}

/* Fenced: what is held is dropped, which makes room, but not for this guest. */
static void test_gate_full_and_fenced(void)
{
	attached();
	guest_sends(600);
	guest_sends(600);
	calls_are(STOPPED);
	fence();
	(void)vmft_gate_service();
	calls_are("");
	CU_ASSERT_EQUAL(held(), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frames_dropped), 2);
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* Two reasons: both must go. */
static void test_gate_full_and_frozen(void)
{
	attached();
	atomic_store(&vmft_agent.iface->freeze, 1);
	guest_sends(600);
	guest_sends(600);
	calls_are(STOPPED);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(SAVED);
	acked(2);
	calls_are("");
	atomic_store(&vmft_agent.iface->freeze, 0);
	vmft_agent.strategy->service();
	calls_are(WENT_ON);
	qemu_down();
}

/* --- a backup goes live --------------------------------------------------------- */

static const uint8_t saved[] = "QEVM\0\0\0\3devices";

static unsigned drained_at_start, announced_at_start;
static bool open_at_start, live_at_start;

static void start_looks(void)
{
	drained_at_start = world.drained;
	announced_at_start = world.announced;
	open_at_start = atomic_load(&vmft_agent.open);
	live_at_start = atomic_load(&vmft_agent.iface->agent_state) == VMFT_AGENT_LIVE;
	strcat(qemu.calls, "vm-start ");
}

/* A backup's QEMU that waits, stopped, with the state of epoch 41 and a ROM of the primary's. */
static void standby(void)
{
	setup();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	qemu.running = false;
	world.run_state = QEMU_INMIGRATE;
	atomic_store(&vmft_agent.iface->agent_state, VMFT_AGENT_STANDBY);
	vmft_qemu.symbols.vm_start = start_looks;
	memset((uint8_t *)area + area->region[BIOS].shadow_at, 0xbb, 3 * PAGE + 100);
	memcpy((uint8_t *)area + area->state_at, saved, sizeof(saved));
	atomic_store(&area->load_bytes, sizeof(saved));
	atomic_store(&area->load_position, 41);
	world.now = 5000;
}

static void test_load(void)
{
	uint8_t rom[3 * PAGE + 100];

	memset(rom, 0xbb, sizeof(rom));
	standby();
	qemu.shadow_expected = rom;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
	calls_are("activate " LOADED "vm-start ");
	CU_ASSERT(qemu.shadow_was_there);
	CU_ASSERT_EQUAL(qemu.loaded_bytes, sizeof(saved) - 8);
	CU_ASSERT_EQUAL(memcmp(qemu.loaded, saved + 8, sizeof(saved) - 8), 0);
	/* All before the guest's first frame. */
	CU_ASSERT_EQUAL(drained_at_start, 1);
	CU_ASSERT_EQUAL(announced_at_start, 1);
	CU_ASSERT(open_at_start);
	CU_ASSERT(!live_at_start);
	CU_ASSERT_EQUAL(vmft_announcer.made, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_LIVE);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->live_at_ns), 5000);
	/* Epochs are counted on. */
	CU_ASSERT_EQUAL(epochs(), 41);
	guest_sends(10);
	CU_ASSERT_EQUAL(held(), 0);
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_closed_at), 42 + 1);
	qemu_down();
}

static void still_stands_by(const char *calls)
{
	calls_are(calls);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_STANDBY);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->live_at_ns), 0);
	CU_ASSERT(!atomic_load(&vmft_agent.open));
	CU_ASSERT_EQUAL(world.drained, 0);
	CU_ASSERT_EQUAL(world.announced, 0);
	CU_ASSERT(!qemu.running);
	CU_ASSERT_EQUAL(epochs(), 0);
}

/* Whichever step fails, the guest does not run here and nothing is said in its name. */
static void test_load_fails(void)
{
	static char text[] = "Failed to get \"write\" lock";
	static const uint64_t bad[] = {0, 8, VMFT_AREA_STATE_BYTES + 1, UINT64_MAX};

	standby();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		atomic_store(&area->load_bytes, bad[i]);
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EINVAL);
		still_stands_by("");
	}
	atomic_store(&area->load_bytes, sizeof(saved));
	qemu.block[VRAM - RAM].name = "vga2.vram";
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -ENOENT);
	still_stands_by("");
	qemu.block[VRAM - RAM].name = "vga.vram";
	qemu.activate_error = text;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EBUSY);
	CU_ASSERT_STRING_EQUAL(area->error, text);
	still_stands_by("activate ");
	qemu.activate_error = NULL;
	qemu.load_result = -22;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EIO);
	still_stands_by("activate " LOADED);
	qemu_down();
}

/* --- a state that is loaded to see whether it can be --------------------------------- */

/* Guest memory as QEMU has it: the memfd, mapped. */
static uint8_t *map_ram(void)
{
	uint8_t *ram = mmap(NULL, qemu.block[0].bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			    vmft_agent.ram_fd, 0);

	CU_ASSERT_PTR_NOT_EQUAL_FATAL((void *)ram, MAP_FAILED);
	free(qemu.block[0].host);
	qemu.block[0].host = ram;
	return ram;
}

static void unmap_ram(void)
{
	(void)munmap(qemu.block[0].host, qemu.block[0].bytes);
	qemu.block[0].host = NULL;
	qemu_down();
}

/* It is loaded with guest memory as it is, and then neither the devices nor the memory have any of
 * it: any state can be loaded later, or this one proven again. */
static void test_prove(void)
{
	const size_t at = PAGE + 5;
	uint8_t *ram, byte = 0;

	standby();
	ram = map_ram();
	ram[at] = 'a';
	qemu.load_writes = &ram[at];
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), 0);
		still_stands_by(LOADED "reset ");
		CU_ASSERT_EQUAL(qemu.loaded_bytes, sizeof(saved) - 8);
		CU_ASSERT_EQUAL(qemu.load_found, 'a');
		CU_ASSERT_EQUAL(ram[at], 'a');
	}
	CU_ASSERT_EQUAL(pread(vmft_agent.ram_fd, &byte, 1, (off_t)at), 1);
	CU_ASSERT_EQUAL(byte, 'a');
	/* It is the memfd again, not a copy. */
	ram[at] = 'b';
	CU_ASSERT_EQUAL(pread(vmft_agent.ram_fd, &byte, 1, (off_t)at), 1);
	CU_ASSERT_EQUAL(byte, 'b');
	unmap_ram();
}

/* The reason is QEMU's first line, without what it puts before each. */
static void test_prove_fails(void)
{
	static const struct {
		const char *says, *error;
	} cases[] = {
	    {NULL, "QEMU could not load the device state"},
	    {"vmft-agent: a line of another's\n", "QEMU could not load the device state"},
	    {"2026-01-01T00:00:00.000000Z vmft-unit: net: saved image requires vnet_hdr=on\n"
	     "vmft-unit: Failed to load net\n",
	     "QEMU could not load the device state: net: saved image requires vnet_hdr=on"},
	    {"vmft-unit: no newline", "QEMU could not load the device state: no newline"},
	};
	uint8_t *ram;

	standby();
	ram = map_ram();
	ram[7] = 'a';
	qemu.load_writes = &ram[7];
	qemu.load_result = -22;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		qemu.load_says = cases[i].says;
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), -EIO);
		CU_ASSERT_STRING_EQUAL(area->error, cases[i].error);
		still_stands_by(LOADED "reset ");
		CU_ASSERT_EQUAL(ram[7], 'a');
	}
	atomic_store(&area->load_bytes, 8);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), -EINVAL);
	still_stands_by("");
	atomic_store(&area->load_bytes, sizeof(saved));
	qemu.block[0].name = "other.ram";
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), -ENOENT);
	still_stands_by("");
	unmap_ram();
}

/* --- frames that come in ------------------------------------------------------------ */

static const char frame[] = "a frame that came in";

/* The next record of the ring, which the monitor's end is at. */
static void record_is(uint64_t *at, uint64_t of_epoch, size_t n)
{
	struct vmft_input head;
	uint8_t bytes[sizeof(frame)];

	CU_ASSERT_FATAL(vmft_ring_ready(&vmft_agent.ring, *at) >= (int64_t)(sizeof(head) + n));
	vmft_ring_read(&vmft_agent.ring, *at, (uint8_t *)&head, sizeof(head));
	CU_ASSERT_EQUAL(head.epoch, of_epoch);
	CU_ASSERT_EQUAL(head.nic, 0);
	CU_ASSERT_EQUAL_FATAL(head.bytes, n);
	vmft_ring_read(&vmft_agent.ring, *at + sizeof(head), bytes, n);
	CU_ASSERT_EQUAL(memcmp(bytes, frame, n), 0);
	*at += sizeof(head) + (n + 7) / 8 * 8;
}

/* Tagged with the epoch that will be the first to have seen it, only of taps and only while
 * there is a backup; the monitor is woken if it sleeps. */
static void test_input_taken(void)
{
	uint64_t at = 0;

	setup();
	vmft_input_taken(world.tap[0], frame, sizeof(frame));
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, 0), 0);
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	atomic_store(&vmft_agent.iface->monitor_sleeps, 1);
	atomic_store(&world.rung, 0);
	vmft_input_taken(world.tap[0], frame, sizeof(frame));
	CU_ASSERT_EQUAL(atomic_load(&world.rung), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->monitor_sleeps), 0);
	vmft_input_taken(world.tap[1], frame, sizeof(frame)); /* no tap */
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	vmft_input_taken(world.tap[0], frame, 3);
	record_is(&at, 2, sizeof(frame));
	record_is(&at, 3, 3);
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, at), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	vmft_input_taken(world.tap[0], frame, 3);
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, at), 0);
	qemu_down();
}

/* A bulk transfer is not carried twice, a frame too long not at all, and a monitor that does not
 * take anything costs the guest nothing. */
static void test_input_bounded(void)
{
	static const uint8_t large[VMFT_INPUT_MAX + 1];
	const uint64_t mib = 1u << 20;
	int64_t kept;

	attached();
	vmft_input_taken(world.tap[0], large, sizeof(large));
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, 0), 0);
	for (unsigned i = 0; i < 100; i++)
		vmft_input_taken(world.tap[0], large, VMFT_INPUT_MAX);
	kept = vmft_ring_ready(&vmft_agent.ring, 0);
	CU_ASSERT(kept > (int64_t)(mib - 2 * VMFT_INPUT_MAX) && kept <= (int64_t)WORLD_RING);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	for (unsigned i = 0; i < 100; i++)
		vmft_input_taken(world.tap[0], large, VMFT_INPUT_MAX);
	CU_ASSERT(vmft_ring_ready(&vmft_agent.ring, 0) <= (int64_t)WORLD_RING);
	qemu_down();
}

/* What the monitor does before it has the state loaded. */
static void hand_over(uint64_t *at, uint32_t nic, const void *bytes, uint32_t n)
{
	const struct vmft_input head = {.epoch = 42, .nic = nic, .bytes = n};

	vmft_ring_write(&vmft_agent.ring, *at, (const uint8_t *)&head, sizeof(head));
	vmft_ring_write(&vmft_agent.ring, *at + sizeof(head), bytes, n);
	*at += sizeof(head) + (n + 7) / 8 * 8;
	vmft_ring_publish(&vmft_agent.ring, *at);
}

static bool hands_out(size_t n)
{
	struct pollfd fds[] = {{.fd = world.tap[1], .events = POLLIN},
			       {.fd = world.tap[0], .events = POLLIN}};
	uint8_t bytes[64];
	ssize_t got = 0;

	if (vmft_input_waits(fds, 1) || vmft_input_waits(fds, 2) != &fds[1])
		return false;
	CU_ASSERT(!vmft_input_next(world.tap[1], bytes, sizeof(bytes), &got));
	return vmft_input_next(world.tap[0], bytes, sizeof(bytes), &got) && got == (ssize_t)n &&
	       memcmp(bytes, frame, n) == 0;
}

/* The guest gets them before anything that its tap has, and the ring is the primary's then. */
static void test_input_handed_out(void)
{
	uint64_t at = 0;
	uint8_t byte;
	ssize_t got;

	standby();
	hand_over(&at, 0, frame, sizeof(frame));
	hand_over(&at, 0, frame, 5);
	CU_ASSERT(!vmft_input_next(world.tap[0], &byte, 1, &got)); /* it is not live */
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
	CU_ASSERT(hands_out(sizeof(frame)));
	CU_ASSERT(hands_out(5));
	CU_ASSERT(!hands_out(0));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_tail), at);
	qemu.running = true;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	vmft_input_taken(world.tap[0], frame, 7);
	record_is(&at, 43, 7);
	qemu_down();
}

/* What makes no sense, or comes too late, is forgotten with all behind it. */
static void test_input_not_handed_out(void)
{
	static const struct {
		uint32_t nic, n;
		uint64_t late;
	} bad[] = {{0, 0, 0}, {1, 5, 0}, {0, VMFT_INPUT_MAX + 1, 0}, {0, 5, 3000000000}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		static const uint8_t zeroes[VMFT_INPUT_MAX + 1];
		uint64_t at = 0;

		standby();
		hand_over(&at, bad[i].nic, zeroes, bad[i].n);
		hand_over(&at, 0, frame, 5);
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
		world.now += bad[i].late;
		CU_ASSERT(!hands_out(5));
		CU_ASSERT(!hands_out(5));
		CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_tail), at);
		qemu_down();
	}
}

/* --- orders, and the guest's end ------------------------------------------------ */

static void test_start(void)
{
	setup();
	qemu.running = false;
	atomic_store(&vmft_agent.iface->agent_state, VMFT_AGENT_WAITING);
	vmft_agent.strategy->start(false);
	calls_are("vm-start ");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_RECORDING);
	CU_ASSERT(!atomic_load(&vmft_agent.open));
	qemu_down();

	setup();
	qemu.running = false;
	vmft_agent.strategy->start(true);
	calls_are("vm-start ");
	CU_ASSERT(atomic_load(&vmft_agent.open));
	qemu_down();
}

static void test_end(void)
{
	attached();
	vmft_agent.strategy->end(VMFT_EXIT_OK);
	vmft_agent.strategy->end(VMFT_EXIT_OK);
	calls_are("quit ");
	qemu_down();
}

/* In whole percent, as QEMU has it, at most what it goes on with. */
static void test_throttle(void)
{
	static const struct {
		uint32_t permille;
		const char *calls;
	} steps[] = {
	    {0, ""},
	    {455, "throttle:45 "},
	    {455, ""},
	    {459, "throttle:45 "},
	    {9, "throttle-off "},
	    {10, "throttle:1 "},
	    {1000, "throttle:90 "},
	    {0, "throttle-off "},
	};

	attached();
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		atomic_store(&vmft_agent.iface->throttle, steps[i].permille);
		vmft_agent.strategy->service();
		calls_are(steps[i].calls);
	}
	/* It is lockstep's tap that slows a guest which is logged. */
	vmft_agent.strategy = &vmft_agent_lockstep;
	atomic_store(&vmft_agent.iface->throttle, 500);
	vmft_agent.strategy->service();
	calls_are("");
	qemu_down();
}

/* The monitor is gone and the guest, alone already, was stopped for it: it goes on. */
static void test_orphaned(void)
{
	many_written();
	vmft_gate_open();
	atomic_store(&vmft_agent.iface->throttle, 500);
	vmft_agent.strategy->service();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->more), 1);
	qemu.calls[0] = '\0';
	vmft_agent.strategy->orphaned(VMFT_AGENT_LIVE);
	calls_are(WENT_ON "throttle-off ");
	CU_ASSERT_EQUAL(qemu.log_stops, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), -EINVAL);
	qemu_down();

	attached();
	vmft_gate_open();
	atomic_store(&vmft_agent.iface->freeze, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.calls[0] = '\0';
	vmft_agent.strategy->orphaned(VMFT_AGENT_LIVE);
	vmft_agent.strategy->service();
	calls_are(WENT_ON "throttle-off ");
	qemu_down();
}

static uint32_t agent_state(void)
{
	return atomic_load(&vmft_agent.iface->agent_state);
}

/* The first wait of a main loop whose machine is ready is where QEMU is up. */
static void test_comes_up(void)
{
	setup();
	vmft_agent.strategy = &vmft_agent_lockstep;
	vmft_agent.strategy->before_wait();
	vmft_agent.strategy = &vmft_agent_checkpoint;
	qemu.phase = 3;
	vmft_agent.strategy->before_wait();
	CU_ASSERT(!atomic_load(&vmft_agent.armed));
	qemu_down();
}

/* A guest that switches itself off is reported from then on, whoever ran it. */
static void test_powered_off(void)
{
	static const uint32_t states[] = {VMFT_AGENT_RECORDING, VMFT_AGENT_LIVE};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		attached();
		atomic_store(&vmft_agent.armed, true);
		atomic_store(&vmft_agent.iface->agent_state, states[i]);
		vmft_agent.strategy->before_wait();
		CU_ASSERT_EQUAL(agent_state(), states[i]);
		qemu.running = false;
		world.run_state = QEMU_PAUSED;
		vmft_agent.strategy->before_wait();
		CU_ASSERT_EQUAL(agent_state(), states[i]);
		world.run_state = QEMU_SHUTDOWN;
		vmft_agent.strategy->before_wait();
		CU_ASSERT_EQUAL(agent_state(), VMFT_AGENT_ENDED);
		/* What it did last is there to be taken. */
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
		CU_ASSERT_EQUAL(epochs(), 2);
		qemu_down();
	}
	attached();
	atomic_store(&vmft_agent.armed, true);
	atomic_store(&vmft_agent.iface->agent_state, VMFT_AGENT_FENCED);
	world.run_state = QEMU_SHUTDOWN;
	vmft_agent.strategy->before_wait();
	CU_ASSERT_EQUAL(agent_state(), VMFT_AGENT_FENCED);
	qemu_down();
}

/* In a process of its own: what comes up leaves something for its exit. */
static void in_a_process(bool (*goes_well)(void))
{
	pid_t child;
	int status = -1;

	setup();
	qemu.phase = 4;
	world.run_state = QEMU_RUNNING;
	(void)fflush(NULL);
	child = fork();
	CU_ASSERT_FATAL(child >= 0);
	if (child == 0)
		_exit(goes_well() ? 0 : 1);
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	CU_ASSERT_EQUAL(status, 0);
	qemu_down();
}

/* As main_loop_should_exit() does it. Returns whether QEMU would pause. */
static bool pauses_when_told_to_end(void)
{
	qemu.shutdown_action = 0; /* as SIGTERM and "quit" set it: poweroff */
	qemu.shutdown_notifier->notify(qemu.shutdown_notifier, NULL);
	return qemu.shutdown_action == 1;
}

/* Whatever ends a QEMU that runs a guest, it pauses until the monitor says so. */
static bool pauses_until_its_end(void)
{
	bool good;

	vmft_agent.strategy->before_wait();
	good = !pauses_when_told_to_end(); /* its guest has not run */
	atomic_store(&vmft_agent.iface->agent_state, VMFT_AGENT_LIVE);
	good &= pauses_when_told_to_end();
	/* Also one that was stopped at that moment, which leaves its run state as it is. */
	vmft_agent.strategy->before_wait();
	good &= agent_state() == VMFT_AGENT_ENDED && pauses_when_told_to_end();
	vmft_agent.strategy->end(VMFT_EXIT_OK);
	return good && !pauses_when_told_to_end();
}

static bool orphan_ends_at_once(void)
{
	vmft_agent.strategy->before_wait();
	atomic_store(&vmft_agent.iface->agent_state, VMFT_AGENT_RECORDING);
	atomic_store(&vmft_agent.orphaned, true);
	/* Also where the command line says pause. */
	qemu.shutdown_action = 1;
	qemu.shutdown_notifier->notify(qemu.shutdown_notifier, NULL);
	return qemu.shutdown_action == 0;
}

static void qemus_handler(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)info;
	(void)context;
	_exit(2);
}

/* The signal goes to the monitor, and to QEMU when the monitor orders it. */
static bool monitor_decides_on_signals(void)
{
	struct sigaction qemus = {.sa_sigaction = qemus_handler, .sa_flags = SA_SIGINFO};
	bool good;

	(void)sigaction(SIGTERM, &qemus, NULL);
	atomic_store(&vmft_agent.armed, true);
	vmft_signals_before_wait();
	qemu.calls[0] = '\0';
	(void)raise(SIGTERM);
	(void)raise(SIGTERM);
	vmft_signals_service();
	good = atomic_load(&vmft_agent.iface->stop_asked) == 2 && qemu.calls[0] == '\0';
	atomic_store(&vmft_agent.iface->stop, 1);
	vmft_signals_service();
	vmft_signals_service();
	return good && strcmp(qemu.calls, "killed:15 ") == 0;
}

static bool orphan_hears_signals(void)
{
	struct sigaction qemus = {.sa_sigaction = qemus_handler, .sa_flags = SA_SIGINFO};

	(void)sigaction(SIGHUP, &qemus, NULL);
	atomic_store(&vmft_agent.armed, true);
	vmft_signals_before_wait();
	(void)raise(SIGHUP);
	qemu.calls[0] = '\0';
	vmft_signals_orphaned();
	return strcmp(qemu.calls, "killed:1 ") == 0;
}

static void test_told_to_end(void)
{
	in_a_process(pauses_until_its_end);
	in_a_process(orphan_ends_at_once);
	in_a_process(monitor_decides_on_signals);
	in_a_process(orphan_hears_signals);
}

/* In a process of its own: what runs at its exit must not run at this one's. */
static void comes_up_and_exits(int run_state, uint32_t goes_to)
{
	pid_t child;
	int status = -1;

	setup();
	qemu.phase = 4;
	world.run_state = run_state;
	(void)fflush(NULL);
	child = fork();
	CU_ASSERT_FATAL(child >= 0);
	if (child == 0) {
		const uint32_t want =
		    run_state == QEMU_INMIGRATE ? VMFT_AGENT_STANDBY : VMFT_AGENT_WAITING;

		vmft_agent.strategy->before_wait();
		if (!atomic_load(&vmft_agent.armed) || agent_state() != want)
			_exit(1);
		atomic_store(&vmft_agent.iface->agent_state, goes_to);
		exit(0);
	}
	CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
	CU_ASSERT_EQUAL(status, 0);
}

/* An exit that nobody forced is the end of the guest that ran here, and of no other. */
static void test_exits(void)
{
	static const uint32_t ends[][2] = {
	    {VMFT_AGENT_RECORDING, VMFT_AGENT_ENDED}, {VMFT_AGENT_LIVE, VMFT_AGENT_ENDED},
	    {VMFT_AGENT_WAITING, VMFT_AGENT_WAITING}, {VMFT_AGENT_STANDBY, VMFT_AGENT_STANDBY},
	    {VMFT_AGENT_CRASHED, VMFT_AGENT_CRASHED}, {VMFT_AGENT_FENCED, VMFT_AGENT_FENCED},
	};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		comes_up_and_exits(i % 2 ? QEMU_INMIGRATE : QEMU_PAUSED, ends[i][0]);
		CU_ASSERT_EQUAL(agent_state(), ends[i][1]);
		qemu_down();
	}
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
	    {"a state is proven", test_prove},
	    {"a state that cannot be loaded", test_prove_fails},
	    {"clocks run on", test_clocks_run_on},
	    {"clocks run on over parts", test_clocks_run_on_over_parts},
	    {"KVM's clock set by others", test_kvm_clock_of_others},
	    {"frozen and thawed", test_frozen},
	    {"frozen it stays", test_frozen_stays},
	    {"frozen, and started", test_frozen_and_cont},
	    {"fenced it stays", test_fenced_stays},
	    {"fenced before it starts", test_fenced_before_start},
	    {"what output depends on", test_output_depends_on},
	    {"the gate closes", test_gate_closes},
	    {"the gate is handed over", test_gate_is_handed_over},
	    {"a wish of the guest's first", test_wish_pending},
	    {"a full gate", test_gate_full},
	    {"a gate half full", test_gate_half_full},
	    {"a gate full for a moment", test_gate_full_for_a_moment},
	    {"a full gate is opened", test_gate_full_and_opened},
	    {"a full gate is fenced", test_gate_full_and_fenced},
	    {"a full gate and frozen", test_gate_full_and_frozen},
	    {"input is taken down", test_input_taken},
	    {"input is bounded", test_input_bounded},
	    {"input is handed out", test_input_handed_out},
	    {"input is not handed out", test_input_not_handed_out},
	    {"load", test_load},
	    {"load fails", test_load_fails},
	    {"start", test_start},
	    {"end", test_end},
	    {"throttle", test_throttle},
	    {"orphaned", test_orphaned},
	    {"QEMU comes up", test_comes_up},
	    {"the guest switches itself off", test_powered_off},
	    {"QEMU is told to end", test_told_to_end},
	    {"QEMU exits", test_exits},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints, inside QEMU", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
