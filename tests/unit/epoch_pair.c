/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "epoch_pair.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "monitor/common/area-setup.h"
#include "monitor/common/iface-setup.h"

const struct vmft_strategy_ops *const pair_ops = &vmft_strategy_checkpoint;
struct vmft_loop *pair_loop;
struct side pair_primary, pair_backup;
struct machine pair_now, pair_history[HISTORY];
uint64_t pair_epoch;
size_t pair_room;
struct message pair_message;

static bool page_dirty[REGIONS][RAM_PAGES], part_dirty[DISKS][PARTS];

/* --- the loop ------------------------------------------------------------------- */

static void stop_loop(struct vmft_op *op, int result)
{
	(void)op;
	(void)result;
	vmft_loop_stop(pair_loop);
}

void pair_spin(uint64_t nanoseconds)
{
	static struct vmft_op op = {.done = stop_loop};

	vmft_loop_timer(pair_loop, &op, nanoseconds);
	CU_ASSERT_EQUAL_FATAL(vmft_loop_run(pair_loop), 0);
}

/* --- a guest -------------------------------------------------------------------- */

unsigned pair_below(unsigned n)
{
	return (unsigned)rand() % n;
}

static uint8_t *memory_of(struct machine *m, unsigned region, uint32_t *ret_bytes)
{
	static const uint32_t bytes[REGIONS] = {
	    [RAM] = RAM_PAGES * PAGE, [ROM] = ROM_BYTES, [VRAM] = VRAM_PAGES * PAGE};

	*ret_bytes = bytes[region];
	return region == RAM ? m->ram : region == ROM ? m->rom : m->vram;
}

static void fill(uint8_t *bytes, size_t n)
{
	const unsigned kind = pair_below(4);

	if (kind == 0) {
		memset(bytes, 0, n);
		return;
	}
	if (kind == 1) { /* a word or two of it */
		bytes[pair_below((unsigned)n)] ^= (uint8_t)(1 + pair_below(255));
		return;
	}
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(kind == 2 ? rand() : (int)(i / 64));
}

static void guest_writes_memory(unsigned region)
{
	uint32_t bytes;
	uint8_t *at = memory_of(&pair_now, region, &bytes);
	const unsigned page = pair_below((bytes + PAGE - 1) / PAGE);
	const uint32_t left = bytes - page * PAGE;

	fill(at + page * PAGE, left < PAGE ? left : PAGE);
	page_dirty[region][page] = true;
}

static void guest_writes_disk(unsigned disk)
{
	const uint64_t offset = pair_below((unsigned)pair_now.disk_bytes[disk]);
	uint64_t n = 1 + pair_below(3 * PART);

	if (n > pair_now.disk_bytes[disk] - offset)
		n = pair_now.disk_bytes[disk] - offset;
	fill(pair_now.disk[disk] + offset, n);
	for (uint64_t part = offset / PART; part <= (offset + n - 1) / PART; part++)
		part_dirty[disk][part] = true;
}

/* A qcow2 file grows by what is written to it; where it is cut and grows again it is zero. */
static void image_changes_length(unsigned disk)
{
	const uint64_t before = pair_now.disk_bytes[disk];
	const uint64_t after = 1 + pair_below(DISK_MAX);

	if (after < before)
		memset(pair_now.disk[disk] + after, 0, before - after);
	pair_now.disk_bytes[disk] = after;
}

void pair_guest_runs(void)
{
	for (unsigned i = pair_below(40); i > 0; i--)
		guest_writes_memory(RAM + pair_below(3));
	for (unsigned i = pair_below(12); i > 0; i--)
		guest_writes_disk(pair_below(DISKS));
	if (pair_below(8) == 0)
		image_changes_length(pair_below(DISKS));
	if (pair_below(8) == 0)
		pair_now.state_bytes = 9 + pair_below(STATE_MAX - 9);
	for (unsigned i = pair_below(4); i > 0; i--)
		fill(pair_now.state + pair_below(4) * PAGE, PAGE);
}

void pair_guest_writes_all(void)
{
	memset(pair_now.ram, 0x5a, sizeof(pair_now.ram));
	for (unsigned i = 0; i < RAM_PAGES; i++)
		page_dirty[RAM][i] = true;
}

/* --- its agent ------------------------------------------------------------------ */

static bool stage(uint32_t region, uint64_t offset, const uint8_t *bytes, uint32_t n)
{
	struct vmft_area *area = pair_primary.link.area;
	const uint64_t at = atomic_load(&area->staged_bytes);
	const uint64_t all = sizeof(struct vmft_area_piece) + (n + 15u) / 16 * 16;
	struct vmft_area_piece piece = {.offset = offset, .region = region, .bytes = n};
	uint8_t *to = (uint8_t *)area + area->staging_at + at;

	if (all > pair_room - at)
		return false;
	memcpy(to, &piece, sizeof(piece));
	if (n > 0)
		memcpy(to + sizeof(piece), bytes, n);
	atomic_store(&area->staged_bytes, at + all);
	return true;
}

/* A run of parts within a block, as far as the file goes. */
static bool stage_parts(unsigned disk, unsigned first)
{
	const uint64_t offset = (uint64_t)first * PART;
	unsigned end = first;
	uint64_t n;

	while (end < PARTS && part_dirty[disk][end] && (end == first || end % 16 != 0))
		end++;
	n = (end - first) * (uint64_t)PART;
	if (offset < pair_now.disk_bytes[disk]) {
		if (n > pair_now.disk_bytes[disk] - offset)
			n = pair_now.disk_bytes[disk] - offset;
		if (!stage(disk, offset, pair_now.disk[disk] + offset, (uint32_t)n))
			return false;
	}
	for (unsigned i = first; i < end; i++)
		part_dirty[disk][i] = false;
	return true;
}

static bool stage_all(void)
{
	for (unsigned disk = 0; disk < DISKS; disk++) {
		for (unsigned part = 0; part < PARTS; part++)
			if (part_dirty[disk][part] && !stage_parts(disk, part))
				return false;
		if (!stage(disk, pair_now.disk_bytes[disk], NULL, 0))
			return false;
	}
	for (unsigned region = RAM; region < REGIONS; region++) {
		uint32_t bytes;
		uint8_t *from = memory_of(&pair_now, region, &bytes);

		for (uint32_t at = 0; at < bytes; at += PAGE) {
			const uint32_t n = bytes - at < PAGE ? bytes - at : PAGE;

			if (!page_dirty[region][at / PAGE])
				continue;
			if (!stage(region, at, from + at, n))
				return false;
			page_dirty[region][at / PAGE] = false;
		}
	}
	return true;
}

bool pair_is_asked(enum vmft_area_op op)
{
	const struct vmft_area *area = pair_primary.link.area;

	return atomic_load(&area->request) != atomic_load(&area->done) &&
	       atomic_load(&area->op) == (uint32_t)op;
}

void pair_answer(int result)
{
	struct vmft_area *area = pair_primary.link.area;

	atomic_store(&area->result, result);
	atomic_store(&area->done, atomic_load(&area->request));
	pair_ops->look(pair_primary.strategy);
}

void pair_takes_epoch(void)
{
	struct vmft_area *area = pair_primary.link.area;

	CU_ASSERT_FATAL(pair_is_asked(VMFT_AREA_EPOCH));
	atomic_store(&area->staged_bytes, 0);
	memcpy((uint8_t *)area + area->state_at, pair_now.state, pair_now.state_bytes);
	atomic_store(&area->state_bytes, pair_now.state_bytes);
	atomic_store(&area->more, !stage_all());
	if (!atomic_load(&area->more)) {
		pair_epoch++;
		pair_history[pair_epoch % HISTORY] = pair_now;
		atomic_store(&pair_primary.link.iface->log_position, pair_epoch);
		atomic_store(&area->point_position, pair_epoch);
	}
	pair_answer(0);
}

bool pair_comes_to_ask(enum vmft_area_op op)
{
	for (unsigned i = 0; i < 2000 && !pair_is_asked(op); i++)
		pair_spin(MS / 2);
	return pair_is_asked(op);
}

bool pair_stays_silent(void)
{
	pair_spin(20 * MS);
	return !pair_is_asked(VMFT_AREA_EPOCH);
}

/* --- the backup ------------------------------------------------------------------ */

static bool image_is(unsigned disk, const uint8_t *bytes, uint64_t n)
{
	static uint8_t found[DISK_MAX];
	const int fd = pair_backup.disk[disk].fd;

	return pread(fd, found, sizeof(found), 0) == (ssize_t)n && memcmp(found, bytes, n) == 0 &&
	       lseek(fd, 0, SEEK_END) == (off_t)n;
}

const uint8_t *pair_area_of(const struct side *side)
{
	return (const uint8_t *)side->link.area;
}

static bool ram_is(const uint8_t *bytes)
{
	static uint8_t found[RAM_PAGES * PAGE];

	return pread(pair_backup.link.ram_fd, found, sizeof(found), 0) == (ssize_t)sizeof(found) &&
	       memcmp(found, bytes, sizeof(found)) == 0;
}

static bool state_is(const struct machine *want)
{
	const struct vmft_area *area = pair_backup.link.area;

	return atomic_load(&area->load_bytes) == want->state_bytes &&
	       memcmp(pair_area_of(&pair_backup) + area->state_at, want->state,
		      want->state_bytes) == 0;
}

void pair_backup_is(struct machine *want)
{
	CU_ASSERT(ram_is(want->ram));
	for (unsigned region = ROM; region < REGIONS; region++) {
		uint32_t n;
		const uint8_t *bytes = memory_of(want, region, &n);

		CU_ASSERT_EQUAL(
		    memcmp(pair_area_of(&pair_backup) + pair_backup.link.region[region].shadow_at,
			   bytes, n),
		    0);
	}
	for (unsigned disk = 0; disk < DISKS; disk++)
		CU_ASSERT(image_is(disk, want->disk[disk], want->disk_bytes[disk]));
	CU_ASSERT(state_is(want));
}

/* What an attach does. */
static void equalize(void)
{
	struct vmft_area *area = pair_backup.link.area;

	CU_ASSERT_EQUAL(pwrite(pair_backup.link.ram_fd, pair_now.ram, sizeof(pair_now.ram), 0),
			(ssize_t)sizeof(pair_now.ram));
	for (unsigned region = ROM; region < REGIONS; region++) {
		uint32_t n;
		const uint8_t *bytes = memory_of(&pair_now, region, &n);

		memcpy((uint8_t *)area + pair_backup.link.region[region].shadow_at, bytes, n);
	}
	for (unsigned disk = 0; disk < DISKS; disk++) {
		CU_ASSERT_EQUAL(pwrite(pair_backup.disk[disk].fd, pair_now.disk[disk], DISK_MAX, 0),
				(ssize_t)DISK_MAX);
		CU_ASSERT_EQUAL(
		    ftruncate(pair_backup.disk[disk].fd, (off_t)pair_now.disk_bytes[disk]), 0);
	}
	memcpy((uint8_t *)area + area->state_at, pair_now.state, pair_now.state_bytes);
	atomic_store(&area->load_bytes, pair_now.state_bytes);
	memset(page_dirty, 0, sizeof(page_dirty));
	memset(part_dirty, 0, sizeof(part_dirty));
	pair_history[pair_epoch % HISTORY] = pair_now;
}

void pair_forms(void)
{
	equalize();
	CU_ASSERT_EQUAL(pair_ops->restart(pair_backup.strategy, pair_epoch, false), 0);
	CU_ASSERT_EQUAL(pair_ops->restart(pair_primary.strategy, pair_epoch, true), 0);
	CU_ASSERT_EQUAL(pair_ops->held(pair_backup.strategy), pair_epoch);
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), pair_epoch);
	CU_ASSERT_EQUAL(pair_ops->taken(pair_primary.strategy), pair_epoch);
}

/* --- the channel ------------------------------------------------------------------ */

bool pair_takes(void)
{
	ssize_t n = pair_ops->take(pair_primary.strategy, pair_message.bytes,
				   sizeof(pair_message.bytes), &pair_message.position);

	CU_ASSERT_FATAL(n >= 0 && n <= (ssize_t)sizeof(pair_message.bytes));
	pair_message.n = (size_t)n;
	return n > 0;
}

int pair_holds(void)
{
	uint8_t *copy = malloc(pair_message.n ? pair_message.n : 1);
	int rc;

	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	memcpy(copy, pair_message.bytes, pair_message.n);
	rc = pair_ops->hold(pair_backup.strategy, pair_message.position, copy, pair_message.n);
	free(copy);
	return rc;
}

void pair_arrives(void)
{
	const time_t until = time(NULL) + 60;
	int rc = pair_holds();

	while (rc == -ENOSPC && time(NULL) < until) {
		CU_ASSERT(!pair_ops->has_room(pair_backup.strategy));
		pair_spin(0);
		if (pair_ops->has_room(pair_backup.strategy))
			rc = pair_holds();
	}
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

void pair_ship_epoch(void)
{
	const uint64_t next = pair_epoch + 1;

	pair_takes_epoch();
	for (;;) {
		while (pair_takes()) {
			CU_ASSERT_EQUAL(pair_message.position, next);
			pair_arrives();
		}
		if (pair_epoch == next)
			break;
		pair_takes_epoch();
	}
	CU_ASSERT_EQUAL(pair_ops->taken(pair_primary.strategy), next);
	CU_ASSERT_EQUAL(pair_ops->held(pair_backup.strategy), next);
}

void pair_next_epoch(void)
{
	CU_ASSERT_FATAL(pair_comes_to_ask(VMFT_AREA_EPOCH));
	pair_ship_epoch();
}

void pair_acks(void)
{
	pair_ops->acked(pair_primary.strategy, pair_ops->held(pair_backup.strategy));
}

void pair_all_applied(void)
{
	for (unsigned i = 0; i < 10000 && !pair_backup.broken; i++) {
		if (pair_ops->applied(pair_backup.strategy) == pair_ops->held(pair_backup.strategy))
			return;
		pair_spin(i < 1000 ? 0 : MS); /* a busy machine writes later */
	}
	CU_ASSERT_FATAL(pair_backup.broken > 0);
}

/* --- up and down -------------------------------------------------------------------- */

void pair_on_moved(void *user)
{
	struct side *side = user;

	side->moved++;
	if (side == &pair_backup && !side->quiet &&
	    pair_ops->applied(side->strategy) + HISTORY > pair_epoch)
		pair_backup_is(&pair_history[pair_ops->applied(side->strategy) % HISTORY]);
}

void pair_on_broken(void *user, const char *why)
{
	struct side *side = user;

	side->broken++;
	(void)snprintf(side->why, sizeof(side->why), "%s", why);
}

bool pair_on_disk_failed(void *user, const char *why)
{
	struct side *side = user;

	side->disk_failed++;
	(void)snprintf(side->why, sizeof(side->why), "%s", why);
	return side->only_copy;
}

/* As the agent lists them. */
static void describe(struct side *side)
{
	static const struct vmft_region memory[] = {
	    {.kind = VMFT_REGION_RAM, .bytes = RAM_PAGES * PAGE, .name = "vmft.ram"},
	    {.kind = VMFT_REGION_SHADOW, .bytes = ROM_BYTES, .name = "pc.bios"},
	    {.kind = VMFT_REGION_SHADOW, .bytes = VRAM_PAGES * PAGE, .name = "vga.vram"},
	};
	struct vmft_area *area = side->link.area;
	uint64_t shadow_at = area->shadow_at;
	uint32_t count;

	for (unsigned i = RAM; i < REGIONS; i++) {
		const struct vmft_region *before = &area->region[i - 1];
		struct vmft_region *region = &area->region[i];

		*region = memory[i - RAM];
		region->bitmap_at = before->bitmap_at + vmft_region_bitmap_bytes(before);
		if (region->kind == VMFT_REGION_SHADOW) {
			region->shadow_at = shadow_at;
			shadow_at += (region->bytes + PAGE - 1) / PAGE * PAGE;
		}
	}
	atomic_store(&area->region_count, REGIONS);
	CU_ASSERT_EQUAL_FATAL(vmft_agent_link_regions(&side->link, &count), 0);
	CU_ASSERT_EQUAL(count, REGIONS);
}

static void link_up(struct vmft_agent_link *link)
{
	static const uint64_t disk_bytes[DISKS] = {DISK_MAX, DISK_MAX};
	struct vmft_error err;
	int iface_fd = vmft_iface_create(1u << 20, &err);
	int area_fd = vmft_area_create(RAM_PAGES * PAGE, disk_bytes, DISKS, &err);
	int ram_fd = memfd_create("ram", MFD_CLOEXEC);

	CU_ASSERT_FATAL(iface_fd >= 0 && area_fd >= 0 && ram_fd >= 0);
	CU_ASSERT_EQUAL(ftruncate(ram_fd, (off_t)RAM_PAGES * PAGE), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_agent_link_init(link, iface_fd, area_fd,
						   eventfd(0, EFD_NONBLOCK),
						   eventfd(0, EFD_NONBLOCK), ram_fd, &err),
			      0);
	close(iface_fd);
}

static void side_up(struct side *side)
{
	struct vmft_strategy_world world = {
	    .loop = pair_loop,
	    .link = &side->link,
	    .config = &side->config,
	    .disk = side->disk,
	    .disk_count = DISKS,
	    .moved = pair_on_moved,
	    .broken = pair_on_broken,
	    .disk_failed = pair_on_disk_failed,
	    .user = side,
	};

	memset(side, 0, sizeof(*side));
	link_up(&side->link);
	describe(side);
	for (unsigned i = 0; i < DISKS; i++) {
		(void)snprintf(side->path[i], sizeof(side->path[i]), "/tmp/vmft-unit-XXXXXX");
		side->disk[i] = (struct vmft_image){.path = side->path[i]};
		side->disk[i].fd = mkstemp(side->path[i]);
		CU_ASSERT_FATAL(side->disk[i].fd >= 0);
		CU_ASSERT_EQUAL(unlink(side->path[i]), 0);
	}
	side->config.epoch_min_ms = side->config.epoch_ms = side->config.epoch_max_ms = 1;
	side->config.delta_cache_mib = 1;
	CU_ASSERT_EQUAL_FATAL(pair_ops->open(&world, &side->strategy), 0);
}

static void side_down(struct side *side)
{
	pair_ops->close(side->strategy);
	for (unsigned i = 0; i < DISKS; i++)
		vmft_image_close(&side->disk[i]);
	munmap(side->link.area, side->link.area->area_bytes);
	munmap(side->link.iface, VMFT_IFACE_HEADER + (1u << 20));
	close(side->link.area_fd);
	close(side->link.ram_fd);
	close(side->link.bell_agent);
	close(side->link.bell_monitor);
}

void pair_setup(void)
{
	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&pair_loop), 0);
	srand(1);
	memset(&pair_now, 0, sizeof(pair_now));
	pair_now.state_bytes = 100;
	for (unsigned disk = 0; disk < DISKS; disk++)
		pair_now.disk_bytes[disk] = 3 * BLOCK + 100;
	pair_epoch = 10;
	pair_room = VMFT_AREA_STAGING_BYTES;
	side_up(&pair_primary);
	side_up(&pair_backup);
	pair_guest_runs();
	atomic_store(&pair_primary.link.iface->log_position, pair_epoch);
}

void pair_up(void)
{
	pair_setup();
	pair_forms();
}

void pair_down(void)
{
	pair_spin(0);
	/* Before the rest: what is still under way is the loop's. */
	vmft_loop_destroy(pair_loop);
	side_down(&pair_primary);
	side_down(&pair_backup);
}
