/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's tap: what of a log is published, and where a log that is kept begins. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent_log.h"
#include "agent_world.h"
#include "monitor/agent/tap.h"
#include "suites.h"

static void test_tap_publishes_whole_events(void)
{
	agent_up();
	CU_ASSERT_PTR_NOT_NULL(vmft_tap_open(0));
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 1);
	for (size_t i = 0; i < sizeof(event_clock); i++) {
		CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 1);
		log_bytes(event_clock + i, 1);
	}
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->guest_ns), 0x1234);
	log_bytes(event_instruction, sizeof(event_instruction));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 10);
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 16);
	world_down();
}

/* A sleeping monitor is rung once; an error exit's tail is cut off. */
static void test_tap_bell_and_crash(void)
{
	agent_up();
	(void)vmft_tap_open(0);
	world.rung = 0;
	atomic_store(&vmft_agent.iface->monitor_sleeps, 1);
	log_bytes(event_checkpoint, 1);
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(world.rung, 1);
	atomic_store(&vmft_agent.crashed, true);
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 2);
	world_down();
}

static void test_tap_end_and_header(void)
{
	static const uint8_t end[] = {16, 39};
	static const uint8_t header[] = {0, 0xe0, 0x20, 0x0c};

	agent_up();
	(void)vmft_tap_open(0);
	log_bytes(end, sizeof(end));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_ENDED);
	log_bytes(header, sizeof(header));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 2);
	CU_ASSERT_EQUAL(world.broken, 0);
	world_down();
}

static void test_tap_garbage_tail(void)
{
	agent_up();
	(void)vmft_tap_open(0);
	atomic_store(&vmft_agent.iface->log_tail, 1ull << 40);
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(world.broken, 1);
	log_bytes(event_checkpoint, 1); /* the guest goes on */
	CU_ASSERT_EQUAL(world.broken, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 0);
	world_down();
}

static void test_tap_wakes_the_vcpu(void)
{
	agent_up();
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 0);
	(void)vmft_tap_open(0);
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 0);
	world.events = true;
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 1);
	CU_ASSERT_FALSE(world.locked);
	world.locked = true; /* a wait within something else */
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 2);
	CU_ASSERT_TRUE(world.locked);
	/* One that is stopped for good takes nothing: the main loop would go round for ever. */
	atomic_store(&vmft_agent.fenced, true);
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 2);
	/* The main loop itself is not woken: its wait is to be one. */
	CU_ASSERT_EQUAL(world.notified, 0);
	world_down();
}

/* An event of n bytes in all. */
static void log_random(size_t n)
{
	const uint32_t data = (uint32_t)n - 9;
	uint8_t *event = calloc(1, n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(event);
	event[0] = 27; /* RANDOM */
	for (unsigned i = 0; i < 4; i++)
		event[5 + i] = (uint8_t)(data >> (24 - 8 * i));
	log_bytes(event, n);
	free(event);
}

static void *log_checkpoint(void *unused)
{
	(void)unused;
	log_bytes(event_checkpoint, 1);
	return NULL;
}

/* A writer waits while the ring is full, and continues when the log is not kept any more. What it
 * writes then is dropped. */
static void test_tap_stops_keeping(void)
{
	pthread_t guest;

	agent_up();
	(void)vmft_tap_open(0);
	log_random(WORLD_RING / 2);
	log_random(WORLD_RING / 2);
	world.sleep = world_futex_wait;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&guest, NULL, log_checkpoint, NULL), 0);
	world_wait_asleep(1);
	vmft_agent_stop_keeping();
	(void)pthread_join(guest, NULL);
	world.sleep = NULL; /* nobody waits from here on */
	CU_ASSERT_EQUAL(atomic_load(&world.woken), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), WORLD_RING);
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), WORLD_RING);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), WORLD_RING + 2);
	CU_ASSERT_EQUAL(world.broken, 0);
	vmft_agent_stop_keeping(); /* no thread waits, so none is woken */
	CU_ASSERT_EQUAL(atomic_load(&world.woken), 1);
	world_down();
}

static void thaw_by_not_keeping(uint32_t unused)
{
	(void)unused;
	atomic_fetch_add(&world.slept, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frozen_at), 1 + 1);
	vmft_agent_stop_keeping();
}

/* A guest that was frozen between two events continues, too. While an attach point is taken, no
 * thread is stopped there, because it would hold a lock that the main loop needs. */
static void test_tap_freeze(void)
{
	agent_up();
	(void)vmft_tap_open(0);
	world.sleep = thaw_by_not_keeping;
	atomic_store(&vmft_agent.iface->freeze, 1);
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&world.slept), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frozen_at), 0);
	world.sleep = NULL;
	atomic_store(&vmft_agent.logging, true);
	atomic_store(&vmft_tap.busy, true);
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 2);
	world_down();
}

static void take_point(uint64_t position)
{
	const struct vmft_area *area = vmft_agent.area;
	struct vmft_iface *iface = vmft_agent.iface;

	vmft_tap_keep_from_here();
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(atomic_load(&iface->log_head), position);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_tail), position);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_position), position);
	CU_ASSERT_EQUAL(atomic_load(&area->point_position), position);
	CU_ASSERT_EQUAL(atomic_load(&area->point_guest_ns), 0x1234);
}

/* QEMU saves with its state where its log stands, after the header of the file. */
static void log_stands_at(uint64_t position)
{
	CU_ASSERT_EQUAL(ftell(vmft_tap.stream), (long)(position + VMFT_LOG_HEADER_BYTES));
}

/* The ring holds exactly these bytes, from the position on. */
static void ring_holds(uint64_t position, const uint8_t *bytes, size_t n)
{
	uint8_t got[64];

	CU_ASSERT_EQUAL_FATAL(vmft_ring_ready(&vmft_agent.ring, position), (int64_t)n);
	vmft_ring_read(&vmft_agent.ring, position, got, n);
	CU_ASSERT_EQUAL(memcmp(got, bytes, n), 0);
}

/* The log begins at the attach point, also after an INSTRUCTION whose event is still to
 * come; nothing of before is in the ring, and what comes is published as ever: in whole events. */
static void test_tap_attach_point(void)
{
	static const uint8_t after[] = {0, 0, 0, 0, 9, 34, 34};
	const uint64_t at = sizeof(event_clock) + sizeof(event_instruction);
	struct vmft_iface *iface;

	agent_up();
	iface = vmft_agent.iface;
	atomic_store(&iface->command, VMFT_COMMAND_OPEN);
	(void)vmft_tap_open(0);
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	log_bytes(event_clock, sizeof(event_clock));
	log_bytes(event_instruction, sizeof(event_instruction));
	CU_ASSERT_EQUAL(atomic_load(&iface->log_head), 0);
	log_stands_at(at);
	CU_ASSERT(!atomic_load(&vmft_agent.logging)); /* being asked begins nothing */
	take_point(at);
	log_stands_at(at);
	for (size_t i = 0; i < sizeof(event_instruction); i++) {
		log_bytes(event_instruction + i, 1);
		CU_ASSERT_EQUAL(atomic_load(&iface->log_head), at); /* not to be cut here */
	}
	log_bytes(event_checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_head), at + 6);
	log_bytes(event_checkpoint, 1);
	ring_holds(at, after, sizeof(after));
	CU_ASSERT_EQUAL(atomic_load(&iface->log_events), 5);
	CU_ASSERT_EQUAL(world.broken, 0);
	world_down();
}

/* What cannot fit into the ring is found out after an attach point as well, not waited for. */
static void test_tap_too_large_after_point(void)
{
	agent_up();
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_OPEN);
	(void)vmft_tap_open(0);
	log_bytes(event_clock, sizeof(event_clock));
	log_bytes(event_instruction, sizeof(event_instruction));
	take_point(sizeof(event_clock) + sizeof(event_instruction));
	log_bytes(event_instruction, sizeof(event_instruction));
	log_random(WORLD_RING);
	CU_ASSERT_EQUAL(world.broken, 1);
	world_down();
}

/* An attach that failed leaves nothing: the next one begins further on, with an empty ring. */
static void test_tap_second_attach_point(void)
{
	uint64_t at = sizeof(event_clock);

	agent_up();
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_OPEN);
	(void)vmft_tap_open(0);
	log_bytes(event_clock, sizeof(event_clock));
	log_stands_at(at);
	take_point(at);
	log_random(WORLD_RING);
	vmft_agent_stop_keeping();
	log_bytes(event_checkpoint, 1);
	at += WORLD_RING + 1;
	log_stands_at(at); /* not what it said before */
	take_point(at);
	log_bytes(event_checkpoint, 1);
	ring_holds(at, event_checkpoint, 1);
	CU_ASSERT_EQUAL(world.broken, 0);
	world_down();
}

int vmft_suite_agent(void)
{
	static CU_TestInfo tests[] = {
	    {"test_tap_publishes_whole_events", test_tap_publishes_whole_events},
	    {"test_tap_bell_and_crash", test_tap_bell_and_crash},
	    {"test_tap_end_and_header", test_tap_end_and_header},
	    {"test_tap_garbage_tail", test_tap_garbage_tail},
	    {"test_tap_wakes_the_vcpu", test_tap_wakes_the_vcpu},
	    {"test_tap_stops_keeping", test_tap_stops_keeping},
	    {"test_tap_freeze", test_tap_freeze},
	    {"test_tap_attach_point", test_tap_attach_point},
	    {"test_tap_too_large_after_point", test_tap_too_large_after_point},
	    {"test_tap_second_attach_point", test_tap_second_attach_point},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"agent: tap", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
