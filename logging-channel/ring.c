/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ring.h"

#include <errno.h>
#include <string.h>

int64_t vmft_ring_room(const struct vmft_ring *ring, uint64_t fill)
{
	/* acquire: pairs with vmft_ring_release(), so that the consumer's reads of the
	 * bytes about to be overwritten are done. */
	uint64_t tail = atomic_load_explicit(ring->tail, memory_order_acquire);

	if (tail > fill || fill - tail > ring->size)
		return -EBADMSG;
	return (int64_t)(ring->size - (fill - tail));
}

void vmft_ring_write(const struct vmft_ring *ring, uint64_t fill, const uint8_t *bytes, size_t n)
{
	size_t at = (size_t)(fill & (ring->size - 1));
	size_t first = (size_t)ring->size - at;

	if (first > n)
		first = n;
	memcpy(ring->data + at, bytes, first);
	memcpy(ring->data, bytes + first, n - first);
}

void vmft_ring_publish(const struct vmft_ring *ring, uint64_t position)
{
	/* release: the bytes before the position that covers them; pairs with _ready(). */
	atomic_store_explicit(ring->head, position, memory_order_release);
}

int64_t vmft_ring_ready(const struct vmft_ring *ring, uint64_t position)
{
	uint64_t head = atomic_load_explicit(ring->head, memory_order_acquire);

	if (head < position || head - position > ring->size)
		return -EBADMSG;
	return (int64_t)(head - position);
}

void vmft_ring_read(const struct vmft_ring *ring, uint64_t position, uint8_t *bytes, size_t n)
{
	size_t at = (size_t)(position & (ring->size - 1));
	size_t first = (size_t)ring->size - at;

	if (first > n)
		first = n;
	memcpy(bytes, ring->data + at, first);
	memcpy(bytes + first, ring->data, n - first);
}

void vmft_ring_release(const struct vmft_ring *ring, uint64_t position)
{
	/* release: our reads come before the producer may overwrite; pairs with _room(). */
	atomic_store_explicit(ring->tail, position, memory_order_release);
}
