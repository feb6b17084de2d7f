/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An attach area in a file, for its tests. */
#ifndef VMFT_TEST_AREA_FILE_H
#define VMFT_TEST_AREA_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "monitor/common/area-setup.h"

/* Of the areas that area_of() makes. */
#define RAM_BYTES (UINT64_C(128) << 20)
#define BLOCK	  UINT64_C(65536)

/* The bytes of two images. */
extern const uint64_t two_disks[2];

/* An area for these images and RAM_BYTES of memory; the caller closes the file. */
int area_of(const uint64_t *disk_bytes, size_t disk_count);

void area_unmap(struct vmft_area *area);

/* A region with a bitmap and a shadow where the creator of the area may put them. */
struct vmft_region shadow_region(const struct vmft_area *area, uint64_t bytes);

#endif
