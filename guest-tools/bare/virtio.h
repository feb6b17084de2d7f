/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio over MMIO as QEMU 7.2 presents it: the legacy layout. No interrupts. */
#ifndef BARE_VIRTIO_H
#define BARE_VIRTIO_H

#include "machine.h"

#define VIRTIO_NET	1
#define VIRTIO_BLK	2
#define VIRTIO_CONFIG	0x100 /* of the device's registers */
#define VIRTQUEUE_SIZE	64
#define VIRTIO_MORE	1 /* descriptor goes on in next */
#define VIRTIO_TO_GUEST 2

struct virtio_desc {
	uint64_t address;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};

struct virtio_used {
	uint32_t desc;
	uint32_t bytes;
};

/* The device finds its parts by these offsets. */
struct virtqueue_memory {
	struct virtio_desc desc[VIRTQUEUE_SIZE];
	uint16_t avail_flags;
	uint16_t avail_index;
	uint16_t avail[VIRTQUEUE_SIZE];
	uint16_t used_flags __attribute__((aligned(PAGE_BYTES)));
	uint16_t used_index;
	struct virtio_used used[VIRTQUEUE_SIZE];
} __attribute__((aligned(PAGE_BYTES)));

struct virtqueue {
	volatile struct virtqueue_memory *memory;
	uint64_t device;
	uint32_t number;
	uint16_t seen; /* used entries taken so far */
};

/* Returns the registers of the first device of a kind, 0 if there is none. */
uint64_t virtio_find(uint32_t kind);
/* Resets it; returns those of the features wanted that it has. */
uint32_t virtio_begin(uint64_t device, uint32_t features);
bool virtqueue_start(struct virtqueue *queue, uint64_t device, uint32_t number,
		     struct virtqueue_memory *memory);
void virtio_go(uint64_t device);

/* To be told by virtqueue_kick(). */
void virtqueue_offer(struct virtqueue *queue, uint16_t desc);
void virtqueue_kick(struct virtqueue *queue);
/* False while there is nothing new. */
bool virtqueue_take(struct virtqueue *queue, struct virtio_used *ret_used);
/* Offered, and not taken yet. */
uint16_t virtqueue_open(const struct virtqueue *queue);

#endif
