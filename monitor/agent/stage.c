/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies of marked memory and images, so that a stopped guest can run again and overwrite them: one
 * piece after another at the area's staging_at.
 */
#define _GNU_SOURCE
#include "stage.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "disk.h"
#include "libc.h"
#include "monitor/common/area-setup.h"
#include "track.h"

#define FD_SCAN_MAX 1024

/* The place for the next piece. */
struct staging {
	struct vmft_area *area;
	uint64_t used;
	int disk_fd;	 /* of the image that is being staged */
	uint8_t *bounce; /* aligned for images that are open for direct I/O */
};

static uint8_t *stage(struct staging *s, uint32_t region, uint64_t offset, uint32_t n)
{
	const uint64_t all = sizeof(struct vmft_area_piece) + (n + UINT64_C(15)) / 16 * 16;
	struct vmft_area_piece *piece;

	if (all > VMFT_AREA_STAGING_BYTES - s->used)
		return NULL;
	piece = (void *)((uint8_t *)s->area + s->area->staging_at + s->used);
	*piece = (struct vmft_area_piece){.offset = offset, .region = region, .bytes = n};
	s->used += all;
	return (uint8_t *)(piece + 1);
}

/* QEMU seldom opens an image on another descriptor, so the last one is tried first. */
static int image_fd(uint32_t disk)
{
	int *fd = &vmft_track.disk[disk].fd;

	if (*fd > 0 && vmft_track_disk_of(*fd) == (int)disk)
		return *fd;
	for (*fd = 3; *fd < FD_SCAN_MAX; (*fd)++)
		if (vmft_track_disk_of(*fd) == (int)disk)
			return *fd;
	*fd = 0;
	return -1;
}

static int stage_disk_range(struct staging *s, uint32_t index, uint64_t offset, uint32_t n)
{
	unsigned tries = 0;
	ssize_t got;
	uint8_t *to;

	do
		got = vmft_libc_pread64(s->disk_fd, s->bounce, n, (off64_t)offset);
	while (got < 0 && vmft_disk_again(s->disk_fd, VMFT_DISK_READ, &tries));
	if (got < 0)
		return vmft_track_fail(-errno, "an image could not be read");
	if (got == 0)
		return 0; /* the image ends before this offset */
	to = stage(s, index, offset, (uint32_t)got);
	if (!to)
		return -ENOBUFS;
	memcpy(to, s->bounce, (size_t)got);
	return 0;
}

static int stage_parts(struct staging *s, uint32_t index, uint64_t offset, uint32_t parts)
{
	while (parts) {
		const unsigned first = (unsigned)__builtin_ctz(parts);
		unsigned end = first;
		int rc;

		for (; parts >> end & 1; end++)
			parts &= ~(1u << end);
		rc = stage_disk_range(s, index, offset + first * VMFT_DISK_PART_BYTES,
				      (end - first) * VMFT_DISK_PART_BYTES);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int stage_disk_block(struct staging *s, uint32_t index, uint64_t offset)
{
	_Atomic uint16_t *at = vmft_disk_parts(s->area, index) + offset / VMFT_DISK_BLOCK_BYTES;
	const uint16_t parts = atomic_exchange(at, 0);
	int rc = stage_parts(s, index, offset, parts ? parts : UINT16_MAX);

	if (rc < 0)
		atomic_fetch_or(at, parts);
	return rc;
}

static int stage_ram_block(struct staging *s, uint32_t index, uint64_t offset, const uint8_t *host)
{
	const struct vmft_region *region = &s->area->region[index];
	uint64_t n = region->bytes - offset;
	uint8_t *to;

	if (n > VMFT_RAM_BLOCK_BYTES)
		n = VMFT_RAM_BLOCK_BYTES;
	to = stage(s, index, offset, (uint32_t)n);
	if (!to)
		return -ENOBUFS;
	memcpy(to, host + offset, n);
	return 0;
}

static int stage_region(struct staging *s, uint32_t index, const uint8_t *host)
{
	struct vmft_region *region = &s->area->region[index];
	const uint64_t block = vmft_region_block(region);
	const uint64_t words = vmft_region_bitmap_bytes(region) / 8;
	_Atomic uint64_t *word = vmft_region_bitmap(s->area, region);

	for (uint64_t w = 0; w < words; w++) {
		uint64_t bits = atomic_exchange(&word[w], 0);

		for (; bits; bits &= bits - 1) {
			uint64_t at = (w * 64 + (uint64_t)__builtin_ctzll(bits)) * block;
			int rc = host ? stage_ram_block(s, index, at, host)
				      : stage_disk_block(s, index, at);

			if (rc < 0) {
				atomic_fetch_or(&word[w], bits);
				return rc;
			}
		}
	}
	return 0;
}

/* An empty piece has the image's length as its offset: the image may grow when the guest goes on.
 */
static int stage_disks(struct staging *s)
{
	for (uint32_t i = 0; i < s->area->disk_count; i++) {
		struct stat st;
		int rc;

		s->disk_fd = image_fd(i);
		if (s->disk_fd < 0 || fstat(s->disk_fd, &st) < 0)
			return vmft_track_fail(-EBADF, "an image is not open in QEMU");
		rc = stage_region(s, i, NULL);
		if (rc < 0)
			return rc;
		if (S_ISREG(st.st_mode) && !stage(s, i, (uint64_t)st.st_size, 0))
			return -ENOBUFS;
	}
	return 0;
}

static int stage_ram(struct staging *s)
{
	const uint32_t count = atomic_load(&s->area->region_count);

	for (uint32_t i = s->area->disk_count; i < count; i++) {
		const uint8_t *host = vmft_track_host(&s->area->region[i]);
		int rc;

		if (!host)
			return vmft_track_fail(-ENOENT,
					       "the guest's memory has changed its layout");
		rc = stage_region(s, i, host);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void vmft_stage_undo(struct vmft_area *area, uint64_t used)
{
	uint64_t at = 0;

	while (at < used) {
		const struct vmft_area_piece *piece =
		    (void *)((uint8_t *)area + area->staging_at + at);
		struct vmft_region *region = &area->region[piece->region];
		const uint64_t block = piece->offset / vmft_region_block(region);

		if (piece->bytes > 0 && region->kind == VMFT_REGION_DISK)
			vmft_disk_parts(area, piece->region)[block] = UINT16_MAX;
		if (piece->bytes > 0)
			vmft_track_mark(region, block, block);
		at += sizeof(*piece) + (piece->bytes + UINT64_C(15)) / 16 * 16;
	}
}

int vmft_stage_scan(struct vmft_area *area)
{
	int rc = vmft_track_scan(area);

	if (rc < 0)
		return rc;
	if (atomic_load(&area->disk_overflow))
		return vmft_track_fail(-EFBIG, "an image has grown beyond what could be foreseen");
	return 0;
}

bool vmft_stage_fits(const struct vmft_area *area)
{
	return atomic_load(&area->ram_marked) * VMFT_RAM_BLOCK_BYTES +
		   atomic_load(&area->disk_marked) * VMFT_DISK_BLOCK_BYTES <=
	       atomic_load(&area->budget_bytes);
}

int vmft_stage_copy(struct vmft_area *area)
{
	struct staging s = {.area = area};
	int rc;

	atomic_store(&area->staged_bytes, 0);
	if (posix_memalign((void **)&s.bounce, 4096, VMFT_DISK_BLOCK_BYTES) != 0)
		return vmft_track_fail(-ENOMEM, "out of memory");
	rc = stage_disks(&s);
	if (rc == 0)
		rc = stage_ram(&s);
	free(s.bounce);
	atomic_store(&area->staged_bytes, s.used);
	return rc;
}
