/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A checkpointed guest inside QEMU: it is started, slowed, ended, or ends by itself. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checkpoint_qemu.h"
#include "fake_qemu.h"
#include "monitor/agent/signals.h"
#include "monitor/agent/strategy.h"
#include "monitor/common/exit-codes.h"
#include "suites.h"

static void test_start(void)
{
	checkpoint_up();
	qemu.running = false;
	atomic_store(&vmft_agent.iface->agent_state, VMFT_AGENT_WAITING);
	vmft_agent.strategy->start(false);
	calls_are("vm-start ");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_RECORDING);
	CU_ASSERT(!atomic_load(&vmft_agent.open));
	qemu_down();

	checkpoint_up();
	qemu.running = false;
	vmft_agent.strategy->start(true);
	calls_are("vm-start ");
	CU_ASSERT(atomic_load(&vmft_agent.open));
	qemu_down();
}

static void test_end(void)
{
	checkpoint_attached();
	vmft_agent.strategy->end(VMFT_EXIT_OK);
	vmft_agent.strategy->end(VMFT_EXIT_OK);
	calls_are("quit ");
	qemu_down();
}

/* QEMU takes whole percents, up to the most at which the guest still runs. */
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

	checkpoint_attached();
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

/* The guest, which is alone, was stopped for its monitor, and the monitor dies: the guest
 * continues. */
static void test_orphaned(void)
{
	checkpoint_many_written();
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

	checkpoint_attached();
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
	checkpoint_up();
	vmft_agent.strategy = &vmft_agent_lockstep;
	vmft_agent.strategy->before_wait();
	vmft_agent.strategy = &vmft_agent_checkpoint;
	qemu.phase = 3;
	vmft_agent.strategy->before_wait();
	CU_ASSERT(!atomic_load(&vmft_agent.armed));
	qemu_down();
}

/* A guest that switches itself off is reported from then on, on either side. */
static void test_powered_off(void)
{
	static const uint32_t states[] = {VMFT_AGENT_RECORDING, VMFT_AGENT_LIVE};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		checkpoint_attached();
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
		CU_ASSERT_EQUAL(epochs_taken(), 2);
		qemu_down();
	}
	checkpoint_attached();
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

	checkpoint_up();
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

	checkpoint_up();
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

int vmft_suite_checkpoint_end(void)
{
	static CU_TestInfo tests[] = {
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
	    {"checkpoints, inside QEMU: start and end", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
