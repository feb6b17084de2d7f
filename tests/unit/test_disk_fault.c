/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image that cannot be read or written: what a side is to do about it. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "monitor/daemon/guest/disk-fault.h"
#include "suites.h"

#define S UINT64_C(1000000000)

static struct vmft_iface iface;
static struct vmft_image image = {.path = "/images/a.img"};
static struct vmft_disk_fault fault;

static void setup(void)
{
	memset(&iface, 0, sizeof(iface));
	memset(&fault, 0, sizeof(fault));
}

/* As the agent counts a failure. */
static void fails(unsigned disk, enum vmft_disk_call call, int error)
{
	atomic_store(&iface.disk_error, vmft_disk_error_pack(disk, call, error));
	atomic_fetch_add(&iface.disk_failures, 1);
}

static enum vmft_disk_verdict look(enum vmft_side side, enum vmft_state state)
{
	const struct vmft_disk_view view = {
	    .iface = &iface,
	    .disk = &image,
	    .disk_count = 1,
	    .side = side,
	    .state = state,
	};

	return vmft_disk_fault_look(&fault, &view);
}

static enum vmft_disk_verdict after_failure(enum vmft_side side, enum vmft_state state,
					    enum vmft_disk_call call)
{
	setup();
	fails(0, call, ENOSPC);
	return look(side, state);
}

static void test_none(void)
{
	setup();
	CU_ASSERT_EQUAL(look(VMFT_SIDE_PRIMARY, VMFT_STATE_PROTECTED), VMFT_DISK_NO_NEWS);
	CU_ASSERT_EQUAL(fault.counted, 0);
	CU_ASSERT_STRING_EQUAL(fault.text, "");
}

/* Each failure is decided on once. */
static void test_once(void)
{
	setup();
	fails(0, VMFT_DISK_WRITE, ENOSPC);
	fails(0, VMFT_DISK_WRITE, EIO);
	CU_ASSERT_EQUAL(look(VMFT_SIDE_PRIMARY, VMFT_STATE_ALONE), VMFT_DISK_ALONE);
	CU_ASSERT_EQUAL(fault.counted, 2);
	CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "/images/a.img: cannot be written"));
	CU_ASSERT_EQUAL(look(VMFT_SIDE_PRIMARY, VMFT_STATE_ALONE), VMFT_DISK_NO_NEWS);
}

static void test_primary(void)
{
	static const struct {
		enum vmft_state state;
		enum vmft_disk_verdict verdict;
	} cases[] = {
	    {VMFT_STATE_PROTECTED, VMFT_DISK_PRIMARY_ENDS},
	    {VMFT_STATE_LAGGING, VMFT_DISK_PRIMARY_ENDS},
	    {VMFT_STATE_HANDING_OVER, VMFT_DISK_PRIMARY_ENDS},
	    {VMFT_STATE_SHIPPING, VMFT_DISK_PRIMARY_ENDS},
	    {VMFT_STATE_ATTACHING, VMFT_DISK_ATTACH_ENDS},
	    {VMFT_STATE_SEALING, VMFT_DISK_ATTACH_ENDS},
	    {VMFT_STATE_ALONE, VMFT_DISK_ALONE},
	    {VMFT_STATE_ENDED, VMFT_DISK_NO_NEWS},
	    {VMFT_STATE_FENCED, VMFT_DISK_NO_NEWS},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CU_ASSERT_EQUAL(after_failure(VMFT_SIDE_PRIMARY, cases[i].state, VMFT_DISK_WRITE),
				cases[i].verdict);
}

/* While a claim is under way it is not known whether this side is alone; then it is decided. */
static void test_undecided(void)
{
	CU_ASSERT_EQUAL(after_failure(VMFT_SIDE_PRIMARY, VMFT_STATE_ARBITRATING, VMFT_DISK_WRITE),
			VMFT_DISK_NO_NEWS);
	CU_ASSERT_EQUAL(look(VMFT_SIDE_PRIMARY, VMFT_STATE_WAITING_ARBITER), VMFT_DISK_NO_NEWS);
	CU_ASSERT_EQUAL(look(VMFT_SIDE_PRIMARY, VMFT_STATE_ALONE), VMFT_DISK_ALONE);
	CU_ASSERT_EQUAL(fault.counted, 1);
	CU_ASSERT_EQUAL(after_failure(VMFT_SIDE_BACKUP, VMFT_STATE_GOING_LIVE, VMFT_DISK_WRITE),
			VMFT_DISK_NO_NEWS);
	CU_ASSERT_EQUAL(look(VMFT_SIDE_PRIMARY, VMFT_STATE_ALONE), VMFT_DISK_ALONE);
}

/* The only copy of the guest waits, but for a flush, which is not repeated. */
static void test_backup(void)
{
	static const enum vmft_state ends[] = {VMFT_STATE_FORMING, VMFT_STATE_ATTACHING,
					       VMFT_STATE_PROTECTED};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		CU_ASSERT_EQUAL(after_failure(VMFT_SIDE_BACKUP, ends[i], VMFT_DISK_WRITE),
				VMFT_DISK_BACKUP_ENDS);
	CU_ASSERT_EQUAL(after_failure(VMFT_SIDE_BACKUP, VMFT_STATE_DRAINING, VMFT_DISK_WRITE),
			VMFT_DISK_WAITS);
	CU_ASSERT_EQUAL(after_failure(VMFT_SIDE_BACKUP, VMFT_STATE_ENDING, VMFT_DISK_READ),
			VMFT_DISK_WAITS);
	CU_ASSERT_EQUAL(after_failure(VMFT_SIDE_BACKUP, VMFT_STATE_DRAINING, VMFT_DISK_FLUSH),
			VMFT_DISK_BACKUP_ENDS);
	CU_ASSERT_EQUAL(after_failure(VMFT_SIDE_BACKUP, VMFT_STATE_DIVERGED, VMFT_DISK_WRITE),
			VMFT_DISK_NO_NEWS);
}

/* The agent's word is not trusted: there is no such disk. */
static void test_unknown_disk(void)
{
	setup();
	fails(7, VMFT_DISK_READ, EIO);
	CU_ASSERT_EQUAL(look(VMFT_SIDE_BACKUP, VMFT_STATE_PROTECTED), VMFT_DISK_BACKUP_ENDS);
	CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "an image: cannot be read"));
}

static void test_of_monitor(void)
{
	setup();
	CU_ASSERT_EQUAL(vmft_disk_fault_of_monitor(&fault, VMFT_STATE_PROTECTED, "full"),
			VMFT_DISK_BACKUP_ENDS);
	CU_ASSERT_EQUAL(vmft_disk_fault_of_monitor(&fault, VMFT_STATE_DRAINING, "still full"),
			VMFT_DISK_WAITS);
	CU_ASSERT_EQUAL(fault.counted, 2);
	CU_ASSERT_STRING_EQUAL(fault.text, "still full");
}

/* A guest that is alone and paused fails once a second. */
static void test_said(void)
{
	setup();
	CU_ASSERT(vmft_disk_fault_may_say(&fault, 100 * S));
	CU_ASSERT(!vmft_disk_fault_may_say(&fault, 101 * S));
	CU_ASSERT(!vmft_disk_fault_may_say(&fault, 109 * S));
	CU_ASSERT(vmft_disk_fault_may_say(&fault, 110 * S));
}

int vmft_suite_disk_fault(void)
{
	static CU_TestInfo tests[] = {
	    {"no failure", test_none},
	    {"once", test_once},
	    {"a primary", test_primary},
	    {"undecided", test_undecided},
	    {"a backup", test_backup},
	    {"a disk that is not there", test_unknown_disk},
	    {"the monitor's own writes", test_of_monitor},
	    {"said now and then", test_said},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"a disk that fails", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
