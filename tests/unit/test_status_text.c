/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A side's status for people: what stands in it, how wide it is, and the exit codes. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "monitor/cli/status-text.h"
#include "monitor/core/core.h"
#include "suites.h"

#define PUT(member, text) (void)snprintf(s.member, sizeof(s.member), "%s", text)

static struct vmft_status s;

static void fill(void)
{
	memset(&s, 0, sizeof(s));
	s.parts = VMFT_STATUS_PRIMARY;
	PUT(name, "web1");
	PUT(host, "primary");
	PUT(address, "10.9.0.1:7700");
	PUT(role, "primary");
	PUT(state, "protected");
	PUT(peer, "backup");
	PUT(peer_address, "10.9.0.2:7700");
	PUT(detection, "channel ok");
	PUT(heartbeat_path, "ok");
	PUT(strategy, "lockstep");
	PUT(strategy_reason, "one vCPU under TCG");
	PUT(arbiter, "file:/mnt/shared/vmft");
	s.generation = 2;
	s.now_ms = 1000000;
	s.since_ms = 800000;
	s.lag_ms = 12;
}

/* What is printed; the caller frees it. */
static char *printed(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	vmft_status_print(&s, 1796050000000, to);
	CU_ASSERT_EQUAL(fclose(to), 0);
	return text;
}

static bool has(const char *words)
{
	char *text = printed();
	const bool good = strstr(text, words) != NULL;

	free(text);
	return good;
}

/* Lines, or 0 if one is wider than 80 columns. */
static unsigned lines(void)
{
	char *text = printed(), *at = text;
	unsigned n = 0;

	for (char *end; (end = strchr(at, '\n')); at = end + 1) {
		n++;
		if (end - at > 80) {
			n = 0;
			break;
		}
	}
	free(text);
	return n;
}

static void test_protected(void)
{
	fill();
	CU_ASSERT(has("web1 on host primary (10.9.0.1:7700)\n"));
	CU_ASSERT(has("  state       protected for 3 min 20 s, since 20"));
	CU_ASSERT(
	    has("  peer        host backup at 10.9.0.2:7700; channel ok; heartbeat path: ok\n"));
	CU_ASSERT(has("  lag         the backup is 12 ms behind; 0 bytes/s of log\n"));
	CU_ASSERT(has("  next        nothing needs to be done\n"));
	CU_ASSERT(!has("because"));
	CU_ASSERT(!has("disk errors"));
	CU_ASSERT(lines() >= 9 && lines() <= 13);
}

static void test_trouble(void)
{
	fill();
	PUT(state, "alone");
	PUT(reason, "the peer fell silent");
	PUT(next, "nothing protects this guest: start a backup on another host "
		  "(VMFT_ROLE=backup), it is attached automatically");
	s.peer[0] = '\0';
	s.parts |= VMFT_STATUS_LOST_BACKUP | VMFT_STATUS_TOOK_OVER | VMFT_STATUS_FROZEN;
	s.backup_lost_ms = s.now_ms - 5000;
	s.took_over_ms = s.now_ms - 3 * 3600 * 1000;
	PUT(backup_lost_reason, "the peer fell silent");
	PUT(took_over_reason, "the connection was lost");
	s.disk_errors = 3;
	PUT(disk_error, "web1.img: write: No space left on device");
	s.disk_paused = true;
	s.console_dropped = 123456;
	CU_ASSERT(has("  because     the peer fell silent\n"));
	CU_ASSERT(has("  peer        none\n"));
	CU_ASSERT(has(" (5 s ago): the peer fell silent\n"));
	CU_ASSERT(has("  failover    the guest went live here "));
	CU_ASSERT(has("  disk errors 3, the last: web1.img"));
	CU_ASSERT(has("  frozen "));
	CU_ASSERT(has("123 kB\n"));
	CU_ASSERT(!has("  lag "));
	CU_ASSERT(lines() > 12);
	PUT(connect_error, "10.9.0.2:7700: No route to host");
	CU_ASSERT(has("  peer        10.9.0.2:7700: No route to host\n"));
	/* What a path is made of has no place to break at. */
	memset(s.arbiter, 'x', 100);
	CU_ASSERT_EQUAL(lines(), 0);
}

static void test_backup(void)
{
	fill();
	s.parts = VMFT_STATUS_BACKUP;
	PUT(role, "backup");
	s.log_held = 20;
	s.log_replayed = 10;
	CU_ASSERT(has("  log         held up to 20, replayed up to 10\n"));
	CU_ASSERT(!has("  lag ") && !has("  output "));
	CU_ASSERT(lines() > 6);
}

static void test_attach(void)
{
	char text[256];

	fill();
	PUT(state, "attaching");
	PUT(attach_phase, "copying");
	s.attach_round = 2;
	s.attach_done_bytes = 52000000;
	s.attach_left_bytes = 33000000;
	s.throttle_permille = 250;
	vmft_status_print_attach(&s, text, sizeof(text));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "copying, round 2 [###############---------]  61 % 52 "
					    "of 85 MB"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "slowed by 25 %"));
	CU_ASSERT(lines() > 9);
	/* A monitor that is not ours. */
	s.attach_done_bytes = s.attach_left_bytes = 9000000000000000000u;
	vmft_status_print_attach(&s, text, 40);
	CU_ASSERT_EQUAL(strlen(text), 39);
}

static void test_line(void)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	fill();
	vmft_status_print_headline(to);
	vmft_status_print_line("web1.primary", &s, to);
	CU_ASSERT_EQUAL(fclose(to), 0);
	CU_ASSERT_STRING_EQUAL(
	    text,
	    "SIDE                   ROLE     STATE           FOR           GEN  LAG     PEER\n"
	    "web1.primary           primary  protected       3 min 20 s    2    12 ms   "
	    "backup\n");
	free(text);
}

static const char *duration(uint64_t ms)
{
	static char text[32];

	vmft_duration_print(ms, text, sizeof(text));
	return text;
}

static void test_durations(void)
{
	CU_ASSERT_STRING_EQUAL(duration(0), "0 s");
	CU_ASSERT_STRING_EQUAL(duration(59999), "59 s");
	CU_ASSERT_STRING_EQUAL(duration(60000), "1 min 0 s");
	CU_ASSERT_STRING_EQUAL(duration(3600000 - 1), "59 min 59 s");
	CU_ASSERT_STRING_EQUAL(duration(3600000), "1 h 0 min");
	CU_ASSERT_STRING_EQUAL(duration(24 * 3600000), "1 d 0 h");
	/* A moment that lies ahead of now, by a clock that is not ours. */
	fill();
	s.since_ms = s.now_ms + 1;
	CU_ASSERT(has("protected for 0 s"));
}

static void test_exit_codes(void)
{
	CU_ASSERT_EQUAL(vmft_status_exit_code("protected"), VMFT_EXIT_OK);
	CU_ASSERT_EQUAL(vmft_status_exit_code("alone"), VMFT_EXIT_ALONE);
	CU_ASSERT_EQUAL(vmft_status_exit_code("sealing"), VMFT_EXIT_ATTACHING);
	CU_ASSERT_EQUAL(vmft_status_exit_code("diverged"), VMFT_EXIT_DIVERGED);
	CU_ASSERT_EQUAL(vmft_status_exit_code("fenced"), VMFT_EXIT_FENCED);
	CU_ASSERT_EQUAL(vmft_status_exit_code("?"), VMFT_EXIT_INTERNAL);
	/* 0 means protected and nothing else does. */
	for (int state = 0; state < VMFT_STATE_COUNT; state++) {
		const char *name = vmft_state_name((enum vmft_state)state);
		struct vmft_core core = {.state = (enum vmft_state)state};

		CU_ASSERT_EQUAL(vmft_status_exit_code(name) == VMFT_EXIT_OK,
				vmft_core_is_paired(&core));
		CU_ASSERT_EQUAL(vmft_status_worse(vmft_status_exit_code(name), VMFT_EXIT_OK),
				vmft_status_exit_code(name));
	}
	CU_ASSERT_EQUAL(vmft_status_worse(VMFT_EXIT_ATTACHING, VMFT_EXIT_ALONE), VMFT_EXIT_ALONE);
	CU_ASSERT_EQUAL(vmft_status_worse(VMFT_EXIT_ADDRESS, VMFT_EXIT_ALONE), VMFT_EXIT_ADDRESS);
}

int vmft_suite_status_text(void)
{
	CU_pSuite suite = CU_add_suite("status for people", NULL, NULL);

	if (!suite || !CU_add_test(suite, "protected", test_protected) ||
	    !CU_add_test(suite, "trouble", test_trouble) ||
	    !CU_add_test(suite, "backup", test_backup) ||
	    !CU_add_test(suite, "attach", test_attach) || !CU_add_test(suite, "line", test_line) ||
	    !CU_add_test(suite, "durations", test_durations) ||
	    !CU_add_test(suite, "exit codes", test_exit_codes))
		return -1;
	return 0;
}
