/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "attach_ends.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "monitor/common/area-setup.h"
#include "monitor/common/iface-setup.h"

#define RING_BYTES (1u << 20)
#define PAGE	   VMFT_RAM_BLOCK_BYTES
#define BLOCK	   VMFT_DISK_BLOCK_BYTES
#define PATIENCE   UINT64_C(60000000000) /* of a machine that is busy */

struct ends ends;

/* --- the channel ---------------------------------------------------------- */

struct message {
	struct message *next;
	struct vmft_frame_info info;
	uint8_t bytes[];
};

static struct message *to_sink, *to_source;

static uint8_t *on_room(void *user, size_t n)
{
	struct end *end = user;

	return end->full || n > sizeof(end->room) ? NULL : end->room;
}

static void on_send(void *user, enum vmft_frame_type type, uint64_t position, uint8_t *payload,
		    size_t n)
{
	struct end *end = user;
	struct message **last = end == &ends.primary ? &to_sink : &to_source;
	struct message *message = malloc(sizeof(*message) + n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(message);
	CU_ASSERT_PTR_EQUAL(payload, end->room);
	memcpy(message->bytes, payload, n);
	message->next = NULL;
	message->info = (struct vmft_frame_info){
	    .type = (uint16_t)type,
	    .position = position,
	    .length = (uint32_t)n,
	    .payload = message->bytes,
	};
	while (*last)
		last = &(*last)->next;
	*last = message;
	end->sent++;
}

static void forget(struct message **queue)
{
	while (*queue) {
		struct message *message = *queue;

		*queue = message->next;
		free(message);
	}
}

void ends_cut(void)
{
	forget(&to_sink);
	forget(&to_source);
}

static int sink_gets(const struct vmft_frame_info *info)
{
	return info->type == VMFT_FRAME_ATTACH ? vmft_attach_sink_got_attach(&ends.sink, info)
					       : vmft_attach_sink_got_frame(&ends.sink, info);
}

static int source_gets(const struct vmft_frame_info *info)
{
	return info->type == VMFT_FRAME_READY ? vmft_attach_source_got_ready(&ends.source)
					      : vmft_attach_source_got_want(&ends.source, info);
}

/* In order, up to one that there is no room for. */
static void deliver(struct message **queue, int (*gets)(const struct vmft_frame_info *info))
{
	while (*queue) {
		struct message *message = *queue;
		int rc;

		*queue = message->next;
		rc = gets(&message->info);
		CU_ASSERT(rc == 0 || rc == -ENOSPC);
		if (rc == -ENOSPC) {
			message->next = *queue;
			*queue = message;
			return;
		}
		free(message);
	}
}

/* --- the rest of the world ------------------------------------------------ */

static int on_begin_log(void *user, uint64_t position)
{
	struct end *end = user;

	if (end->log_result == 0)
		end->log_at = position;
	return end->log_result;
}

static void on_point(void *user, uint64_t position)
{
	struct end *end = user;

	CU_ASSERT_EQUAL(end->log_at, position);
	end->points++;
	end->point = position;
}

/* As the hub: the core gives the attempt up at once, and there is none any more. */
static void on_failed(void *user, const char *why)
{
	struct end *end = user;

	if (end->over)
		return;
	end->over = true;
	end->failed++;
	(void)snprintf(end->why, sizeof(end->why), "%s", why);
	if (end == &ends.primary)
		vmft_attach_source_failed(&ends.source, NULL);
	else
		vmft_attach_sink_failed(&ends.sink);
}

static struct vmft_attach_backup on_backup(void *user, uint64_t now)
{
	struct end *end = user;

	(void)now;
	return end->backup;
}

static void on_caught_up(void *user)
{
	struct end *end = user;

	end->caught_up++;
}

static void on_gate_closed(void *user, uint64_t position)
{
	struct end *end = user;

	end->closed++;
	end->closed_at = position;
}

static void on_resume(void *user)
{
	(void)user;
}

static bool on_abandon(void *user)
{
	struct end *end = user;

	return end->abandons;
}

static void on_broken(void *user, const char *why)
{
	struct end *end = user;

	end->broken++;
	(void)snprintf(end->why, sizeof(end->why), "%s", why);
}

/* --- the agents ------------------------------------------------------------ */

/* The regions as an agent lists them. */
static void describe(struct vmft_area *area)
{
	static const struct vmft_region memory[] = {
	    {.kind = VMFT_REGION_RAM, .bytes = ENDS_RAM_PAGES * PAGE, .name = "vmft.ram"},
	    {.kind = VMFT_REGION_SHADOW, .bytes = ENDS_ROM_BYTES, .name = "pc.bios"},
	};
	uint64_t shadow_at = area->shadow_at;

	for (unsigned i = ENDS_RAM; i < ENDS_REGIONS; i++) {
		const struct vmft_region *before = &area->region[i - 1];
		struct vmft_region *region = &area->region[i];

		*region = memory[i - ENDS_RAM];
		region->bitmap_at = before->bitmap_at + vmft_region_bitmap_bytes(before);
		if (region->kind != VMFT_REGION_SHADOW)
			continue;
		region->shadow_at = shadow_at;
		shadow_at += (region->bytes + PAGE - 1) / PAGE * PAGE;
	}
	atomic_store(&area->region_count, ENDS_REGIONS);
}

static uint64_t stage(struct vmft_area *area, uint64_t at, struct vmft_area_piece piece)
{
	uint8_t *to = (uint8_t *)area + area->staging_at + at;

	memcpy(to, &piece, sizeof(piece));
	memset(to + sizeof(piece), 0xd7, piece.bytes);
	return at + sizeof(piece) + (piece.bytes + 15u) / 16 * 16;
}

static void take_point(struct end *end)
{
	struct vmft_area *area = end->link.area;
	uint64_t at = 0;

	for (unsigned i = 0; i < ENDS_DISKS; i++)
		at = stage(area, at,
			   (struct vmft_area_piece){.region = i, .offset = ENDS_DISK_BYTES});
	if (end->piece.region > 0)
		at = stage(area, at, end->piece);
	for (unsigned i = 0; i < ENDS_STATE; i++)
		((uint8_t *)area + area->state_at)[i] = (uint8_t)(i / 7);
	atomic_store(&area->staged_bytes, at);
	atomic_store(&area->state_bytes, ENDS_STATE);
	atomic_store(&area->point_position, ENDS_POINT);
	atomic_store(&area->stop_ns, 1000000);
}

static void agent(struct end *end)
{
	struct vmft_area *area = end->link.area;
	const enum vmft_area_op op = (enum vmft_area_op)atomic_load(&area->op);
	const int result = op == end->fails ? end->agent_result : 0;

	if (end->silent || atomic_load(&area->request) == atomic_load(&area->done))
		return;
	if (op == VMFT_AREA_TRACK || op == VMFT_AREA_DESCRIBE)
		describe(area);
	if (op == VMFT_AREA_SCAN && end->on_scan)
		end->on_scan();
	if (op == VMFT_AREA_POINT && result == 0)
		take_point(end);
	(void)snprintf(area->error, sizeof(area->error), "%s", result < 0 ? "the agent's why" : "");
	if (result < 0)
		end->fails = VMFT_AREA_NONE;
	atomic_store(&area->result, result);
	atomic_store(&area->done, atomic_load(&area->request));
}

void ends_write_page(uint64_t page, uint8_t value)
{
	const struct vmft_agent_link *link = &ends.primary.link;
	_Atomic uint64_t *words = vmft_region_bitmap(link->area, &link->region[ENDS_RAM]);

	CU_ASSERT_EQUAL(pwrite(link->ram_fd, &value, 1, (off_t)(page * PAGE + 11)), 1);
	atomic_fetch_or(&words[page / 64], UINT64_C(1) << (page % 64));
}

void ends_write_block(unsigned disk, uint64_t block, uint8_t value)
{
	const struct vmft_agent_link *link = &ends.primary.link;
	_Atomic uint64_t *words = vmft_region_bitmap(link->area, &link->region[disk]);
	int fd = open(ends.primary.path[disk], O_WRONLY | O_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pwrite(fd, &value, 1, (off_t)(block * BLOCK + 77)), 1);
	close(fd);
	atomic_fetch_or(&words[block / 64], UINT64_C(1) << (block % 64));
}

/* --- steps ------------------------------------------------------------------ */

static void stop_loop(struct vmft_op *op, int result)
{
	(void)op;
	(void)result;
	vmft_loop_stop(ends.loop);
}

static void spin(void)
{
	static struct vmft_op op = {.done = stop_loop};

	vmft_loop_timer(ends.loop, &op, 0);
	CU_ASSERT_EQUAL_FATAL(vmft_loop_run(ends.loop), 0);
}

void ends_step(void)
{
	agent(&ends.primary);
	agent(&ends.backup);
	vmft_attach_sink_look(&ends.sink);
	/* Who gives up closes the connection. */
	if (!ends.primary.over && !ends.backup.over)
		deliver(&to_sink, sink_gets);
	if (!ends.primary.over && !ends.backup.over)
		deliver(&to_source, source_gets);
	vmft_attach_source_tick(&ends.source, vmft_loop_now());
	spin();
}

bool ends_reach(enum vmft_attach_phase phase)
{
	const uint64_t until = vmft_loop_now() + PATIENCE;

	while (ends.source.phase != phase && vmft_loop_now() < until)
		ends_step();
	return ends.source.phase == phase;
}

bool ends_leave(enum vmft_attach_phase phase)
{
	const uint64_t until = vmft_loop_now() + PATIENCE;

	while (ends.source.phase == phase && vmft_loop_now() < until)
		ends_step();
	return ends.source.phase != phase;
}

bool ends_sink_reaches(enum vmft_attach_phase phase)
{
	const uint64_t until = vmft_loop_now() + PATIENCE;

	while (ends.sink.phase != phase && vmft_loop_now() < until)
		ends_step();
	return ends.sink.phase == phase;
}

bool ends_sink_loads(void)
{
	const uint64_t until = vmft_loop_now() + PATIENCE;

	while (!ends.sink.loaded && vmft_loop_now() < until)
		ends_step();
	return ends.sink.loaded;
}

bool ends_tell(const unsigned *count)
{
	const uint64_t until = vmft_loop_now() + PATIENCE;

	while (*count == 0 && vmft_loop_now() < until)
		ends_step();
	return *count > 0;
}

void ends_begin(void)
{
	ends.primary.over = ends.backup.over = false;
	vmft_attach_source_begin(&ends.source);
}

/* --- what came over --------------------------------------------------------- */

static bool same_file(int a, int b, size_t n)
{
	uint8_t ours[PAGE], theirs[PAGE];

	for (size_t at = 0; at < n; at += PAGE) {
		const size_t want = n - at < PAGE ? n - at : PAGE;

		if (pread(a, ours, want, (off_t)at) != (ssize_t)want ||
		    pread(b, theirs, want, (off_t)at) != (ssize_t)want ||
		    memcmp(ours, theirs, want) != 0)
			return false;
	}
	return true;
}

static bool same_disk(unsigned disk)
{
	int a = open(ends.primary.path[disk], O_RDONLY | O_CLOEXEC);
	int b = open(ends.backup.path[disk], O_RDONLY | O_CLOEXEC);
	const bool same = lseek(a, 0, SEEK_END) == lseek(b, 0, SEEK_END) &&
			  same_file(a, b, (size_t)lseek(a, 0, SEEK_END));

	close(a);
	close(b);
	return same;
}

static const uint8_t *place(const struct end *end, uint64_t at)
{
	return (const uint8_t *)end->link.area + at;
}

bool ends_are_equal(void)
{
	const struct end *p = &ends.primary, *b = &ends.backup;
	bool same = same_file(p->link.ram_fd, b->link.ram_fd, ENDS_RAM_PAGES * PAGE);

	for (unsigned i = 0; i < ENDS_DISKS; i++)
		same = same && same_disk(i);
	same = same && memcmp(place(p, p->link.region[ENDS_ROM].shadow_at),
			      place(b, b->link.region[ENDS_ROM].shadow_at), ENDS_ROM_BYTES) == 0;
	for (unsigned i = 0; i < ENDS_STATE; i++)
		same = same && *place(b, b->link.area->state_at + i) == (uint8_t)(i / 7);
	return same;
}

/* --- up and down ------------------------------------------------------------ */

static void link_up(struct vmft_agent_link *link)
{
	static const uint64_t most[ENDS_DISKS] = {ENDS_DISK_BYTES, ENDS_DISK_BYTES};
	struct vmft_error err;
	int iface_fd = vmft_iface_create(RING_BYTES, &err);
	int area_fd = vmft_area_create(ENDS_RAM_PAGES * PAGE, most, ENDS_DISKS, &err);
	int ram_fd = memfd_create("ram", MFD_CLOEXEC);

	CU_ASSERT_FATAL(iface_fd >= 0 && area_fd >= 0 && ram_fd >= 0);
	CU_ASSERT_EQUAL(ftruncate(ram_fd, (off_t)ENDS_RAM_PAGES * PAGE), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_agent_link_init(link, iface_fd, area_fd,
						   eventfd(0, EFD_NONBLOCK),
						   eventfd(0, EFD_NONBLOCK), ram_fd, &err),
			      0);
	close(iface_fd);
	describe(link->area);
}

static void disk_up(struct end *end, unsigned i, uint8_t value)
{
	uint8_t block[BLOCK];
	int fd;

	(void)snprintf(end->path[i], sizeof(end->path[i]), "/tmp/vmft-unit-XXXXXX");
	fd = mkstemp(end->path[i]);
	memset(block, value, sizeof(block));
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pwrite(fd, block, sizeof(block), BLOCK), (ssize_t)sizeof(block));
	CU_ASSERT_EQUAL(ftruncate(fd, ENDS_DISK_BYTES), 0);
	close(fd);
	end->disk[i] = (struct vmft_image){
	    .path = end->path[i],
	    .format = VMFT_IMAGE_RAW,
	    .guest_bytes = ENDS_DISK_BYTES,
	    .fd = -1,
	};
}

static struct vmft_attach_world world_of(struct end *end, bool loads_at_point)
{
	return (struct vmft_attach_world){
	    .loop = ends.loop,
	    .link = &end->link,
	    .config = &end->config,
	    .journal = &end->journal,
	    .disk = end->disk,
	    .disk_count = ENDS_DISKS,
	    .loads_at_point = loads_at_point,
	    .room = on_room,
	    .send = on_send,
	    .begin_log = on_begin_log,
	    .on_point = on_point,
	    .on_failed = on_failed,
	    .backup = on_backup,
	    .on_caught_up = on_caught_up,
	    .on_gate_closed = on_gate_closed,
	    .resume = on_resume,
	    .abandon = on_abandon,
	    .on_broken = on_broken,
	    .user = end,
	};
}

static void end_up(struct end *end, uint8_t value)
{
	memset(end, 0, sizeof(*end));
	link_up(&end->link);
	for (unsigned i = 0; i < ENDS_DISKS; i++)
		disk_up(end, i, (uint8_t)(value + i));
	end->config.stun_ms = 100;
	end->config.lag_ms = 300;
	end->config.reprotect = VMFT_REPROTECT_AUTO;
	end->abandons = true;
}

void ends_up(bool loads_at_point)
{
	struct vmft_attach_world world;

	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&ends.loop), 0);
	end_up(&ends.primary, 0x11);
	end_up(&ends.backup, 0x77);
	world = world_of(&ends.primary, loads_at_point);
	CU_ASSERT_EQUAL_FATAL(vmft_attach_source_init(&ends.source, &world), 0);
	world = world_of(&ends.backup, loads_at_point);
	CU_ASSERT_EQUAL_FATAL(vmft_attach_sink_init(&ends.sink, &world), 0);
	/* Some of the memory, and what an earlier attempt left on the backup. */
	for (unsigned i = 3; i < 30; i += i % 5 + 1)
		CU_ASSERT_EQUAL(pwrite(ends.primary.link.ram_fd, "guest", 5, (off_t)i * PAGE), 5);
	CU_ASSERT_EQUAL(pwrite(ends.backup.link.ram_fd, "stale", 5, 35 * PAGE), 5);
	memset((uint8_t *)ends.primary.link.area + ends.primary.link.area->shadow_at, 0x3c,
	       ENDS_ROM_BYTES);
}

static void end_down(struct end *end)
{
	for (unsigned i = 0; i < ENDS_DISKS; i++) {
		vmft_image_close(&end->disk[i]);
		(void)unlink(end->path[i]);
	}
	munmap(end->link.area, end->link.area->area_bytes);
	munmap(end->link.iface, VMFT_IFACE_HEADER + RING_BYTES);
	close(end->link.area_fd);
	close(end->link.ram_fd);
	close(end->link.bell_agent);
	close(end->link.bell_monitor);
}

void ends_down(void)
{
	for (unsigned i = 0; i < 20; i++)
		spin(); /* what is under way ends */
	vmft_loop_destroy(ends.loop);
	ends_cut();
	vmft_attach_source_fini(&ends.source);
	vmft_attach_sink_fini(&ends.sink);
	end_down(&ends.primary);
	end_down(&ends.backup);
}
