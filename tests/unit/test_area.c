/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The attach area: its layout, and the monitor's end of it. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/common/area-setup.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "monitor/daemon/guest/agent-link.h"
#include "suites.h"

#define RAM_BYTES (UINT64_C(64) << 20)
#define BLOCK	  UINT64_C(65536)

static const uint64_t two_disks[] = {10 * BLOCK, 64 * BLOCK + 1};

static int area_of(const uint64_t *disk_bytes, size_t disk_count)
{
	struct vmft_error err;
	int fd = vmft_area_create(RAM_BYTES, disk_bytes, disk_count, &err);

	CU_ASSERT_FATAL(fd >= 0);
	return fd;
}

static struct vmft_area *map(int fd)
{
	struct vmft_area *area = NULL;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(vmft_area_map(fd, &area, &err), 0);
	return area;
}

static void unmap(struct vmft_area *area)
{
	munmap(area, area->area_bytes);
}

/* --- area-setup.c ------------------------------------------------------------ */

/* What was asked for is what is mapped; memory is zero and none of it is taken yet. */
static void test_round_trip(void)
{
	int fd = area_of(two_disks, 2);
	struct vmft_area *area = map(fd);
	struct stat st;

	CU_ASSERT_EQUAL(area->ram_bytes, RAM_BYTES);
	CU_ASSERT_EQUAL(area->disk_count, 2);
	CU_ASSERT_EQUAL(atomic_load(&area->region_count), 2);
	CU_ASSERT_EQUAL(atomic_load(&area->request), 0);
	CU_ASSERT_EQUAL(atomic_load(&area->done), 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct vmft_region *disk = &area->region[i];

		CU_ASSERT_EQUAL(disk->kind, VMFT_REGION_DISK);
		CU_ASSERT_EQUAL(disk->bytes, two_disks[i]);
		CU_ASSERT(vmft_region_is_sane(area, disk));
		for (uint64_t w = 0; w < vmft_region_bitmap_bytes(disk) / 8; w++)
			CU_ASSERT_EQUAL(atomic_load(&vmft_region_bitmap(area, disk)[w]), 0);
	}
	CU_ASSERT_EQUAL(fstat(fd, &st), 0);
	CU_ASSERT_EQUAL((uint64_t)st.st_size, area->area_bytes);
	CU_ASSERT(st.st_blocks * 512 <= (long)VMFT_AREA_HEADER * 2);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), 0); /* both programs inherit it */
	CU_ASSERT_EQUAL(ftruncate(fd, st.st_size + 1), -1);
	CU_ASSERT_EQUAL(ftruncate(fd, st.st_size - 1), -1);
	unmap(area);
	close(fd);
}

static void test_too_many_disks(void)
{
	static uint64_t bytes[VMFT_AREA_DISKS_MAX + 1];
	struct vmft_error err = {0};
	int fd;

	CU_ASSERT_EQUAL(vmft_area_create(RAM_BYTES, bytes, VMFT_AREA_DISKS_MAX + 1, &err), -EINVAL);
	CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_UNPROTECTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "17 disks"));
	fd = area_of(bytes, VMFT_AREA_DISKS_MAX);
	unmap(map(fd));
	close(fd);
	fd = area_of(NULL, 0);
	unmap(map(fd));
	close(fd);
}

static void test_bitmap_bytes(void)
{
	static const struct {
		uint32_t kind;
		uint64_t bytes, want;
	} cases[] = {
	    {VMFT_REGION_DISK, 0, 0},
	    {VMFT_REGION_DISK, 1, 8},
	    {VMFT_REGION_DISK, 64 * BLOCK, 8},
	    {VMFT_REGION_DISK, 64 * BLOCK + 1, 16},
	    {VMFT_REGION_RAM, 64 * 4096, 8},
	    {VMFT_REGION_RAM, 64 * 4096 + 1, 16},
	    {VMFT_REGION_SHADOW, 1, 8},
	    {VMFT_REGION_SHADOW, UINT64_C(1) << 50, UINT64_C(1) << 35},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct vmft_region region = {.kind = cases[i].kind, .bytes = cases[i].bytes};

		CU_ASSERT_EQUAL(vmft_region_bitmap_bytes(&region), cases[i].want);
	}
}

/* The images' bitmaps are wide enough for the last block and share no word, whatever their
 * lengths; behind them there is room for memory's, also when each of it begins a new word. */
static void test_bitmaps_apart(void)
{
	static const uint64_t odd[VMFT_AREA_DISKS_MAX] = {
	    0,
	    1,
	    BLOCK - 1,
	    BLOCK,
	    BLOCK + 1,
	    63 * BLOCK,
	    63 * BLOCK + 1,
	    64 * BLOCK,
	    64 * BLOCK + 1,
	    65 * BLOCK,
	    127 * BLOCK,
	    128 * BLOCK,
	    129 * BLOCK - 1,
	    0,
	    1000003 * BLOCK + 7,
	    (UINT64_C(1) << 40) + 1,
	};
	const uint64_t memory_bits = RAM_BYTES / 4096 + VMFT_AREA_SHADOW_BYTES / 4096;
	int fd = area_of(odd, VMFT_AREA_DISKS_MAX);
	struct vmft_area *area = map(fd);
	uint64_t at = area->bitmaps_at;

	CU_ASSERT(at >= sizeof(*area));
	for (unsigned i = 0; i < VMFT_AREA_DISKS_MAX; i++) {
		const struct vmft_region *disk = &area->region[i];
		const uint64_t blocks = (disk->bytes + BLOCK - 1) / BLOCK;

		CU_ASSERT(disk->bitmap_at >= at);
		CU_ASSERT_EQUAL(disk->bitmap_at % 8, 0);
		CU_ASSERT(vmft_region_bitmap_bytes(disk) * 8 >= blocks);
		at = disk->bitmap_at + vmft_region_bitmap_bytes(disk);
	}
	CU_ASSERT(at + memory_bits / 8 + VMFT_AREA_REGIONS_MAX * 8 <= area->shadow_at);
	unmap(area);
	close(fd);

	fd = area_of(NULL, 0); /* memory's alone fill their pages */
	area = map(fd);
	CU_ASSERT_EQUAL(memory_bits / 8 % 4096, 0);
	CU_ASSERT(area->bitmaps_at + memory_bits / 8 + VMFT_AREA_REGIONS_MAX * 8 <=
		  area->shadow_at);
	unmap(area);
	close(fd);
}

/* Whether the header is refused with these bytes of it changed; they are put back. */
static bool refused_with(int fd, size_t at, const void *bytes, size_t n)
{
	struct vmft_area *area = NULL;
	struct vmft_error err = {0};
	uint8_t before[VMFT_AREA_NAME_MAX];
	int rc;

	CU_ASSERT_EQUAL_FATAL(pread(fd, before, n, (off_t)at), (ssize_t)n);
	CU_ASSERT_EQUAL_FATAL(pwrite(fd, bytes, n, (off_t)at), (ssize_t)n);
	rc = vmft_area_map(fd, &area, &err);
	CU_ASSERT_EQUAL_FATAL(pwrite(fd, before, n, (off_t)at), (ssize_t)n);
	if (rc == 0) {
		munmap(area, 4096); /* enough for a test that has failed */
		return false;
	}
	CU_ASSERT_EQUAL(rc, -EPROTO);
	CU_ASSERT_EQUAL(err.exit_code, VMFT_EXIT_INTERNAL);
	CU_ASSERT_PTR_NULL(area);
	return true;
}

/* Every byte of what the creator writes, damaged: refused. The guest's memory is none of the
 * area, its length is held against the region that claims to be it. */
static void test_header_garbage(void)
{
	for (size_t disks = 0; disks <= 2; disks += 2) {
		int fd = area_of(two_disks, disks);

		for (size_t at = 0; at < offsetof(struct vmft_area, op); at++) {
			uint8_t byte;

			if (at >= offsetof(struct vmft_area, ram_bytes) &&
			    at < offsetof(struct vmft_area, bitmaps_at))
				continue;
			CU_ASSERT_EQUAL(pread(fd, &byte, 1, (off_t)at), 1);
			byte ^= 0x55;
			CU_ASSERT(refused_with(fd, at, &byte, 1));
		}
		unmap(map(fd)); /* it was the damage */
		close(fd);
	}
}

static void test_disk_garbage(void)
{
	static const uint32_t kinds[] = {0, VMFT_REGION_RAM, VMFT_REGION_SHADOW, 4, UINT32_MAX};
	static const uint64_t lengths[] = {(UINT64_C(1) << 50) + 1, UINT64_C(1) << 50, UINT64_MAX};
	const size_t disk = offsetof(struct vmft_area, region[1]);
	int fd = area_of(two_disks, 2);
	struct vmft_area *area = map(fd);
	const uint64_t places[] = {0,
				   8,
				   area->bitmaps_at - 8,
				   area->bitmaps_at + 4,
				   area->shadow_at - 8,
				   area->shadow_at,
				   area->area_bytes,
				   UINT64_MAX - 7};
	char name[VMFT_AREA_NAME_MAX];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		CU_ASSERT(
		    refused_with(fd, disk + offsetof(struct vmft_region, kind), &kinds[i], 4));
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		CU_ASSERT(
		    refused_with(fd, disk + offsetof(struct vmft_region, bytes), &lengths[i], 8));
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		CU_ASSERT(refused_with(fd, disk + offsetof(struct vmft_region, bitmap_at),
				       &places[i], 8));
	memset(name, 'x', sizeof(name));
	CU_ASSERT(refused_with(fd, disk + offsetof(struct vmft_region, name), name, sizeof(name)));
	unmap(area);
	close(fd);

	fd = area_of((const uint64_t[]){RAM_BYTES}, 1); /* as memory it would pass */
	CU_ASSERT(refused_with(fd, offsetof(struct vmft_area, region[0].kind), &kinds[1], 4));
	close(fd);
}

/* A file that is no area at all, and one of another length than its header says. */
static void test_wrong_length(void)
{
	struct vmft_area *area = NULL;
	struct vmft_error err;
	int fd = memfd_create("test", 0);
	struct vmft_area header;
	int good = area_of(two_disks, 2);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(vmft_area_map(fd, &area, &err), -EPROTO);
	CU_ASSERT_EQUAL(ftruncate(fd, VMFT_AREA_HEADER), 0);
	CU_ASSERT_EQUAL(vmft_area_map(fd, &area, &err), -EPROTO);
	CU_ASSERT_EQUAL(pread(good, &header, sizeof(header), 0), (ssize_t)sizeof(header));
	CU_ASSERT_EQUAL(pwrite(fd, &header, sizeof(header), 0), (ssize_t)sizeof(header));
	CU_ASSERT_EQUAL(vmft_area_map(fd, &area, &err), -EPROTO);
	CU_ASSERT_EQUAL(ftruncate(fd, (off_t)header.area_bytes - 4096), 0);
	CU_ASSERT_EQUAL(vmft_area_map(fd, &area, &err), -EPROTO);
	CU_ASSERT_EQUAL(ftruncate(fd, (off_t)header.area_bytes), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_area_map(fd, &area, &err), 0);
	unmap(area);
	area = NULL;
	CU_ASSERT_EQUAL(ftruncate(fd, (off_t)header.area_bytes + 4096), 0);
	CU_ASSERT_EQUAL(vmft_area_map(fd, &area, &err), -EPROTO);
	header.area_bytes += 4096; /* that it says so does not help */
	CU_ASSERT_EQUAL(pwrite(fd, &header, sizeof(header), 0), (ssize_t)sizeof(header));
	CU_ASSERT_EQUAL(vmft_area_map(fd, &area, &err), -EPROTO);
	CU_ASSERT_PTR_NULL(area);
	CU_ASSERT(vmft_area_map(-1, &area, &err) < 0);
	close(good);
	close(fd);
}

/* A file too short for its parts, which would add up around the end of the numbers. */
static void test_wrapped_layout(void)
{
	struct vmft_area *area = NULL;
	struct vmft_area header;
	struct vmft_error err;
	int fd = area_of(NULL, 0);
	int brief = memfd_create("test", 0);

	CU_ASSERT_FATAL(brief >= 0);
	CU_ASSERT_EQUAL(pread(fd, &header, sizeof(header), 0), (ssize_t)sizeof(header));
	header.area_bytes = 1u << 20;
	header.state_at = header.area_bytes - VMFT_AREA_STATE_BYTES - VMFT_AREA_EXCHANGE_BYTES;
	header.staging_at = header.state_at - VMFT_AREA_STAGING_BYTES;
	header.shadow_at = header.staging_at - VMFT_AREA_SHADOW_BYTES;
	CU_ASSERT_EQUAL(ftruncate(brief, (off_t)header.area_bytes), 0);
	CU_ASSERT_EQUAL(pwrite(brief, &header, sizeof(header), 0), (ssize_t)sizeof(header));
	CU_ASSERT_EQUAL(vmft_area_map(brief, &area, &err), -EPROTO);
	CU_ASSERT_PTR_NULL(area);
	close(brief);
	close(fd);
}

static struct vmft_region shadow_region(const struct vmft_area *area, uint64_t bytes)
{
	return (struct vmft_region){.kind = VMFT_REGION_SHADOW,
				    .bytes = bytes,
				    .bitmap_at = area->bitmaps_at,
				    .shadow_at = area->shadow_at,
				    .name = "pc.bios"};
}

/* A region passes exactly when its bitmap lies among the bitmaps, its shadow among the shadows,
 * its name ends, and memory is as long as it is. */
static void test_region_is_sane(void)
{
	int fd = area_of(NULL, 0);
	struct vmft_area *area = map(fd);
	const uint64_t whole = VMFT_AREA_SHADOW_BYTES;
	struct vmft_region r = shadow_region(area, whole);

	CU_ASSERT(vmft_region_is_sane(area, &r));
	r.shadow_at = area->shadow_at + 1; /* one byte over */
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bytes = whole - 1;
	CU_ASSERT(vmft_region_is_sane(area, &r));
	r.shadow_at = area->shadow_at - 1;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.shadow_at = area->staging_at;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bytes = 0;
	CU_ASSERT(vmft_region_is_sane(area, &r));
	r.shadow_at++;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.shadow_at = UINT64_MAX;
	CU_ASSERT(!vmft_region_is_sane(area, &r));

	r = shadow_region(area, 65 * 4096); /* two words of bitmap */
	r.bitmap_at = area->shadow_at - 16;
	CU_ASSERT(vmft_region_is_sane(area, &r));
	r.bitmap_at = area->shadow_at - 8;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bitmap_at = area->shadow_at + 8;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bitmap_at = area->bitmaps_at + 4;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bitmap_at = area->bitmaps_at - 8;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bitmap_at = UINT64_MAX - 7;
	CU_ASSERT(!vmft_region_is_sane(area, &r));

	r = shadow_region(area, UINT64_MAX); /* its count of blocks would wrap */
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r = shadow_region(area, 4096);
	r.kind = 0;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.kind = VMFT_REGION_SHADOW + 1;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.kind = VMFT_REGION_RAM;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bytes = RAM_BYTES;
	CU_ASSERT(vmft_region_is_sane(area, &r));
	memset(r.name, 'x', sizeof(r.name));
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.name[sizeof(r.name) - 1] = '\0';
	CU_ASSERT(vmft_region_is_sane(area, &r));
	unmap(area);
	close(fd);
}

int vmft_suite_area(void)
{
	CU_pSuite suite = CU_add_suite("attach area", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_round_trip) ||
	    !CU_ADD_TEST(suite, test_too_many_disks) || !CU_ADD_TEST(suite, test_bitmap_bytes) ||
	    !CU_ADD_TEST(suite, test_bitmaps_apart) || !CU_ADD_TEST(suite, test_header_garbage) ||
	    !CU_ADD_TEST(suite, test_disk_garbage) || !CU_ADD_TEST(suite, test_wrong_length) ||
	    !CU_ADD_TEST(suite, test_wrapped_layout) || !CU_ADD_TEST(suite, test_region_is_sane))
		return -1;
	return 0;
}

/* --- agent-link.c ------------------------------------------------------------ */

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
	unmap(link->area);
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

static void table_disk_behind(struct vmft_area *area)
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
	    table_disk_behind,	   table_memory_first,	 table_disk_too_long,
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
	CU_pSuite suite = CU_add_suite("agent link", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_link_regions) ||
	    !CU_ADD_TEST(suite, test_link_bad_tables) || !CU_ADD_TEST(suite, test_link_counts) ||
	    !CU_ADD_TEST(suite, test_link_requests) || !CU_ADD_TEST(suite, test_link_result) ||
	    !CU_ADD_TEST(suite, test_link_init_refuses))
		return -1;
	return 0;
}
