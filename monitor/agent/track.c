/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is written to the guest's memory and images while it runs, as marks in the area that
 * agent and monitor share: an attach copies what is marked in rounds, a checkpoint once an
 * epoch.
 *
 * Memory is marked by QEMU's own dirty log, which sees the guest's writes and the devices'
 * (cpu_physical_memory_snapshot_and_clear_dirty(), the log migration uses) on any accelerator and
 * any kernel; images by standing in for the libc calls that QEMU's thread pool writes with.
 */
#define _GNU_SOURCE
#include "track.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent.h"
#include "monitor/common/area-setup.h"
#include "qemu.h"

/* Of QEMU 7.2: include/exec/memory.h, exec/ramlist.h */
#define QEMU_GLOBAL_DIRTY_MIGRATION 1u
#define QEMU_DIRTY_MEMORY_MIGRATION 2u

struct vmft_track vmft_track;

/* struct DirtyBitmapSnapshot (softmmu/physmem.c). A RAMBlock begins at a multiple of 64
 * pages (find_ram_offset()), so the first bit is its first page. */
struct snapshot {
	uint64_t start, end;
	uint64_t dirty[];
};

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

/* Before the block itself is marked: what is marked may be taken at once. */
static void mark_parts(struct vmft_area *area, uint32_t disk, uint64_t offset, uint64_t n)
{
	_Atomic uint16_t *parts = vmft_disk_parts(area, disk);
	const uint64_t last = (offset + n - 1) / VMFT_DISK_PART_BYTES;
	const uint64_t a_block = VMFT_DISK_BLOCK_BYTES / VMFT_DISK_PART_BYTES;

	for (uint64_t part = offset / VMFT_DISK_PART_BYTES; part <= last; part++)
		atomic_fetch_or(&parts[part / a_block], (uint16_t)(1u << part % a_block));
}

/*
 * Behind the write, not before it: whoever copies clears the mark first and reads then, so a
 * write it has seen half of or not at all sets the mark again. Writes still under way at the
 * attach point there are none, it drains.
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

/* What is found while QEMU's RAMBlocks are gone through. */
struct walk {
	struct vmft_area *area;
	uint32_t regions;
	uint64_t bitmap_at, shadow_at;
	bool failed;
};

static int list_block(void *block, void *user)
{
	struct walk *walk = user;
	struct vmft_qemu *q = &vmft_agent.qemu;
	struct vmft_region region = {.bytes = q->ram_length(block)};

	if (region.bytes == 0)
		return 0;
	region.kind = q->ram_fd(block) >= 0 ? VMFT_REGION_RAM : VMFT_REGION_SHADOW;
	region.bitmap_at = walk->bitmap_at;
	region.shadow_at = region.kind == VMFT_REGION_RAM ? 0 : walk->shadow_at;
	(void)snprintf(region.name, sizeof(region.name), "%s", q->ram_idstr(block));
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
	(void)vmft_agent.qemu.ram_foreach(list_block, &walk);
	if (walk.failed)
		return vmft_track_fail(
		    -E2BIG, "the guest has more memory beside its RAM (video memory, ROMs) "
			    "than can be carried");
	atomic_store(&area->region_count, walk.regions);
	return 0;
}

struct lookup {
	const char *name;
	void *block;
};

static int compare_block(void *block, void *user)
{
	struct lookup *lookup = user;

	if (strcmp(vmft_agent.qemu.ram_idstr(block), lookup->name) == 0)
		lookup->block = block;
	return lookup->block != NULL;
}

void *vmft_track_block(const struct vmft_region *region)
{
	struct lookup lookup = {.name = region->name};

	(void)vmft_agent.qemu.ram_foreach(compare_block, &lookup);
	if (!lookup.block || vmft_agent.qemu.ram_length(lookup.block) != region->bytes)
		return NULL;
	return lookup.block;
}

/* Calls visit for each RAM region with QEMU's block of that name; an error ends it. */
int vmft_track_each_ram(struct vmft_area *area,
			int (*visit)(struct vmft_area *area, struct vmft_region *region,
				     uint8_t *host))
{
	const uint32_t count = atomic_load(&area->region_count);

	for (uint32_t i = area->disk_count; i < count && i < VMFT_AREA_REGIONS_MAX; i++) {
		void *block = vmft_track_block(&area->region[i]);
		int rc;

		if (!block)
			return vmft_track_fail(-ENOENT,
					       "the guest's memory has changed its layout");
		rc = visit(area, &area->region[i], vmft_agent.qemu.ram_host(block));
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

static struct snapshot *take_snapshot(struct vmft_region *region, uint8_t *host)
{
	struct vmft_qemu *q = &vmft_agent.qemu;
	uint64_t offset;
	void *memory = q->region_from_host(host, &offset);

	return memory ? q->snapshot_and_clear(memory, 0, region->bytes, QEMU_DIRTY_MEMORY_MIGRATION)
		      : NULL;
}

/*
 * All that was written up to now. memory_region_snapshot_and_clear_dirty() would do it block
 * by block, and for each wait until every vCPU has left what it executes (so that a page is
 * not read before a store that was counted already is made, tcg_log_global_after_sync());
 * once for all is enough, and while the guest is stopped there is nobody to wait for.
 */
static int each_dirty(struct vmft_area *area,
		      int (*visit)(struct vmft_area *area, struct vmft_region *region,
				   uint8_t *host))
{
	struct vmft_qemu *q = &vmft_agent.qemu;
	int rc;

	q->dirty_log_sync();
	rc = vmft_track_each_ram(area, visit);
	if (q->runstate_is_running())
		q->dirty_log_after_sync();
	return rc;
}

static int forget_dirty(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	struct snapshot *snapshot = take_snapshot(region, host);

	(void)area;
	if (!snapshot)
		return vmft_track_fail(-ENOENT, "QEMU does not find its own memory");
	vmft_agent.qemu.free(snapshot);
	return 0;
}

static void refresh_shadow(struct vmft_area *area, const struct vmft_region *region,
			   const uint8_t *host, uint64_t word, uint64_t bits)
{
	if (region->kind != VMFT_REGION_SHADOW)
		return;
	for (; bits; bits &= bits - 1) {
		uint64_t at = (word * 64 + (uint64_t)__builtin_ctzll(bits)) * VMFT_RAM_BLOCK_BYTES;
		uint64_t n = region->bytes - at;

		memcpy(shadow_of(area, region) + at, host + at,
		       n < VMFT_RAM_BLOCK_BYTES ? n : VMFT_RAM_BLOCK_BYTES);
	}
}

static int mark_dirty(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	const uint64_t pages = (region->bytes + VMFT_RAM_BLOCK_BYTES - 1) / VMFT_RAM_BLOCK_BYTES;
	_Atomic uint64_t *words = vmft_region_bitmap(area, region);
	struct snapshot *snapshot = take_snapshot(region, host);

	if (!snapshot)
		return vmft_track_fail(-ENOENT, "QEMU does not find its own memory");
	for (uint64_t word = 0; word * 64 < pages; word++) {
		uint64_t bits = snapshot->dirty[word];

		/* The snapshot is of 64 whole pages, what follows is the next block's. */
		if (pages - word * 64 < 64)
			bits &= (UINT64_C(1) << (pages - word * 64)) - 1;
		if (!bits)
			continue;
		atomic_fetch_or(&words[word], bits);
		refresh_shadow(area, region, host, word, bits);
	}
	vmft_agent.qemu.free(snapshot);
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
	if (!vmft_track.dirty_log)
		vmft_agent.qemu.dirty_log_start(QEMU_GLOBAL_DIRTY_MIGRATION);
	vmft_track.dirty_log = true;
	atomic_store(&area->disk_overflow, 0);
	atomic_store(&vmft_track.disks, true);
	/* All is copied once from now on; what was marked before does not matter. */
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
		vmft_agent.qemu.dirty_log_stop(QEMU_GLOBAL_DIRTY_MIGRATION);
	vmft_track.dirty_log = false;
	return 0;
}
