/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Payloads of epochs from a peer, in any order, while earlier ones are applied: whatever comes,
 * only the guest's memory, its regions' shadows, the place of its state and the images' ranges
 * are written to. What lies around them may not be touched at all, or keeps its bytes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver.h"
#include "logging-channel/wire.h"
#include "monitor/common/area-setup.h"
#include "monitor/daemon/checkpoint/checkpoint-sink.h"

#define PAGE	    VMFT_RAM_BLOCK_BYTES
#define DISKS	    2u
#define DISK_BYTES  (4u * VMFT_DISK_BLOCK_BYTES + 512)
#define RAM_BYTES   (16u * PAGE)
#define ROM_BYTES   (2u * PAGE + 100)
#define GUARD_BYTES (1u << 20)
#define GUARD	    0x5c

enum { RAM = DISKS, ROM, REGIONS };

static struct vmft_loop *loop;
static struct vmft_agent_link channel_end;
static struct vmft_image disk[DISKS];
static struct vmft_epoch_sink sink;
static uint8_t *after_rom;
static uint8_t header[VMFT_AREA_HEADER]; /* the area's, as it is to stay */
static uint64_t began;

static void must(bool good)
{
	if (!good)
		abort();
}

static void on_moved(void *user)
{
	(void)user;
	must(sink.applied > began && sink.applied <= sink.held);
}

/* Nothing that is taken in leads to a write that fails. */
static void on_broken(void *user, const char *why)
{
	(void)user;
	(void)why;
	abort();
}

static bool on_disk_failed(void *user, const char *why)
{
	(void)user;
	(void)why;
	return false;
}

/* --- once ------------------------------------------------------------------- */

static void describe(struct vmft_area *area)
{
	struct vmft_region *last = &area->region[DISKS - 1];
	uint32_t count;

	area->region[RAM] = (struct vmft_region){
	    .kind = VMFT_REGION_RAM,
	    .bytes = RAM_BYTES,
	    .bitmap_at = last->bitmap_at + vmft_region_bitmap_bytes(last),
	    .name = "ram",
	};
	area->region[ROM] = (struct vmft_region){
	    .kind = VMFT_REGION_SHADOW,
	    .bytes = ROM_BYTES,
	    .bitmap_at = area->region[RAM].bitmap_at + 8,
	    .shadow_at = area->shadow_at + GUARD_BYTES,
	    .name = "rom",
	};
	atomic_store(&area->region_count, REGIONS);
	must(vmft_agent_link_regions(&channel_end, &count) == 0 && count == REGIONS);
}

/* Only the header, the shadow's pages and the state's are to be written to. */
static void guard(struct vmft_area *area)
{
	uint8_t *bytes = (uint8_t *)area;
	const uint64_t rom_at = area->region[ROM].shadow_at;
	const uint64_t rom_end = rom_at + 3 * PAGE;

	must(mprotect(bytes + VMFT_AREA_HEADER, rom_at - VMFT_AREA_HEADER, PROT_READ) == 0);
	must(mprotect(bytes + rom_end, area->state_at - rom_end, PROT_READ) == 0);
	after_rom = bytes + rom_at + ROM_BYTES;
	memset(after_rom, GUARD, 3 * PAGE - ROM_BYTES);
}

/* The guest's memory, with nothing mapped before and after it. */
static uint8_t *map_ram(void)
{
	uint8_t *all =
	    mmap(NULL, RAM_BYTES + 2 * GUARD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(all != MAP_FAILED);
	must(mprotect(all + GUARD_BYTES, RAM_BYTES, PROT_READ | PROT_WRITE) == 0);
	return all + GUARD_BYTES;
}

static void start(void)
{
	static const uint64_t disk_bytes[DISKS] = {DISK_BYTES, DISK_BYTES};
	static struct vmft_strategy_world world = {
	    .link = &channel_end,
	    .disk = disk,
	    .disk_count = DISKS,
	    .moved = on_moved,
	    .broken = on_broken,
	    .disk_failed = on_disk_failed,
	};
	struct vmft_error err;
	int fd = vmft_area_create(RAM_BYTES, disk_bytes, DISKS, &err);

	must(fd >= 0 && vmft_area_map(fd, &channel_end.area, &err) == 0);
	describe(channel_end.area);
	guard(channel_end.area);
	must(vmft_loop_create(&loop) == 0);
	world.loop = loop;
	for (unsigned i = 0; i < DISKS; i++) {
		disk[i] = (struct vmft_image){.path = "disk", .fd = memfd_create("disk", 0)};
		must(disk[i].fd >= 0);
	}
	must(vmft_epoch_sink_init(&sink, &world) == 0);
	sink.ram = map_ram();
	memcpy(header, channel_end.area, sizeof(header));
}

/* --- an input ----------------------------------------------------------------- */

static void on_stop(struct vmft_op *op, int result)
{
	(void)op;
	(void)result;
	vmft_loop_stop(loop);
}

static void spin(void)
{
	static struct vmft_op op = {.done = on_stop};

	vmft_loop_timer(loop, &op, 0);
	must(vmft_loop_run(loop) == 0);
}

static bool is_busy(void)
{
	bool busy = sink.applying || sink.writing > 0 || sink.step.pending;

	for (unsigned i = 0; i < DISKS; i++)
		busy = busy || sink.sync[i].op.pending;
	return busy;
}

static void hold(uint64_t position, const uint8_t *payload, size_t n)
{
	const uint64_t held = sink.held;
	const bool room = vmft_epoch_sink_has_room(&sink);
	uint8_t *copy = malloc(n ? n : 1);
	int rc;

	must(copy != NULL);
	memcpy(copy, payload, n);
	rc = vmft_epoch_sink_hold(&sink, position, copy, n);
	free(copy);
	must(rc == 0 || rc == -EBADMSG || (rc == -ENOSPC && !room));
	must(rc == 0 ? sink.held - held <= 1 && position == held + 1 : sink.held == held);
	must(sink.held - sink.applied <= 2);
}

static uint8_t *put_head(uint8_t *payload, uint8_t kind, size_t raw)
{
	return vmft_wire_put_u32(
	    vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(payload, kind), 0), 0),
	    (uint32_t)raw);
}

/* Behind the checks of the codec, and at sensible places more often than not. */
static void hold_piece(struct vmft_wire_reader *r)
{
	static uint8_t payload[VMFT_FRAME_PAYLOAD_MAX];
	const uint8_t region = (uint8_t)vmft_wire_get(r, 1), how = (uint8_t)vmft_wire_get(r, 1);
	const uint64_t offset = vmft_wire_get(r, 4);
	const uint32_t n = (uint32_t)vmft_wire_get(r, 2);
	const size_t follow = how == VMFT_EPOCH_ZERO ? 0 : n;
	uint8_t *at;

	if (VMFT_EPOCH_PIECE_HEAD + follow > VMFT_EPOCH_RAW_MAX)
		return;
	at = put_head(payload, VMFT_EPOCH_PIECES, VMFT_EPOCH_PIECE_HEAD + follow);
	at = vmft_wire_put_u64(at, offset);
	at = vmft_wire_put_u32(at, region == 0xff ? VMFT_EPOCH_STATE_REGION : region);
	(void)vmft_wire_put_u32(vmft_wire_put_u32(at, n), (uint32_t)how << 24);
	hold(sink.held + 1, payload, VMFT_EPOCH_HEAD + VMFT_EPOCH_PIECE_HEAD + follow);
}

/* What came so far, and a little more or less. */
static void hold_commit(struct vmft_wire_reader *r)
{
	uint8_t payload[VMFT_EPOCH_HEAD + 28 + 8 * DISKS];
	const struct vmft_epoch_half *half = &sink.half[sink.filling];
	const uint64_t more = vmft_wire_get(r, 1);
	uint8_t *at = put_head(payload, VMFT_EPOCH_COMMIT, sizeof(payload) - VMFT_EPOCH_HEAD);

	at =
	    vmft_wire_put_u64(vmft_wire_put_u64(at, half->pieces + more), half->piece_bytes + more);
	at = vmft_wire_put_u32(vmft_wire_put_u64(at, vmft_wire_get(r, 4)), DISKS);
	for (unsigned i = 0; i < DISKS; i++)
		at = vmft_wire_put_u64(at, vmft_wire_get(r, 4));
	hold(sink.held + 1, payload, sizeof(payload));
}

static void hold_raw(struct vmft_wire_reader *r, uint64_t position)
{
	size_t n = (size_t)vmft_wire_get(r, 2);

	if (n > r->left)
		n = r->left;
	hold(position, r->at, n);
	r->at += n;
	r->left -= n;
}

static void check(void)
{
	struct stat st;

	atomic_store(&channel_end.area->load_bytes, 0);
	must(memcmp(header, channel_end.area, sizeof(header)) == 0);
	for (unsigned i = 0; i < 3 * PAGE - ROM_BYTES; i++)
		must(after_rom[i] == GUARD);
	for (unsigned i = 0; i < DISKS; i++)
		must(fstat(disk[i].fd, &st) == 0 && st.st_size <= DISK_BYTES);
	must(sink.held == sink.applied);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmft_wire_reader r = {.at = data, .left = size};

	if (!loop)
		start();
	began = size;
	must(vmft_epoch_sink_restart(&sink, began) == 0);
	while (r.left > 0) {
		switch (vmft_wire_get(&r, 1) % 5) {
		case 0:
			hold_raw(&r, sink.held + 1);
			break;
		case 1:
			hold_piece(&r);
			break;
		case 2:
			hold_commit(&r);
			break;
		case 3:
			hold_raw(&r, sink.held + vmft_wire_get(&r, 1));
			break;
		default:
			spin();
		}
	}
	while (is_busy())
		spin();
	check();
	return 0;
}

/* Of each region a piece, to its end; then a commit, another epoch beside it, and a third. */
/* clang-format off */
static const uint8_t epochs[] = {
    1, RAM, 0, 0, 0, 0xf0, 0, 0x10, 0,
    1, ROM, 1, 0, 0, 0x20, 0, 0, 100,
    1, 0xff, 0, 0, 0, 0, 0, 0x10, 0,
    1, 0, 0, 0, 4, 0, 0, 2, 0,
    1, 1, 2, 0, 3, 0, 0, 0xff, 0xff,
    1, 1, 0, 0, 0, 0, 0, 0x20, 0,
    2, 0, 0, 0, 8, 0, 0, 4, 2, 0, 0, 1, 0, 0,
    1, RAM, 2, 0, 0, 0, 0, 0, 9,
    1, 0, 0, 0, 2, 0, 0, 1, 0,
    2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 4, 0, 1,
    4, 4, 4,
    1, RAM, 1, 0, 0, 0, 0, 0x10, 0,
    2, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0,
};
/* clang-format on */
/* payloads as they are: a piece of each way, a commit of them, one of another epoch */
static const uint8_t payloads[] = {
    0, 0,  84, 1, 0, 0, 0, 0, 0, 0,  65, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,
    0, 97, 98, 0, 0, 0, 0, 0, 0, 16, 0,	 0, 0, 0, 2, 0, 0, 0,  3, 1, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0,
    0, 0,  2,  0, 0, 0, 0, 0, 0, 1,  0,	 0, 2, 0, 0, 0, 4, 3,  2, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0,
};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {epochs, sizeof(epochs)},
    {payloads, sizeof(payloads)},
    {0},
};
