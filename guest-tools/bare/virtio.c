/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio.h"

#define TRANSPORTS	0xfeb00000u
#define TRANSPORT_BYTES 512
#define TRANSPORT_COUNT 24
#define MAGIC		0x74726976
#define LEGACY		1

#define REG_MAGIC	   0x00
#define REG_VERSION	   0x04
#define REG_KIND	   0x08
#define REG_FEATURES	   0x10
#define REG_FEATURES_SEL   0x14
#define REG_ACCEPTED	   0x20
#define REG_ACCEPTED_SEL   0x24
#define REG_PAGE_BYTES	   0x28
#define REG_QUEUE	   0x30
#define REG_QUEUE_MAX	   0x34
#define REG_QUEUE_SIZE	   0x38
#define REG_QUEUE_ALIGN	   0x3c
#define REG_QUEUE_PAGE	   0x40
#define REG_NOTIFY	   0x50
#define REG_STATUS	   0x70
#define STATUS_DRIVER	   3 /* and seen */
#define STATUS_DRIVER_OK   7
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY	   1

_Static_assert(offsetof(struct virtqueue_memory, avail_flags) == 16 * VIRTQUEUE_SIZE, "layout");
_Static_assert(offsetof(struct virtqueue_memory, used_flags) == PAGE_BYTES, "layout");

uint64_t virtio_find(uint32_t kind)
{
	for (unsigned i = 0; i < TRANSPORT_COUNT; i++) {
		uint64_t device = TRANSPORTS + i * TRANSPORT_BYTES;

		if (mmio_read(device + REG_MAGIC) != MAGIC)
			return 0; /* not a machine that has them */
		if (mmio_read(device + REG_KIND) == kind &&
		    mmio_read(device + REG_VERSION) == LEGACY)
			return device;
	}
	return 0;
}

uint32_t virtio_begin(uint64_t device, uint32_t features)
{
	mmio_write(device + REG_STATUS, 0);
	mmio_write(device + REG_STATUS, STATUS_DRIVER);
	mmio_write(device + REG_FEATURES_SEL, 0);
	features &= mmio_read(device + REG_FEATURES);
	mmio_write(device + REG_ACCEPTED_SEL, 0);
	mmio_write(device + REG_ACCEPTED, features);
	mmio_write(device + REG_PAGE_BYTES, PAGE_BYTES);
	return features;
}

bool virtqueue_start(struct virtqueue *queue, uint64_t device, uint32_t number,
		     struct virtqueue_memory *memory)
{
	memset(memory, 0, sizeof(*memory));
	memory->avail_flags = AVAIL_NO_INTERRUPT;
	*queue = (struct virtqueue){.memory = memory, .device = device, .number = number};
	mmio_write(device + REG_QUEUE, number);
	if (mmio_read(device + REG_QUEUE_MAX) < VIRTQUEUE_SIZE)
		return false;
	mmio_write(device + REG_QUEUE_SIZE, VIRTQUEUE_SIZE);
	mmio_write(device + REG_QUEUE_ALIGN, PAGE_BYTES);
	mmio_write(device + REG_QUEUE_PAGE, (uint32_t)((uintptr_t)memory / PAGE_BYTES));
	return true;
}

void virtio_go(uint64_t device)
{
	mmio_write(device + REG_STATUS, STATUS_DRIVER_OK);
}

void virtqueue_offer(struct virtqueue *queue, uint16_t desc)
{
	volatile struct virtqueue_memory *memory = queue->memory;

	memory->avail[memory->avail_index % VIRTQUEUE_SIZE] = desc;
	barrier();
	memory->avail_index++;
}

void virtqueue_kick(struct virtqueue *queue)
{
	/* The device sets the flag, then looks at avail_index once more. */
	full_barrier();
	if (!(queue->memory->used_flags & USED_NO_NOTIFY))
		mmio_write(queue->device + REG_NOTIFY, queue->number);
}

bool virtqueue_take(struct virtqueue *queue, struct virtio_used *ret_used)
{
	volatile struct virtqueue_memory *memory = queue->memory;
	volatile struct virtio_used *used = &memory->used[queue->seen % VIRTQUEUE_SIZE];

	if (memory->used_index == queue->seen)
		return false;
	barrier();
	*ret_used = (struct virtio_used){.desc = used->desc, .bytes = used->bytes};
	queue->seen++;
	return true;
}

uint16_t virtqueue_open(const struct virtqueue *queue)
{
	return (uint16_t)(queue->memory->avail_index - queue->seen);
}
