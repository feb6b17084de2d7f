/* SPDX-License-Identifier: GPL-2.0-or-later */
/* monitor/agent/buttons.c: a button that somebody presses is in the log, and pressed on both sides.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <string.h>

#include "agent_log.h"
#include "agent_world.h"
#include "logging-channel/ring.h"
#include "monitor/agent/buttons.h"
#include "monitor/agent/feed.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/tap.h"
#include "suites.h"

/* CHECKPOINT_CLOCK_HOST: of a clock whose timers only the main loop runs. */
static const uint8_t main_loops[] = {36};

static char requests[64];

static void request_power(void)
{
	strcat(requests, "power ");
}

static void request_reset(int cause)
{
	CU_ASSERT_EQUAL(cause, 3); /* host-qmp-system-reset */
	strcat(requests, "reset ");
}

/* The vCPU thread, which carries it out later. */
static void run_on_cpu(void *cpu, void (*work)(void *cpu, uint64_t data), uint64_t data)
{
	strcat(requests, "by-vcpu:");
	work(cpu, data);
}

static void up(void)
{
	static struct world_qemu played;

	agent_up();
	played = world_qemu;
	played.qemu_system_powerdown_request = request_power;
	played.qemu_system_reset_request = request_reset;
	played.async_run_on_cpu = run_on_cpu;
	world_use_qemu(&played);
	requests[0] = '\0';
}

static void requested(const char *want)
{
	CU_ASSERT_STRING_EQUAL(requests, want);
	requests[0] = '\0';
}

/* Not before the main loop is at a point of its own, and once. */
static void test_recorded(void)
{
	const uint8_t want[] = {34, 36, 0xe3, 0, 0xe3, 1, 36};
	uint8_t log[sizeof(want)];

	up();
	CU_ASSERT_PTR_NOT_NULL_FATAL(vmft_tap_open(0));
	CU_ASSERT_EQUAL(vmft_agent.strategy->command(VMFT_QEMU_RESET), VMFT_QEMU_DONE);
	CU_ASSERT_EQUAL(vmft_agent.strategy->command(VMFT_QEMU_POWERDOWN), VMFT_QEMU_DONE);
	log_bytes(event_checkpoint, 1);
	requested("");
	log_bytes(main_loops, 1);
	requested("power by-vcpu:reset ");
	log_bytes(main_loops, 1);
	requested("");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), sizeof(want));
	vmft_ring_read(&vmft_agent.ring, 0, log, sizeof(log));
	CU_ASSERT_EQUAL(memcmp(log, want, sizeof(want)), 0);
	world_down();
}

/* A guest that nothing protects has buttons, too. */
static void test_alone(void)
{
	up();
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_OPEN);
	CU_ASSERT_PTR_NOT_NULL_FATAL(vmft_tap_open(0));
	vmft_buttons_press(VMFT_BUTTON_POWER);
	log_bytes(main_loops, 1);
	requested("power ");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 0);
	world_down();
}

/* A replayer's vCPU goes on up to where the log says. */
static void test_replayed(void)
{
	const uint8_t log[] = {36, 0xe3, 0, 36, 0xe3, 1, 36};

	up();
	feed_header();
	ring_takes(log, sizeof(log));
	CU_ASSERT_EQUAL(vmft_feed_byte(), 36);
	requested("");
	CU_ASSERT_EQUAL(vmft_feed_byte(), 36);
	requested("power ");
	CU_ASSERT_EQUAL(vmft_feed_byte(), 36);
	requested("reset ");
	CU_ASSERT_EQUAL(world.broken, 0);
	world_down();
}

static void test_unknown(void)
{
	const uint8_t entry[] = {0xe3, VMFT_BUTTONS};

	up();
	vmft_buttons_replay(entry);
	requested("");
	CU_ASSERT_EQUAL(world.broken, 1);
	world_down();
}

int vmft_suite_buttons(void)
{
	static CU_TestInfo tests[] = {
	    {"recorded", test_recorded}, {"alone", test_alone}, {"replayed", test_replayed},
	    {"unknown", test_unknown},	 CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"the machine's buttons", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
