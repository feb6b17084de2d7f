/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is written to the guest's memory and images while it runs is marked in the area that agent
 * and monitor share. An attach copies the marked blocks in rounds, a checkpoint once in an epoch.
 *
 * Writes to memory are found by QEMU's dirty log, the one that migration uses
 * (cpu_physical_memory_snapshot_and_clear_dirty()). It has the writes of the guest and of devices,
 * with any accelerator and any kernel. Writes to images are found because this library replaces the
 * libc calls with which QEMU's thread pool writes.
 */
#define _GNU_SOURCE
#include "track.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/common/area-setup.h"

struct vmft_track vmft_track;

int vmft_track_fail(int rc, const char *what)
{
	(void)snprintf(vmft_agent.area->error, sizeof(vmft_agent.area->error), "%s", what);
	return rc;
}

/* --- images --------------------------------------------------------------- */

int vmft_track_disk_of(int fd)
{
	const struct vmft_track *track = &vmft_track;
	struct vmft_agent_disk is;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	is.device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	is.inode = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
	for (unsigned i = 0; i < track->disk_count; i++)
		if (track->disk[i].device == is.device && track->disk[i].inode == is.inode)
			return (int)i;
	return -1;
}

void vmft_track_mark(struct vmft_region *region, uint64_t first, uint64_t last)
{
	_Atomic uint64_t *words = vmft_region_bitmap(vmft_agent.area, region);

	for (uint64_t block = first; block <= last; block++)
		atomic_fetch_or(&words[block / 64], UINT64_C(1) << (block % 64));
}

/* Called before the block itself is marked: a marked block may be copied at once. */
static void mark_parts(struct vmft_area *area, uint32_t disk, uint64_t offset, uint64_t n)
{
	_Atomic uint16_t *parts = vmft_disk_parts(area, disk);
	const uint64_t last = (offset + n - 1) / VMFT_DISK_PART_BYTES;
	const uint64_t a_block = VMFT_DISK_BLOCK_BYTES / VMFT_DISK_PART_BYTES;

	for (uint64_t part = offset / VMFT_DISK_PART_BYTES; part <= last; part++)
		atomic_fetch_or(&parts[part / a_block], (uint16_t)(1u << part % a_block));
}

/*
 * The mark is set after the write, not before. Whoever copies clears the mark first and reads then:
 * a write that the copy has missed, in whole or in part, sets the mark again. At the attach point
 * no write is under way: the disks are drained first.
 */
void vmft_track_written(int fd, uint64_t offset, uint64_t n)
{
	struct vmft_area *area = vmft_agent.area;
	const int saved = errno;
	int index;

	if (!atomic_load(&vmft_track.disks) || n == 0)
		return;
	index = vmft_track_disk_of(fd);
	errno = saved;
	if (index < 0)
		return;
	if (offset >= area->region[index].bytes || n > area->region[index].bytes - offset) {
		atomic_store(&area->disk_overflow, 1);
		return;
	}
	mark_parts(area, (uint32_t)index, offset, n);
	vmft_track_mark(&area->region[index], offset / VMFT_DISK_BLOCK_BYTES,
			(offset + n - 1) / VMFT_DISK_BLOCK_BYTES);
}

/* --- memory --------------------------------------------------------------- */

/* For the walk over QEMU's RAMBlocks. */
struct walk {
	struct vmft_area *area;
	uint32_t regions;
	uint64_t bitmap_at, shadow_at;
	bool failed;
};

static int list_block(const struct vmft_qemu_ram *ram, void *user)
{
	struct walk *walk = user;
	struct vmft_region region = {.bytes = ram->bytes};

	if (region.bytes == 0)
		return 0;
	region.kind = ram->is_shared ? VMFT_REGION_RAM : VMFT_REGION_SHADOW;
	region.bitmap_at = walk->bitmap_at;
	region.shadow_at = region.kind == VMFT_REGION_RAM ? 0 : walk->shadow_at;
	(void)snprintf(region.name, sizeof(region.name), "%s", ram->name);
	if (walk->regions == VMFT_AREA_REGIONS_MAX || !vmft_region_is_sane(walk->area, &region)) {
		walk->failed = true;
		return -1;
	}
	walk->bitmap_at += vmft_region_bitmap_bytes(&region);
	if (region.kind == VMFT_REGION_SHADOW)
		walk->shadow_at += (region.bytes + VMFT_RAM_BLOCK_BYTES - 1) /
				   VMFT_RAM_BLOCK_BYTES * VMFT_RAM_BLOCK_BYTES;
	walk->area->region[walk->regions++] = region;
	return 0;
}

int vmft_track_describe(struct vmft_area *area)
{
	struct walk walk = {.area = area, .regions = area->disk_count};
	struct vmft_region *last = area->disk_count ? &area->region[area->disk_count - 1] : NULL;

	walk.bitmap_at = last ? last->bitmap_at + vmft_region_bitmap_bytes(last) : area->bitmaps_at;
	walk.shadow_at = area->shadow_at;
	(void)vmft_qemu_ram_each(list_block, &walk);
	if (walk.failed)
		return vmft_track_fail(
		    -E2BIG, "the guest has more memory beside its RAM (video memory, ROMs) "
			    "than can be carried");
	atomic_store(&area->region_count, walk.regions);
	return 0;
}

struct lookup {
	const struct vmft_region *region;
	uint8_t *host;
};

static int compare_block(const struct vmft_qemu_ram *ram, void *user)
{
	struct lookup *lookup = user;

	if (strcmp(ram->name, lookup->region->name) != 0)
		return 0;
	if (ram->bytes == lookup->region->bytes)
		lookup->host = ram->host;
	return 1;
}

uint8_t *vmft_track_host(const struct vmft_region *region)
{
	struct lookup lookup = {.region = region};

	(void)vmft_qemu_ram_each(compare_block, &lookup);
	return lookup.host;
}

/* Calls visit for each RAM region with QEMU's block of that name; an error ends it. */
int vmft_track_each_ram(struct vmft_area *area,
			int (*visit)(struct vmft_area *area, struct vmft_region *region,
				     uint8_t *host))
{
	const uint32_t count = atomic_load(&area->region_count);

	for (uint32_t i = area->disk_count; i < count && i < VMFT_AREA_REGIONS_MAX; i++) {
		uint8_t *host = vmft_track_host(&area->region[i]);
		int rc;

		if (!host)
			return vmft_track_fail(-ENOENT,
					       "the guest's memory has changed its layout");
		rc = visit(area, &area->region[i], host);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static uint8_t *shadow_of(struct vmft_area *area, const struct vmft_region *region)
{
	return (uint8_t *)area + region->shadow_at;
}

static int fill_shadow(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	if (region->kind == VMFT_REGION_SHADOW)
		memcpy(shadow_of(area, region), host, region->bytes);
	return 0;
}

int vmft_track_apply_shadow(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	if (region->kind == VMFT_REGION_SHADOW)
		memcpy(host, shadow_of(area, region), region->bytes);
	return 0;
}

/*
 * Visits everything that was written up to now. A page must not be read before a store is made that
 * has been marked already, so QEMU waits until every vCPU has left what it executes
 * (tcg_log_global_after_sync()). memory_region_snapshot_and_clear_dirty() would wait once for each
 * block. Once for all blocks is enough, and while the guest is stopped there is no vCPU to wait
 * for.
 */
static int each_dirty(struct vmft_area *area,
		      int (*visit)(struct vmft_area *area, struct vmft_region *region,
				   uint8_t *host))
{
	int rc;

	vmft_qemu_dirty_log_sync();
	rc = vmft_track_each_ram(area, visit);
	if (vmft_qemu_guest_runs())
		vmft_qemu_dirty_log_settle();
	return rc;
}

static int forget_dirty(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	(void)area;
	if (vmft_qemu_dirty_take(host, region->bytes, NULL, NULL) < 0)
		return vmft_track_fail(-ENOENT, "QEMU does not find its own memory");
	return 0;
}

struct marks {
	struct vmft_area *area;
	struct vmft_region *region;
	uint8_t *host;
};

static void refresh_shadow(const struct marks *marks, uint64_t word, uint64_t bits)
{
	const struct vmft_region *region = marks->region;

	if (region->kind != VMFT_REGION_SHADOW)
		return;
	for (; bits; bits &= bits - 1) {
		uint64_t at = (word * 64 + (uint64_t)__builtin_ctzll(bits)) * VMFT_RAM_BLOCK_BYTES;
		uint64_t n = region->bytes - at;

		memcpy(shadow_of(marks->area, region) + at, marks->host + at,
		       n < VMFT_RAM_BLOCK_BYTES ? n : VMFT_RAM_BLOCK_BYTES);
	}
}

static void mark_word(uint64_t word, uint64_t pages, void *user)
{
	const struct marks *marks = user;

	atomic_fetch_or(&vmft_region_bitmap(marks->area, marks->region)[word], pages);
	refresh_shadow(marks, word, pages);
}

static int mark_dirty(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	struct marks marks = {.area = area, .region = region, .host = host};

	if (vmft_qemu_dirty_take(host, region->bytes, mark_word, &marks) < 0)
		return vmft_track_fail(-ENOENT, "QEMU does not find its own memory");
	return 0;
}

static uint64_t count_marks(struct vmft_area *area, uint32_t first, uint32_t end)
{
	uint64_t count = 0;

	for (uint32_t i = first; i < end; i++) {
		const uint64_t words = vmft_region_bitmap_bytes(&area->region[i]) / 8;
		_Atomic uint64_t *word = vmft_region_bitmap(area, &area->region[i]);

		for (uint64_t w = 0; w < words; w++)
			count += (uint64_t)__builtin_popcountll(
			    atomic_load_explicit(&word[w], memory_order_relaxed));
	}
	return count;
}

static void report(struct vmft_area *area)
{
	const uint32_t count = atomic_load(&area->region_count);

	atomic_store(&area->disk_marked, count_marks(area, 0, area->disk_count));
	atomic_store(&area->ram_marked, count_marks(area, area->disk_count, count));
}

/* --- the operations ------------------------------------------------------- */

int vmft_track_begin(struct vmft_area *area)
{
	int rc = vmft_track_describe(area);

	if (rc < 0)
		return rc;
	if (!vmft_track.dirty_log && vmft_qemu_dirty_log_start() < 0)
		return vmft_track_fail(-EIO, "QEMU cannot note which memory is written to");
	vmft_track.dirty_log = true;
	atomic_store(&area->disk_overflow, 0);
	atomic_store(&vmft_track.disks, true);
	/* Everything is copied once after this, so marks from before do not matter. */
	rc = each_dirty(area, forget_dirty);
	return rc < 0 ? rc : vmft_track_each_ram(area, fill_shadow);
}

int vmft_track_scan(struct vmft_area *area)
{
	int rc = each_dirty(area, mark_dirty);

	report(area);
	return rc;
}

int vmft_track_end(void)
{
	atomic_store(&vmft_track.disks, false);
	if (vmft_track.dirty_log)
		vmft_qemu_dirty_log_stop();
	vmft_track.dirty_log = false;
	return 0;
}
