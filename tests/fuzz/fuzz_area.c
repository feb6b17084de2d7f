/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The attach area as another process left it: what is mapped, and what the monitor takes over
 * of the regions in it, lies inside the area and can be touched from end to end.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"
#include "monitor/common/area-setup.h"
#include "monitor/daemon/guest/agent-link.h"

#define FILE_BYTES_MAX (UINT64_C(1) << 30)

/* The area's header and regions without what nobody checks; as many regions as there is data. */
struct input {
	uint64_t magic;
	uint32_t version, disk_count;
	uint64_t area_bytes; /* also the file's length, if that is not beyond reason */
	uint64_t ram_bytes, bitmaps_at, shadow_at, staging_at, state_at;
	uint32_t region_count, reserved;
	struct {
		uint32_t kind;
		uint32_t name_bytes;
		uint64_t bytes, bitmap_at, shadow_at;
	} region[VMFT_AREA_REGIONS_MAX];
};

static void must(bool good)
{
	if (!good)
		abort();
}

static void fill(struct vmft_area *area, const struct input *in)
{
	area->magic = in->magic;
	area->version = in->version;
	area->disk_count = in->disk_count;
	area->area_bytes = in->area_bytes;
	area->ram_bytes = in->ram_bytes;
	area->bitmaps_at = in->bitmaps_at;
	area->shadow_at = in->shadow_at;
	area->staging_at = in->staging_at;
	area->state_at = in->state_at;
	atomic_store(&area->region_count, in->region_count);
	for (unsigned i = 0; i < VMFT_AREA_REGIONS_MAX; i++) {
		struct vmft_region *region = &area->region[i];
		const uint32_t n = in->region[i].name_bytes;

		region->kind = in->region[i].kind;
		region->bytes = in->region[i].bytes;
		region->bitmap_at = in->region[i].bitmap_at;
		region->shadow_at = in->region[i].shadow_at;
		memset(region->name, 'n', n < VMFT_AREA_NAME_MAX ? n : VMFT_AREA_NAME_MAX);
	}
}

/* At least this long between the two, without overflow, and there. */
static void lies_between(struct vmft_area *area, uint64_t at, unsigned __int128 n, uint64_t from,
			 uint64_t to)
{
	volatile uint8_t *bytes = (uint8_t *)area;

	must(at >= from && at <= to && n <= to - at);
	if (n == 0)
		return;
	bytes[at]++;
	bytes[at + (uint64_t)n - 1]++;
}

static void check_layout(struct vmft_area *area, uint64_t file_bytes)
{
	must(area->area_bytes == file_bytes && area->disk_count <= VMFT_AREA_DISKS_MAX);
	must(area->bitmaps_at >= sizeof(*area) && area->bitmaps_at <= area->shadow_at);
	lies_between(area, area->shadow_at, VMFT_AREA_SHADOW_BYTES, area->bitmaps_at,
		     area->staging_at);
	lies_between(area, area->staging_at, VMFT_AREA_STAGING_BYTES, area->shadow_at,
		     area->state_at);
	lies_between(area, area->state_at, VMFT_AREA_STATE_BYTES, area->staging_at, file_bytes);
}

static void check_region(struct vmft_area *area, const struct vmft_region *region, bool is_disk)
{
	const uint64_t block = is_disk ? VMFT_DISK_BLOCK_BYTES : VMFT_RAM_BLOCK_BYTES;
	const unsigned __int128 blocks = ((unsigned __int128)region->bytes + block - 1) / block;

	must((region->kind == VMFT_REGION_DISK) == is_disk);
	must(region->kind >= VMFT_REGION_DISK && region->kind <= VMFT_REGION_SHADOW);
	must(strnlen(region->name, sizeof(region->name)) < sizeof(region->name));
	must(region->bitmap_at % 8 == 0 && vmft_region_bitmap_bytes(region) * 8 >= blocks);
	lies_between(area, region->bitmap_at, (blocks + 63) / 64 * 8, area->bitmaps_at,
		     area->shadow_at);
	if (region->kind == VMFT_REGION_SHADOW)
		lies_between(area, region->shadow_at, region->bytes, area->shadow_at,
			     area->staging_at);
	if (region->kind == VMFT_REGION_RAM)
		must(region->shadow_at <= area->ram_bytes &&
		     region->bytes <= area->ram_bytes - region->shadow_at);
}

static void check_regions(struct vmft_area *area)
{
	static struct vmft_agent_link link;
	uint32_t count = 0;

	link.area = area;
	if (vmft_agent_link_regions(&link, &count) < 0)
		return;
	must(count >= area->disk_count && count <= VMFT_AREA_REGIONS_MAX);
	for (uint32_t i = 0; i < count; i++)
		check_region(area, &link.region[i], i < area->disk_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vmft_area made;
	static int fd = -1;
	struct input in = {0};
	struct vmft_error err = {0};
	struct vmft_area *area;
	uint64_t file_bytes;

	if (fd < 0)
		fd = memfd_create("fuzz-area", MFD_CLOEXEC);
	if (size > 0)
		memcpy(&in, data, size < sizeof(in) ? size : sizeof(in));
	memset((void *)&made, 0, sizeof(made));
	fill(&made, &in);
	file_bytes = in.area_bytes <= FILE_BYTES_MAX ? in.area_bytes : FILE_BYTES_MAX;
	must(fd >= 0 && ftruncate(fd, 0) == 0 && ftruncate(fd, (off_t)file_bytes) == 0);
	if (file_bytes >= sizeof(made))
		must(pwrite(fd, &made, sizeof(made), 0) == (ssize_t)sizeof(made));
	if (vmft_area_map(fd, &area, &err) < 0) {
		must(err.text[0] != '\0');
		return 0;
	}
	check_layout(area, file_bytes);
	check_regions(area);
	munmap(area, file_bytes);
	return 0;
}

#define SHADOW_AT  (2 * VMFT_AREA_HEADER)
#define STAGING_AT (SHADOW_AT + VMFT_AREA_SHADOW_BYTES)
#define STATE_AT   (STAGING_AT + VMFT_AREA_STAGING_BYTES)
#define END_AT	   (STATE_AT + VMFT_AREA_STATE_BYTES + VMFT_AREA_EXCHANGE_BYTES)

/* Two disks, the guest's memory, and two regions that go through copies. */
static const struct input whole = {
    .magic = VMFT_AREA_MAGIC,
    .version = VMFT_IFACE_VERSION,
    .disk_count = 2,
    .area_bytes = END_AT,
    .ram_bytes = UINT64_C(128) << 20,
    .bitmaps_at = VMFT_AREA_HEADER,
    .shadow_at = SHADOW_AT,
    .staging_at = STAGING_AT,
    .state_at = STATE_AT,
    .region_count = 5,
    .region =
	{
	    {VMFT_REGION_DISK, 6, 65 * 65536, VMFT_AREA_HEADER, 0},
	    {VMFT_REGION_DISK, 6, 1, VMFT_AREA_HEADER + 16, 0},
	    {VMFT_REGION_RAM, 255, UINT64_C(128) << 20, VMFT_AREA_HEADER + 24, 0},
	    {VMFT_REGION_SHADOW, 7, 262144 + 1, VMFT_AREA_HEADER + 24 + 4096, SHADOW_AT},
	    {VMFT_REGION_SHADOW, 0, (UINT64_C(63) << 20) - 1, SHADOW_AT - 2016,
	     SHADOW_AT + 1048577},
	},
};

/* Adds up, around the end of the numbers. */
static const struct input wrapped = {
    .magic = VMFT_AREA_MAGIC,
    .version = VMFT_IFACE_VERSION,
    .area_bytes = 1u << 20,
    .bitmaps_at = VMFT_AREA_HEADER,
    .shadow_at = (1u << 20) - (END_AT - SHADOW_AT),
    .staging_at = (1u << 20) - (END_AT - STAGING_AT),
    .state_at = (1u << 20) - (END_AT - STATE_AT),
};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {&whole, offsetof(struct input, region[5])},
    {&wrapped, offsetof(struct input, region[0])},
    {0},
};
