/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One disk, one request at a time. Its lower half belongs to the keys, sector by sector; the
 * upper half's first MiB is written to by ticks, and memory remembers what must be there.
 */
#include "bare.h"
#include "virtio.h"

#define BLK_F_FLUSH  (1u << 9)
#define BLK_READ     0
#define BLK_WRITE    1
#define BLK_FLUSH    4
#define BLK_OK	     0
#define BLK_PENDING  0xff
#define SECTOR_WORDS (DISK_SECTOR / sizeof(uint64_t))
#define TICK_SECTORS 2048u
#define WORD_STEP    0x9e3779b97f4a7c15ULL

struct disk_stats disk_stats;
static struct virtqueue queue;
static struct virtqueue_memory memory;
static bool there;
static bool can_flush;
static uint64_t key_sectors;
static uint32_t tick_sectors;
static uint32_t last[TICK_SECTORS]; /* the tick each was written in, 0: not yet */
static uint32_t tick;

static struct {
	uint32_t type;
	uint32_t priority;
	uint64_t sector;
} request;
static volatile uint8_t status;
static union {
	uint8_t byte[DISK_SECTOR];
	uint64_t word[SECTOR_WORDS];
} data;

bool disk_start(void)
{
	uint64_t device = virtio_find(VIRTIO_BLK), sectors;

	if (!device)
		return false;
	can_flush = virtio_begin(device, BLK_F_FLUSH) & BLK_F_FLUSH;
	sectors = mmio_read(device + VIRTIO_CONFIG) |
		  (uint64_t)mmio_read(device + VIRTIO_CONFIG + 4) << 32;
	key_sectors = sectors / 2;
	tick_sectors = key_sectors < TICK_SECTORS ? (uint32_t)key_sectors : TICK_SECTORS;
	if (!tick_sectors || !virtqueue_start(&queue, device, 0, &memory))
		return false;
	virtio_go(device);
	there = true;
	return true;
}

bool disk_there(void)
{
	return there;
}

uint64_t disk_keys(void)
{
	return there ? key_sectors : 0;
}

static bool transfer(uint32_t type, uint64_t sector)
{
	uint16_t last_desc = type == BLK_FLUSH ? 1 : 2, to_guest = type == BLK_READ;
	struct virtio_used used;

	request.type = type;
	request.sector = sector;
	status = BLK_PENDING;
	memory.desc[0] = (struct virtio_desc){(uintptr_t)&request, sizeof(request), VIRTIO_MORE, 1};
	memory.desc[1] =
	    (struct virtio_desc){(uintptr_t)&data, sizeof(data),
				 (uint16_t)(VIRTIO_MORE | (to_guest ? VIRTIO_TO_GUEST : 0)), 2};
	memory.desc[last_desc] = (struct virtio_desc){(uintptr_t)&status, 1, VIRTIO_TO_GUEST, 0};
	virtqueue_offer(&queue, 0);
	virtqueue_kick(&queue);
	while (!virtqueue_take(&queue, &used))
		relax();
	if (status != BLK_OK)
		disk_stats.errors++;
	return status == BLK_OK;
}

static bool write(uint64_t sector)
{
	disk_stats.writes++;
	return transfer(BLK_WRITE, sector);
}

bool disk_write_durably(uint64_t sector, const uint8_t from[static DISK_SECTOR])
{
	memcpy(&data, from, DISK_SECTOR);
	return write(sector) && (!can_flush || transfer(BLK_FLUSH, 0));
}

bool disk_read(uint64_t sector, uint8_t ret_data[static DISK_SECTOR])
{
	if (!transfer(BLK_READ, sector))
		return false;
	memcpy(ret_data, &data, DISK_SECTOR);
	return true;
}

/* ---- ticks ---- */

/* No two sectors alike, nor two versions of one, nor two words of it. */
static uint64_t word_at(uint32_t sector, uint32_t version, uint64_t i)
{
	return ((uint64_t)version << 32 | sector) + i * WORD_STEP;
}

static void check(struct cpu *cpu, uint32_t sector)
{
	if (!last[sector] || !transfer(BLK_READ, key_sectors + sector))
		return;
	for (uint64_t i = 0; i < SECTOR_WORDS; i++) {
		uint64_t wanted = word_at(sector, last[sector], i);

		if (data.word[i] == wanted)
			continue;
		disk_stats.mismatches++;
		if (!cpu->first.what)
			cpu->first =
			    (struct fault){"sector", key_sectors + sector, data.word[i], wanted};
		return;
	}
}

/* The sector written longest ago is looked at, and written again. */
void disk_tick(struct cpu *cpu)
{
	uint32_t sector;

	if (!options.blk)
		return;
	sector = tick++ % tick_sectors;
	check(cpu, sector);
	for (uint64_t i = 0; i < SECTOR_WORDS; i++)
		data.word[i] = word_at(sector, tick, i);
	last[sector] = write(key_sectors + sector) ? tick : 0;
}
