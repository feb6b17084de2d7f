/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's gate: when the output of a guest that is recorded leaves. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "agent_log.h"
#include "agent_world.h"
#include "monitor/agent/tap.h"
#include "suites.h"

static void emit(const char *text)
{
	struct iovec iov[2] = {
	    {.iov_base = (void *)text, .iov_len = 1},
	    {.iov_base = (void *)(text + 1), .iov_len = strlen(text) - 1},
	};

	CU_ASSERT_EQUAL(vmft_gate_writev(world.tap[1], iov, 2), (ssize_t)strlen(text));
}

/* What has come out of the tap since the last look. */
static const char *seen(void)
{
	static char text[256];
	ssize_t n = read(world.tap[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void ack(uint64_t position)
{
	atomic_store(&vmft_agent.iface->acked, position);
	atomic_store(&vmft_agent.iface->release_until, world.now + 100);
}

static void two_frames(void)
{
	(void)vmft_tap_open(0);
	log_bytes(event_checkpoint, 1);
	emit("one ");
	log_bytes(event_checkpoint, 1);
	emit("two ");
}

static void test_gate_waits_for_acks_in_order(void)
{
	agent_up();
	two_frames();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_frames), 2);
	CU_ASSERT_EQUAL(vmft_gate_service(), -1);
	CU_ASSERT_STRING_EQUAL(seen(), "");
	ack(1);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "one ");
	ack(2);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "two ");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_frames), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frames_released), 2);
	world_down();
}

static void test_gate_lease(void)
{
	agent_up();
	two_frames();
	ack(2);
	world.now += 101; /* stopped between the ack and the frame's leaving */
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "");
	ack(2);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "one two ");
	world_down();
}

static void test_gate_ack_beyond_the_log(void)
{
	agent_up();
	two_frames();
	ack(3);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "");
	CU_ASSERT_EQUAL(world.broken, 1);
	world_down();
}

static void test_gate_open(void)
{
	agent_up();
	two_frames();
	vmft_gate_open();
	emit("three "); /* not past those still held */
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "one two three ");
	emit("four");
	CU_ASSERT_STRING_EQUAL(seen(), "four");
	world_down();
}

/* Closing answers what a backup must have before it may count: the highest position that
 * anything which has left depends on, be it that it left at once or out of the queue. */
static void test_gate_closes(void)
{
	struct vmft_iface *iface;

	agent_up();
	iface = vmft_agent.iface;
	(void)vmft_tap_open(0);
	vmft_gate_open();
	log_bytes(event_checkpoint, 1);
	emit("one ");
	CU_ASSERT_STRING_EQUAL(seen(), "one ");
	CU_ASSERT_EQUAL(vmft_gate.left_at, 1);
	log_bytes(event_checkpoint, 1);
	world.rung = 0;
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&iface->gate_closed_at), 1 + 1);
	CU_ASSERT_EQUAL(world.rung, 1);
	emit("two ");
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "");
	CU_ASSERT_EQUAL(vmft_gate.left_at, 1);
	vmft_gate_open();
	CU_ASSERT_EQUAL(atomic_load(&iface->gate_closed_at), 0);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "two ");
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&iface->gate_closed_at), 2 + 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->frames_released), 2);
	world_down();
}

/* Nothing has left yet: a backup that holds nothing will do. */
static void test_gate_closes_at_once(void)
{
	agent_up();
	two_frames();
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_closed_at), 0 + 1);
	world_down();
}

static void test_gate_fenced(void)
{
	agent_up();
	two_frames();
	ack(2);
	atomic_store(&vmft_agent.open, true);
	atomic_store(&vmft_agent.fenced, true);
	emit("three ");
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frames_dropped), 3);
	world_down();
}

static void *emit_large(void *done)
{
	static char text[950];

	memset(text, 'x', sizeof(text) - 1);
	emit(text);
	atomic_store((atomic_bool *)done, true);
	return NULL;
}

/* A full gate holds the sender back, and loses nothing. */
static void test_gate_full(void)
{
	char bytes[2000];
	atomic_bool done = false;
	pthread_t guest;
	ssize_t n = 0;

	agent_up();
	two_frames();
	vmft_gate.limit = 950;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&guest, NULL, emit_large, &done), 0);
	while (atomic_load(&vmft_agent.iface->gate_stalls) == 0)
		usleep(1000);
	CU_ASSERT(!atomic_load(&done));
	ack(2);
	(void)vmft_gate_service();
	(void)pthread_join(guest, NULL);
	CU_ASSERT(atomic_load(&done));
	(void)vmft_gate_service();
	n = read(world.tap[0], bytes, sizeof(bytes));
	CU_ASSERT_EQUAL(n, 8 + 949);
	world_down();
}

int vmft_suite_agent_gate(void)
{
	static CU_TestInfo tests[] = {
	    {"test_gate_waits_for_acks_in_order", test_gate_waits_for_acks_in_order},
	    {"test_gate_lease", test_gate_lease},
	    {"test_gate_ack_beyond_the_log", test_gate_ack_beyond_the_log},
	    {"test_gate_open", test_gate_open},
	    {"test_gate_closes", test_gate_closes},
	    {"test_gate_closes_at_once", test_gate_closes_at_once},
	    {"test_gate_fenced", test_gate_fenced},
	    {"test_gate_full", test_gate_full},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"agent: gate", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
