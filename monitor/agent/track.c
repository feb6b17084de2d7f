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
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/common/area-setup.h"
#include "ram.h"

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
	atomic_store(&vmft_track.image_written, true);
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
	region.kind = ram->fd >= 0 ? VMFT_REGION_RAM : VMFT_REGION_SHADOW;
	region.bitmap_at = walk->bitmap_at;
	region.shadow_at =
	    region.kind == VMFT_REGION_RAM ? vmft_ram_offset(ram->fd) : walk->shadow_at;
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

static bool is_written_flash(const struct vmft_qemu_flashes *flashes, const char *name)
{
	for (unsigned i = 0; i < flashes->count; i++)
		if (flashes->flash[i].writable && strcmp(flashes->flash[i].name, name) == 0)
			return true;
	return false;
}

static int find_unmarked(struct vmft_area *area, uint32_t regions)
{
	struct vmft_qemu_flashes flashes;

	vmft_track.unmarked = 0;
	if (vmft_qemu_flashes_find(&flashes) < 0)
		return vmft_track_fail(-ENOTSUP, "the guest has flash memory that is not known");
	for (uint32_t i = area->disk_count; i < regions; i++)
		if (area->region[i].kind == VMFT_REGION_SHADOW &&
		    is_written_flash(&flashes, area->region[i].name))
			vmft_track.unmarked |= UINT64_C(1) << i;
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
	if (!vmft_regions_are_whole(area, area->region, walk.regions))
		return vmft_track_fail(-EINVAL, "the guest's RAM is not all of the shared memory");
	atomic_store(&area->region_count, walk.regions);
	return find_unmarked(area, walk.regions);
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

static bool is_zero(const uint8_t *bytes, uint64_t n)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

static uint64_t block_at(const struct vmft_region *region, uint64_t at)
{
	const uint64_t left = region->bytes - at;

	return left < VMFT_RAM_BLOCK_BYTES ? left : VMFT_RAM_BLOCK_BYTES;
}

/* Blocks of zeroes stay holes in the area: they take no memory, and are found at once when the
 * shadow is read. */
static int fill_shadow(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	uint8_t *shadow = shadow_of(area, region);
	bool empty;

	if (region->kind != VMFT_REGION_SHADOW)
		return 0;
	empty = madvise(shadow, region->bytes, MADV_REMOVE) == 0;
	for (uint64_t at = 0; at < region->bytes; at += VMFT_RAM_BLOCK_BYTES) {
		const uint64_t n = block_at(region, at);

		if (!empty || !is_zero(host + at, n))
			memcpy(shadow + at, host + at, n);
	}
	return 0;
}

/* The first byte of the area from at on that is data, or a hole; at most end. */
static uint64_t seek(uint64_t at, uint64_t end, int whence)
{
	const off_t found = lseek(vmft_agent.area_fd, (off_t)at, whence);

	if (found >= 0 && (uint64_t)found >= at)
		return (uint64_t)found < end ? (uint64_t)found : end;
	/* After the last data there is ENXIO. If the kernel cannot tell, all is data. */
	return whence == SEEK_DATA && (found >= 0 || errno != ENXIO) ? at : end;
}

/* Whole pages are given back to the kernel, which is quicker than to write them. */
static void clear(uint8_t *bytes, uint64_t n)
{
	if ((uintptr_t)bytes % VMFT_RAM_BLOCK_BYTES == 0 && n % VMFT_RAM_BLOCK_BYTES == 0 &&
	    madvise(bytes, n, MADV_DONTNEED) == 0)
		return;
	memset(bytes, 0, n);
}

int vmft_track_apply_shadow(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	const uint64_t begin = region->shadow_at, end = begin + region->bytes;

	if (region->kind != VMFT_REGION_SHADOW)
		return 0;
	for (uint64_t at = begin; at < end;) {
		const uint64_t data = seek(at, end, SEEK_DATA);
		const uint64_t hole = data < end ? seek(data, end, SEEK_HOLE) : end;

		if (data > at)
			clear(host + (at - begin), data - at);
		memcpy(host + (data - begin), (uint8_t *)area + data, hole - data);
		at = hole;
	}
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

		memcpy(shadow_of(marks->area, region) + at, marks->host + at, block_at(region, at));
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

static void mark_differences(struct vmft_area *area, uint32_t index)
{
	struct vmft_region *region = &area->region[index];
	uint8_t *host = vmft_track_host(region);
	uint8_t *shadow = shadow_of(area, region);

	for (uint64_t at = 0; host && at < region->bytes; at += VMFT_RAM_BLOCK_BYTES) {
		const uint64_t n = block_at(region, at);

		if (memcmp(shadow + at, host + at, n) == 0)
			continue;
		vmft_track_mark(region, at / VMFT_RAM_BLOCK_BYTES, at / VMFT_RAM_BLOCK_BYTES);
		memcpy(shadow + at, host + at, n);
	}
}

/*
 * The shadow is what was sent last. The flag is cleared before the comparison: what is written
 * after that sets it again. A vCPU may write while the guest runs and the comparison is made; it
 * writes to the image after that.
 */
static void compare_unmarked(struct vmft_area *area)
{
	static_assert(VMFT_AREA_REGIONS_MAX <= 64, "a bit for each region");
	uint64_t left = vmft_track.unmarked;

	if (!left || !atomic_exchange(&vmft_track.image_written, false))
		return;
	for (; left; left &= left - 1)
		mark_differences(area, (uint32_t)__builtin_ctzll(left));
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

	compare_unmarked(area);
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
