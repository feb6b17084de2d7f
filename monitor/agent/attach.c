/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attaching a backup to a guest that runs (VM-FT 3.1): what of it has to happen inside QEMU.
 *
 * The primary's monitor copies memory out of the shared memfd and images off their files
 * while the guest runs; here is marked what has to be copied again, and at the attach point
 * the rest is taken. Memory is marked by QEMU's own dirty log, which sees the guest's
 * writes and the devices' (memory_region_snapshot_and_clear_dirty(), as migration uses it);
 * images by standing in for the libc calls that QEMU's thread pool writes with.
 *
 * The operations run as bottom halves of the context the main loop polls with both locks
 * held (iohandler_get_aio_context(): a nested aio_poll() does not run it), so the vCPU does
 * not execute meanwhile and no event is logged but by what is called here.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/area-setup.h"

/* Of QEMU 7.2: RunState (qapi/run-state.json), include/exec/memory.h, exec/ramlist.h */
#define QEMU_RUN_STATE_SAVE_VM	    10
#define QEMU_GLOBAL_DIRTY_MIGRATION 1u
#define QEMU_DIRTY_MEMORY_MIGRATION 2u

#define FD_SCAN_MAX 1024

/* struct DirtyBitmapSnapshot (softmmu/physmem.c). A RAMBlock begins at a multiple of 64
 * pages (find_ram_offset()), so the first bit is its first page. */
struct snapshot {
	uint64_t start, end;
	uint64_t dirty[];
};

static int fail(int rc, const char *what)
{
	(void)snprintf(vmft_agent.attach.area->error, sizeof(vmft_agent.attach.area->error), "%s",
		       what);
	return rc;
}

/* --- images --------------------------------------------------------------- */

bool vmft_attach_parse_disks(char *text)
{
	struct vmft_attach *attach = &vmft_agent.attach;
	char *save = NULL;

	for (char *disk = strtok_r(text, "+", &save); disk; disk = strtok_r(NULL, "+", &save)) {
		struct vmft_agent_disk *d;
		unsigned long long device, inode;

		if (attach->disk_count == VMFT_AREA_DISKS_MAX ||
		    sscanf(disk, "%llx.%llx", &device, &inode) != 2)
			return false;
		d = &attach->disk[attach->disk_count++];
		d->device = device;
		d->inode = inode;
	}
	return true;
}

static int disk_of(int fd)
{
	const struct vmft_attach *attach = &vmft_agent.attach;
	struct vmft_agent_disk is;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	is.device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	is.inode = S_ISBLK(st.st_mode) ? 0 : st.st_ino;
	for (unsigned i = 0; i < attach->disk_count; i++)
		if (attach->disk[i].device == is.device && attach->disk[i].inode == is.inode)
			return (int)i;
	return -1;
}

static void mark(struct vmft_region *region, uint64_t first, uint64_t last)
{
	_Atomic uint64_t *words = vmft_region_bitmap(vmft_agent.attach.area, region);

	for (uint64_t block = first; block <= last; block++)
		atomic_fetch_or(&words[block / 64], UINT64_C(1) << (block % 64));
}

/*
 * Behind the write, not before it: whoever copies clears the mark first and reads then, so a
 * write it has seen half of or not at all sets the mark again. Writes still under way at the
 * attach point there are none, it drains.
 */
void vmft_attach_written(int fd, uint64_t offset, uint64_t n)
{
	struct vmft_area *area = vmft_agent.attach.area;
	const int saved = errno;
	int index;

	if (!atomic_load(&vmft_agent.attach.disks) || n == 0)
		return;
	index = disk_of(fd);
	errno = saved;
	if (index < 0)
		return;
	if (offset >= area->region[index].bytes || n > area->region[index].bytes - offset) {
		atomic_store(&area->disk_overflow, 1);
		return;
	}
	mark(&area->region[index], offset / VMFT_DISK_BLOCK_BYTES,
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

static int describe(struct vmft_area *area)
{
	struct walk walk = {.area = area, .regions = area->disk_count};
	struct vmft_region *last = area->disk_count ? &area->region[area->disk_count - 1] : NULL;

	walk.bitmap_at = last ? last->bitmap_at + vmft_region_bitmap_bytes(last) : area->bitmaps_at;
	walk.shadow_at = area->shadow_at;
	(void)vmft_agent.qemu.ram_foreach(list_block, &walk);
	if (walk.failed)
		return fail(-E2BIG, "the guest has more memory beside its RAM (video memory, ROMs) "
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

static void *find_block(const struct vmft_region *region)
{
	struct lookup lookup = {.name = region->name};

	(void)vmft_agent.qemu.ram_foreach(compare_block, &lookup);
	if (!lookup.block || vmft_agent.qemu.ram_length(lookup.block) != region->bytes)
		return NULL;
	return lookup.block;
}

/* Calls visit for each RAM region with QEMU's block of that name; an error ends it. */
static int for_each_ram(struct vmft_area *area,
			int (*visit)(struct vmft_area *area, struct vmft_region *region,
				     uint8_t *host))
{
	const uint32_t count = atomic_load(&area->region_count);

	for (uint32_t i = area->disk_count; i < count && i < VMFT_AREA_REGIONS_MAX; i++) {
		void *block = find_block(&area->region[i]);
		int rc;

		if (!block)
			return fail(-ENOENT, "the guest's memory has changed its layout");
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

static int apply_shadow(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
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

static int forget_dirty(struct vmft_area *area, struct vmft_region *region, uint8_t *host)
{
	struct snapshot *snapshot = take_snapshot(region, host);

	(void)area;
	if (!snapshot)
		return fail(-ENOENT, "QEMU does not find its own memory");
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
		return fail(-ENOENT, "QEMU does not find its own memory");
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

static void report_marks(struct vmft_area *area)
{
	const uint32_t count = atomic_load(&area->region_count);

	atomic_store(&area->disk_marked, count_marks(area, 0, area->disk_count));
	atomic_store(&area->ram_marked, count_marks(area, area->disk_count, count));
}

/* --- the operations ------------------------------------------------------- */

static int track(struct vmft_area *area)
{
	int rc = describe(area);

	if (rc < 0)
		return rc;
	if (!vmft_agent.attach.dirty_log)
		vmft_agent.qemu.dirty_log_start(QEMU_GLOBAL_DIRTY_MIGRATION);
	vmft_agent.attach.dirty_log = true;
	atomic_store(&area->disk_overflow, 0);
	atomic_store(&vmft_agent.attach.disks, true);
	/* All is copied once from now on; what was marked before does not matter. */
	rc = for_each_ram(area, forget_dirty);
	return rc < 0 ? rc : for_each_ram(area, fill_shadow);
}

static int scan(struct vmft_area *area)
{
	int rc = for_each_ram(area, mark_dirty);

	report_marks(area);
	return rc;
}

static int drop(void)
{
	atomic_store(&vmft_agent.attach.disks, false);
	if (vmft_agent.attach.dirty_log)
		vmft_agent.qemu.dirty_log_stop(QEMU_GLOBAL_DIRTY_MIGRATION);
	vmft_agent.attach.dirty_log = false;
	return 0;
}

/* Where pieces are put; grows only. */
struct staging {
	struct vmft_area *area;
	uint64_t used;
	int disk_fd[VMFT_AREA_DISKS_MAX];
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

static void find_images(struct staging *s)
{
	for (unsigned i = 0; i < VMFT_AREA_DISKS_MAX; i++)
		s->disk_fd[i] = -1;
	for (int fd = 3; fd < FD_SCAN_MAX; fd++) {
		int disk = disk_of(fd);

		if (disk >= 0)
			s->disk_fd[disk] = fd;
	}
}

static int stage_disk_block(struct staging *s, uint32_t index, uint64_t offset)
{
	ssize_t got = pread(s->disk_fd[index], s->bounce, VMFT_DISK_BLOCK_BYTES, (off_t)offset);
	uint8_t *to;

	if (got < 0)
		return fail(-errno, "an image could not be read");
	if (got == 0)
		return 0; /* the image ends before it */
	to = stage(s, index, offset, (uint32_t)got);
	if (!to)
		return fail(-E2BIG, "too much was written meanwhile");
	memcpy(to, s->bounce, (size_t)got);
	return 0;
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
		return fail(-E2BIG, "too much was written meanwhile");
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

/* An empty piece says how long an image is: it may grow as soon as the guest goes on. */
static int stage_disks(struct staging *s)
{
	find_images(s);
	for (uint32_t i = 0; i < s->area->disk_count; i++) {
		struct stat st;
		int rc;

		if (s->disk_fd[i] < 0 || fstat(s->disk_fd[i], &st) < 0)
			return fail(-EBADF, "an image is not open in QEMU");
		rc = stage_region(s, i, NULL);
		if (rc < 0)
			return rc;
		if (S_ISREG(st.st_mode) && !stage(s, i, (uint64_t)st.st_size, 0))
			return fail(-E2BIG, "too much was written meanwhile");
	}
	return 0;
}

static int stage_ram(struct staging *s)
{
	const uint32_t count = atomic_load(&s->area->region_count);

	for (uint32_t i = s->area->disk_count; i < count; i++) {
		void *block = find_block(&s->area->region[i]);
		int rc;

		if (!block)
			return fail(-ENOENT, "the guest's memory has changed its layout");
		rc = stage_region(s, i, vmft_agent.qemu.ram_host(block));
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* What was staged and will not be sent is marked again. */
static void unstage(struct vmft_area *area, uint64_t used)
{
	uint64_t at = 0;

	while (at < used) {
		const struct vmft_area_piece *piece =
		    (void *)((uint8_t *)area + area->staging_at + at);
		struct vmft_region *region = &area->region[piece->region];
		const uint64_t block = piece->offset / vmft_region_block(region);

		if (piece->bytes > 0)
			mark(region, block, block);
		at += sizeof(*piece) + (piece->bytes + UINT64_C(15)) / 16 * 16;
	}
}

static int stage_all(struct vmft_area *area)
{
	struct staging s = {.area = area};
	const uint64_t budget = atomic_load(&area->budget_bytes);
	int rc = for_each_ram(area, mark_dirty);

	atomic_store(&area->staged_bytes, 0);
	if (rc < 0)
		return rc;
	report_marks(area);
	if (atomic_load(&area->disk_overflow))
		return fail(-EFBIG, "an image has grown beyond what could be foreseen");
	if (atomic_load(&area->ram_marked) * VMFT_RAM_BLOCK_BYTES +
		atomic_load(&area->disk_marked) * VMFT_DISK_BLOCK_BYTES >
	    budget)
		return fail(-E2BIG, "too much was written meanwhile");
	if (posix_memalign((void **)&s.bounce, 4096, VMFT_DISK_BLOCK_BYTES) != 0)
		return fail(-ENOMEM, "out of memory");
	rc = stage_disks(&s);
	if (rc == 0)
		rc = stage_ram(&s);
	free(s.bounce);
	atomic_store(&area->staged_bytes, s.used);
	return rc;
}

/* The device state passes through a memfd: QEMU writes it to a descriptor. Its offset is at
 * the beginning when this returns, or a negative errno. */
static int state_memfd(void)
{
	struct vmft_attach *attach = &vmft_agent.attach;

	if (attach->state_fd < 0)
		attach->state_fd = memfd_create("vmft-state", MFD_CLOEXEC);
	if (attach->state_fd < 0 || ftruncate(attach->state_fd, 0) < 0 ||
	    lseek(attach->state_fd, 0, SEEK_SET) < 0)
		return -errno;
	return attach->state_fd;
}

static void *open_state(void *(*open)(void *channel))
{
	struct vmft_qemu *q = &vmft_agent.qemu;
	int fd = dup(vmft_agent.attach.state_fd);
	void *channel = fd < 0 ? NULL : q->channel_new_fd(fd);
	void *file = channel ? open(channel) : NULL;

	if (channel)
		q->unref(channel); /* the file holds it */
	return file;
}

/*
 * A guest that went live here was handed an END by the feed, which QEMU keeps as read and
 * not yet acted on: while it records it does not look there. With the state it would reach
 * a replayer, who would wait for ever for somebody to act on it. The word behind data_kind
 * in ReplayState is has_unread_data (replay/replay-internal.h).
 */
static void forget_end(void)
{
	const uint32_t nothing = 0;

	memcpy(vmft_agent.qemu.replay_state + vmft_agent.kind_offset + sizeof(uint32_t), &nothing,
	       sizeof(nothing));
}

static int save_state(struct vmft_area *area)
{
	struct vmft_qemu *q = &vmft_agent.qemu;
	int fd = state_memfd();
	void *file = fd < 0 ? NULL : open_state(q->file_new_output);
	ssize_t n;
	int rc;

	if (!file)
		return fail(-ENOMEM, "no memory for the device state");
	forget_end();
	/*
	 * The instructions run since the last event are logged now, before the point. Else they
	 * would be the first event behind it, and a replayer whose vCPU comes before its main
	 * loop has read a clock would run as many from where the state is.
	 */
	q->save_instructions();
	/* Without it the loading side refuses the section (global_state_post_load()). */
	q->store_running();
	rc = q->save_device_state(file);
	if (q->file_close(file) < 0 || rc < 0)
		return fail(-EIO, "QEMU could not save its device state");
	n = pread(fd, (uint8_t *)area + area->state_at, VMFT_AREA_STATE_BYTES, 0);
	if (n <= 0 || (uint64_t)n == VMFT_AREA_STATE_BYTES)
		return fail(-EFBIG, "the device state is larger than can be carried");
	atomic_store(&area->state_bytes, (uint64_t)n);
	return 0;
}

/* From the memfd, whose offset is at the beginning. */
static int load_state(void)
{
	struct vmft_qemu *q = &vmft_agent.qemu;
	void *file = lseek(vmft_agent.attach.state_fd, 0, SEEK_SET) < 0
			 ? NULL
			 : open_state(q->file_new_input);
	int rc;

	if (!file)
		return fail(-ENOMEM, "no memory for the device state");
	q->pre_loadvm();
	/* "QEVM" and a version, which qemu_load_device_state() does not expect. */
	(void)q->file_get_be32(file);
	(void)q->file_get_be32(file);
	rc = q->load_device_state(file);
	(void)q->file_close(file);
	return rc < 0 ? fail(-EIO, "QEMU could not load the device state") : 0;
}

/*
 * The primary loads what it has just saved, as the backup will, so that both go on from the
 * same state also in what is not saved. A virtqueue, for one, forgets on loading whether the
 * guest wants an interrupt for the next buffer, and sends one (signalled_used_valid in
 * virtio_load()): a backup that loads beside a primary that does not takes an
 * interrupt that is not in the log.
 *
 * While QEMU records, replay_post_load() begins to count requests anew; the backup does not.
 */
static int load_own_state(void)
{
	enum { BLOCK_REQUEST_ID = 48 }; /* in ReplayState, replay/replay-internal.h */
	uint8_t *requests = vmft_agent.qemu.replay_state + BLOCK_REQUEST_ID;
	uint64_t count;
	int rc;

	memcpy(&count, requests, sizeof(count));
	rc = load_state();
	memcpy(requests, &count, sizeof(count));
	/* The guest goes on with devices that may be half loaded; no backup would match it. */
	if (rc < 0)
		vmft_agent_broken("QEMU could not load the state it has just saved");
	return rc;
}

/*
 * Stops the guest with nothing under way that the backup's QEMU would not know of. With
 * record/replay's events switched off, whatever is queued for the log (packets in, disk
 * completions) and whatever completes from now on takes effect at once and outside the log,
 * which does not begin yet; and bdrv_drain_all() waits, which it does not while they are on.
 *
 * They are switched off before the guest is stopped: a packet handed to the card of a
 * stopped guest waits in QEMU's queue and would be written to guest memory when it goes on
 * (net_vm_change_state_handler()), in no log and in no copy.
 */
static void stop_and_drain(uint64_t *ret_stopped_ns)
{
	struct vmft_qemu *q = &vmft_agent.qemu;

	q->disable_events();
	(void)q->vm_stop(QEMU_RUN_STATE_SAVE_VM);
	*ret_stopped_ns = vmft_agent_now();
	q->drain_all();
	if (vmft_agent.attach.flush)
		(void)q->flush_all();
	q->enable_events();
}

static int point(struct vmft_area *area)
{
	struct vmft_qemu *q = &vmft_agent.qemu;
	uint64_t at[6];
	int rc;

	if (!vmft_agent.attach.dirty_log)
		return fail(-EINVAL, "nothing was tracked");
	if (!q->runstate_is_running())
		return fail(-EAGAIN, "the guest is paused");
	at[0] = vmft_agent_now();
	stop_and_drain(&at[1]);
	at[2] = vmft_agent_now();
	rc = stage_all(area);
	at[3] = vmft_agent_now();
	if (rc == 0)
		rc = save_state(area);
	if (rc == 0) {
		vmft_tap_keep_from_here();
		rc = load_own_state();
	}
	if (rc < 0) {
		vmft_tap_stop_keeping();
		unstage(area, atomic_load(&area->staged_bytes));
	} else {
		/* QEMU does it when the guest goes on: it is part of the stun. */
		(void)drop();
	}
	at[4] = vmft_agent_now();
	q->vm_start();
	at[5] = vmft_agent_now();
	atomic_store(&area->stop_ns, at[1] - at[0]);
	atomic_store(&area->drain_ns, at[2] - at[1]);
	atomic_store(&area->copy_ns, at[3] - at[2]);
	atomic_store(&area->save_ns, at[4] - at[3]);
	atomic_store(&area->start_ns, at[5] - at[4]);
	return rc;
}

static int load(struct vmft_area *area)
{
	struct vmft_qemu *q = &vmft_agent.qemu;
	const uint64_t n = atomic_load(&area->load_bytes);
	void *error = NULL;
	int fd, rc;

	if (n <= 8 || n > VMFT_AREA_STATE_BYTES)
		return fail(-EINVAL, "no device state");
	rc = for_each_ram(area, apply_shadow);
	if (rc < 0)
		return rc;
	/* Takes the images' locks and reads what QEMU keeps of them in memory. */
	q->activate_all(&error);
	if (error)
		return fail(-EBUSY, q->error_get_pretty(error));
	fd = state_memfd();
	if (fd < 0 || pwrite(fd, (uint8_t *)area + area->state_at, n, 0) != (ssize_t)n)
		return fail(-ENOMEM, "no memory for the device state");
	rc = load_state();
	if (rc == 0)
		q->vm_start();
	return rc;
}

static int perform(struct vmft_area *area)
{
	int rc;

	switch (atomic_load(&area->op)) {
	case VMFT_AREA_DESCRIBE:
		return describe(area);
	case VMFT_AREA_TRACK:
		return track(area);
	case VMFT_AREA_SCAN:
		return scan(area);
	case VMFT_AREA_POINT:
		atomic_store(&vmft_agent.attach.busy, true);
		rc = point(area);
		atomic_store(&vmft_agent.attach.busy, false);
		return rc;
	case VMFT_AREA_DROP:
		return drop();
	case VMFT_AREA_LOAD:
		return load(area);
	default:
		return fail(-EINVAL, "unknown operation");
	}
}

static void in_main_loop(void *unused)
{
	struct vmft_area *area = vmft_agent.attach.area;
	const uint32_t request = atomic_load(&area->request);

	(void)unused;
	area->error[0] = '\0';
	atomic_store(&area->result, perform(area));
	/* Last: the monitor reads the answer once it sees this. */
	atomic_store_explicit(&area->done, request, memory_order_release);
	vmft_agent_ring_monitor();
}

void vmft_attach_service(void)
{
	struct vmft_attach *attach = &vmft_agent.attach;
	struct vmft_qemu *q = &vmft_agent.qemu;
	uint32_t request;

	if (!attach->area)
		return;
	request = atomic_load_explicit(&attach->area->request, memory_order_acquire);
	if (request == attach->scheduled)
		return;
	attach->scheduled = request;
	/* At once, not in the main loop: that may wait for a vCPU which waits for room. */
	if (atomic_load(&attach->area->op) == VMFT_AREA_DROP)
		vmft_tap_stop_keeping();
	q->schedule_oneshot(q->iohandler_context(), in_main_loop, NULL, "vmft-attach");
}

/* --- what QEMU calls in libc ---------------------------------------------- */

#define EXPORT __attribute__((visibility("default")))

/* All of these are also called by other libraries' constructors, before ours has run. */

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
	ssize_t rc;

	if (!vmft_agent.libc_pwrite64)
		return syscall(SYS_pwrite64, fd, bytes, n, offset);
	rc = vmft_agent.libc_pwrite64(fd, bytes, n, offset);
	vmft_attach_written(fd, (uint64_t)offset, n);
	return rc;
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
	size_t n = 0;
	ssize_t rc;

	if (!vmft_agent.libc_pwritev64)
		return syscall(SYS_pwritev, fd, iov, count, offset, 0);
	rc = vmft_agent.libc_pwritev64(fd, iov, count, offset);
	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	vmft_attach_written(fd, (uint64_t)offset, n);
	return rc;
}

EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t n)
{
	int rc;

	if (!vmft_agent.libc_fallocate64)
		return (int)syscall(SYS_fallocate, fd, mode, offset, n);
	rc = vmft_agent.libc_fallocate64(fd, mode, offset, n);
	vmft_attach_written(fd, (uint64_t)offset, (uint64_t)n);
	return rc;
}

/* Of a block device: BLKZEROOUT and BLKDISCARD, a range of two numbers. */
EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *argument;
	int rc;

	va_start(ap, request);
	argument = va_arg(ap, void *);
	va_end(ap);
	if (!vmft_agent.libc_ioctl)
		return (int)syscall(SYS_ioctl, fd, request, argument);
	rc = vmft_agent.libc_ioctl(fd, request, argument);
	if (request == BLKZEROOUT || request == BLKDISCARD) {
		const uint64_t *range = argument;

		vmft_attach_written(fd, range[0], range[1]);
	}
	return rc;
}
