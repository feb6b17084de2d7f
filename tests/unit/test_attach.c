/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent does inside QEMU to give a guest's state away at the attach point, to take a state
 * in, and how it hears of both.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_qemu.h"
#include "monitor/agent/requests.h"
#include "monitor/agent/tap.h"
#include "monitor/agent/track.h"
#include "suites.h"

/* --- the attach point ---------------------------------------------------------- */

static void is_alone_again(void)
{
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	CU_ASSERT(!atomic_load(&vmft_tap.busy));
	CU_ASSERT(qemu.running);
}

#define STOPPED "events-off vm-stop:4 drain poll poll events-on "
#define SAVED	"instructions store-running save close "
#define RESET	"runstate:6 runstate:1 reset runstate:4 i2c-end "

/* The agent takes everything that is marked or was written since the last scan, with its content,
 * and clears the marks. It reports how long the images are, saves the state and loads it again. The
 * log begins between the two, so the backup goes through the same log. */
static void test_point(void)
{
	struct pieces p = {0};
	uint8_t after[sizeof(load_event)];

	qemu_up_tracking();
	CU_ASSERT_EQUAL(qemu.log_stops, 0);
	(void)pwrite(disk[0], "zero", 4, 0);
	(void)pwrite(disk[0], "ninety-nine", 11, 100 * BLOCK - 11);
	(void)pwrite(disk[1], "last", 4, 3 * BLOCK);
	guest_writes(RAM, 0, 0xe0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_SCAN), 0);
	guest_writes(RAM, 0, 0xe1);
	guest_writes(RAM, RAM_PAGES - 1, 0xe2);
	guest_writes(BIOS, 3, 0xe3);
	guest_writes(VRAM, 69, 0xe4);
	area_budget(3 * BLOCK + 4 * PAGE);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED SAVED RESET LOADED "vm-start ");

	piece_is(&p, 0, 0, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, 100 * BLOCK - VMFT_DISK_PART_BYTES, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, 100 * BLOCK, 0);
	piece_is(&p, 1, 3 * BLOCK, 100);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	piece_is(&p, RAM, 0, PAGE);
	piece_is(&p, RAM, (RAM_PAGES - 1) * PAGE, PAGE);
	piece_is(&p, BIOS, 3 * PAGE, 100);
	piece_is(&p, VRAM, 69 * PAGE, PAGE);
	no_more_pieces(&p);
	CU_ASSERT_EQUAL(area_shadow(BIOS)[3 * PAGE], 0xe3);
	for (unsigned i = 0; i < REGIONS; i++)
		CU_ASSERT(area_nothing_marked(i));

	CU_ASSERT_EQUAL(atomic_load(&area->state_bytes), qemu.state_bytes);
	CU_ASSERT_EQUAL(memcmp((uint8_t *)area + area->state_at, qemu.state, qemu.state_bytes), 0);
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(qemu.loaded_bytes, qemu.state_bytes - 8);
	CU_ASSERT_EQUAL(memcmp(qemu.loaded, qemu.state + 8, qemu.loaded_bytes), 0);
	/* The instructions run before it, and what a device logged while it was saved, are before
	 * the point; what one logged while it was loaded is the first after it. */
	CU_ASSERT_EQUAL(atomic_load(&area->point_position), POINT);
	CU_ASSERT(qemu.saved_at <= POINT); /* or its own backup would not take it */
	CU_ASSERT_EQUAL(atomic_load(&area->point_guest_ns), 0x1234);
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, POINT), (int64_t)sizeof(after));
	vmft_ring_read(&vmft_agent.ring, POINT, after, sizeof(after));
	CU_ASSERT_EQUAL(memcmp(after, load_event, sizeof(after)), 0);
	CU_ASSERT(qemu.running);
	CU_ASSERT(!atomic_load(&vmft_tap.busy));
	CU_ASSERT(!atomic_load(&vmft_track.disks));
	CU_ASSERT_EQUAL(qemu.log_stops, 1);
	qemu_down();
}

static int save_looks_at_unread_data(void *file)
{
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(world.replay_state[HAS_UNREAD_DATA + i], 0);
	return qemu_save_device_state(file);
}

/* After a guest went live here, QEMU still notes the END of its feed as unread: this note does not
 * go into the state. The count of requests continues, as it does on the backup. Nothing else of
 * QEMU is changed. */
static void test_point_and_replay_state(void)
{
	qemu_up_tracking();
	area_budget(0);
	memset(world.replay_state, 0x5a, sizeof(world.replay_state));
	vmft_qemu.symbols.qemu_save_device_state = save_looks_at_unread_data;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	for (unsigned i = 0; i < sizeof(world.replay_state); i++) {
		const bool unread = i >= HAS_UNREAD_DATA && i < HAS_UNREAD_DATA + 4;

		CU_ASSERT_EQUAL(world.replay_state[i], unread ? 0 : 0x5a);
	}
	qemu_down();
}

/* An image with data of its own in QEMU's memory is flushed while nothing is under way, which
 * may write to it: that is taken too. */
static int flush_writes(void)
{
	CU_ASSERT(!qemu.running);
	(void)pwrite(disk[1], "table", 5, BLOCK);
	return qemu_flush_all();
}

static void test_point_flushes(void)
{
	struct pieces p = {0};

	qemu_up_tracking();
	vmft_agent.flush = true;
	vmft_qemu.symbols.bdrv_flush_all = flush_writes;
	area_budget(BLOCK);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT_STRING_EQUAL(
	    qemu.calls,
	    "events-off vm-stop:4 drain poll poll flush events-on " SAVED RESET LOADED "vm-start ");
	piece_is(&p, 0, 100 * BLOCK, 0);
	piece_is(&p, 1, BLOCK, VMFT_DISK_PART_BYTES);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	no_more_pieces(&p);
	qemu_down();
}

/* An image that has become shorter since it was written to: what is left of it is taken. */
static void test_point_shorter_image(void)
{
	struct pieces p = {0};

	qemu_up_tracking();
	for (int block = 0; block < 3; block++)
		(void)pwrite(disk[0], "x", 1, block * (off_t)BLOCK);
	CU_ASSERT_EQUAL(ftruncate(disk[0], BLOCK + 10), 0);
	area_budget(3 * BLOCK);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	piece_is(&p, 0, 0, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, BLOCK, 10);
	piece_is(&p, 0, BLOCK + 10, 0);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	no_more_pieces(&p);
	qemu_down();
}

/* One block over the budget: nothing is taken, all stays marked, the guest goes on alone, and a
 * point with a larger budget takes the lot. */
static void test_point_over_budget(void)
{
	struct pieces p = {0};

	qemu_up_tracking();
	(void)pwrite(disk[0], "x", 1, 7 * BLOCK);
	guest_writes(RAM, 3, 1);
	guest_writes(VRAM, 4, 1);
	area_budget(BLOCK + 2 * PAGE - 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -E2BIG);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
	CU_ASSERT_EQUAL(area_marks(0, 0), 1 << 7);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 3);
	CU_ASSERT_EQUAL(area_marks(VRAM, 0), 1 << 4);
	CU_ASSERT_EQUAL(atomic_load(&area->ram_marked), 2);
	CU_ASSERT_EQUAL(atomic_load(&area->disk_marked), 1);
	is_alone_again();
	CU_ASSERT(atomic_load(&vmft_track.disks)); /* it is tracked on */
	CU_ASSERT_EQUAL(qemu.log_stops, 0);
	(void)pwrite(disk[0], "x", 1, 8 * BLOCK);
	area_budget(2 * BLOCK + 2 * PAGE);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	piece_is(&p, 0, 7 * BLOCK, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, 8 * BLOCK, VMFT_DISK_PART_BYTES);
	piece_is(&p, 0, 100 * BLOCK, 0);
	piece_is(&p, 1, 3 * BLOCK + 100, 0);
	piece_is(&p, RAM, 3 * PAGE, PAGE);
	piece_is(&p, VRAM, 4 * PAGE, PAGE);
	no_more_pieces(&p);
	qemu_down();
}

/* Refused before the guest is touched: nothing tracked, or the guest not running. */
static void test_point_untouched(void)
{
	qemu_up();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EINVAL);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	qemu.running = false;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EAGAIN);
	CU_ASSERT_STRING_EQUAL(qemu.calls, ""); /* a paused guest is not started */
	CU_ASSERT(!qemu.running);
	qemu.running = true;
	is_alone_again();
	qemu_down();
}

/* What devices keep that is neither saved nor reset is afterwards as in a QEMU that has just
 * started; nothing else of them is touched. */
static void test_point_unsaved(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT_EQUAL(qemu.timer[0].expire_time, -1);
	CU_ASSERT_EQUAL(qemu.rng.quota_remaining, 1024);
	CU_ASSERT(qemu.rng.activate_timer);
	CU_ASSERT_EQUAL(qemu.rng.max_bytes, 1024);
	CU_ASSERT_EQUAL(qemu.rng.period_ms, 1000);
	CU_ASSERT_EQUAL(qemu.timer[1].expire_time, -1);
	CU_ASSERT_EQUAL(qemu.ioapic.irq_eoi[0], 0);
	CU_ASSERT_EQUAL(qemu.ioapic.irq_eoi[23], 0);
	CU_ASSERT_EQUAL(qemu.ioapic.irq_level[23], 1);
	qemu_down();
}

/* A build whose devices are laid out otherwise is known by the timer that is not there; the guest
 * is not stopped, and nothing is written. */
static void test_point_unknown_layout(void)
{
	for (size_t i = 0; i < 4; i++) {
		qemu_up_tracking();
		area_budget(UINT64_MAX);
		if (i < 2)
			qemu.timer[i].opaque = &qemu.other;
		else if (i == 2)
			qemu.rng.timer = NULL;
		else
			qemu.ioapic.timer = NULL;
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -ENOTSUP);
		CU_ASSERT_STRING_EQUAL(qemu.calls, "");
		CU_ASSERT_EQUAL(qemu.rng.quota_remaining, 3);
		CU_ASSERT_EQUAL(qemu.ioapic.irq_eoi[0], 9999);
		is_alone_again();
		qemu_down();
	}
}

/* A reset or power-off that the guest has asked for is the main loop's to deal with first: it is
 * in no state, and the backup would not know of it. */
static void test_point_wish_pending(void)
{
	int *const wishes[] = {&qemu.reset_requested, &qemu.shutdown_requested};

	for (size_t i = 0; i < 2; i++) {
		uint32_t asked;

		qemu_up_tracking();
		area_budget(UINT64_MAX);
		qemu.deferred = true;
		*wishes[i] = 6;
		asked = atomic_load(&area->request) + 1;
		atomic_store(&area->op, VMFT_AREA_POINT);
		atomic_store(&area->request, asked);
		vmft_requests_service();
		main_loop_comes_round();
		CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
		CU_ASSERT_NOT_EQUAL(atomic_load(&area->done), asked);
		is_alone_again();
		*wishes[i] = 0;
		qemu.calls[0] = '\0';
		main_loop_comes_round();
		CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED SAVED RESET LOADED "vm-start ");
		CU_ASSERT_EQUAL(atomic_load(&area->done), asked);
		CU_ASSERT_EQUAL(atomic_load(&area->result), 0);
		qemu.deferred = false;
		qemu_down();
	}
}

/* After any failure while the guest is stopped, the guest goes on alone. */
static void test_point_fails_stopped(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	vmft_track_written(disk[1], 4 * BLOCK, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EFBIG);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
	is_alone_again();
	qemu_down();

	qemu_up_tracking();
	area_budget(UINT64_MAX);
	close(disk[1]);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EBADF);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
	is_alone_again();
	disk[1] = memfd_create("disk", 0);
	qemu_down();

	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.blocks--;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -ENOENT);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED "vm-start ");
	is_alone_again();
	qemu.blocks++;
	qemu_down();
}

/* QEMU fails to save: there is no point, and nothing is loaded over the guest. */
static void test_point_save_fails(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.save_result = -1;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EIO);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED SAVED "vm-start ");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 0);
	is_alone_again();
	qemu_down();
}

/* QEMU fails to load what it has saved, when the log is kept already: the log is not kept any more,
 * a thread that waits for room in the ring is woken, and the guest continues alone. */
static void test_point_load_fails(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.load_result = -22;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EIO);
	CU_ASSERT_STRING_EQUAL(qemu.calls, STOPPED SAVED RESET LOADED "vm-start ");
	CU_ASSERT_EQUAL(atomic_load(&world.woken), 1);
	is_alone_again();
	vmft_tap_write(clock_event, sizeof(clock_event));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), POINT + sizeof(load_event));
	qemu_down();
}

static void test_point_state_too_large(void)
{
	uint8_t *state = calloc(1, VMFT_AREA_STATE_BYTES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(state);
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.state = state;
	qemu.state_bytes = VMFT_AREA_STATE_BYTES;
	CU_ASSERT(agent_ask(VMFT_AREA_POINT) < 0);
	is_alone_again();
	/* one byte less is carried; of the larger one before nothing is left */
	qemu.state_bytes--;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->state_bytes), VMFT_AREA_STATE_BYTES - 1);
	qemu_down();
	free(state);
}

/* --- taking it in -------------------------------------------------------------- */

static const uint8_t saved[] = "QEVM\0\0\0\3devices";

/* A backup's QEMU as it waits for its state, which has come; a ROM of the primary's too. */
static void loadable(uint8_t rom)
{
	qemu_up();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	qemu.running = false;
	(void)fclose(vmft_tap.stream); /* this one replays */
	vmft_tap.stream = NULL;
	memset((uint8_t *)area + area->region[BIOS].shadow_at, rom, 3 * PAGE + 100);
	memcpy((uint8_t *)area + area->state_at, saved, sizeof(saved));
	atomic_store(&area->load_bytes, sizeof(saved));
}

/* Memory first, then the images (whose activation reads them), then the devices, after the
 * header that their loading does not expect; then it runs, that is, replays. */
static void test_load(void)
{
	uint8_t rom[3 * PAGE + 100];

	memset(rom, 0xbb, sizeof(rom));
	loadable(0xbb);
	qemu.shadow_expected = rom;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
	CU_ASSERT_STRING_EQUAL(qemu.calls,
			       "activate " LOADED "ticks-on runstate:9 notify:1:9 resume ");
	CU_ASSERT(qemu.shadow_was_there);
	CU_ASSERT_EQUAL(qemu.loaded_bytes, sizeof(saved) - 8);
	CU_ASSERT_EQUAL(memcmp(qemu.loaded, saved + 8, sizeof(saved) - 8), 0);
	CU_ASSERT(qemu.running);
	/* the guest's memory is in its own memfd: nothing is written over it */
	CU_ASSERT_EQUAL(qemu.block[0].host[0], 1);
	qemu_down();
}

static void test_load_images_busy(void)
{
	static char text[] = "Failed to get \"write\" lock";

	loadable(0);
	qemu.activate_error = text;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EBUSY);
	CU_ASSERT_STRING_EQUAL(area->error, text);
	CU_ASSERT_STRING_EQUAL(qemu.calls, "activate ");
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* An error's text that is longer than its field ends with it. */
static void test_load_long_error(void)
{
	static char text[400];

	loadable(0);
	memset(text, 'x', sizeof(text) - 1);
	qemu.activate_error = text;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EBUSY);
	CU_ASSERT_EQUAL(strnlen(area->error, sizeof(area->error)), sizeof(area->error) - 1);
	qemu_down();
}

static void test_load_fails(void)
{
	loadable(0);
	qemu.load_result = -22;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EIO);
	CU_ASSERT_STRING_EQUAL(qemu.calls, "activate " LOADED);
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* Refused before QEMU is touched: no state, one larger than its place, memory laid out anew. */
static void test_load_refuses(void)
{
	static const uint64_t bad[] = {0, 8, VMFT_AREA_STATE_BYTES + 1, UINT64_MAX};

	loadable(0xbb);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		atomic_store(&area->load_bytes, bad[i]);
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EINVAL);
	}
	CU_ASSERT_NOT_EQUAL(qemu.block[BIOS - RAM].host[0], 0xbb);
	atomic_store(&area->load_bytes, sizeof(saved));
	qemu.block[VRAM - RAM].name = "vga2.vram";
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -ENOENT);
	CU_ASSERT_STRING_EQUAL(qemu.calls, "");
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* --- how requests come --------------------------------------------------------- */

/* One request is carried out once, however often the service thread looks; the monitor is rung
 * when it is done; an error's text does not outlive its request. */
static void test_requests(void)
{
	unsigned rung;

	qemu_up();
	vmft_requests_service();
	CU_ASSERT_EQUAL(qemu.scheduled, 0);
	CU_ASSERT_EQUAL(agent_ask((enum vmft_area_op)99), -EINVAL);
	CU_ASSERT_STRING_EQUAL(area->error, "unknown operation");
	rung = atomic_load(&world.rung);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	CU_ASSERT_STRING_EQUAL(area->error, "");
	CU_ASSERT_EQUAL(atomic_load(&world.rung), rung + 1);
	vmft_requests_service();
	vmft_requests_service();
	CU_ASSERT_EQUAL(qemu.scheduled, 2);
	vmft_agent.area = NULL; /* no area, no attach */
	vmft_requests_service();
	CU_ASSERT_EQUAL(qemu.scheduled, 2);
	qemu_down();
}

/* The main loop may be waiting for a vCPU that waits for room in the log: an attempt that is
 * given up frees it before the main loop comes round. */
static void test_drop_frees_a_writer(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	qemu.deferred = true;
	atomic_store(&area->op, VMFT_AREA_DROP);
	atomic_fetch_add(&area->request, 1);
	vmft_requests_service();
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(atomic_load(&world.woken), 1);
	CU_ASSERT_NOT_EQUAL(atomic_load(&area->done), atomic_load(&area->request));
	qemu_down();
}

/* The staging area becomes full: what was staged before is marked again. */
static void test_point_staging_full(void)
{
	const unsigned pages = 20000;

	qemu_up_with(pages * (uint64_t)PAGE);
	qemu_add_block("vmft.ram", pages * (uint64_t)PAGE, 7);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	area_budget(UINT64_MAX);
	for (unsigned i = 0; i < pages; i++)
		guest_writes(RAM, i, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -E2BIG);
	CU_ASSERT_EQUAL(area_all_marks(RAM), pages);
	qemu_down();
}

/* What was staged and is not sent is marked again. The error is final: no other round is tried. */
static void test_point_state_too_large_keeps_marks(void)
{
	uint8_t *state = calloc(1, VMFT_AREA_STATE_BYTES);

	CU_ASSERT_PTR_NOT_NULL_FATAL(state);
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	guest_writes(RAM, 3, 1);
	(void)!pwrite(disk[0], "x", 1, 0);
	qemu.state = state;
	qemu.state_bytes = VMFT_AREA_STATE_BYTES;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), -EFBIG);
	CU_ASSERT_EQUAL(area_marks(RAM, 0), 1 << 3);
	CU_ASSERT_EQUAL(area_marks(0, 0), 1);
	qemu_down();
	free(state);
}

int vmft_suite_attach(void)
{
	static CU_TestInfo tests[] = {
	    {"staging full", test_point_staging_full},
	    {"state too large", test_point_state_too_large_keeps_marks},
	    {"point", test_point},
	    {"point and QEMU's replay state", test_point_and_replay_state},
	    {"point flushes", test_point_flushes},
	    {"point with a shorter image", test_point_shorter_image},
	    {"point over budget", test_point_over_budget},
	    {"point leaves the guest untouched", test_point_untouched},
	    {"point and what is not saved", test_point_unsaved},
	    {"point and another layout", test_point_unknown_layout},
	    {"point and what the guest wishes", test_point_wish_pending},
	    {"point fails while stopped", test_point_fails_stopped},
	    {"point fails to save", test_point_save_fails},
	    {"point fails to load", test_point_load_fails},
	    {"point with too large a state", test_point_state_too_large},
	    {"load", test_load},
	    {"load with busy images", test_load_images_busy},
	    {"load with a long error", test_load_long_error},
	    {"load fails", test_load_fails},
	    {"load refuses", test_load_refuses},
	    {"requests", test_requests},
	    {"drop frees a writer", test_drop_frees_a_writer},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"attaching", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
