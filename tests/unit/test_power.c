/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest that sleeps, and one that is about to: by both strategies, on both sides. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "fake_qemu.h"
#include "suites.h"

#include "monitor/agent/checkpoint.h"
#include "monitor/agent/power.h"
#include "monitor/agent/requests.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/tap.h"

#define HELD	  "store-state clock:2:0 runstate:7 ticks-off notify:0:7 "
#define RELEASED  "ticks-on runstate:9 runstate:12 notify:1:12 clock:2:1 "
#define STOPPED	  "runstate:7 ticks-off pause notify:0:7 drain "
#define WENT_ON	  "ticks-on runstate:9 notify:1:9 resume "
#define PM_BASE	  0x600u
#define S3_CHOSEN (1u << 10 | 1u)

static const uint8_t saved[] = {'Q', 'E', 'V', 'M', 0, 0, 0, 3, 'd', 'e', 'v'};

static void calls_are(const char *want)
{
	CU_ASSERT_STRING_EQUAL(qemu.calls, want);
	qemu.calls[0] = '\0';
}

static void falls_asleep(void)
{
	qemu.running = false;
	qemu.ticks = true;
	world.run_state = QEMU_SUSPENDED;
}

static void sleeps(void)
{
	CU_ASSERT_EQUAL(world.run_state, QEMU_SUSPENDED);
	CU_ASSERT(qemu.ticks && !qemu.running);
	vmft_power_service();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->guest_asleep), 1);
}

/* What it saves says that it sleeps; nothing starts a processor, and its alarm waits meanwhile. */
static void test_epoch(void)
{
	qemu_up_checkpoint(RAM_PAGES * (uint64_t)PAGE);
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	qemu.calls[0] = '\0';
	falls_asleep();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(HELD "drain save close " RELEASED);
	sleeps();
	/* The first epoch may be of a sleeper too, and the one after it is awake again. */
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	calls_are(HELD "drain save close " RELEASED);
	qemu.running = true;
	world.run_state = QEMU_RUNNING;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(STOPPED "store-running save close " WENT_ON);
	vmft_power_service();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->guest_asleep), 0);
	qemu_down();
}

/* As long as it is frozen its alarm waits. */
static void test_frozen(void)
{
	qemu_up_checkpoint(RAM_PAGES * (uint64_t)PAGE);
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	qemu.calls[0] = '\0';
	falls_asleep();
	atomic_store(&vmft_agent.iface->freeze, 1);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are(HELD "drain save close ");
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	calls_are("save close ");
	atomic_store(&vmft_agent.iface->freeze, 0);
	vmft_agent.strategy->service();
	calls_are(RELEASED);
	sleeps();
	qemu_down();
}

static void test_attach_point(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	falls_asleep();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	calls_are("events-off " HELD "drain poll poll events-on instructions save close "
		  "runstate:6 runstate:1 reset runstate:7 i2c-end " LOADED RELEASED);
	sleeps();
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	qemu_down();
}

/* Not between its wish to sleep and its sleep: no backup would know of the wish. Nor is a guest
 * waited for that only looks as if. */
static void test_about_to_sleep(void)
{
	qemu_up_tracking();
	area_budget(UINT64_MAX);
	qemu.deferred = true;
	qemu.pm_base = PM_BASE;
	qemu.pm_control = S3_CHOSEN;
	atomic_store(&area->op, VMFT_AREA_POINT);
	atomic_fetch_add(&area->request, 1);
	vmft_requests_service();
	main_loop_comes_round();
	calls_are("events-off vm-stop:4 drain poll poll events-on vm-start ");
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	world.now += 99000000;
	main_loop_comes_round();
	calls_are("events-off vm-stop:4 drain poll poll events-on vm-start ");
	world.now += 1000000;
	main_loop_comes_round();
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(atomic_load(&area->done), atomic_load(&area->request));
	qemu_down();
}

static void test_falls_asleep_at_epoch(void)
{
	qemu_up_checkpoint(RAM_PAGES * (uint64_t)PAGE);
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	qemu.calls[0] = '\0';
	qemu.deferred = true;
	qemu.pm_base = PM_BASE;
	qemu.pm_control = S3_CHOSEN;
	atomic_store(&area->op, VMFT_AREA_EPOCH);
	atomic_fetch_add(&area->request, 1);
	vmft_requests_service();
	main_loop_comes_round();
	calls_are(STOPPED WENT_ON);
	falls_asleep();
	main_loop_comes_round();
	calls_are(HELD "drain save close " RELEASED);
	CU_ASSERT_EQUAL(atomic_load(&area->done), atomic_load(&area->request));
	qemu_down();
}

static void loadable(bool checkpoint)
{
	if (checkpoint)
		qemu_up_checkpoint(RAM_PAGES * (uint64_t)PAGE);
	else
		qemu_up();
	if (checkpoint)
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	qemu.running = false;
	qemu.ticks = false;
	world.run_state = QEMU_INMIGRATE;
	if (vmft_tap.stream)
		(void)fclose(vmft_tap.stream); /* this one replays, or stands by */
	vmft_tap.stream = NULL;
	memcpy((uint8_t *)area + area->state_at, saved, sizeof(saved));
	atomic_store(&area->load_bytes, sizeof(saved));
	qemu.pm_base = PM_BASE;
	qemu.pm_enable = 1u << 10; /* the alarm, not the timer */
	qemu.calls[0] = '\0';
}

static void test_load(void)
{
	for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
		loadable(checkpoint);
		qemu.state_loaded = QEMU_SUSPENDED;
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
		calls_are("activate " LOADED "wakes:1:1 wakes:2:0 pause " RELEASED);
		sleeps();
		qemu_down();

		loadable(checkpoint);
		qemu.state_loaded = QEMU_RUNNING;
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
		calls_are(checkpoint ? "activate " LOADED "wakes:1:1 wakes:2:0 vm-start "
				     : "activate " LOADED "wakes:1:1 wakes:2:0 " WENT_ON);
		qemu_down();
	}
}

/* What came from the other side is not obeyed blindly. */
static void test_load_another_state(void)
{
	static const int states[] = {QEMU_INMIGRATE, QEMU_PAUSED, QEMU_SHUTDOWN, 15, -1};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		loadable(i % 2);
		qemu.state_loaded = states[i];
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EINVAL);
		calls_are("activate " LOADED);
		CU_ASSERT_EQUAL(world.run_state, QEMU_INMIGRATE);
		qemu_down();
	}
}

static void test_fenced(void)
{
	qemu_up();
	falls_asleep();
	vmft_power_service();
	calls_are("");
	atomic_store(&vmft_agent.fenced, true);
	vmft_power_service();
	calls_are("runstate:7 runstate:4 ");
	vmft_power_service();
	calls_are("");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->guest_asleep), 0);
	qemu_down();
}

/* QEMU queues what comes in for a lockstep guest that sleeps. When there is as much as a card would
 * take, later frames are thrown away. */
static void test_frames_asleep(void)
{
	const struct vmft_agent_strategy_ops *ops = &vmft_agent_lockstep;
	uint8_t frame[60] = {0};
	ssize_t rc = 0;

	qemu_up();
	atomic_store(&vmft_agent.armed, true);
	for (unsigned i = 0; i < 300; i++)
		ops->frame_read(world.tap[0], frame, sizeof(frame));
	CU_ASSERT(!ops->frame_next(world.tap[0], frame, sizeof(frame), &rc));
	falls_asleep();
	for (unsigned i = 0; i < 256; i++) {
		CU_ASSERT(!ops->frame_next(world.tap[0], frame, sizeof(frame), &rc));
		ops->frame_read(world.tap[0], frame, sizeof(frame));
	}
	CU_ASSERT_EQUAL(write(world.tap[1], frame, sizeof(frame)), sizeof(frame));
	errno = 0;
	CU_ASSERT(ops->frame_next(world.tap[0], frame, sizeof(frame), &rc));
	CU_ASSERT_EQUAL(rc, -1);
	CU_ASSERT_EQUAL(errno, EAGAIN);
	CU_ASSERT_EQUAL(world.drained, 1);
	CU_ASSERT(!ops->frame_next(world.tap[1], frame, sizeof(frame), &rc)); /* no tap */
	/* It wakes up. */
	world.run_state = QEMU_RUNNING;
	CU_ASSERT(!ops->frame_next(world.tap[0], frame, sizeof(frame), &rc));
	falls_asleep();
	CU_ASSERT(!ops->frame_next(world.tap[0], frame, sizeof(frame), &rc));
	qemu_down();
}

int vmft_suite_power(void)
{
	CU_pSuite suite = CU_add_suite("power", NULL, NULL);

	if (!suite || !CU_add_test(suite, "a sleeper's epochs", test_epoch) ||
	    !CU_add_test(suite, "a sleeper, frozen", test_frozen) ||
	    !CU_add_test(suite, "a sleeper's attach point", test_attach_point) ||
	    !CU_add_test(suite, "about to sleep, attach point", test_about_to_sleep) ||
	    !CU_add_test(suite, "about to sleep, epoch", test_falls_asleep_at_epoch) ||
	    !CU_add_test(suite, "a sleeper is loaded", test_load) ||
	    !CU_add_test(suite, "another run state is loaded", test_load_another_state) ||
	    !CU_add_test(suite, "a sleeper is fenced", test_fenced) ||
	    !CU_add_test(suite, "frames for a sleeper", test_frames_asleep))
		return -1;
	return 0;
}
