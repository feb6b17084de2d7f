/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a backup whose guest differs from the primary's tells its monitor.
 *
 * The thread that finds the difference holds QEMU's replay mutex. The feed gives the guest no
 * further event (feed.c): the guest stays at this position and never goes live.
 */
#define _GNU_SOURCE
#include "diverge.h"

#include <stdatomic.h>

#include "agent.h"
#include "feed.h"
#include "ground.h"

void vmft_diverge_page(uint64_t offset)
{
	struct vmft_iface *iface = vmft_agent.iface;
	const uint32_t n = atomic_load(&iface->diverged_page_count);

	if (n >= VMFT_DIVERGENCE_PAGES_MAX)
		return;
	atomic_store(&iface->diverged_page[n], offset);
	atomic_store(&iface->diverged_page_count, n + 1);
}

void vmft_diverge(enum vmft_divergence_kind kind, uint64_t at, uint64_t expected, uint64_t found)
{
	struct vmft_iface *iface = vmft_agent.iface;
	struct vmft_feed *feed = &vmft_feed;

	if (feed->diverged)
		return;
	feed->diverged = true;
	feed->handed = feed->staged;
	atomic_store(&iface->diverged_at, at);
	atomic_store(&iface->diverged_expected, expected);
	atomic_store(&iface->diverged_found, found);
	atomic_store_explicit(&iface->diverged, (uint32_t)kind, memory_order_release);
	vmft_agent_ring_monitor();
}
