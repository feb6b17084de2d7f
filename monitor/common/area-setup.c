/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "area-setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exit-codes.h"

#define PAGE	   UINT64_C(4096)
#define REGION_MAX (UINT64_C(1) << 50)

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

uint64_t vmft_region_block(const struct vmft_region *region)
{
	return region->kind == VMFT_REGION_DISK ? VMFT_DISK_BLOCK_BYTES : VMFT_RAM_BLOCK_BYTES;
}

uint64_t vmft_region_bitmap_bytes(const struct vmft_region *region)
{
	const uint64_t block = vmft_region_block(region);

	return round_up(round_up(region->bytes, block) / block, 64) / 8;
}

static uint64_t parts_bytes(const struct vmft_region *disk)
{
	return vmft_region_bitmap_bytes(disk) * 8 * sizeof(uint16_t);
}

_Atomic uint16_t *vmft_disk_parts(struct vmft_area *area, uint32_t disk)
{
	return (_Atomic uint16_t *)(void *)((uint8_t *)area + area->parts_at[disk]);
}

_Atomic uint64_t *vmft_region_bitmap(struct vmft_area *area, const struct vmft_region *region)
{
	return (_Atomic uint64_t *)(void *)((uint8_t *)area + region->bitmap_at);
}

bool vmft_region_is_sane(const struct vmft_area *area, const struct vmft_region *region)
{
	const uint64_t bitmap = vmft_region_bitmap_bytes(region);

	if (region->kind < VMFT_REGION_DISK || region->kind > VMFT_REGION_SHADOW ||
	    region->bytes > REGION_MAX || region->bitmap_at % 8 != 0 ||
	    region->bitmap_at < area->bitmaps_at || region->bitmap_at > area->shadow_at ||
	    bitmap > area->shadow_at - region->bitmap_at)
		return false;
	if (!memchr(region->name, 0, sizeof(region->name)))
		return false;
	if (region->kind == VMFT_REGION_RAM)
		return region->shadow_at <= area->ram_bytes &&
		       region->bytes <= area->ram_bytes - region->shadow_at &&
		       region->shadow_at % VMFT_RAM_BLOCK_BYTES == 0;
	return region->kind == VMFT_REGION_DISK ||
	       (region->shadow_at >= area->shadow_at && region->shadow_at <= area->staging_at &&
		region->bytes <= area->staging_at - region->shadow_at);
}

static bool overlap(const struct vmft_region *a, const struct vmft_region *b)
{
	return a->shadow_at < b->shadow_at + b->bytes && b->shadow_at < a->shadow_at + a->bytes;
}

bool vmft_regions_are_whole(const struct vmft_area *area, const struct vmft_region *region,
			    uint32_t count)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < count; i++) {
		if (region[i].kind != VMFT_REGION_RAM)
			continue;
		bytes += region[i].bytes;
		for (uint32_t k = 0; k < i; k++)
			if (region[k].kind == VMFT_REGION_RAM && overlap(&region[i], &region[k]))
				return false;
	}
	return bytes == 0 || bytes == area->ram_bytes;
}

static void lay_out(struct vmft_area *area, uint64_t ram_bytes, const uint64_t *disk_bytes,
		    size_t disk_count)
{
	struct vmft_region ram = {.kind = VMFT_REGION_RAM, .bytes = ram_bytes};
	struct vmft_region shadows = {.kind = VMFT_REGION_SHADOW, .bytes = VMFT_AREA_SHADOW_BYTES};
	uint64_t at = VMFT_AREA_HEADER;

	area->bitmaps_at = at;
	for (size_t i = 0; i < disk_count; i++) {
		struct vmft_region *disk = &area->region[i];

		disk->kind = VMFT_REGION_DISK;
		disk->bytes = disk_bytes[i];
		disk->bitmap_at = at;
		(void)snprintf(disk->name, sizeof(disk->name), "disk %zu", i);
		at += vmft_region_bitmap_bytes(disk);
	}
	/* A word more for each region: their bitmaps begin at whole words. */
	at += vmft_region_bitmap_bytes(&ram) + vmft_region_bitmap_bytes(&shadows) +
	      VMFT_AREA_REGIONS_MAX * 8;
	for (size_t i = 0; i < disk_count; i++) {
		area->parts_at[i] = at;
		at += parts_bytes(&area->region[i]);
	}
	area->shadow_at = round_up(at, PAGE);
	area->staging_at = area->shadow_at + VMFT_AREA_SHADOW_BYTES;
	area->state_at = area->staging_at + VMFT_AREA_STAGING_BYTES;
	area->area_bytes = area->state_at + VMFT_AREA_STATE_BYTES + VMFT_AREA_EXCHANGE_BYTES;
}

static int write_header(int fd, const struct vmft_area *area)
{
	if (ftruncate(fd, (off_t)area->area_bytes) < 0)
		return -errno;
	if (pwrite(fd, area, sizeof(*area), 0) != (ssize_t)sizeof(*area))
		return -EIO;
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ? -errno : 0;
}

int vmft_area_create(uint64_t ram_bytes, const uint64_t *disk_bytes, size_t disk_count,
		     struct vmft_error *err)
{
	static const struct vmft_area empty;
	struct vmft_area area = empty;
	int fd, rc;

	if (disk_count > VMFT_AREA_DISKS_MAX)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_UNPROTECTED,
				      "%zu disks; at most %u can be protected", disk_count,
				      VMFT_AREA_DISKS_MAX);
	for (size_t i = 0; i < disk_count; i++)
		if (disk_bytes[i] > REGION_MAX)
			return vmft_error_set(err, -EINVAL, VMFT_EXIT_UNPROTECTED,
					      "disk %zu is larger than can be protected", i);
	area.magic = VMFT_AREA_MAGIC;
	area.version = VMFT_IFACE_VERSION;
	area.ram_bytes = ram_bytes;
	area.disk_count = (uint32_t)disk_count;
	area.region_count = (uint32_t)disk_count;
	lay_out(&area, ram_bytes, disk_bytes, disk_count);
	fd = memfd_create("vmft-area", MFD_ALLOW_SEALING);
	rc = fd < 0 ? -errno : write_header(fd, &area);
	if (rc == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "memory for attaching: %s",
			      strerror(-rc));
}

static bool header_is_sane(const struct vmft_area *area, uint64_t file_bytes)
{
	if (area->magic != VMFT_AREA_MAGIC || area->version != VMFT_IFACE_VERSION ||
	    area->area_bytes != file_bytes || area->disk_count > VMFT_AREA_DISKS_MAX ||
	    area->bitmaps_at != VMFT_AREA_HEADER || area->shadow_at < area->bitmaps_at ||
	    area->shadow_at > file_bytes || area->shadow_at % PAGE != 0 ||
	    area->ram_bytes > REGION_MAX ||
	    area->staging_at != area->shadow_at + VMFT_AREA_SHADOW_BYTES ||
	    area->state_at != area->staging_at + VMFT_AREA_STAGING_BYTES ||
	    file_bytes != area->state_at + VMFT_AREA_STATE_BYTES + VMFT_AREA_EXCHANGE_BYTES)
		return false;
	for (uint32_t i = 0; i < area->disk_count; i++)
		if (area->region[i].kind != VMFT_REGION_DISK ||
		    !vmft_region_is_sane(area, &area->region[i]) || area->parts_at[i] % 8 != 0 ||
		    area->parts_at[i] < area->bitmaps_at || area->parts_at[i] > area->shadow_at ||
		    parts_bytes(&area->region[i]) > area->shadow_at - area->parts_at[i])
			return false;
	return true;
}

int vmft_area_map(int fd, struct vmft_area **ret, struct vmft_error *err)
{
	struct vmft_area *area;
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)VMFT_AREA_HEADER)
		return vmft_error_set(err, -EPROTO, VMFT_EXIT_INTERNAL,
				      "descriptor %d is no vmft attach area", fd);
	area = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED) {
		rc = -errno;
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "attach area: %s",
				      strerror(-rc));
	}
	if (!header_is_sane(area, (uint64_t)st.st_size)) {
		munmap(area, (size_t)st.st_size);
		return vmft_error_set(err, -EPROTO, VMFT_EXIT_INTERNAL,
				      "the attach area is garbage or of another version: agent and "
				      "monitor must come from one build");
	}
	*ret = area;
	return 0;
}
