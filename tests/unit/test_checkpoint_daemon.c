/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitors' halves of a checkpointed pair, joined by memory: the primary's agent is played
 * here and stages a guest that is one structure; the backup's guest is real shared memory and
 * real image files, which are compared with it after every epoch.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "logging-channel/wire.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/iface-setup.h"
#include "monitor/daemon/checkpoint/checkpoint.h"
#include "monitor/daemon/hub/monitor.h"
#include "suites.h"

#define MS	UINT64_C(1000000)
#define PAGE	VMFT_RAM_BLOCK_BYTES
#define PART	VMFT_DISK_PART_BYTES
#define BLOCK	VMFT_DISK_BLOCK_BYTES
#define DISKS	2u
#define HISTORY 8u /* epochs whose guest is remembered */

#define RAM_PAGES  70u
#define ROM_BYTES  (3 * PAGE + 100u)
#define VRAM_PAGES 20u
#define DISK_MAX   (6 * BLOCK)
#define STATE_MAX  (5 * PAGE)
#define PARTS	   (DISK_MAX / PART)

enum { RAM = DISKS, ROM, VRAM, REGIONS };

/* A guest where it stands still. */
struct machine {
	uint8_t ram[RAM_PAGES * PAGE];
	uint8_t rom[ROM_BYTES];
	uint8_t vram[VRAM_PAGES * PAGE];
	uint8_t disk[DISKS][DISK_MAX];
	uint64_t disk_bytes[DISKS];
	uint8_t state[STATE_MAX];
	uint64_t state_bytes;
};

/* A monitor's surroundings. */
struct side {
	struct vmft_agent_link link;
	struct vmft_pair_config config;
	struct vmft_image disk[DISKS];
	char path[DISKS][32];
	struct vmft_strategy *strategy;
	unsigned moved, broken;
	bool only_copy; /* of the guest: a disk that fails is waited for */
	unsigned disk_failed;
	bool quiet; /* what was applied is not looked at */
	char why[300];
};

static const struct vmft_strategy_ops *const ops = &vmft_strategy_checkpoint;
static struct vmft_loop *loop;
static struct side primary, backup;

/* The primary's guest, and what its agent knows of it. */
static struct machine now, history[HISTORY];
static bool page_dirty[REGIONS][RAM_PAGES], part_dirty[DISKS][PARTS];
static uint64_t epoch; /* taken of it */
static size_t room;    /* bytes that fit into staging at once */

/* --- the loop ------------------------------------------------------------------- */

static void stop_loop(struct vmft_op *op, int result)
{
	(void)op;
	(void)result;
	vmft_loop_stop(loop);
}

/* Whatever is due happens. */
static void spin(uint64_t nanoseconds)
{
	static struct vmft_op op = {.done = stop_loop};

	vmft_loop_timer(loop, &op, nanoseconds);
	CU_ASSERT_EQUAL_FATAL(vmft_loop_run(loop), 0);
}

/* --- a guest -------------------------------------------------------------------- */

static unsigned below(unsigned n)
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
	const unsigned kind = below(4);

	if (kind == 0) {
		memset(bytes, 0, n);
		return;
	}
	if (kind == 1) { /* a word or two of it */
		bytes[below((unsigned)n)] ^= (uint8_t)(1 + below(255));
		return;
	}
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(kind == 2 ? rand() : (int)(i / 64));
}

static void guest_writes_memory(unsigned region)
{
	uint32_t bytes;
	uint8_t *at = memory_of(&now, region, &bytes);
	const unsigned page = below((bytes + PAGE - 1) / PAGE);
	const uint32_t left = bytes - page * PAGE;

	fill(at + page * PAGE, left < PAGE ? left : PAGE);
	page_dirty[region][page] = true;
}

static void guest_writes_disk(unsigned disk)
{
	const uint64_t offset = below((unsigned)now.disk_bytes[disk]);
	uint64_t n = 1 + below(3 * PART);

	if (n > now.disk_bytes[disk] - offset)
		n = now.disk_bytes[disk] - offset;
	fill(now.disk[disk] + offset, n);
	for (uint64_t part = offset / PART; part <= (offset + n - 1) / PART; part++)
		part_dirty[disk][part] = true;
}

/* A qcow2 file grows by what is written to it; where it is cut and grows again it is zero. */
static void image_changes_length(unsigned disk)
{
	const uint64_t before = now.disk_bytes[disk];
	const uint64_t after = 1 + below(DISK_MAX);

	if (after < before)
		memset(now.disk[disk] + after, 0, before - after);
	now.disk_bytes[disk] = after;
}

static void guest_runs(void)
{
	for (unsigned i = below(40); i > 0; i--)
		guest_writes_memory(RAM + below(3));
	for (unsigned i = below(12); i > 0; i--)
		guest_writes_disk(below(DISKS));
	if (below(8) == 0)
		image_changes_length(below(DISKS));
	if (below(8) == 0)
		now.state_bytes = 9 + below(STATE_MAX - 9);
	for (unsigned i = below(4); i > 0; i--)
		fill(now.state + below(4) * PAGE, PAGE);
}

static void guest_writes_all(void)
{
	memset(now.ram, 0x5a, sizeof(now.ram));
	for (unsigned i = 0; i < RAM_PAGES; i++)
		page_dirty[RAM][i] = true;
}

/* --- its agent ------------------------------------------------------------------ */

static bool stage(uint32_t region, uint64_t offset, const uint8_t *bytes, uint32_t n)
{
	struct vmft_area *area = primary.link.area;
	const uint64_t at = atomic_load(&area->staged_bytes);
	const uint64_t all = sizeof(struct vmft_area_piece) + (n + 15u) / 16 * 16;
	struct vmft_area_piece piece = {.offset = offset, .region = region, .bytes = n};
	uint8_t *to = (uint8_t *)area + area->staging_at + at;

	if (all > room - at)
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
	if (offset < now.disk_bytes[disk]) {
		if (n > now.disk_bytes[disk] - offset)
			n = now.disk_bytes[disk] - offset;
		if (!stage(disk, offset, now.disk[disk] + offset, (uint32_t)n))
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
		if (!stage(disk, now.disk_bytes[disk], NULL, 0))
			return false;
	}
	for (unsigned region = RAM; region < REGIONS; region++) {
		uint32_t bytes;
		uint8_t *from = memory_of(&now, region, &bytes);

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

static bool is_asked(enum vmft_area_op op)
{
	const struct vmft_area *area = primary.link.area;

	return atomic_load(&area->request) != atomic_load(&area->done) &&
	       atomic_load(&area->op) == (uint32_t)op;
}

static void answer(int result)
{
	struct vmft_area *area = primary.link.area;

	atomic_store(&area->result, result);
	atomic_store(&area->done, atomic_load(&area->request));
	ops->look(primary.strategy);
}

static void takes_epoch(void)
{
	struct vmft_area *area = primary.link.area;

	CU_ASSERT_FATAL(is_asked(VMFT_AREA_EPOCH));
	atomic_store(&area->staged_bytes, 0);
	memcpy((uint8_t *)area + area->state_at, now.state, now.state_bytes);
	atomic_store(&area->state_bytes, now.state_bytes);
	atomic_store(&area->more, !stage_all());
	if (!atomic_load(&area->more)) {
		epoch++;
		history[epoch % HISTORY] = now;
		atomic_store(&primary.link.iface->log_position, epoch);
		atomic_store(&area->point_position, epoch);
	}
	answer(0);
}

/* The pacer says when; this long is longer than it may take. */
static bool comes_to_ask(enum vmft_area_op op)
{
	for (unsigned i = 0; i < 2000 && !is_asked(op); i++)
		spin(MS / 2);
	return is_asked(op);
}

/* Long enough for an epoch to have been asked for. */
static bool stays_silent(void)
{
	spin(20 * MS);
	return !is_asked(VMFT_AREA_EPOCH);
}

/* --- the backup ------------------------------------------------------------------ */

static bool image_is(unsigned disk, const uint8_t *bytes, uint64_t n)
{
	static uint8_t found[DISK_MAX];
	const int fd = backup.disk[disk].fd;

	return pread(fd, found, sizeof(found), 0) == (ssize_t)n && memcmp(found, bytes, n) == 0 &&
	       lseek(fd, 0, SEEK_END) == (off_t)n;
}

static const uint8_t *area_of(const struct side *side)
{
	return (const uint8_t *)side->link.area;
}

static bool ram_is(const uint8_t *bytes)
{
	static uint8_t found[RAM_PAGES * PAGE];

	return pread(backup.link.ram_fd, found, sizeof(found), 0) == (ssize_t)sizeof(found) &&
	       memcmp(found, bytes, sizeof(found)) == 0;
}

static bool state_is(const struct machine *want)
{
	const struct vmft_area *area = backup.link.area;

	return atomic_load(&area->load_bytes) == want->state_bytes &&
	       memcmp(area_of(&backup) + area->state_at, want->state, want->state_bytes) == 0;
}

static void backup_is(struct machine *want)
{
	CU_ASSERT(ram_is(want->ram));
	for (unsigned region = ROM; region < REGIONS; region++) {
		uint32_t n;
		const uint8_t *bytes = memory_of(want, region, &n);

		CU_ASSERT_EQUAL(
		    memcmp(area_of(&backup) + backup.link.region[region].shadow_at, bytes, n), 0);
	}
	for (unsigned disk = 0; disk < DISKS; disk++)
		CU_ASSERT(image_is(disk, want->disk[disk], want->disk_bytes[disk]));
	CU_ASSERT(state_is(want));
}

/* What an attach does. */
static void equalize(void)
{
	struct vmft_area *area = backup.link.area;

	CU_ASSERT_EQUAL(pwrite(backup.link.ram_fd, now.ram, sizeof(now.ram), 0),
			(ssize_t)sizeof(now.ram));
	for (unsigned region = ROM; region < REGIONS; region++) {
		uint32_t n;
		const uint8_t *bytes = memory_of(&now, region, &n);

		memcpy((uint8_t *)area + backup.link.region[region].shadow_at, bytes, n);
	}
	for (unsigned disk = 0; disk < DISKS; disk++) {
		CU_ASSERT_EQUAL(pwrite(backup.disk[disk].fd, now.disk[disk], DISK_MAX, 0),
				(ssize_t)DISK_MAX);
		CU_ASSERT_EQUAL(ftruncate(backup.disk[disk].fd, (off_t)now.disk_bytes[disk]), 0);
	}
	memcpy((uint8_t *)area + area->state_at, now.state, now.state_bytes);
	atomic_store(&area->load_bytes, now.state_bytes);
	memset(page_dirty, 0, sizeof(page_dirty));
	memset(part_dirty, 0, sizeof(part_dirty));
	history[epoch % HISTORY] = now;
}

static void pair_forms(void)
{
	equalize();
	CU_ASSERT_EQUAL(ops->restart(backup.strategy, epoch, false), 0);
	CU_ASSERT_EQUAL(ops->restart(primary.strategy, epoch, true), 0);
	CU_ASSERT_EQUAL(ops->held(backup.strategy), epoch);
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), epoch);
	CU_ASSERT_EQUAL(ops->taken(primary.strategy), epoch);
}

/* --- the channel ------------------------------------------------------------------ */

struct message {
	uint64_t position;
	size_t n;
	uint8_t bytes[VMFT_FRAME_PAYLOAD_MAX];
};

static struct message message;

/* The next payload, or false: there is none now. */
static bool takes(void)
{
	ssize_t n =
	    ops->take(primary.strategy, message.bytes, sizeof(message.bytes), &message.position);

	CU_ASSERT_FATAL(n >= 0 && n <= (ssize_t)sizeof(message.bytes));
	message.n = (size_t)n;
	return n > 0;
}

/* From a block of exactly that size, so that AddressSanitizer sees one byte too far. */
static int holds(void)
{
	uint8_t *copy = malloc(message.n ? message.n : 1);
	int rc;

	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	memcpy(copy, message.bytes, message.n);
	rc = ops->hold(backup.strategy, message.position, copy, message.n);
	free(copy);
	return rc;
}

/* As the peer does when there is no room. A thread of its own makes room: tries are no measure of
 * how long that takes on a busy machine. */
static void arrives(void)
{
	const time_t until = time(NULL) + 60;
	int rc = holds();

	while (rc == -ENOSPC && time(NULL) < until) {
		CU_ASSERT(!ops->has_room(backup.strategy));
		spin(0);
		if (ops->has_room(backup.strategy))
			rc = holds();
	}
	CU_ASSERT_EQUAL_FATAL(rc, 0);
}

/* An epoch that was asked for, all of it. */
static void ship_epoch(void)
{
	const uint64_t next = epoch + 1;

	takes_epoch();
	for (;;) {
		while (takes()) {
			CU_ASSERT_EQUAL(message.position, next);
			arrives();
		}
		if (epoch == next)
			break;
		takes_epoch();
	}
	CU_ASSERT_EQUAL(ops->taken(primary.strategy), next);
	CU_ASSERT_EQUAL(ops->held(backup.strategy), next);
}

static void next_epoch(void)
{
	CU_ASSERT_FATAL(comes_to_ask(VMFT_AREA_EPOCH));
	ship_epoch();
}

static void acks(void)
{
	ops->acked(primary.strategy, ops->held(backup.strategy));
}

static void all_applied(void)
{
	for (unsigned i = 0; i < 10000 && !backup.broken; i++) {
		if (ops->applied(backup.strategy) == ops->held(backup.strategy))
			return;
		spin(i < 1000 ? 0 : MS); /* a busy machine writes later */
	}
	CU_ASSERT_FATAL(backup.broken > 0);
}

/* --- up and down -------------------------------------------------------------------- */

static void on_moved(void *user)
{
	struct side *side = user;

	side->moved++;
	if (side == &backup && !side->quiet && ops->applied(side->strategy) + HISTORY > epoch)
		backup_is(&history[ops->applied(side->strategy) % HISTORY]);
}

static void on_broken(void *user, const char *why)
{
	struct side *side = user;

	side->broken++;
	(void)snprintf(side->why, sizeof(side->why), "%s", why);
}

static bool on_disk_failed(void *user, const char *why)
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
	    .loop = loop,
	    .link = &side->link,
	    .config = &side->config,
	    .disk = side->disk,
	    .disk_count = DISKS,
	    .moved = on_moved,
	    .broken = on_broken,
	    .disk_failed = on_disk_failed,
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
	CU_ASSERT_EQUAL_FATAL(ops->open(&world, &side->strategy), 0);
}

static void side_down(struct side *side)
{
	ops->close(side->strategy);
	for (unsigned i = 0; i < DISKS; i++)
		vmft_image_close(&side->disk[i]);
	munmap(side->link.area, side->link.area->area_bytes);
	munmap(side->link.iface, VMFT_IFACE_HEADER + (1u << 20));
	close(side->link.area_fd);
	close(side->link.ram_fd);
	close(side->link.bell_agent);
	close(side->link.bell_monitor);
}

static void setup(void)
{
	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&loop), 0);
	srand(1);
	memset(&now, 0, sizeof(now));
	now.state_bytes = 100;
	for (unsigned disk = 0; disk < DISKS; disk++)
		now.disk_bytes[disk] = 3 * BLOCK + 100;
	epoch = 10;
	room = VMFT_AREA_STAGING_BYTES;
	side_up(&primary);
	side_up(&backup);
	guest_runs();
	atomic_store(&primary.link.iface->log_position, epoch);
}

static void paired(void)
{
	setup();
	pair_forms();
}

static void teardown(void)
{
	spin(0);
	/* Before the rest: what is still under way is the loop's. */
	vmft_loop_destroy(loop);
	side_down(&primary);
	side_down(&backup);
}

/* --- both --------------------------------------------------------------------------- */

/* The backup's monitor is lost in the middle of an epoch, or the primary's. */
static void tear(void)
{
	const uint64_t before = epoch;
	unsigned payloads = below(4);

	CU_ASSERT_FATAL(comes_to_ask(VMFT_AREA_EPOCH));
	takes_epoch();
	while (payloads-- > 0 && takes() && ops->taken(primary.strategy) == before)
		arrives();
	all_applied();
	backup_is(&history[before % HISTORY]);
	ops->halt(primary.strategy);
	while (!is_asked(VMFT_AREA_DROP)) {
		CU_ASSERT_FATAL(is_asked(VMFT_AREA_EPOCH));
		answer(0);
	}
	atomic_store(&primary.link.area->more, 0);
	answer(0);
	CU_ASSERT(ops->is_idle(primary.strategy));
}

/* Many epochs of a guest that writes all over itself: the backup's is the primary's, epoch by
 * epoch, also when the channel runs ahead of what is applied, staging is small, and pairs come
 * and go. */
static void many_epochs(unsigned seed, size_t staging)
{
	setup();
	srand(seed);
	room = staging;
	pair_forms();
	for (unsigned i = 0; i < 120 && !backup.broken; i++) {
		guest_runs();
		if (below(16) == 0) {
			tear();
			pair_forms();
			continue;
		}
		next_epoch();
		if (below(2) == 0)
			spin(0);
		acks();
	}
	all_applied();
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), epoch);
	backup_is(&now);
	CU_ASSERT_EQUAL(primary.broken, 0);
	CU_ASSERT_EQUAL(backup.broken, 0);
	CU_ASSERT(backup.moved > 100);
	teardown();
}

static void test_many_epochs(void)
{
	many_epochs(1, VMFT_AREA_STAGING_BYTES);
	many_epochs(2, 100 * 1024);
	many_epochs(3, sizeof(struct vmft_area_piece) + BLOCK);
}

/* Without a cache of pages there are no deltas, and the same arrives. */
static void test_no_cache(void)
{
	setup();
	ops->close(primary.strategy);
	primary.config.delta_cache_mib = 0;
	CU_ASSERT_EQUAL_FATAL(ops->open(&(struct vmft_strategy_world){.loop = loop,
								      .link = &primary.link,
								      .config = &primary.config,
								      .disk = primary.disk,
								      .disk_count = DISKS,
								      .moved = on_moved,
								      .broken = on_broken,
								      .disk_failed = on_disk_failed,
								      .user = &primary},
					&primary.strategy),
			      0);
	pair_forms();
	for (unsigned i = 0; i < 10; i++) {
		guest_runs();
		next_epoch();
		acks();
	}
	all_applied();
	backup_is(&now);
	CU_ASSERT_EQUAL(ops->figures(primary.strategy)->delta, 0);
	teardown();
}

/* An epoch in which nothing happened: it is one. */
static void test_empty_epoch(void)
{
	paired();
	next_epoch();
	acks();
	next_epoch();
	all_applied();
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), 12);
	backup_is(&now);
	teardown();
}

static void test_figures(void)
{
	const struct vmft_epoch_figures *figures;

	paired();
	guest_writes_all();
	atomic_store(&primary.link.area->stop_ns, 100);
	atomic_store(&primary.link.area->save_ns, 1000);
	next_epoch();
	figures = ops->figures(primary.strategy);
	CU_ASSERT_EQUAL(figures->epochs, 1);
	CU_ASSERT_EQUAL(figures->split, 0);
	CU_ASSERT_EQUAL(figures->sample[11].epoch, 11);
	CU_ASSERT_EQUAL(figures->sample[11].value[VMFT_FIGURE_PAUSE], 1100);
	CU_ASSERT(figures->sample[11].value[VMFT_FIGURE_STAGED] > sizeof(now.ram));
	CU_ASSERT(figures->sample[11].value[VMFT_FIGURE_SENT] > 0);
	CU_ASSERT_EQUAL(figures->sample[11].value[VMFT_FIGURE_SENT],
			ops->sent_bytes(primary.strategy));
	CU_ASSERT_EQUAL(figures->pages,
			figures->zero + figures->unchanged + figures->delta + figures->whole);
	/* Of three parts: one that did not fit at once. */
	acks();
	guest_writes_all();
	room = 30 * PAGE;
	next_epoch();
	CU_ASSERT_EQUAL(figures->epochs, 2);
	CU_ASSERT_EQUAL(figures->split, 1);
	CU_ASSERT(figures->sample[12].value[VMFT_FIGURE_PAUSE] > 1100);
	ops->release(primary.strategy, 11, 1);
	CU_ASSERT(figures->sample[11].value[VMFT_FIGURE_COMMIT] > 0);
	CU_ASSERT_EQUAL(figures->sample[12].value[VMFT_FIGURE_COMMIT], 0);
	CU_ASSERT_EQUAL(atomic_load(&primary.link.iface->acked), 11);
	CU_ASSERT_EQUAL(atomic_load(&primary.link.iface->release_until), 1);
	teardown();
}

/* A new pair's begin with it. */
static void test_figures_of_a_pair(void)
{
	const struct vmft_epoch_figures *figures;

	paired();
	guest_writes_all();
	next_epoch();
	all_applied();
	ops->halt(primary.strategy);
	while (!is_asked(VMFT_AREA_DROP))
		answer(0);
	answer(0);
	pair_forms();
	next_epoch();
	figures = ops->figures(primary.strategy);
	CU_ASSERT_EQUAL(figures->epochs, 1);
	CU_ASSERT_EQUAL(figures->sample[epoch].value[VMFT_FIGURE_SENT],
			ops->sent_bytes(primary.strategy));
	CU_ASSERT_EQUAL(figures->sample[epoch - 1].epoch, 0);
	teardown();
}

/* --- the backup alone ------------------------------------------------------------------ */

static uint8_t *payload_head(enum vmft_epoch_kind kind, size_t raw)
{
	message.n = VMFT_EPOCH_HEAD + raw;
	message.position = ops->held(backup.strategy) + 1;
	return vmft_wire_put_u32(
	    vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(message.bytes, (uint8_t)kind), 0),
			      0),
	    (uint32_t)raw);
}

/* A payload of one piece. */
static int send_piece(uint32_t region, uint64_t offset, uint32_t n, enum vmft_epoch_how how)
{
	const size_t follow = how == VMFT_EPOCH_ZERO ? 0 : n;
	uint8_t *at = payload_head(VMFT_EPOCH_PIECES, VMFT_EPOCH_PIECE_HEAD + follow);

	at = vmft_wire_put_u32(vmft_wire_put_u32(vmft_wire_put_u64(at, offset), region), n);
	at = vmft_wire_put_u32(at, (uint32_t)how << 24);
	memset(at, 0xa5, follow);
	return holds();
}

static struct vmft_epoch_commit commit_of(uint64_t pieces, uint64_t bytes)
{
	struct vmft_epoch_commit commit = {
	    .pieces = pieces,
	    .bytes = bytes,
	    .state_bytes = now.state_bytes,
	    .disk_count = DISKS,
	};

	memcpy(commit.disk_bytes, now.disk_bytes, sizeof(now.disk_bytes));
	return commit;
}

static int send_commit(const struct vmft_epoch_commit *commit)
{
	uint8_t *at = payload_head(VMFT_EPOCH_COMMIT, 28 + 8 * (size_t)commit->disk_count);

	at = vmft_wire_put_u64(vmft_wire_put_u64(at, commit->pieces), commit->bytes);
	at = vmft_wire_put_u32(vmft_wire_put_u64(at, commit->state_bytes), commit->disk_count);
	for (uint32_t i = 0; i < commit->disk_count; i++)
		at = vmft_wire_put_u64(at, commit->disk_bytes[i]);
	return holds();
}

static int send_plain_commit(uint64_t pieces, uint64_t bytes)
{
	const struct vmft_epoch_commit commit = commit_of(pieces, bytes);

	return send_commit(&commit);
}

/* Nothing has become of what was sent. */
static void nothing_applied(void)
{
	spin(0);
	spin(0);
	CU_ASSERT_EQUAL(ops->held(backup.strategy), epoch);
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), epoch);
	CU_ASSERT_EQUAL(backup.moved, 0);
	CU_ASSERT_EQUAL(backup.broken, 0);
	backup_is(&now);
}

static void test_bad_pieces(void)
{
	static const struct {
		uint32_t region;
		uint64_t offset;
		uint32_t n;
		enum vmft_epoch_how how;
	} bad[] = {
	    /* there is no such region */
	    {REGIONS, 0, PAGE, VMFT_EPOCH_AS_IS},
	    {VMFT_AREA_REGIONS_MAX - 1, 0, 1, VMFT_EPOCH_ZERO},
	    {VMFT_AREA_REGIONS_MAX, 0, 1, VMFT_EPOCH_ZERO},
	    {VMFT_EPOCH_STATE_REGION - 1, 0, PAGE, VMFT_EPOCH_AS_IS},
	    /* beyond its end */
	    {RAM, RAM_PAGES * PAGE, PAGE, VMFT_EPOCH_AS_IS},
	    {RAM, RAM_PAGES * PAGE - 1, 2, VMFT_EPOCH_ZERO},
	    {RAM, UINT64_MAX - PAGE, PAGE, VMFT_EPOCH_ZERO},
	    {ROM, 3 * PAGE, 101, VMFT_EPOCH_XOR},
	    {0, DISK_MAX - PAGE, PAGE + 1, VMFT_EPOCH_AS_IS},
	    {1, DISK_MAX, 1, VMFT_EPOCH_ZERO},
	    {VMFT_EPOCH_STATE_REGION, VMFT_AREA_STATE_BYTES, 1, VMFT_EPOCH_ZERO},
	    {VMFT_EPOCH_STATE_REGION, VMFT_AREA_STATE_BYTES - PAGE + 1, PAGE, VMFT_EPOCH_AS_IS},
	    /* more of memory than a page, a change of a disk */
	    {RAM, 0, PAGE + 1, VMFT_EPOCH_AS_IS},
	    {RAM, 0, 2 * PAGE, VMFT_EPOCH_ZERO},
	    {0, 0, PAGE, VMFT_EPOCH_XOR},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		paired();
		CU_ASSERT_EQUAL(send_piece(RAM, 0, PAGE, VMFT_EPOCH_AS_IS), 0);
		CU_ASSERT_EQUAL(send_piece(bad[i].region, bad[i].offset, bad[i].n, bad[i].how),
				-EBADMSG);
		nothing_applied();
		teardown();
	}
}

/* Each of them up to the last byte is good. */
static void test_pieces_to_the_end(void)
{
	paired();
	CU_ASSERT_EQUAL(send_piece(RAM, (RAM_PAGES - 1) * PAGE, PAGE, VMFT_EPOCH_XOR), 0);
	CU_ASSERT_EQUAL(send_piece(ROM, 3 * PAGE, 100, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(send_piece(VRAM, (VRAM_PAGES - 1) * PAGE, PAGE, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(send_piece(0, DISK_MAX - PAGE, PAGE, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(send_piece(1, DISK_MAX - BLOCK, BLOCK, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(send_piece(VMFT_EPOCH_STATE_REGION, VMFT_AREA_STATE_BYTES - PAGE, PAGE,
				   VMFT_EPOCH_AS_IS),
			0);
	for (unsigned i = 0; i < PAGE; i++) {
		now.ram[(RAM_PAGES - 1) * PAGE + i] ^= 0xa5;
		now.vram[(VRAM_PAGES - 1) * PAGE + i] = 0;
		now.disk[0][DISK_MAX - PAGE + i] = 0xa5;
	}
	memset(now.rom + 3 * PAGE, 0xa5, 100);
	memset(now.disk[1] + DISK_MAX - BLOCK, 0, BLOCK);
	now.disk_bytes[0] = now.disk_bytes[1] = DISK_MAX;
	history[++epoch % HISTORY] = now;
	CU_ASSERT_EQUAL(send_plain_commit(6, 4 * PAGE + 100 + BLOCK), 0);
	all_applied();
	CU_ASSERT_EQUAL(backup.broken, 0);
	backup_is(&now);
	CU_ASSERT_EQUAL(area_of(&backup)[backup.link.area->state_at + VMFT_AREA_STATE_BYTES - 1],
			0xa5);
	teardown();
}

/* A commit that does not match what came, or cannot be: nothing of its epoch is applied. */
static void test_bad_commits(void)
{
	struct vmft_epoch_commit bad[8];
	unsigned n = 0;

	setup();
	for (unsigned i = 0; i < 8; i++)
		bad[i] = commit_of(1, PAGE);
	bad[n++].pieces = 0;
	bad[n++].pieces = 2;
	bad[n++].bytes = PAGE - 1;
	bad[n++].bytes = UINT64_MAX;
	bad[n++].disk_count = DISKS - 1;
	bad[n++].disk_count = DISKS + 1;
	bad[n++].state_bytes = VMFT_AREA_STATE_BYTES + 1;
	bad[n++].disk_bytes[1] = DISK_MAX + 1;
	teardown();
	while (n-- > 0) {
		paired();
		CU_ASSERT_EQUAL(send_piece(RAM, 0, PAGE, VMFT_EPOCH_AS_IS), 0);
		CU_ASSERT_EQUAL(send_commit(&bad[n]), -EBADMSG);
		nothing_applied();
		teardown();
	}
}

static void test_bad_payloads(void)
{
	static const uint8_t state[] = {2, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1};

	paired();
	message.position = epoch + 1;
	message.n = 0;
	CU_ASSERT_EQUAL(holds(), -EBADMSG);
	message.n = 20;
	memset(message.bytes, 0xff, 20);
	CU_ASSERT_EQUAL(holds(), -EBADMSG);
	/* What the codec has for others and no epoch has. */
	memcpy(message.bytes, state, sizeof(state));
	message.n = sizeof(state);
	CU_ASSERT_EQUAL(holds(), -EBADMSG);
	nothing_applied();
	teardown();
}

/* Only the next epoch's. */
static void test_wrong_epoch(void)
{
	static const int64_t off[] = {-11, -1, 1, 1000};

	paired();
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		(void)payload_head(VMFT_EPOCH_PIECES, 0);
		message.position += (uint64_t)off[i];
		CU_ASSERT_EQUAL(holds(), -EBADMSG);
	}
	nothing_applied();
	history[++epoch % HISTORY] = now;
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), 0);
	CU_ASSERT_EQUAL(holds(), -EBADMSG); /* the same again */
	teardown();
}

/* A piece of many in a payload is bad: those before it are of no epoch either. */
static void test_bad_behind_good(void)
{
	uint8_t *at;

	paired();
	at = payload_head(VMFT_EPOCH_PIECES, 2 * VMFT_EPOCH_PIECE_HEAD);
	at = vmft_wire_put_u32(
	    vmft_wire_put_u32(vmft_wire_put_u32(vmft_wire_put_u64(at, 0), RAM), PAGE),
	    VMFT_EPOCH_ZERO << 24);
	(void)vmft_wire_put_u32(
	    vmft_wire_put_u32(vmft_wire_put_u32(vmft_wire_put_u64(at, 0), REGIONS), PAGE),
	    VMFT_EPOCH_ZERO << 24);
	CU_ASSERT_EQUAL(holds(), -EBADMSG);
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), -EBADMSG);
	nothing_applied();
	teardown();
}

/* Two epochs are kept; a third has to wait until the first is applied. */
static void test_two_halves(void)
{
	paired();
	for (unsigned i = 1; i <= 2; i++) {
		CU_ASSERT(ops->has_room(backup.strategy));
		CU_ASSERT_EQUAL(send_piece(RAM, i * PAGE, PAGE, VMFT_EPOCH_AS_IS), 0);
		memset(now.ram + i * PAGE, 0xa5, PAGE);
		history[++epoch % HISTORY] = now;
		CU_ASSERT_EQUAL(send_plain_commit(1, PAGE), 0);
	}
	CU_ASSERT_EQUAL(ops->held(backup.strategy), 12);
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), 10);
	CU_ASSERT(!ops->has_room(backup.strategy));
	CU_ASSERT_EQUAL(send_piece(RAM, 3 * PAGE, PAGE, VMFT_EPOCH_AS_IS), -ENOSPC);
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), -ENOSPC);
	for (unsigned i = 0; i < 1000 && !ops->has_room(backup.strategy); i++)
		spin(i < 100 ? 0 : MS);
	CU_ASSERT(ops->applied(backup.strategy) >= 11);
	CU_ASSERT_EQUAL(send_piece(RAM, 3 * PAGE, PAGE, VMFT_EPOCH_AS_IS), 0);
	memset(now.ram + 3 * PAGE, 0xa5, PAGE);
	history[++epoch % HISTORY] = now;
	CU_ASSERT_EQUAL(send_plain_commit(1, PAGE), 0);
	all_applied();
	backup_is(&now);
	CU_ASSERT_EQUAL(backup.moved, 3);
	teardown();
}

/* A later piece of memory is the one that counts, and a change is of what came before it. */
static void test_order_in_memory(void)
{
	paired();
	CU_ASSERT_EQUAL(send_piece(RAM, 0, PAGE, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(send_piece(RAM, 0, PAGE, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(send_piece(RAM, 0, PAGE, VMFT_EPOCH_XOR), 0);
	CU_ASSERT_EQUAL(send_piece(RAM, 0, 10, VMFT_EPOCH_AS_IS), 0);
	memset(now.ram, 0, PAGE);
	memset(now.ram, 0xa5, 10);
	history[++epoch % HISTORY] = now;
	CU_ASSERT_EQUAL(send_plain_commit(4, 3 * PAGE + 10), 0);
	all_applied();
	backup_is(&now);
	teardown();
}

/* More than is applied at a go, and more ranges of a disk than are written at once. */
static void test_large_epoch(void)
{
	const unsigned rounds = 4000;

	paired();
	for (unsigned i = 0; i < rounds; i++)
		CU_ASSERT_EQUAL(send_piece(RAM, i % RAM_PAGES * PAGE, PAGE, VMFT_EPOCH_AS_IS), 0);
	for (unsigned i = 0; i < PARTS; i++)
		CU_ASSERT_EQUAL(send_piece(0, i * PART, PART, VMFT_EPOCH_AS_IS), 0);
	memset(now.ram, 0xa5, sizeof(now.ram));
	memset(now.disk[0], 0xa5, DISK_MAX);
	now.disk_bytes[0] = DISK_MAX;
	history[++epoch % HISTORY] = now;
	CU_ASSERT_EQUAL(send_plain_commit(rounds + PARTS, (rounds + PARTS) * (uint64_t)PAGE), 0);
	spin(0);
	all_applied();
	backup_is(&now);
	/* What it took is given back, and the next finds it empty. */
	CU_ASSERT_EQUAL(send_piece(RAM, 0, PAGE, VMFT_EPOCH_ZERO), 0);
	memset(now.ram, 0, PAGE);
	history[++epoch % HISTORY] = now;
	CU_ASSERT_EQUAL(send_plain_commit(1, PAGE), 0);
	all_applied();
	backup_is(&now);
	teardown();
}

/* Made as long as the primary's where no write does it; a device has no length. */
static void test_image_length(void)
{
	static const uint64_t lengths[] = {1, DISK_MAX, 4097, 2 * BLOCK};

	paired();
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		if (lengths[i] < now.disk_bytes[0])
			memset(now.disk[0] + lengths[i], 0, now.disk_bytes[0] - lengths[i]);
		now.disk_bytes[0] = lengths[i];
		history[++epoch % HISTORY] = now;
		CU_ASSERT_EQUAL(send_plain_commit(0, 0), 0);
		all_applied();
		backup_is(&now);
	}
	history[++epoch % HISTORY] = now;
	now.disk_bytes[0] = 0;
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), 0);
	all_applied();
	backup.disk[0].is_device = true;
	now.disk_bytes[0] = 5;
	history[(epoch + 1) % HISTORY] = history[epoch % HISTORY];
	epoch++;
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), 0);
	all_applied();
	backup_is(&history[epoch % HISTORY]);
	CU_ASSERT_EQUAL(backup.broken, 0);
	teardown();
}

/* This side's guest can no longer be applied to: said once, nothing more is taken in, and the
 * epoch does not count. */
static void is_broken_by(const char *what)
{
	for (unsigned i = 0; i < 2000 && !backup.broken; i++)
		spin(MS);
	spin(5 * MS);
	CU_ASSERT_EQUAL(backup.broken, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(backup.why, what));
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), epoch);
	CU_ASSERT_EQUAL(backup.moved, 0);
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), -EBADMSG);
	teardown();
}

static void replace_image(unsigned disk, int fd)
{
	CU_ASSERT_FATAL(fd >= 0);
	vmft_image_close(&backup.disk[disk]);
	backup.disk[disk].fd = fd;
}

static void test_disk_full(void)
{
	paired();
	replace_image(1, open("/dev/full", O_RDWR | O_CLOEXEC));
	for (unsigned i = 0; i < 3 * VMFT_EPOCH_WRITES; i++)
		CU_ASSERT_EQUAL(send_piece(i % 2, i * PART, PART, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(send_plain_commit(3 * VMFT_EPOCH_WRITES, 3 * VMFT_EPOCH_WRITES * PART), 0);
	is_broken_by("cannot be written: No space left on device");
}

/* Half of a write is done, the rest is not possible. */
static void test_disk_short_write(void)
{
	const struct rlimit limit = {.rlim_cur = PAGE + 100, .rlim_max = RLIM_INFINITY};
	struct rlimit before;

	paired();
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
	CU_ASSERT_EQUAL(send_piece(0, 0, 3 * PAGE, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(send_plain_commit(1, 3 * PAGE), 0);
	for (unsigned i = 0; i < 1000 && !backup.broken; i++)
		spin(i < 100 ? 0 : MS);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &before), 0);
	(void)signal(SIGXFSZ, SIG_DFL);
	is_broken_by("cannot be written: File too large");
}

/* An image that cannot be cut, or emptied. */
static void test_disk_read_only(void)
{
	char path[64];

	paired();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", backup.disk[0].fd);
	replace_image(0, open(path, O_RDONLY | O_CLOEXEC));
	now.disk_bytes[0]++;
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), 0);
	is_broken_by("cannot be made as long");

	paired();
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", backup.disk[0].fd);
	replace_image(0, open(path, O_RDONLY | O_CLOEXEC));
	CU_ASSERT_EQUAL(send_piece(0, 0, PART, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(send_plain_commit(1, PART), 0);
	is_broken_by("cannot be written");
}

/* One that the guest only reads: no epoch writes to it, or makes it another length. */
static void test_disk_of_the_guests_read_only(void)
{
	paired();
	backup.disk[1].read_only = true;
	CU_ASSERT_EQUAL(send_piece(1, 0, PART, VMFT_EPOCH_AS_IS), -EBADMSG);
	CU_ASSERT_EQUAL(send_piece(1, 0, PART, VMFT_EPOCH_ZERO), -EBADMSG);
	teardown();

	paired();
	backup.disk[1].read_only = true;
	history[++epoch % HISTORY] = now;
	now.disk_bytes[1]--;
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), 0);
	all_applied();
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), epoch);
	CU_ASSERT_EQUAL(backup.broken, 0);
	teardown();
}

/* The primary is gone: what cannot be written is tried until it can, and is applied whole. */
static void waits_for_disk(void (*write)(void))
{
	char path[64];
	int good;

	paired();
	backup.only_copy = true;
	good = fcntl(backup.disk[0].fd, F_DUPFD_CLOEXEC, 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", good);
	replace_image(0, open(path, O_RDONLY | O_CLOEXEC));
	write();
	for (unsigned i = 0; i < 5000 && backup.disk_failed < 3; i++)
		spin(MS);
	CU_ASSERT(backup.disk_failed >= 3);
	CU_ASSERT_PTR_NOT_NULL(strstr(backup.why, "disk error: "));
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), epoch - 1);
	CU_ASSERT_EQUAL(backup.moved, 0);
	replace_image(0, good);
	for (unsigned i = 0; i < 5000 && ops->applied(backup.strategy) < epoch; i++)
		spin(MS);
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), epoch);
	backup_is(&now);
	CU_ASSERT_EQUAL(backup.broken, 0);
	teardown();
}

static void write_disk(void)
{
	memset(now.disk[0], 0xa5, 2 * BLOCK);
	history[++epoch % HISTORY] = now;
	for (unsigned i = 0; i < 2 * BLOCK / PART; i++)
		CU_ASSERT_EQUAL(send_piece(0, i * PART, PART, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(send_plain_commit(2 * BLOCK / PART, 2 * BLOCK), 0);
}

static void zero_disk(void)
{
	memset(now.disk[0] + PART, 0, PART);
	history[++epoch % HISTORY] = now;
	CU_ASSERT_EQUAL(send_piece(0, PART, PART, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(send_plain_commit(1, PART), 0);
}

static void lengthen_disk(void)
{
	now.disk_bytes[0]++;
	history[++epoch % HISTORY] = now;
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), 0);
}

static void test_disk_waited_for(void)
{
	waits_for_disk(write_disk);
	waits_for_disk(zero_disk);
	waits_for_disk(lengthen_disk);
}

static void test_go_live(void)
{
	struct vmft_area *area;

	paired();
	area = backup.link.area;
	next_epoch();
	all_applied();
	ops->go_live(backup.strategy, epoch);
	for (unsigned i = 0; i < DISKS; i++)
		CU_ASSERT_EQUAL(backup.disk[i].fd, -1);
	CU_ASSERT_EQUAL(atomic_load(&backup.link.iface->command), VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(atomic_load(&area->op), VMFT_AREA_LOAD);
	CU_ASSERT_EQUAL(atomic_load(&area->load_position), epoch);
	CU_ASSERT_EQUAL(atomic_load(&area->load_bytes), now.state_bytes);
	ops->look(backup.strategy);
	CU_ASSERT_EQUAL(backup.broken, 0);
	atomic_store(&area->result, -EIO);
	(void)snprintf(area->error, sizeof(area->error), "a reason");
	atomic_store(&area->done, atomic_load(&area->request));
	ops->look(backup.strategy);
	ops->look(backup.strategy);
	CU_ASSERT_EQUAL(backup.broken, 1);
	CU_ASSERT_STRING_EQUAL(backup.why, "a reason");
	teardown();
}

/* The backup's monitor after an attach point, or just before it: its images are those that epochs
 * are applied to. */
static void behind_attach_point(struct vmft_monitor *m, bool reached)
{
	const struct vmft_strategy_world world = {
	    .loop = loop,
	    .link = &backup.link,
	    .config = &backup.config,
	    .disk = m->options.disk,
	    .disk_count = DISKS,
	    .moved = on_moved,
	    .broken = on_broken,
	    .disk_failed = on_disk_failed,
	    .user = &backup,
	};

	memset(m, 0, sizeof(*m));
	m->loop = loop;
	m->agent = backup.link;
	m->options.disk_count = DISKS;
	for (unsigned i = 0; i < DISKS; i++) {
		m->options.disk[i] = backup.disk[i];
		backup.disk[i].fd = -1;
	}
	ops->close(backup.strategy);
	CU_ASSERT_EQUAL_FATAL(ops->open(&world, &backup.strategy), 0);
	if (reached)
		CU_ASSERT_EQUAL(ops->restart(backup.strategy, epoch, false), 0);
	m->options.strategy = m->strategy_ops = ops;
	m->strategy = backup.strategy;
	m->core.state = VMFT_STATE_ENDED;
	CU_ASSERT_EQUAL_FATAL(vmft_attaching_init(m), 0);
	m->sink.phase = VMFT_ATTACH_CATCHING_UP;
	m->sink.loaded = true;
}

static void leaves(struct vmft_monitor *m)
{
	for (unsigned i = 0; i < DISKS; i++)
		vmft_image_close(&m->options.disk[i]);
	vmft_attach_source_fini(&m->source);
	vmft_attach_sink_fini(&m->sink);
	teardown();
}

/* Files that get the numbers of descriptors that were just closed keep their bytes. */
static void ends_in_order(struct vmft_monitor *m)
{
	int other[DISKS];
	struct stat st;

	vmft_attach_sink_failed(&m->sink);
	for (unsigned i = 0; i < DISKS; i++)
		other[i] = memfd_create("another file", MFD_CLOEXEC);
	for (unsigned i = 0; i < 2000 && m->sink.phase != VMFT_ATTACH_IDLE; i++) {
		spin(MS);
		vmft_attach_sink_look(&m->sink);
	}
	spin(20 * MS);
	CU_ASSERT_EQUAL(m->sink.phase, VMFT_ATTACH_IDLE);
	CU_ASSERT_EQUAL(backup.broken, 0);
	CU_ASSERT_EQUAL(ops->applied(backup.strategy), epoch);
	CU_ASSERT_EQUAL(send_plain_commit(0, 0), -EBADMSG);
	for (unsigned i = 0; i < DISKS; i++) {
		CU_ASSERT_EQUAL(m->options.disk[i].fd, -1);
		CU_ASSERT(fstat(other[i], &st) == 0 && st.st_size == 0);
		close(other[i]);
	}
}

/* The attach does not come to an end while an epoch is applied, at any point of that. */
static void test_attach_fails_while_applying(void)
{
	static struct vmft_monitor m;

	for (unsigned spins = 0; spins < 3; spins++) {
		paired();
		behind_attach_point(&m, true);
		for (unsigned i = 0; i < 3 * VMFT_EPOCH_WRITES; i++)
			CU_ASSERT_EQUAL(send_piece(i % 2, i * PART, PART, VMFT_EPOCH_AS_IS), 0);
		CU_ASSERT_EQUAL(
		    send_plain_commit(3 * VMFT_EPOCH_WRITES, 3 * VMFT_EPOCH_WRITES * PART), 0);
		for (unsigned i = 0; i < spins; i++)
			spin(0);
		if (ops->applied(backup.strategy) == epoch)
			ends_in_order(&m);
		leaves(&m);
	}
}

/* ... or while one that was is made durable. */
static void test_attach_fails_while_syncing(void)
{
	static struct vmft_monitor m;

	paired();
	behind_attach_point(&m, true);
	memset(now.disk[0], 0xa5, PART);
	CU_ASSERT_EQUAL(send_piece(0, 0, PART, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(send_plain_commit(1, PART), 0);
	backup.quiet = true;
	epoch++;
	while (ops->applied(backup.strategy) < epoch)
		spin(0);
	ends_in_order(&m);
	leaves(&m);
}

static bool core_told;

static void tell_core(struct vmft_op *op, int result)
{
	(void)op;
	(void)result;
	core_told = true;
}

/* The guest's memory cannot be mapped at the attach point: the core hears of that, and of it
 * only. An attach point after the guest's end would abort the monitor. */
static void test_attach_point_without_memory(void)
{
	const struct vmft_point point = {.state_bytes = 1, .disk_count = DISKS};
	uint8_t payload[512];
	struct vmft_frame_info info = {
	    .type = VMFT_FRAME_POINT, .position = epoch, .payload = payload};
	static struct vmft_monitor m;

	paired();
	behind_attach_point(&m, false);
	vmft_core_init(&m.core, VMFT_SIDE_BACKUP, 1);
	m.core.state = VMFT_STATE_ATTACHING;
	m.broken_op = (struct vmft_op){.done = tell_core, .owner = &m};
	m.sink.phase = VMFT_ATTACH_COPYING;
	m.sink.loaded = false;
	m.sink.synced = m.sink.proven = true;
	m.sink.state_bytes = 1;
	core_told = false;
	backup.link.ram_fd = -1;
	info.length = (uint32_t)vmft_point_encode(&point, payload);
	CU_ASSERT_EQUAL(vmft_attach_sink_got_frame(&m.sink, &info), 0);
	CU_ASSERT(m.agent_broken);
	CU_ASSERT_EQUAL(m.core.state, VMFT_STATE_ATTACHING);
	CU_ASSERT_FALSE(m.core.pointed);
	CU_ASSERT_EQUAL(m.sink.phase, VMFT_ATTACH_COPYING);
	spin(MS);
	CU_ASSERT(core_told);
	leaves(&m);
}

/* The agent has carried out what it was asked last. */
static void answers(struct vmft_monitor *m, int result, const char *error)
{
	struct vmft_area *area = m->agent.area;

	CU_ASSERT_FALSE(vmft_attach_sink_has_room(&m->sink));
	vmft_attach_sink_look(&m->sink);
	CU_ASSERT(m->sink.proving);
	(void)snprintf(area->error, sizeof(area->error), "%s", error);
	atomic_store(&area->result, result);
	atomic_store(&area->done, atomic_load(&area->request));
	vmft_attach_sink_look(&m->sink);
	CU_ASSERT_FALSE(m->sink.proving);
	CU_ASSERT(vmft_attach_sink_has_room(&m->sink));
}

/* The attach point is not reached before the agent has loaded the state once. If it cannot the
 * attempt is over, and the next one proves its state anew. */
static void test_attach_point_is_proven(void)
{
	const struct vmft_point point = {.state_bytes = 9, .disk_count = DISKS};
	uint8_t payload[512];
	struct vmft_frame_info info = {
	    .type = VMFT_FRAME_POINT, .position = epoch, .payload = payload};
	static struct vmft_monitor m;
	struct vmft_area *area;

	for (unsigned i = 0; i < 2; i++) {
		const bool good = i == 0;

		paired();
		behind_attach_point(&m, false);
		vmft_core_init(&m.core, VMFT_SIDE_BACKUP, 1);
		m.core.state = VMFT_STATE_ATTACHING;
		m.sink.phase = VMFT_ATTACH_COPYING;
		m.sink.loaded = false;
		m.sink.synced = true;
		m.sink.state_bytes = 9;
		info.length = (uint32_t)vmft_point_encode(&point, payload);
		CU_ASSERT_EQUAL(vmft_attach_sink_got_frame(&m.sink, &info), -ENOSPC);
		area = m.agent.area;
		CU_ASSERT_EQUAL(atomic_load(&area->op), VMFT_AREA_PROVE);
		CU_ASSERT_EQUAL(atomic_load(&area->load_bytes), 9);
		CU_ASSERT_EQUAL(vmft_attach_sink_got_frame(&m.sink, &info), -ENOSPC);
		answers(&m, good ? 0 : -EIO, "QEMU could not load it");
		CU_ASSERT_EQUAL(m.sink.proven, good);
		if (good) {
			CU_ASSERT_EQUAL(vmft_attach_sink_got_frame(&m.sink, &info), 0);
			CU_ASSERT_EQUAL(m.sink.phase, VMFT_ATTACH_CATCHING_UP);
			CU_ASSERT(m.core.pointed);
		} else {
			CU_ASSERT_NOT_EQUAL(m.core.state, VMFT_STATE_ATTACHING);
			CU_ASSERT_FALSE(m.core.pointed);
		}
		leaves(&m);
	}
}

static const char frame[] = "a frame that came in";

/* As the agent of the primary writes it. */
static void comes_in(uint64_t *at, uint64_t of_epoch, uint32_t n)
{
	const struct vmft_ring *ring = &primary.link.ring;
	const struct vmft_input head = {.epoch = of_epoch, .nic = 1, .bytes = n};

	vmft_ring_write(ring, *at, (const uint8_t *)&head, sizeof(head));
	vmft_ring_write(ring, *at + sizeof(head), (const uint8_t *)frame, n);
	*at += sizeof(head) + (n + 7) / 8 * 8;
	vmft_ring_publish(ring, *at);
}

/* What no epoch that is held has seen is handed out when the backup goes live, in its order. */
static void test_input(void)
{
	const struct vmft_ring *ring = &backup.link.ring;
	struct vmft_input head;
	uint8_t bytes[sizeof(frame)];
	uint64_t at = 0;

	paired();
	comes_in(&at, epoch + 1, 3);
	CU_ASSERT(takes());
	CU_ASSERT_EQUAL(holds(), 0);
	next_epoch();		 /* it has seen that one */
	comes_in(&at, epoch, 4); /* late: and this one */
	comes_in(&at, epoch + 1, 5);
	comes_in(&at, epoch + 2, sizeof(frame));
	while (takes())
		CU_ASSERT_EQUAL(holds(), 0);
	CU_ASSERT_EQUAL(atomic_load(&primary.link.iface->log_tail), at);
	all_applied();
	CU_ASSERT_EQUAL(vmft_ring_ready(ring, 0), 0);
	ops->go_live(backup.strategy, epoch);
	CU_ASSERT_EQUAL_FATAL(vmft_ring_ready(ring, 0), (int64_t)(2 * sizeof(head) + 8 + 24));
	vmft_ring_read(ring, 0, (uint8_t *)&head, sizeof(head));
	CU_ASSERT_EQUAL(head.bytes, 5);
	vmft_ring_read(ring, sizeof(head) + 8, (uint8_t *)&head, sizeof(head));
	CU_ASSERT_EQUAL(head.epoch, epoch + 2);
	CU_ASSERT_EQUAL(head.nic, 1);
	CU_ASSERT_EQUAL_FATAL(head.bytes, sizeof(frame));
	vmft_ring_read(ring, 2 * sizeof(head) + 8, bytes, sizeof(frame));
	CU_ASSERT_EQUAL(memcmp(bytes, frame, sizeof(frame)), 0);
	teardown();
}

/* More than the backup keeps is what a network loses; the epoch is whole without it. */
static void test_input_too_much(void)
{
	uint64_t at = 0;

	paired();
	for (unsigned i = 0; i < 100000; i++) {
		comes_in(&at, epoch + 2, sizeof(frame));
		CU_ASSERT_FATAL(takes());
		CU_ASSERT_FATAL(holds() == 0);
	}
	next_epoch();
	all_applied();
	backup_is(&now);
	ops->go_live(backup.strategy, epoch);
	CU_ASSERT(vmft_ring_ready(&backup.link.ring, 0) > 900000);
	teardown();
}

/* The agent's memory is not trusted. */
static void test_input_nonsense(void)
{
	static const uint32_t lengths[] = {0, VMFT_INPUT_MAX + 1, UINT32_MAX};

	for (size_t i = 0; i < 3; i++) {
		uint64_t at = 0;

		paired();
		comes_in(&at, epoch + 1, 3);
		primary.link.ring.data[12] = (uint8_t)lengths[i];
		primary.link.ring.data[13] = (uint8_t)(lengths[i] >> 8);
		primary.link.ring.data[14] = (uint8_t)(lengths[i] >> 16);
		primary.link.ring.data[15] = (uint8_t)(lengths[i] >> 24);
		CU_ASSERT_EQUAL(ops->take(primary.strategy, message.bytes, sizeof(message.bytes),
					  &message.position),
				-EBADMSG);
		teardown();
	}
}

/* --- the primary alone --------------------------------------------------------------- */

/* An epoch whose payloads nobody looks at. */
static void lose_epoch(void)
{
	CU_ASSERT_FATAL(comes_to_ask(VMFT_AREA_EPOCH));
	takes_epoch();
	while (takes())
		;
}

static void paced(uint32_t ms)
{
	setup();
	primary.config.epoch_ms = primary.config.epoch_max_ms = ms;
	pair_forms();
}

/* So many that the backup has not acknowledged, and no more. */
static void test_unacked(void)
{
	paired();
	for (unsigned i = 0; i < 4; i++)
		lose_epoch();
	CU_ASSERT(stays_silent());
	ops->acked(primary.strategy, 10); /* nothing new */
	CU_ASSERT(stays_silent());
	ops->acked(primary.strategy, 11);
	lose_epoch();
	CU_ASSERT(stays_silent());
	ops->acked(primary.strategy, 15);
	ops->acked(primary.strategy, 12); /* late */
	for (unsigned i = 0; i < 4; i++)
		lose_epoch();
	CU_ASSERT(stays_silent());
	teardown();
}

/* No next one before what was staged is given out: the agent would write over it. */
static void test_one_at_a_time(void)
{
	paired();
	guest_writes_all();
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	ops->look(primary.strategy);
	takes_epoch();
	CU_ASSERT(stays_silent());
	CU_ASSERT(ops->backlog_ns(primary.strategy, vmft_loop_now()) >= 20 * MS);
	CU_ASSERT(takes());
	CU_ASSERT(stays_silent());
	while (takes())
		;
	CU_ASSERT_EQUAL(ops->backlog_ns(primary.strategy, vmft_loop_now()), 0);
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	teardown();
}

/* What waits for the end of the epoch under way ends it early; output of one that has ended waits
 * for the channel. */
static void test_output_ends_epoch(void)
{
	struct vmft_iface *iface;

	paced(5000);
	iface = primary.link.iface;
	CU_ASSERT(stays_silent());
	atomic_store(&iface->gate_newest, epoch);
	atomic_store(&iface->gate_frames, 1);
	ops->look(primary.strategy);
	CU_ASSERT(stays_silent());
	atomic_store(&iface->gate_newest, epoch + 1);
	ops->look(primary.strategy);
	CU_ASSERT(!stays_silent());
	takes_epoch();
	while (takes())
		;
	CU_ASSERT_EQUAL(ops->figures(primary.strategy)->early, 1);
	CU_ASSERT(stays_silent());
	teardown();
}

/* Seen outside while the gate was closing: the pair is not sealed before that epoch is held. */
static void test_closing_gate_ends_epoch(void)
{
	paced(5000);
	atomic_store(&primary.link.iface->gate_closed_at, epoch + 1);
	ops->look(primary.strategy);
	CU_ASSERT(stays_silent());
	atomic_store(&primary.link.iface->gate_closed_at, epoch + 2);
	ops->look(primary.strategy);
	CU_ASSERT(!stays_silent());
	teardown();
}

static void test_frozen(void)
{
	paired();
	atomic_store(&primary.link.iface->frozen_at, epoch + 1);
	CU_ASSERT(stays_silent());
	ops->look(primary.strategy);
	CU_ASSERT(stays_silent());
	atomic_store(&primary.link.iface->frozen_at, 0);
	ops->look(primary.strategy);
	CU_ASSERT(!stays_silent());
	teardown();
}

static void asks_to_drop_once(void)
{
	CU_ASSERT_FATAL(is_asked(VMFT_AREA_DROP));
	CU_ASSERT(!ops->is_idle(primary.strategy));
	ops->halt(primary.strategy);
	atomic_store(&primary.link.area->more, 0);
	answer(0);
	CU_ASSERT(ops->is_idle(primary.strategy));
	CU_ASSERT(!takes());
	CU_ASSERT(stays_silent());
	CU_ASSERT(!is_asked(VMFT_AREA_DROP));
	CU_ASSERT(ops->is_empty(primary.strategy));
}

/* The backup is lost, at each point of an epoch: the agent is told to stop marking, once, and
 * what it had staged is void. */
static void test_halt(void)
{
	/* nothing asked */
	paced(5000);
	CU_ASSERT(!ops->is_idle(primary.strategy));
	ops->halt(primary.strategy);
	asks_to_drop_once();
	teardown();

	/* asked and not answered */
	paired();
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	ops->halt(primary.strategy);
	CU_ASSERT(is_asked(VMFT_AREA_EPOCH));
	takes_epoch();
	asks_to_drop_once();
	teardown();

	/* staged; given out in part; more of it to be staged */
	for (unsigned step = 0; step < 3; step++) {
		paired();
		guest_writes_all();
		if (step == 2)
			room = 30 * PAGE;
		CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
		takes_epoch();
		if (step == 1)
			CU_ASSERT(takes());
		ops->halt(primary.strategy);
		asks_to_drop_once();
		/* A new pair finds nothing of it. */
		room = VMFT_AREA_STAGING_BYTES;
		pair_forms();
		guest_runs();
		next_epoch();
		all_applied();
		backup_is(&now);
		teardown();
	}

	/* more of it asked for */
	paired();
	guest_writes_all();
	room = 30 * PAGE;
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	takes_epoch();
	while (takes())
		;
	CU_ASSERT(is_asked(VMFT_AREA_EPOCH));
	ops->halt(primary.strategy);
	takes_epoch();
	asks_to_drop_once();
	teardown();
}

/* It is told that its guest is not protected, once, and the agent to let it go. */
static void primary_breaks(const char *why)
{
	CU_ASSERT_EQUAL(primary.broken, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(primary.why, why));
	CU_ASSERT(!takes());
	asks_to_drop_once();
	CU_ASSERT_EQUAL(primary.broken, 1);
	teardown();
}

static void test_agent_fails(void)
{
	paired();
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	(void)snprintf(primary.link.area->error, sizeof(primary.link.area->error), "a reason");
	answer(-EIO);
	primary_breaks("a reason");
}

static void answers_nonsense(uint64_t staged, uint64_t state, uint64_t position)
{
	struct vmft_area *area;

	paired();
	area = primary.link.area;
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	atomic_store(&area->staged_bytes, staged);
	atomic_store(&area->state_bytes, state);
	atomic_store(&area->point_position, position);
	atomic_store(&area->more, 0);
	answer(0);
	primary_breaks("makes no sense");
}

static void test_agent_answers_nonsense(void)
{
	answers_nonsense(VMFT_AREA_STAGING_BYTES + 1, 100, 11);
	answers_nonsense(UINT64_MAX, 100, 11);
	answers_nonsense(0, VMFT_AREA_STATE_BYTES + 1, 11);
	answers_nonsense(0, 100, 10);
	answers_nonsense(0, 100, 12);
}

static void stages_nonsense(struct vmft_area_piece piece, uint64_t staged)
{
	struct vmft_area *area;

	paired();
	area = primary.link.area;
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	memcpy((uint8_t *)area + area->staging_at, &piece, sizeof(piece));
	atomic_store(&area->staged_bytes, staged);
	atomic_store(&area->state_bytes, 100);
	atomic_store(&area->point_position, epoch + 1);
	answer(0);
	CU_ASSERT_EQUAL(
	    ops->take(primary.strategy, message.bytes, sizeof(message.bytes), &message.position),
	    -EBADMSG);
	teardown();
}

/* The monitor that is told so loses its backup. */
static void test_agent_stages_nonsense(void)
{
	const uint64_t head = sizeof(struct vmft_area_piece);

	stages_nonsense((struct vmft_area_piece){0, RAM, PAGE}, head - 1);
	stages_nonsense((struct vmft_area_piece){0, RAM, PAGE}, head + PAGE - 1);
	stages_nonsense((struct vmft_area_piece){0, 0, BLOCK + 1}, head + 2 * BLOCK);
	stages_nonsense((struct vmft_area_piece){0, 0, UINT32_MAX}, head + 2 * BLOCK);
	stages_nonsense((struct vmft_area_piece){0, VMFT_AREA_REGIONS_MAX, PAGE}, head + PAGE);
	stages_nonsense((struct vmft_area_piece){0, RAM, PAGE + 1}, head + 2 * PAGE);
	stages_nonsense((struct vmft_area_piece){0, RAM, 0}, head);
	stages_nonsense((struct vmft_area_piece){1, RAM, PAGE}, head + PAGE);
}

/* What the agent writes over the area's header changes nothing: it was looked at once. */
static void test_agent_moves_the_area(void)
{
	const struct vmft_area_piece piece = {.offset = 1, .region = 40, .bytes = 0};
	struct vmft_area *area;
	uint64_t area_bytes;

	paired();
	area = primary.link.area;
	area_bytes = area->area_bytes;
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	memcpy((uint8_t *)area + area->staging_at, &piece, sizeof(piece));
	atomic_store(&area->staged_bytes, sizeof(piece));
	atomic_store(&area->state_bytes, 100);
	atomic_store(&area->point_position, epoch + 1);
	area->disk_count = 1000;
	area->staging_at = area->state_at = UINT64_C(1) << 60;
	answer(0);
	CU_ASSERT_EQUAL(
	    ops->take(primary.strategy, message.bytes, sizeof(message.bytes), &message.position),
	    -EBADMSG);
	area->area_bytes = area_bytes;
	teardown();
}

/* The guest has switched itself off: what it did last is one more epoch, whatever the pacer and a
 * drill say; then there is no more. */
static void test_finish_alive(void)
{
	paced(5000);
	atomic_store(&primary.link.iface->frozen_at, epoch + 1);
	CU_ASSERT(stays_silent());
	CU_ASSERT(!ops->is_empty(primary.strategy));
	guest_runs();
	ops->finish(primary.strategy, true);
	CU_ASSERT(is_asked(VMFT_AREA_EPOCH));
	CU_ASSERT(!ops->is_empty(primary.strategy));
	ship_epoch();
	CU_ASSERT(ops->is_empty(primary.strategy));
	CU_ASSERT(stays_silent());
	acks();
	ops->finish(primary.strategy, true);
	CU_ASSERT(stays_silent());
	all_applied();
	backup_is(&now);
	teardown();
}

/* One that was asked for before its end was known may lack it: there is one more. */
static void test_finish_asked(void)
{
	paired();
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	ops->finish(primary.strategy, true);
	ship_epoch();
	CU_ASSERT(!ops->is_empty(primary.strategy));
	CU_ASSERT(is_asked(VMFT_AREA_EPOCH));
	ship_epoch();
	CU_ASSERT(ops->is_empty(primary.strategy));
	CU_ASSERT(stays_silent());
	teardown();
}

/* The last is bound by acks like any other. */
static void test_finish_unacked(void)
{
	paired();
	for (unsigned i = 0; i < 4; i++)
		lose_epoch();
	ops->finish(primary.strategy, true);
	CU_ASSERT(!is_asked(VMFT_AREA_EPOCH));
	CU_ASSERT(!ops->is_empty(primary.strategy));
	ops->acked(primary.strategy, 11);
	CU_ASSERT(is_asked(VMFT_AREA_EPOCH));
	teardown();
}

/* QEMU is gone: what it had staged whole is still there, the rest is not. */
static void test_finish_gone(void)
{
	paced(5000);
	ops->finish(primary.strategy, false);
	CU_ASSERT(ops->is_empty(primary.strategy));
	CU_ASSERT(!takes());
	teardown();

	paired(); /* asked, never answered */
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	ops->finish(primary.strategy, false);
	CU_ASSERT(ops->is_empty(primary.strategy));
	CU_ASSERT(!takes());
	teardown();

	paired(); /* answered, not looked at */
	guest_runs();
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	takes_epoch();
	ops->finish(primary.strategy, false);
	CU_ASSERT(!ops->is_empty(primary.strategy));
	while (takes())
		arrives();
	CU_ASSERT(ops->is_empty(primary.strategy));
	CU_ASSERT_EQUAL(ops->held(backup.strategy), 11);
	all_applied();
	backup_is(&now);
	teardown();

	paired(); /* half of it */
	guest_writes_all();
	room = 30 * PAGE;
	CU_ASSERT(comes_to_ask(VMFT_AREA_EPOCH));
	takes_epoch();
	CU_ASSERT(takes());
	arrives();
	ops->finish(primary.strategy, false);
	CU_ASSERT(ops->is_empty(primary.strategy));
	CU_ASSERT(!takes());
	all_applied();
	backup_is(&history[epoch % HISTORY]);
	teardown();
}

/* Without a backup there is nothing to give out. */
static void test_never_paired(void)
{
	setup();
	CU_ASSERT(ops->is_empty(primary.strategy));
	CU_ASSERT(ops->is_idle(primary.strategy));
	CU_ASSERT(!takes());
	ops->acked(primary.strategy, 5);
	ops->look(primary.strategy);
	ops->halt(primary.strategy);
	ops->finish(primary.strategy, true);
	CU_ASSERT(stays_silent());
	CU_ASSERT(ops->is_idle(primary.strategy));
	CU_ASSERT_EQUAL(ops->backlog_ns(primary.strategy, vmft_loop_now()), 0);
	teardown();
}

int vmft_suite_checkpoint_daemon(void)
{
	static CU_TestInfo tests[] = {
	    {"many epochs", test_many_epochs},
	    {"many epochs without a cache", test_no_cache},
	    {"an empty epoch", test_empty_epoch},
	    {"figures", test_figures},
	    {"figures of a pair", test_figures_of_a_pair},
	    {"bad pieces", test_bad_pieces},
	    {"pieces to the end", test_pieces_to_the_end},
	    {"bad commits", test_bad_commits},
	    {"bad payloads", test_bad_payloads},
	    {"another epoch's", test_wrong_epoch},
	    {"bad behind good", test_bad_behind_good},
	    {"two halves", test_two_halves},
	    {"order in memory", test_order_in_memory},
	    {"a large epoch", test_large_epoch},
	    {"an image's length", test_image_length},
	    {"a full disk", test_disk_full},
	    {"a short write", test_disk_short_write},
	    {"an image that cannot be written", test_disk_read_only},
	    {"a read-only image", test_disk_of_the_guests_read_only},
	    {"a disk that is waited for", test_disk_waited_for},
	    {"go live", test_go_live},
	    {"an attach fails while an epoch is applied", test_attach_fails_while_applying},
	    {"an attach fails while images are made durable", test_attach_fails_while_syncing},
	    {"an attach point without memory ends in order", test_attach_point_without_memory},
	    {"an attach point whose state is proven", test_attach_point_is_proven},
	    {"input", test_input},
	    {"input, too much", test_input_too_much},
	    {"input that is nonsense", test_input_nonsense},
	    {"so many not acknowledged", test_unacked},
	    {"one at a time", test_one_at_a_time},
	    {"output ends an epoch", test_output_ends_epoch},
	    {"a closing gate ends an epoch", test_closing_gate_ends_epoch},
	    {"frozen", test_frozen},
	    {"halt", test_halt},
	    {"the agent fails", test_agent_fails},
	    {"the agent answers nonsense", test_agent_answers_nonsense},
	    {"the agent stages nonsense", test_agent_stages_nonsense},
	    {"the agent moves the area", test_agent_moves_the_area},
	    {"finish alive", test_finish_alive},
	    {"finish, one asked for", test_finish_asked},
	    {"finish, some not acknowledged", test_finish_unacked},
	    {"finish gone", test_finish_gone},
	    {"never paired", test_never_paired},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints, in the monitors", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
