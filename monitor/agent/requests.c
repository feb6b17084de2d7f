/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the monitor asks for through the shared area. It is carried out in a bottom half of the
 * context that QEMU's main loop polls with both locks held (iohandler_get_aio_context(); a nested
 * aio_poll() does not run it). So no vCPU of a lockstep guest executes meanwhile, and events are
 * logged only by functions that are called here.
 */
#define _GNU_SOURCE
#include "requests.h"

#include <errno.h>
#include <stdatomic.h>

#include "agent.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/interface.h"
#include "strategy.h"
#include "track.h"

struct vmft_requests vmft_requests;

static int perform(struct vmft_area *area)
{
	const struct vmft_agent_strategy_ops *strategy = vmft_agent.strategy;

	switch (atomic_load(&area->op)) {
	case VMFT_AREA_DESCRIBE:
		return vmft_track_describe(area);
	case VMFT_AREA_TRACK:
		return vmft_track_begin(area);
	case VMFT_AREA_SCAN:
		return vmft_track_scan(area);
	case VMFT_AREA_POINT:
		return strategy->point(area);
	case VMFT_AREA_EPOCH:
		return strategy->epoch(area);
	case VMFT_AREA_DROP:
		return strategy->drop(area);
	case VMFT_AREA_LOAD:
		return strategy->load(area);
	case VMFT_AREA_PROVE:
		return strategy->prove(area);
	default:
		return vmft_track_fail(-EINVAL, "unknown operation");
	}
}

static void in_main_loop(void *unused);

static void schedule(void)
{
	vmft_qemu_in_main_loop(in_main_loop, NULL, "vmft-request");
}

static void in_main_loop(void *unused)
{
	struct vmft_area *area = vmft_agent.area;
	const uint32_t request = atomic_load(&area->request);
	int rc;

	(void)unused;
	area->error[0] = '\0';
	rc = perform(area);
	/* The main loop has something to do first. The request is tried again after that. */
	if (rc == -EINPROGRESS) {
		schedule();
		return;
	}
	atomic_store(&area->result, rc);
	/* Stored last: the monitor reads the answer when it sees this. */
	atomic_store_explicit(&area->done, request, memory_order_release);
	vmft_agent_ring_monitor();
}

void vmft_requests_service(void)
{
	struct vmft_area *area = vmft_agent.area;
	uint32_t request;

	if (!area)
		return;
	request = atomic_load_explicit(&area->request, memory_order_acquire);
	if (request == vmft_requests.scheduled ||
	    vmft_agent.strategy->postpones(atomic_load(&area->op)))
		return;
	vmft_requests.scheduled = request;
	/* Here and not in the main loop: the main loop may wait for a vCPU that waits for room in
	 * the ring. */
	if (atomic_load(&area->op) == VMFT_AREA_DROP)
		vmft_agent_stop_keeping();
	schedule();
}
