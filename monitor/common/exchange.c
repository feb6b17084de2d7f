/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "exchange.h"

#include <errno.h>
#include <string.h>

#define TRIES 16u

static struct vmft_exchange *exchanges(struct vmft_area *area)
{
	return (struct vmft_exchange *)(void *)((uint8_t *)area + area->state_at +
						VMFT_AREA_STATE_BYTES);
}

struct vmft_exchange *vmft_exchange_shown(struct vmft_area *area)
{
	return exchanges(area);
}

struct vmft_exchange *vmft_exchange_told(struct vmft_area *area)
{
	return exchanges(area) + 1;
}

/* The copy that does not count is filled, then counts: a writer that is stopped or killed meanwhile
 * leaves the other one whole. */
void vmft_exchange_write(struct vmft_exchange *exchange, const uint8_t *bytes, size_t n)
{
	const uint32_t version = atomic_load_explicit(&exchange->version, memory_order_relaxed) + 1;

	exchange->bytes[version & 1] = (uint32_t)n;
	memcpy(exchange->data[version & 1], bytes, n);
	atomic_store_explicit(&exchange->version, version, memory_order_release);
}

ssize_t vmft_exchange_read(const struct vmft_exchange *exchange,
			   uint8_t bytes[static VMFT_EXCHANGE_MAX], uint32_t *ret_version)
{
	for (unsigned i = 0; i < TRIES; i++) {
		const uint32_t version =
		    atomic_load_explicit(&exchange->version, memory_order_acquire);
		const uint32_t n = exchange->bytes[version & 1];

		if (version == 0)
			return 0;
		if (n <= VMFT_EXCHANGE_MAX)
			memcpy(bytes, exchange->data[version & 1], n);
		/* The next change fills the other copy; only the one after it this one. So a
		 * version that still stands was read whole. */
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&exchange->version, memory_order_relaxed) != version)
			continue;
		*ret_version = version;
		return n <= VMFT_EXCHANGE_MAX ? (ssize_t)n : -EBADMSG;
	}
	return -EAGAIN;
}
