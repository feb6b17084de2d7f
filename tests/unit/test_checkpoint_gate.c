/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which epoch the output of a checkpointed guest waits for, and what a full gate does to the guest.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <string.h>
#include <x86intrin.h>

#include "checkpoint_qemu.h"
#include "fake_qemu.h"
#include "monitor/agent/requests.h"
#include "monitor/agent/strategy.h"
#include "suites.h"

static void acked(uint64_t epoch)
{
	atomic_store(&vmft_agent.iface->release_until, UINT64_MAX);
	atomic_store(&vmft_agent.iface->acked, epoch);
	(void)vmft_gate_service();
}

/* A frame depends on the epoch it is sent in, which ends later. */
static void test_output_depends_on(void)
{
	checkpoint_attached();
	guest_sends(10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_newest), 2);
	acked(1);
	CU_ASSERT_EQUAL(gate_held(), 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	guest_sends(10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_newest), 3);
	CU_ASSERT_EQUAL(gate_held(), 2);
	acked(2);
	CU_ASSERT_EQUAL(gate_held(), 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	acked(3);
	CU_ASSERT_EQUAL(gate_held(), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frames_released), 2);
	CU_ASSERT_EQUAL(world.broken, 0);
	guest_sends(10);
	acked(4); /* there is no such epoch */
	CU_ASSERT_EQUAL(gate_held(), 1);
	CU_ASSERT_EQUAL(world.broken, 1);
	qemu_down();
}

/* A guest that is alone sends at once; when its gate closes, what has left is told. */
static void test_gate_closes(void)
{
	checkpoint_attached();
	vmft_gate_open();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_closed_at), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	guest_sends(10);
	CU_ASSERT_EQUAL(gate_held(), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_closed_at), 3 + 1);
	guest_sends(10);
	CU_ASSERT_EQUAL(gate_held(), 1);
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

	checkpoint_attached();
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
	CU_ASSERT_EQUAL(gate_held(), 2);
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
	CU_ASSERT_EQUAL(gate_held(), 0);
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

		checkpoint_attached();
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
		CU_ASSERT_EQUAL(epochs_taken(), 2);
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

	checkpoint_attached();
	memset(world.timers_state, 0, sizeof(world.timers_state));
	qemu.deferred = true;
	guest_sends(600);
	CU_ASSERT_EQUAL(qemu.bottom_halves, 0);
	guest_sends(600);
	guest_sends(600);
	CU_ASSERT_EQUAL(gate_held(), 3);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_stalls), 1);
	CU_ASSERT_EQUAL(qemu.bottom_halves, 1);
	calls_are("");
	main_loop_runs();
	calls_are(STOPPED);
	world.now += 1000;
	qemu.deferred = false;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(SAVED);
	CU_ASSERT_EQUAL(epochs_taken(), 2);
	qemu.deferred = true;
	acked(2);
	CU_ASSERT_EQUAL(gate_held(), 0);
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

/* The guest goes on when half of the gate is free: with less it would stop at each frame. */
static void test_gate_half_full(void)
{
	checkpoint_attached();
	guest_sends(450);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.calls[0] = '\0';
	guest_sends(501);
	guest_sends(100);
	calls_are(STOPPED);
	acked(2);
	CU_ASSERT_EQUAL(gate_held(), 2);
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
	checkpoint_attached();
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
	checkpoint_attached();
	guest_sends(600);
	guest_sends(600);
	calls_are(STOPPED);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	calls_are("");
	vmft_gate_open();
	(void)vmft_gate_service();
	calls_are(WENT_ON);
	CU_ASSERT_EQUAL(gate_held(), 0);
	qemu_down();
}

/* A fence drops the held frames. The gate has room then, and the guest stays stopped. */
static void test_gate_full_and_fenced(void)
{
	checkpoint_attached();
	guest_sends(600);
	guest_sends(600);
	calls_are(STOPPED);
	guest_fenced();
	(void)vmft_gate_service();
	calls_are("");
	CU_ASSERT_EQUAL(gate_held(), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frames_dropped), 2);
	CU_ASSERT(!qemu.running);
	qemu_down();
}

/* The guest is stopped for two reasons: it goes on when both have ended. */
static void test_gate_full_and_frozen(void)
{
	checkpoint_attached();
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

int vmft_suite_checkpoint_gate(void)
{
	static CU_TestInfo tests[] = {
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
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints, inside QEMU: gate", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
