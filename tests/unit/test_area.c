/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The layout of the attach area. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "area_file.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/exit-codes.h"
#include "suites.h"

static struct vmft_area *area_map(int fd)
{
	struct vmft_area *area = NULL;
	struct vmft_error err;

	CU_ASSERT_EQUAL_FATAL(vmft_area_map(fd, &area, &err), 0);
	return area;
}

/* What was asked for is what is mapped; memory is zero and none of it is taken yet. */
static void test_round_trip(void)
{
	int fd = area_of(two_disks, 2);
	struct vmft_area *area = area_map(fd);
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
	area_unmap(area);
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
	area_unmap(area_map(fd));
	close(fd);
	fd = area_of(NULL, 0);
	area_unmap(area_map(fd));
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
 * lengths; after them there is room for memory's, also when each of it begins a new word. */
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
	struct vmft_area *area = area_map(fd);
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
	area_unmap(area);
	close(fd);

	fd = area_of(NULL, 0); /* memory's alone fill their pages */
	area = area_map(fd);
	CU_ASSERT_EQUAL(memory_bits / 8 % 4096, 0);
	CU_ASSERT(area->bitmaps_at + memory_bits / 8 + VMFT_AREA_REGIONS_MAX * 8 <=
		  area->shadow_at);
	area_unmap(area);
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
		area_unmap(area_map(fd)); /* it was the damage */
		close(fd);
	}
}

static void test_disk_garbage(void)
{
	static const uint32_t kinds[] = {0, VMFT_REGION_RAM, VMFT_REGION_SHADOW, 4, UINT32_MAX};
	static const uint64_t lengths[] = {(UINT64_C(1) << 50) + 1, UINT64_C(1) << 50, UINT64_MAX};
	const size_t disk = offsetof(struct vmft_area, region[1]);
	int fd = area_of(two_disks, 2);
	struct vmft_area *area = area_map(fd);
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
	area_unmap(area);
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
	area_unmap(area);
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

/* A region passes exactly when its bitmap lies among the bitmaps, its shadow among the shadows,
 * its name ends, and memory is as long as it is. */
static void test_region_is_sane(void)
{
	int fd = area_of(NULL, 0);
	struct vmft_area *area = area_map(fd);
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
	r.bytes = RAM_BYTES;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.shadow_at = 4096;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bytes -= 4096;
	CU_ASSERT(vmft_region_is_sane(area, &r));
	r.shadow_at = 1;
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.bytes = RAM_BYTES;
	r.shadow_at = 0;
	CU_ASSERT(vmft_region_is_sane(area, &r));
	memset(r.name, 'x', sizeof(r.name));
	CU_ASSERT(!vmft_region_is_sane(area, &r));
	r.name[sizeof(r.name) - 1] = '\0';
	CU_ASSERT(vmft_region_is_sane(area, &r));
	area_unmap(area);
	close(fd);
}

/* Guest memory in several parts, in any order: each byte of the memfd is in one of them. */
static void test_regions_are_whole(void)
{
	static const uint64_t disk[] = {4096};
	const struct vmft_region good[] = {
	    {.kind = VMFT_REGION_DISK, .bytes = 4096},
	    {.kind = VMFT_REGION_RAM, .bytes = RAM_BYTES - 8192, .shadow_at = 8192},
	    {.kind = VMFT_REGION_SHADOW, .bytes = 100, .shadow_at = 8192},
	    {.kind = VMFT_REGION_RAM, .bytes = 8192, .shadow_at = 0},
	};
	struct vmft_region bad[4];
	int fd = area_of(disk, 1);
	struct vmft_area *area = area_map(fd);

	CU_ASSERT(vmft_regions_are_whole(area, good, 4));
	CU_ASSERT(vmft_regions_are_whole(area, good, 1));
	CU_ASSERT(!vmft_regions_are_whole(area, good, 3));
	memcpy(bad, good, sizeof(bad));
	bad[3].shadow_at = 4096;
	CU_ASSERT(!vmft_regions_are_whole(area, bad, 4));
	bad[3].shadow_at = 0;
	bad[3].bytes = 4096;
	CU_ASSERT(!vmft_regions_are_whole(area, bad, 4));
	area_unmap(area);
	close(fd);
}

int vmft_suite_area(void)
{
	static CU_TestInfo tests[] = {
	    {"test_round_trip", test_round_trip},
	    {"test_too_many_disks", test_too_many_disks},
	    {"test_regions_are_whole", test_regions_are_whole},
	    {"test_bitmap_bytes", test_bitmap_bytes},
	    {"test_bitmaps_apart", test_bitmaps_apart},
	    {"test_header_garbage", test_header_garbage},
	    {"test_disk_garbage", test_disk_garbage},
	    {"test_wrong_length", test_wrong_length},
	    {"test_wrapped_layout", test_wrapped_layout},
	    {"test_region_is_sane", test_region_is_sane},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"attach area", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
