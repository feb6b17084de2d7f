/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How fast an attach copies, and which blocks. */
#include <CUnit/CUnit.h>

#include "monitor/daemon/attach/pace.h"
#include "monitor/interface.h"
#include "suites.h"

#define MS  UINT64_C(1000000)
#define S   (1000 * MS)
#define MIB (UINT64_C(1) << 20)

static struct vmft_pace pace;

static void begin(uint32_t mib_per_s)
{
	vmft_pace_begin(&pace, mib_per_s, 10 * S);
}

static void test_no_cap(void)
{
	begin(0);
	CU_ASSERT(vmft_pace_may_send(&pace));
	vmft_pace_sent(&pace, 1000 * MIB);
	CU_ASSERT(vmft_pace_may_send(&pace));
}

/* No more than a tenth of a second's worth is saved up, however long nothing was sent. */
static void test_cap(void)
{
	uint64_t sent = 0;

	begin(10);
	CU_ASSERT(!vmft_pace_may_send(&pace));
	vmft_pace_tick(&pace, 30 * S);
	while (vmft_pace_may_send(&pace)) {
		vmft_pace_sent(&pace, 65536);
		sent += 65536;
	}
	CU_ASSERT(sent >= MIB - 65536 && sent <= MIB + 65536);
	/* From then on as much as the cap says. */
	sent = 0;
	for (uint64_t now = 30 * S; now < 40 * S; now += 20 * MS) {
		vmft_pace_tick(&pace, now);
		while (vmft_pace_may_send(&pace)) {
			vmft_pace_sent(&pace, 65536);
			sent += 65536;
		}
	}
	/* What is sent with the last token is not counted: up to a block each time. */
	CU_ASSERT(sent > 95 * MIB && sent < 135 * MIB);
}

/* The rate is of the last half second, or of the last round that was large enough. */
static void test_rate(void)
{
	begin(0);
	vmft_pace_sent(&pace, 50 * MIB);
	vmft_pace_tick(&pace, 10 * S + 499 * MS);
	CU_ASSERT_EQUAL(pace.bytes_per_s, 0);
	vmft_pace_tick(&pace, 10 * S + 500 * MS);
	CU_ASSERT_EQUAL(pace.bytes_per_s, 100 * MIB);
	/* Nothing was sent: the rate that was known is kept. */
	vmft_pace_tick(&pace, 20 * S);
	CU_ASSERT_EQUAL(pace.bytes_per_s, 100 * MIB);
}

static enum vmft_pace_next decide(uint64_t marked, uint64_t budget, bool *slower)
{
	return vmft_pace_decide(&pace, marked, budget, pace.round_ns + S - 1, slower);
}

/* Rounds end when what is left fits, and another would not bring it down by a third. */
static void test_decides(void)
{
	bool slower;

	begin(0);
	vmft_pace_round(&pace, 1000 * MIB, 10 * S);
	CU_ASSERT_EQUAL(decide(500 * MIB, 600 * MIB, &slower), VMFT_PACE_ROUND);
	CU_ASSERT_EQUAL(decide(400 * MIB, 600 * MIB, &slower), VMFT_PACE_POINT);
	CU_ASSERT(!slower);
	CU_ASSERT_EQUAL(pace.dirty_per_s, 400 * MIB);

	/* Less than a mebibyte is not worth another round. */
	begin(0);
	vmft_pace_round(&pace, 1000 * MIB, 10 * S);
	CU_ASSERT_EQUAL(decide(MIB, 600 * MIB, &slower), VMFT_PACE_POINT);
}

/* A guest that writes faster than can be copied is slowed, more after each round, and given up
 * after the sixtieth. */
static void test_slows(void)
{
	unsigned rounds = 0, told = 0;
	bool slower;

	begin(0);
	do {
		vmft_pace_round(&pace, 1000 * MIB, 10 * S);
		rounds++;
		told += decide(1000 * MIB, 10 * MIB, &slower) == VMFT_PACE_ROUND && slower;
		CU_ASSERT(pace.throttle == (rounds < 6 ? 150 * rounds : 900));
	} while (rounds < 59);
	vmft_pace_round(&pace, 1000 * MIB, 10 * S);
	CU_ASSERT_EQUAL(decide(1000 * MIB, 10 * MIB, &slower), VMFT_PACE_NEVER);
	CU_ASSERT_EQUAL(told, 1);
}

/* However long the stop may be, what is staged has to fit into the area. */
static void test_budget(void)
{
	CU_ASSERT_EQUAL(vmft_pace_budget(10), 1000000);
	CU_ASSERT(vmft_pace_budget(UINT32_MAX) < VMFT_AREA_STAGING_BYTES);
	CU_ASSERT(vmft_pace_budget(UINT32_MAX) > VMFT_AREA_STAGING_BYTES / 2);
}

static void test_expected(void)
{
	begin(0);
	CU_ASSERT_EQUAL(vmft_pace_expected_ms(&pace, MIB), 0);
	pace.bytes_per_s = 100 * MIB;
	CU_ASSERT_EQUAL(vmft_pace_expected_ms(&pace, 100 * MIB), 1000);
	pace.dirty_per_s = 50 * MIB; /* each round leaves half */
	CU_ASSERT_EQUAL(vmft_pace_expected_ms(&pace, 100 * MIB), 2000);
	pace.dirty_per_s = 99 * MIB;
	CU_ASSERT_EQUAL(vmft_pace_expected_ms(&pace, 100 * MIB), 10000);
	vmft_pace_round(&pace, 5 * MIB, 10 * S);
	vmft_pace_sent(&pace, 2 * MIB);
	CU_ASSERT_EQUAL(vmft_pace_left(&pace), 3 * MIB);
	vmft_pace_sent(&pace, 4 * MIB);
	CU_ASSERT_EQUAL(vmft_pace_left(&pace), 0);
}

int vmft_suite_pace(void)
{
	static CU_TestInfo tests[] = {
	    {"no cap", test_no_cap},	       {"a cap", test_cap},   {"rate", test_rate},
	    {"when rounds end", test_decides}, {"slows", test_slows}, {"budget", test_budget},
	    {"expected", test_expected},       CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"the pace of an attach", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
