/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's feed: QEMU replays the log from its start, or from a state that was loaded. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <string.h>

#include "agent_log.h"
#include "agent_world.h"
#include "monitor/agent/feed.h"
#include "monitor/agent/tap.h"
#include "suites.h"

/* --- feed ---------------------------------------------------------------------- */

static void test_feed_then_live(void)
{
	int64_t offset;

	agent_up();
	feed_header();
	world.replay_mode = 2;
	ring_takes(event_clock, sizeof(event_clock));
	for (size_t i = 0; i < sizeof(event_clock); i++)
		CU_ASSERT_EQUAL(vmft_feed_byte(), event_clock[i]);
	atomic_store(&vmft_agent.iface->log_end, sizeof(event_clock));
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(world.replay_mode, 1);
	CU_ASSERT_PTR_EQUAL(world.replay_file, vmft_tap.stream);
	memcpy(&offset, world.timers_state + 56, sizeof(offset));
	CU_ASSERT_EQUAL(offset + (int64_t)world.now, 0x1234);
	CU_ASSERT_EQUAL(world.drained, 1);
	CU_ASSERT_EQUAL(world.announced, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_LIVE);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), sizeof(event_clock));
	CU_ASSERT(atomic_load(&vmft_agent.open));
	/* libvirt is told, from the main loop. */
	CU_ASSERT_EQUAL(world.resumes, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(world.scheduled);
	world.scheduled(NULL);
	CU_ASSERT_EQUAL(world.resumes, 1);
	world_down();
}

static void test_feed_ended(void)
{
	static const uint8_t end[] = {16, 39};

	agent_up();
	feed_header();
	ring_takes(end, sizeof(end));
	CU_ASSERT_EQUAL(vmft_feed_byte(), 16);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_ENDED);
	world_down();
}

/* --- a state that is loaded instead of a boot ---------------------------------- */

#define POINT 5000u

static void command_prepare(uint32_t unused)
{
	(void)unused;
	atomic_fetch_add(&world.slept, 1);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_PREPARE);
}

/* The guest's machine comes up and asks for its first event; the monitor has yet to say. */
static void prepared(void)
{
	struct vmft_area *area = vmft_agent.area;

	feed_header();
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_HOLD);
	world.sleep = command_prepare;
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	world.sleep = NULL;
	CU_ASSERT_EQUAL(atomic_load(&world.slept), 1);
	atomic_store(&area->load_position, POINT);
	atomic_store(&area->load_guest_ns, 777000);
	atomic_store(&vmft_agent.iface->log_head, POINT);
	atomic_store(&vmft_agent.iface->log_tail, POINT);
}

static int seek_to(uint64_t position)
{
	return fseek(vmft_feed.stream, (long)(position + VMFT_LOG_HEADER_BYTES), SEEK_SET);
}

/* Nothing is decided before the monitor has: HOLD waits, RUN boots. */
static void test_feed_boots(void)
{
	agent_up();
	feed_header();
	ring_takes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 34);
	CU_ASSERT_EQUAL(vmft_feed.phase, VMFT_FEED_STREAM);
	CU_ASSERT_EQUAL(world.autostart, 1);
	CU_ASSERT_EQUAL(world.run_state, -1);
	world_down();
}

/* PREPARE: QEMU is told to come up as for a migration and finds no event, however often it
 * looks; nothing is taken out of the ring. */
static void test_feed_prepares(void)
{
	enum { QEMU_RUN_STATE_INMIGRATE = 1 };

	agent_up();
	prepared();
	CU_ASSERT_EQUAL(world.autostart, 0);
	CU_ASSERT_EQUAL(world.run_state, QEMU_RUN_STATE_INMIGRATE);
	ring_takes(event_checkpoint, 1);
	for (int i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_tail), POINT);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_REPLAYING);
	CU_ASSERT_EQUAL(world.broken, 0);
	world_down();
}

/* The state that is loaded seeks to its place: events from there, positions counted from there,
 * the guest's clock going on from the point's. */
static void test_feed_attached(void)
{
	struct vmft_iface *iface;
	int64_t offset;

	agent_up();
	iface = vmft_agent.iface;
	prepared();
	CU_ASSERT_EQUAL(seek_to(POINT), 0);
	CU_ASSERT_EQUAL(vmft_feed.phase, VMFT_FEED_STREAM);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_position), POINT);
	ring_takes(event_instruction, sizeof(event_instruction));
	ring_takes(event_checkpoint, 1);
	for (size_t i = 0; i < sizeof(event_instruction); i++)
		CU_ASSERT_EQUAL(vmft_feed_byte(), event_instruction[i]);
	CU_ASSERT_EQUAL(vmft_feed_byte(), event_checkpoint[0]);
	atomic_store(&iface->log_end, POINT + 6);
	atomic_store(&iface->command, VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_position), POINT + 6);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_tail), POINT + 6);
	CU_ASSERT_EQUAL(atomic_load(&iface->agent_state), VMFT_AGENT_LIVE);
	memcpy(&offset, world.timers_state + 56, sizeof(offset));
	CU_ASSERT_EQUAL(offset + (int64_t)world.now, 777000);
	CU_ASSERT_EQUAL(world.broken, 0);
	world_down();
}

/* A state that was saved a little before the point is the point's: what was logged between the
 * two is not replayed. */
static void test_feed_attached_after_save(void)
{
	static const uint64_t places[] = {POINT - 1, POINT - 20, 0};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		agent_up();
		prepared();
		ring_takes(event_checkpoint, 1);
		CU_ASSERT_EQUAL(seek_to(places[i]), 0);
		CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), POINT);
		CU_ASSERT_EQUAL(vmft_feed_byte(), event_checkpoint[0]);
		CU_ASSERT_EQUAL(vmft_feed.cursor.fed, POINT + 1);
		CU_ASSERT_EQUAL(world.broken, 0);
		world_down();
	}
}

/* A state that was saved after the point, or without a place in a log: never replayed. */
static void test_feed_attached_elsewhere(void)
{
	static const uint64_t places[] = {POINT + 1, (uint64_t)-1, (uint64_t)-12};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		agent_up();
		prepared();
		ring_takes(event_checkpoint, 1);
		(void)seek_to(places[i]);
		CU_ASSERT_EQUAL(world.broken, 1);
		CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
		CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_BROKEN);
		world_down();
	}
}

static long slice_ns(void)
{
	struct timespec slice = {.tv_nsec = -1};

	return vmft_feed_shortens_wait(NULL, &slice) ? slice.tv_nsec : -1;
}

static void next_event(uint32_t kind)
{
	memcpy(world.replay_state + 28, &kind, sizeof(kind));
}

/* No wait after progress when the next event is the main loop's, longer ones without; the
 * vCPU gets a little time for its own, and a millisecond for INSTRUCTION. */
static void test_feed_slices(void)
{
	enum { INSTRUCTION = 0, WARP_ACCOUNT = 31, CLOCK_VIRTUAL = 34 };

	agent_up();
	feed_header();
	CU_ASSERT_EQUAL(slice_ns(), -1); /* it has no log yet */
	ring_takes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 34);
	next_event(INSTRUCTION);
	CU_ASSERT(slice_ns() >= 1000000);
	next_event(CLOCK_VIRTUAL);
	CU_ASSERT_EQUAL(slice_ns(), 0);
	CU_ASSERT_EQUAL(slice_ns(), 40000);
	CU_ASSERT_EQUAL(slice_ns(), 80000);
	for (int i = 0; i < 20; i++)
		(void)slice_ns();
	CU_ASSERT(slice_ns() >= 1000000);
	CU_ASSERT(slice_ns() < 10000000);
	ring_takes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 34);
	CU_ASSERT_EQUAL(slice_ns(), 0);
	ring_takes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 34);
	next_event(WARP_ACCOUNT);
	CU_ASSERT_EQUAL(slice_ns(), 20000);
	atomic_store(&vmft_agent.iface->log_end, 3);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(slice_ns(), -1); /* live */
	world_down();
}

/* Until its state is loaded there is nothing to hurry for. */
static void test_feed_slices_prepared(void)
{
	agent_up();
	prepared();
	next_event(34);
	CU_ASSERT_EQUAL(slice_ns(), -1);
	CU_ASSERT_EQUAL(seek_to(POINT), 0);
	CU_ASSERT_EQUAL(slice_ns(), 0);
	world_down();
}

int vmft_suite_agent_feed(void)
{
	static CU_TestInfo tests[] = {
	    {"test_feed_then_live", test_feed_then_live},
	    {"test_feed_ended", test_feed_ended},
	    {"test_feed_boots", test_feed_boots},
	    {"test_feed_prepares", test_feed_prepares},
	    {"test_feed_attached", test_feed_attached},
	    {"test_feed_attached_after_save", test_feed_attached_after_save},
	    {"test_feed_attached_elsewhere", test_feed_attached_elsewhere},
	    {"test_feed_slices", test_feed_slices},
	    {"test_feed_slices_prepared", test_feed_slices_prepared},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"agent: feed", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
