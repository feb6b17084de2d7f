/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest that diverged, or stands still: what the backup's monitor and the primary's do about it.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_world.h"
#include "monitor/agent/diverge.h"
#include "monitor/agent/feed.h"
#include "monitor/agent/tap.h"
#include "monitor/common/exit-codes.h"
#include "monitor/daemon/hub/monitor.h"
#include "monitor/daemon/hub/snapshot.h"
#include "suites.h"

#define PAGES 8u
#define PAGE  VMFT_RAM_BLOCK_BYTES
#define MS    UINT64_C(1000000)

static void guest_writes(unsigned page, uint8_t value)
{
	CU_ASSERT_EQUAL(pwrite(vmft_agent.ram_fd, &value, 1, page * PAGE + 100), 1);
}

static struct vmft_monitor monitor;

static uint64_t applied, held;

static uint64_t strategy_applied(const struct vmft_strategy *unused)
{
	(void)unused;
	return applied;
}

static uint64_t strategy_held(const struct vmft_strategy *unused)
{
	(void)unused;
	return held;
}

static const struct vmft_strategy_ops strategy_ops = {
    .name = "lockstep",
    .replays = true,
    .applied = strategy_applied,
    .held = strategy_held,
};

static char directory[] = "/tmp/vmft-unit-XXXXXX";

/* A backup of a pair, with log that it has not replayed; stall-ms is 4000. */
static void monitor_up(void)
{
	const struct vmft_event_in ready = {.kind = VMFT_IN_PEER_READY};
	struct vmft_actions todo;

	world_up(PAGES * PAGE, NULL, 0);
	memset(&monitor, 0, sizeof(monitor));
	monitor.agent.iface = vmft_agent.iface;
	monitor.agent.ram_fd = vmft_agent.ram_fd;
	monitor.agent.bell_agent = -1;
	monitor.strategy_ops = &strategy_ops;
	monitor.config.stall_ms = 4000;
	(void)strcpy(monitor.config.name, "vm");
	(void)strcpy(monitor.config.host[monitor.options.host].name, "alpha");
	(void)strcpy(directory + sizeof(directory) - 7, "XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
	(void)snprintf(monitor.config.host[0].control, sizeof(monitor.config.host[0].control),
		       "%s/control", directory);
	vmft_core_init(&monitor.core, VMFT_SIDE_BACKUP, 1);
	vmft_core_step(&monitor.core, &ready, &todo);
	CU_ASSERT_EQUAL(monitor.core.state, VMFT_STATE_PROTECTED);
	applied = 10;
	held = 20;
	vmft_faults_tick(&monitor, 1000 * MS, 0, true);
}

static void monitor_down(void)
{
	(void)rmdir(directory);
	world_down();
}

static bool is_diverged(void)
{
	return monitor.core.state == VMFT_STATE_DIVERGED;
}

/* A report of this name is there, has this in it, and is gone afterwards. */
static void reported(const char *name, const char *text)
{
	char path[128], bytes[8192] = "";
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "re");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	CU_ASSERT(fread(bytes, 1, sizeof(bytes) - 1, file) > 0);
	(void)fclose(file);
	CU_ASSERT_PTR_NOT_NULL(strstr(bytes, text));
	(void)unlink(path);
}

/* The monitor says it after three quarters of the time that a primary would wait. */
static void test_stall(void)
{
	monitor_up();
	vmft_faults_tick(&monitor, 3999 * MS, 0, true);
	CU_ASSERT(!is_diverged());
	vmft_faults_tick(&monitor, 4000 * MS, 0, true);
	CU_ASSERT(is_diverged());
	CU_ASSERT_STRING_EQUAL(monitor.divergence.last,
			       "diverged (stalled) at log position 10: its replay stands still");
	CU_ASSERT_EQUAL(monitor.exit_code, VMFT_EXIT_DIVERGED);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->exit_code), VMFT_EXIT_DIVERGED);
	reported("vm.alpha.divergence-10.txt", "stalled: its replay stands still");
	monitor_down();
}

/* A pair that forms before the first tick: the clock began long ago, the replay did not. */
static void test_first_tick(void)
{
	monitor_up();
	applied = 0;
	vmft_divergence_begin(&monitor.divergence, 99000 * MS);
	vmft_faults_tick(&monitor, 99020 * MS, 0, true);
	CU_ASSERT(!is_diverged());
	vmft_faults_tick(&monitor, 102000 * MS, 0, true);
	CU_ASSERT(is_diverged());
	reported("vm.alpha.divergence-0.txt", "stalled: its replay stands still");
	monitor_down();
}

/* What vmft status says is to be done next. */
static bool advises(char next[static VMFT_ADVICE_MAX])
{
	struct vmft_situation situation;
	char error[300];

	vmft_status_situation(&monitor, 1, error, sizeof(error), &situation);
	return vmft_advice(&situation, next, VMFT_ADVICE_MAX);
}

/* There is no primary any more: it is said once, and this side is what it was. It moves; and stands
 * still again. */
static void test_stall_without_primary(void)
{
	char next[VMFT_ADVICE_MAX];

	monitor_up();
	monitor.core.state = VMFT_STATE_DRAINING;
	vmft_faults_tick(&monitor, 3999 * MS, 0, true);
	CU_ASSERT(!monitor.divergence.stuck);
	CU_ASSERT(advises(next));
	CU_ASSERT_PTR_NULL(strstr(next, "log position"));
	vmft_faults_tick(&monitor, 4000 * MS, 0, true);
	reported("vm.alpha.divergence-10.txt", "stalled: its replay stands still");
	vmft_faults_tick(&monitor, 99000 * MS, 0, true);
	CU_ASSERT_EQUAL(monitor.core.state, VMFT_STATE_DRAINING);
	CU_ASSERT_EQUAL(monitor.journal.written, 2); /* it, and where the report is */
	CU_ASSERT_EQUAL(monitor.divergence.count, 0);
	CU_ASSERT_EQUAL(monitor.exit_code, 0);
	CU_ASSERT(advises(next));
	CU_ASSERT_PTR_NOT_NULL(strstr(next, "log position 10 of 20"));
	CU_ASSERT(strlen(next) < sizeof(next) - 1);
	applied = 11;
	vmft_faults_tick(&monitor, 99100 * MS, 0, true);
	CU_ASSERT(advises(next));
	CU_ASSERT_PTR_NULL(strstr(next, "log position"));
	vmft_faults_tick(&monitor, 102100 * MS, 0, true);
	CU_ASSERT(advises(next));
	reported("vm.alpha.divergence-11.txt", "stalled: its replay stands still");
	monitor_down();
}

/* It moves; it has nothing to replay; QEMU is stopped; this monitor slept. */
static void test_no_stall(void)
{
	monitor_up();
	applied = 11;
	vmft_faults_tick(&monitor, 3900 * MS, 0, true);
	vmft_faults_tick(&monitor, 6800 * MS, 0, true);
	applied = held;
	vmft_faults_tick(&monitor, 6850 * MS, 0, true);
	vmft_faults_tick(&monitor, 99000 * MS, 0, true);
	held = 30;
	vmft_faults_tick(&monitor, 101000 * MS, 0, true);
	vmft_faults_tick(&monitor, 103000 * MS, 0, false);
	vmft_faults_tick(&monitor, 103900 * MS, 0, true);
	vmft_faults_tick(&monitor, 203900 * MS, 100000 * MS, true);
	CU_ASSERT(!is_diverged());
	monitor_down();
}

/* An agent that is late at times, as on a busy host, does not hide a replay that stands still. */
static void test_stall_on_a_busy_host(void)
{
	monitor_up();
	for (unsigned i = 1; i <= 59; i++)
		vmft_faults_tick(&monitor, (1000 + 100 * i) * MS, 0, i % 2 == 0);
	CU_ASSERT(!is_diverged());
	vmft_faults_tick(&monitor, 7000 * MS, 0, true);
	CU_ASSERT(is_diverged());
	reported("vm.alpha.divergence-10.txt", "stalled: its replay stands still");
	monitor_down();
}

/* The monitor reports once what the agent found. */
static void test_agent_found(void)
{
	monitor_up();
	vmft_faults_look_at_guest(&monitor);
	CU_ASSERT(!is_diverged());
	guest_writes(2, 0x5a);
	vmft_diverge_page(2 * PAGE);
	vmft_diverge(VMFT_DIVERGENCE_MEMORY, 17, 0xaa, 0xbb);
	vmft_faults_look_at_guest(&monitor);
	CU_ASSERT(is_diverged());
	CU_ASSERT_STRING_EQUAL(monitor.divergence.last,
			       "diverged (memory) at log position 17: its memory differs");
	reported("vm.alpha.divergence-17.txt", "0x000000002000");
	vmft_faults_look_at_guest(&monitor);
	CU_ASSERT_EQUAL(monitor.divergence.count, 1);
	monitor_down();
}

/* The primary: a backup that says it diverged is counted, one that says something else is not. */
static void test_heard(void)
{
	monitor_up();
	CU_ASSERT(!vmft_divergence_heard(&monitor.divergence, "its disk is full"));
	CU_ASSERT(
	    vmft_divergence_heard(&monitor.divergence, "diverged (output) at log position 1: x"));
	vmft_divergence_count(&monitor.divergence, "");
	CU_ASSERT_EQUAL(monitor.divergence.count, 1);
	CU_ASSERT_STRING_EQUAL(monitor.divergence.last, "diverged (output) at log position 1: x");
	vmft_divergence_count(&monitor.divergence, "the backup's replay stands still");
	CU_ASSERT_EQUAL(monitor.divergence.count, 2);
	CU_ASSERT_STRING_EQUAL(monitor.divergence.last, "the backup's replay stands still");
	monitor_down();
}

int vmft_suite_divergence_monitor(void)
{
	static CU_TestInfo tests[] = {
	    {"replay stands still", test_stall},
	    {"a pair forms before the first tick", test_first_tick},
	    {"replay stands still, no primary", test_stall_without_primary},
	    {"replay does not stand still", test_no_stall},
	    {"replay stands still, the host busy", test_stall_on_a_busy_host},
	    {"what the agent found", test_agent_found},
	    {"what the primary hears", test_heard},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"divergence: the monitor", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
