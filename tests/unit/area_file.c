/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <sys/mman.h>

#include "area_file.h"

const uint64_t two_disks[] = {10 * BLOCK, 64 * BLOCK + 1};

int area_of(const uint64_t *disk_bytes, size_t disk_count)
{
	struct vmft_error err;
	int fd = vmft_area_create(RAM_BYTES, disk_bytes, disk_count, &err);

	CU_ASSERT_FATAL(fd >= 0);
	return fd;
}

void area_unmap(struct vmft_area *area)
{
	munmap(area, area->area_bytes);
}

struct vmft_region shadow_region(const struct vmft_area *area, uint64_t bytes)
{
	return (struct vmft_region){.kind = VMFT_REGION_SHADOW,
				    .bytes = bytes,
				    .bitmap_at = area->bitmaps_at,
				    .shadow_at = area->shadow_at,
				    .name = "pc.bios"};
}
