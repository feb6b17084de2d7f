/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor's parts that can be tried without a guest. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../monitor/common/exit-codes.h"
#include "../../monitor/common/iface-setup.h"
#include "../../monitor/daemon/arbiter.h"
#include "../../monitor/daemon/control-request.h"
#include "../../monitor/daemon/lag.h"
#include "../../monitor/daemon/throttle.h"
#include "suites.h"

#define MS UINT64_C(1000000)

/* --- control requests ------------------------------------------------------- */

static int parse(const char *line)
{
	char error[128] = "";

	return vmft_control_request_parse(line, strlen(line), error, sizeof(error));
}

static void test_requests(void)
{
	CU_ASSERT_EQUAL(parse("{\"cmd\":\"status\"}"), VMFT_CONTROL_STATUS);
	CU_ASSERT_EQUAL(parse(" {\"cmd\": \"release-acks\", \"x\": 1}"), VMFT_CONTROL_RELEASE_ACKS);
	for (int verb = 0; verb < VMFT_CONTROL_VERBS; verb++)
		CU_ASSERT_PTR_NOT_NULL(vmft_control_verb_name((enum vmft_control_verb)verb));
	CU_ASSERT_PTR_NULL(vmft_control_verb_name(VMFT_CONTROL_VERBS));
}

static void test_bad_requests(void)
{
	static const char *const bad[] = {
	    "",
	    "{",
	    "status",
	    "[]",
	    "{\"cmd\":1}",
	    "{\"cmd\":\"stat\"}",
	    "{\"cmd\":null}",
	    "{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":{\"cmd\":1}}}}}",
	    "\xff\xfe",
	    "{\"CMD\":\"status\"}",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(parse(bad[i]), -EBADMSG);
}

int vmft_suite_control(void)
{
	CU_pSuite suite = CU_add_suite("control requests", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_requests) || !CU_ADD_TEST(suite, test_bad_requests))
		return -1;
	return 0;
}

/* --- lag --------------------------------------------------------------------- */

static void test_lag(void)
{
	static struct vmft_lag lag;

	for (uint64_t ms = 0; ms < 3000; ms += 10) {
		vmft_lag_sent(&lag, ms * 100, ms * MS);
		vmft_lag_rate(&lag, ms * 100, ms * MS);
	}
	CU_ASSERT_EQUAL(lag.bytes_per_s, 100000);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 100000, 299000, 3000 * MS), 1990);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 299000, 299000, 3000 * MS), 0);
}

/* A sample taken within the tick is younger than the tick's own clock: no lag, not all of time. */
static void test_lag_of_the_moment(void)
{
	static struct vmft_lag lag;

	vmft_lag_sent(&lag, 100, 1001 * MS);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 0, 100, 1000 * MS), 0);
	CU_ASSERT_EQUAL(vmft_lag_ms(&lag, 0, 100, 1003 * MS), 2);
}

/* More history than samples: coarser, never wrong by more than a step, never lost. */
static void test_lag_long(void)
{
	static struct vmft_lag lag;
	uint64_t ms;

	for (ms = 0; ms < 100000; ms += 10)
		vmft_lag_sent(&lag, ms, ms * MS);
	CU_ASSERT(lag.count <= VMFT_LAG_SAMPLES);
	ms = vmft_lag_ms(&lag, 50000, 99990, 100000 * MS);
	CU_ASSERT(ms > 49000 && ms <= 50000);
}

/* A guest that logs a second's worth a second, a backup that replays at the given share of
 * that; what is replayed is known 50 ms later. Returns the worst lag of the last half. */
static uint64_t lag_of_plant(unsigned replay_permille, uint32_t *ret_permille)
{
	double recorded = 0, replayed = 0, worst = 0;
	uint64_t lag = 0;

	for (uint64_t ms = 0; ms < 60000; ms += 10) {
		*ret_permille = vmft_throttle_permille(lag, 300);
		recorded += 10.0 * (1000 - *ret_permille) / 1000;
		replayed += 10.0 * replay_permille / 1000;
		if (replayed > recorded)
			replayed = recorded;
		lag = (uint64_t)(recorded - replayed) + (recorded > replayed ? 50 : 0);
		if (ms > 30000 && (double)lag > worst)
			worst = (double)lag;
	}
	return (uint64_t)worst;
}

static void test_throttle(void)
{
	uint32_t permille;

	CU_ASSERT(lag_of_plant(500, &permille) < 600);
	CU_ASSERT(permille > 400 && permille < 600);
	CU_ASSERT(lag_of_plant(200, &permille) < 700);
	CU_ASSERT_EQUAL(lag_of_plant(1200, &permille), 0);
	CU_ASSERT_EQUAL(permille, 0);
	(void)lag_of_plant(10, &permille);
	CU_ASSERT_EQUAL(permille, VMFT_THROTTLE_MAX_PERMILLE);
	CU_ASSERT_EQUAL(vmft_throttle_permille(150, 300), 0);
	CU_ASSERT_EQUAL(vmft_throttle_permille(375, 300), 450);
	CU_ASSERT_EQUAL(vmft_throttle_permille(UINT64_MAX, 60000), VMFT_THROTTLE_MAX_PERMILLE);
}

/* Beyond the bound and a half for a second, within the bound for a second; between them nothing
 * changes, and a moment's change begins the second anew. */
static void test_lagging(void)
{
	struct vmft_lag_watch watch = {0};
	uint64_t ms = 0;

	for (; ms < 5000; ms += 20)
		CU_ASSERT_EQUAL(vmft_lag_look(&watch, ms % 800 ? 451 : 450, 300, 60000, ms * MS, 0),
				VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_look(&watch, 450, 300, 60000, ms * MS, 0), VMFT_LAG_NO_NEWS);
	for (ms = 5020; ms < 6020; ms += 20)
		CU_ASSERT_EQUAL(vmft_lag_look(&watch, 451, 300, 60000, ms * MS, 0),
				VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_look(&watch, 451, 300, 60000, ms * MS, 0), VMFT_LAG_LAGS);
	CU_ASSERT(watch.lagging);
	for (ms = 6040; ms < 12000; ms += 20)
		CU_ASSERT_EQUAL(vmft_lag_look(&watch, ms % 800 ? 300 : 301, 300, 60000, ms * MS, 0),
				VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_look(&watch, 300, 300, 60000, 14000 * MS, 0), VMFT_LAG_KEEPS_UP);
	CU_ASSERT(!watch.lagging);
	CU_ASSERT_EQUAL(watch.worst_ms, 451);
}

/* Continuously for the time that is set; time the monitor slept is not the backup's. */
static void test_lags_too_long(void)
{
	struct vmft_lag_watch watch = {.lagging = true, .since_ns = 1000 * MS};
	struct vmft_lag_watch never = watch;

	CU_ASSERT_EQUAL(vmft_lag_look(&watch, 400, 300, 5000, 5999 * MS, 0), VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_look(&watch, 400, 300, 5000, 7000 * MS, 2000 * MS),
			VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_look(&watch, 400, 300, 5000, 8000 * MS, 0), VMFT_LAG_TOO_LONG);
	CU_ASSERT_EQUAL(vmft_lag_look(&never, UINT64_MAX, 300, 0, UINT64_MAX, 0), VMFT_LAG_NO_NEWS);
	/* A pause of the monitor's own is no second of lag. */
	watch = (struct vmft_lag_watch){0};
	CU_ASSERT_EQUAL(vmft_lag_look(&watch, 999, 300, 0, 1000 * MS, 0), VMFT_LAG_NO_NEWS);
	CU_ASSERT_EQUAL(vmft_lag_look(&watch, 999, 300, 0, 9000 * MS, 7980 * MS), VMFT_LAG_NO_NEWS);
	CU_ASSERT(!watch.lagging);
}

static void test_lag_retry(void)
{
	CU_ASSERT_EQUAL(vmft_lag_retry_ns(60000, 1), 60000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_retry_ns(60000, 2), 120000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_retry_ns(60000, 4), 480000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_retry_ns(60000, 100), 3600000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_retry_ns(600000, UINT32_MAX), 3600000 * MS);
	CU_ASSERT_EQUAL(vmft_lag_retry_ns(0, 1), 0);
}

int vmft_suite_lag(void)
{
	CU_pSuite suite = CU_add_suite("execution lag", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_lag) ||
	    !CU_ADD_TEST(suite, test_lag_of_the_moment) || !CU_ADD_TEST(suite, test_lag_long) ||
	    !CU_ADD_TEST(suite, test_throttle) || !CU_ADD_TEST(suite, test_lagging) ||
	    !CU_ADD_TEST(suite, test_lags_too_long) || !CU_ADD_TEST(suite, test_lag_retry))
		return -1;
	return 0;
}

/* --- shared memory ----------------------------------------------------------- */

static void test_iface(void)
{
	struct vmft_iface *iface;
	struct vmft_ring ring;
	struct vmft_error err;
	int fd = vmft_iface_create(1u << 20, &err);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(vmft_iface_map(fd, &iface, &ring, &err), 0);
	CU_ASSERT_EQUAL(ring.size, 1u << 20);
	CU_ASSERT_EQUAL(ftruncate(fd, 100), -1); /* sealed */
	close(fd);
}

/* Every byte of what the creator writes, damaged: refused, and nothing is mapped. */
static void test_iface_garbage(void)
{
	struct vmft_error err;
	int fd = vmft_iface_create(1u << 20, &err);

	CU_ASSERT_FATAL(fd >= 0);
	for (off_t at = 0; at < 24; at++) {
		struct vmft_iface *iface = NULL;
		struct vmft_ring ring;
		uint8_t byte;

		CU_ASSERT_EQUAL(pread(fd, &byte, 1, at), 1);
		byte ^= 0x55;
		CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
		CU_ASSERT_EQUAL(vmft_iface_map(fd, &iface, &ring, &err), -EPROTO);
		CU_ASSERT_PTR_NULL(iface);
		byte ^= 0x55;
		CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
	}
	close(fd);
}

int vmft_suite_iface(void)
{
	CU_pSuite suite = CU_add_suite("shared memory", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_iface) || !CU_ADD_TEST(suite, test_iface_garbage))
		return -1;
	return 0;
}
