/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor's end of the attach area and of the agent's memory. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "area_file.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "monitor/daemon/guest/agent-link.h"
#include "suites.h"

/* The monitor's end, with a region of each kind listed by the agent. */
static struct vmft_agent_link *link_up(void)
{
	struct vmft_agent_link *link = calloc(1, sizeof(*link));
	const int iface = vmft_iface_create(1u << 20, NULL);
	const int area_fd = area_of(two_disks, 2);
	const int bell = eventfd(0, EFD_NONBLOCK);
	struct vmft_area *area;
	struct vmft_error err;

	CU_ASSERT_FATAL(link && iface >= 0 && bell >= 0);
	CU_ASSERT_EQUAL_FATAL(vmft_agent_link_init(link, iface, area_fd, -1, bell, -1, &err), 0);
	close(iface);
	area = link->area;
	area->region[2] = (struct vmft_region){.kind = VMFT_REGION_RAM,
					       .bytes = RAM_BYTES,
					       .bitmap_at = area->bitmaps_at,
					       .name = "vmft.ram"};
	area->region[3] = shadow_region(area, 4096);
	atomic_store(&area->region_count, 4);
	return link;
}

static void link_down(struct vmft_agent_link *link)
{
	area_unmap(link->area);
	munmap(link->iface, VMFT_IFACE_HEADER + (1u << 20));
	close(link->area_fd);
	close(link->bell_agent);
	free(link);
}

/* A table the agent lists is taken over as a whole; what it changes afterwards has no effect. */
static void test_link_regions(void)
{
	struct vmft_agent_link *link = link_up();
	uint32_t count = 0;

	CU_ASSERT_EQUAL(vmft_agent_link_regions(link, &count), 0);
	CU_ASSERT_EQUAL(count, 4);
	link->area->region[3].shadow_at = UINT64_MAX;
	link->area->region[0].bytes = UINT64_MAX;
	CU_ASSERT_EQUAL(link->region[3].shadow_at, link->area->shadow_at);
	CU_ASSERT_EQUAL(link->region[0].bytes, two_disks[0]);
	CU_ASSERT_STRING_EQUAL(link->region[2].name, "vmft.ram");
	link_down(link);
}

static void table_count_low(struct vmft_area *area)
{
	atomic_store(&area->region_count, 1);
}

static void table_count_high(struct vmft_area *area)
{
	/* Each of them would pass. */
	for (uint32_t i = 4; i < VMFT_AREA_REGIONS_MAX; i++)
		area->region[i] = area->region[3];
	atomic_store(&area->region_count, VMFT_AREA_REGIONS_MAX + 1);
}

static void table_count_wild(struct vmft_area *area)
{
	atomic_store(&area->region_count, UINT32_MAX);
}

static void table_disk_after(struct vmft_area *area)
{
	area->region[3].kind = VMFT_REGION_DISK;
}

static void table_memory_first(struct vmft_area *area)
{
	area->region[1] = area->region[3];
}

static void table_disk_too_long(struct vmft_area *area)
{
	area->region[1].bytes = UINT64_C(1) << 49;
}

static void table_ram_of_another_length(struct vmft_area *area)
{
	area->region[2].bytes -= 4096;
}

static void table_bitmap_outside(struct vmft_area *area)
{
	area->region[2].bitmap_at = area->area_bytes;
}

static void table_shadow_outside(struct vmft_area *area)
{
	area->region[3].shadow_at = area->state_at;
}

static void table_shadow_too_long(struct vmft_area *area)
{
	area->region[3].bytes = VMFT_AREA_SHADOW_BYTES + 1;
}

static void table_name_endless(struct vmft_area *area)
{
	memset(area->region[2].name, 'x', VMFT_AREA_NAME_MAX);
}

static void table_kind_unknown(struct vmft_area *area)
{
	area->region[3].kind = VMFT_REGION_SHADOW + 1;
}

/* The agent's word is not trusted: whatever table cannot be is refused, and leaves the count. */
static void test_link_bad_tables(void)
{
	static void (*const lies[])(struct vmft_area *) = {
	    table_count_low,	   table_count_high,	 table_count_wild,
	    table_disk_after,	   table_memory_first,	 table_disk_too_long,
	    table_bitmap_outside,  table_shadow_outside, table_ram_of_another_length,
	    table_shadow_too_long, table_name_endless,	 table_kind_unknown,
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct vmft_agent_link *link = link_up();
		uint32_t count = 99;

		lies[i](link->area);
		CU_ASSERT_EQUAL(vmft_agent_link_regions(link, &count), -EBADMSG);
		CU_ASSERT_EQUAL(count, 99);
		link_down(link);
	}
}

/* As many as there may be pass, and no region at all beside the disks. */
static void test_link_counts(void)
{
	struct vmft_agent_link *link = link_up();
	uint32_t count;

	table_count_high(link->area);
	atomic_store(&link->area->region_count, VMFT_AREA_REGIONS_MAX);
	CU_ASSERT_EQUAL(vmft_agent_link_regions(link, &count), 0);
	CU_ASSERT_EQUAL(count, VMFT_AREA_REGIONS_MAX);
	atomic_store(&link->area->region_count, 2);
	CU_ASSERT_EQUAL(vmft_agent_link_regions(link, &count), 0);
	CU_ASSERT_EQUAL(count, 2);
	link_down(link);
}

static uint64_t bell_rung(const struct vmft_agent_link *link)
{
	uint64_t rung = 0;

	(void)!read(link->bell_agent, &rung, sizeof(rung));
	return rung;
}

/* A request is under way until exactly its own number comes back. */
static void test_link_requests(void)
{
	struct vmft_agent_link *link = link_up();
	char why[200];

	CU_ASSERT(vmft_agent_link_is_done(link));
	for (uint32_t number = 1; number < 4; number++) {
		vmft_agent_link_request(link, VMFT_AREA_SCAN);
		CU_ASSERT_EQUAL(bell_rung(link), 1);
		CU_ASSERT_EQUAL(atomic_load(&link->area->op), VMFT_AREA_SCAN);
		CU_ASSERT_EQUAL(atomic_load(&link->area->request), number);
		CU_ASSERT(!vmft_agent_link_is_done(link));
		atomic_store(&link->area->done, number + 1); /* not asked for yet */
		CU_ASSERT(!vmft_agent_link_is_done(link));
		atomic_store(&link->area->done, number);
		CU_ASSERT(vmft_agent_link_is_done(link));
	}
	CU_ASSERT_EQUAL(vmft_agent_link_result(link, why, sizeof(why)), 0);
	CU_ASSERT_STRING_EQUAL(why, "");
	link_down(link);
}

/* The reason goes with a bad result only, and ends where its field does. */
static void test_link_result(void)
{
	struct vmft_agent_link *link = link_up();
	char why[400], little[4];

	strcpy(link->area->error, "of before");
	CU_ASSERT_EQUAL(vmft_agent_link_result(link, why, sizeof(why)), 0);
	CU_ASSERT_STRING_EQUAL(why, "");
	atomic_store(&link->area->result, -E2BIG);
	CU_ASSERT_EQUAL(vmft_agent_link_result(link, why, sizeof(why)), -E2BIG);
	CU_ASSERT_STRING_EQUAL(why, "of before");
	CU_ASSERT_EQUAL(vmft_agent_link_result(link, little, sizeof(little)), -E2BIG);
	CU_ASSERT_STRING_EQUAL(little, "of ");
	memset(link->area->error, 'x', sizeof(link->area->error));
	link->area->region[0].kind = 0x79797979; /* what follows it */
	CU_ASSERT_EQUAL(vmft_agent_link_result(link, why, sizeof(why)), -E2BIG);
	CU_ASSERT_EQUAL(strlen(why), sizeof(link->area->error) - 1);
	CU_ASSERT_EQUAL(strspn(why, "x"), strlen(why));
	link_down(link);
}

/* Either piece of memory being another one's is found out before anything is used. */
static void test_link_init_refuses(void)
{
	static struct vmft_agent_link link;
	struct vmft_error err = {0};
	const int iface = vmft_iface_create(1u << 20, &err);
	const int area = area_of(two_disks, 2);

	CU_ASSERT_EQUAL(vmft_agent_link_init(&link, area, area, -1, -1, -1, &err), -EPROTO);
	CU_ASSERT_EQUAL(vmft_agent_link_init(&link, iface, iface, -1, -1, -1, &err), -EPROTO);
	CU_ASSERT_PTR_NULL(link.area);
	CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_INTERNAL);
	munmap(link.iface, VMFT_IFACE_HEADER + (1u << 20));
	close(iface);
	close(area);
}

int vmft_suite_agent_link(void)
{
	static CU_TestInfo tests[] = {
	    {"test_link_regions", test_link_regions},
	    {"test_link_bad_tables", test_link_bad_tables},
	    {"test_link_counts", test_link_counts},
	    {"test_link_requests", test_link_requests},
	    {"test_link_result", test_link_result},
	    {"test_link_init_refuses", test_link_init_refuses},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"agent link", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
