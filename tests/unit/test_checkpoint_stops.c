/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent does inside QEMU with a guest whose strategy is checkpoint: when the guest stops
 * and goes on, and what its clocks show afterwards.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

#include "checkpoint_qemu.h"
#include "fake_qemu.h"
#include "monitor/agent/strategy.h"
#include "suites.h"

/* --- clocks -------------------------------------------------------------------- */

/* The end of an epoch takes nothing off the guest's clocks, KVM's included, which is set as it was
 * read. What is saved is the reading at the stop. */
static void test_clocks_run_on(void)
{
	const uint64_t began = __rdtsc();

	checkpoint_attached();
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

/* The thread that starts the clocks has to wait on a busy host, after it has read the host's clock.
 */
static void test_clocks_started_late(void)
{
	const uint64_t began = __rdtsc();

	checkpoint_attached();
	memset(world.timers_state, 0, sizeof(world.timers_state));
	qemu.ticks_wait_ns = 9000000;
	for (unsigned i = 0; i < 3; i++) {
		qemu.kvm_wait_ns = 70000000;
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
		CU_ASSERT_EQUAL(qemu.kvm_wait_ns, 0);
		clocks_ran_on(began);
	}
	qemu_down();
}

/* The same over all parts of an epoch. */
static void test_clocks_run_on_over_parts(void)
{
	const uint64_t began = __rdtsc();

	checkpoint_many_written();
	memset(world.timers_state, 0, sizeof(world.timers_state));
	while (agent_ask(VMFT_AREA_EPOCH) == 0 && atomic_load(&area->more))
		world.now += 1000;
	clocks_ran_on(began);
	qemu_down();
}

/* When others set KVM's clock, the agent does not change the value. */
static void test_kvm_clock_of_others(void)
{
	struct kvm_clock_data data = {.clock = 5000};

	checkpoint_attached();
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

/* --- frozen -------------------------------------------------------------------- */

/* A drill freezes the guest at the end of an epoch. When it is thawed, it continues there, and its
 * clocks have run meanwhile. */
static void test_frozen(void)
{
	const uint64_t began = __rdtsc();
	unsigned rung;

	checkpoint_attached();
	memset(world.timers_state, 0, sizeof(world.timers_state));
	atomic_store(&vmft_agent.iface->freeze, 1);
	vmft_agent.strategy->service();
	CU_ASSERT(qemu.running);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frozen_at), 0);
	rung = atomic_load(&world.rung);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	CU_ASSERT(atomic_load(&world.rung) > rung);
	CU_ASSERT_EQUAL(epochs_taken(), 2);
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
	checkpoint_attached();
	atomic_store(&vmft_agent.iface->freeze, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED SAVED);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(SAVED);
	CU_ASSERT_EQUAL(epochs_taken(), 3);
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
	checkpoint_attached();
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
	CU_ASSERT_EQUAL(guest_timer(CLOCK_OFFSET), 0);
	qemu_down();
}

/* --- fenced -------------------------------------------------------------------- */

/* A guest that is fenced while it is stopped never runs again, whatever the reason for the stop. */
static void test_fenced_stays(void)
{
	checkpoint_many_written();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.calls[0] = '\0';
	guest_fenced();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	calls_are("");
	CU_ASSERT(!qemu.running);
	qemu_down();

	checkpoint_attached();
	atomic_store(&vmft_agent.iface->freeze, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	qemu.calls[0] = '\0';
	guest_fenced();
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
	checkpoint_up();
	qemu.running = false;
	qemu.deferred = true;
	vmft_agent.strategy->start(false);
	guest_fenced();
	main_loop_runs();
	calls_are("");
	CU_ASSERT(!qemu.running);
	qemu_down();
}

int vmft_suite_checkpoint_stops(void)
{
	static CU_TestInfo tests[] = {
	    {"clocks run on", test_clocks_run_on},
	    {"clocks that are started late", test_clocks_started_late},
	    {"clocks run on over parts", test_clocks_run_on_over_parts},
	    {"KVM's clock set by others", test_kvm_clock_of_others},
	    {"frozen and thawed", test_frozen},
	    {"frozen it stays", test_frozen_stays},
	    {"frozen, and started", test_frozen_and_cont},
	    {"fenced it stays", test_fenced_stays},
	    {"fenced before it starts", test_fenced_before_start},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints, inside QEMU: stops", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
