/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A single-producer, single-consumer byte ring in memory two processes share.
 *
 * Positions are log positions: bytes since the pair was formed, never wrapped (2^64 bytes
 * outlive the machine); a byte's place is its position modulo the size, a power of two.
 * The producer writes ahead of head and publishes head last, so the consumer sees whole
 * batches only. Neither side trusts the other's word: a head or tail that cannot be is
 * -EBADMSG and nothing is read or overwritten through it.
 */
#ifndef VMFT_RING_H
#define VMFT_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vmft_ring {
	uint8_t *data;		/* size bytes, owned by whoever mapped it */
	uint64_t size;		/* power of two */
	_Atomic uint64_t *head; /* written by the producer: published up to here */
	_Atomic uint64_t *tail; /* written by the consumer: taken up to here */
};

/* Bytes that may be written at position fill (>= head), or -EBADMSG. */
int64_t vmft_ring_room(const struct vmft_ring *ring, uint64_t fill);

/* Copies n bytes to position fill, ahead of head; the caller has checked the room. */
void vmft_ring_write(const struct vmft_ring *ring, uint64_t fill, const uint8_t *bytes, size_t n);

/* Makes everything before position visible to the consumer. */
void vmft_ring_publish(const struct vmft_ring *ring, uint64_t position);

/*
 * Bytes ready after the consumer's own position, or -EBADMSG. The consumer keeps its position
 * itself; the shared tail is only for the producer.
 */
int64_t vmft_ring_ready(const struct vmft_ring *ring, uint64_t position);

/* Copies n ready bytes from position on. */
void vmft_ring_read(const struct vmft_ring *ring, uint64_t position, uint8_t *bytes, size_t n);

/* Gives everything before position back to the producer. */
void vmft_ring_release(const struct vmft_ring *ring, uint64_t position);

#endif
