/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making and mapping the attach area that monitor/interface.h describes. */
#ifndef VMFT_AREA_SETUP_H
#define VMFT_AREA_SETUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "monitor/interface.h"

/*
 * A memfd with an initialised header, its size sealed; memory is taken only as it is written.
 * disk_bytes: the most each image may ever be long, at most VMFT_AREA_DISKS_MAX of them.
 * Returns the descriptor (no close-on-exec) or a negative errno.
 */
int vmft_area_create(uint64_t ram_bytes, const uint64_t *disk_bytes, size_t disk_count,
		     struct vmft_error *err);

/* Maps it for the life of the process and checks magic, version and the layout. Negative
 * errno: -EPROTO for another version or garbage. */
int vmft_area_map(int fd, struct vmft_area **ret, struct vmft_error *err);

/* Bytes of one block of a region, and of its bitmap (whole 64-bit words). */
uint64_t vmft_region_block(const struct vmft_region *region);
uint64_t vmft_region_bitmap_bytes(const struct vmft_region *region);

/* Whether a region's bitmap and shadow lie where they may. The agent's word is not trusted. */
bool vmft_region_is_sane(const struct vmft_area *area, const struct vmft_region *region);

/* Whether the regions of the guest's RAM are together all of its memfd, each byte once. A table
 * without such a region is fine too: it is not filled yet. */
bool vmft_regions_are_whole(const struct vmft_area *area, const struct vmft_region *region,
			    uint32_t count);

/* For each block of a disk: which parts of it were written (struct vmft_area, parts_at). */
_Atomic uint16_t *vmft_disk_parts(struct vmft_area *area, uint32_t disk);

/* The words of a region's bitmap. */
_Atomic uint64_t *vmft_region_bitmap(struct vmft_area *area, const struct vmft_region *region);

#endif
