/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "agent-link.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "monitor/common/area-setup.h"
#include "monitor/common/iface-setup.h"

int vmft_agent_link_init(struct vmft_agent_link *link, int iface_fd, int area_fd, int bell_monitor,
			 int bell_agent, int ram_fd, struct vmft_error *err)
{
	int rc = vmft_iface_map(iface_fd, &link->iface, &link->ring, err);

	if (rc == 0)
		rc = vmft_area_map(area_fd, &link->area, err);
	if (rc < 0)
		return rc;
	link->area_fd = area_fd;
	link->bell_monitor = bell_monitor;
	link->bell_agent = bell_agent;
	link->ram_fd = ram_fd;
	return 0;
}

void vmft_agent_link_wake(struct vmft_agent_link *link)
{
	struct vmft_iface *iface = link->iface;

	/* The order of vmft_agent_sleep(): we bump first and look for sleepers second. */
	atomic_fetch_add(&iface->monitor_futex, 1);
	if (atomic_load(&iface->agent_waits) == 0)
		return;
	(void)syscall(SYS_futex, &iface->monitor_futex, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void vmft_agent_link_ring(struct vmft_agent_link *link)
{
	const uint64_t one = 1;

	(void)!write(link->bell_agent, &one, sizeof(one));
}

void vmft_agent_link_command(struct vmft_agent_link *link, enum vmft_command command)
{
	atomic_store(&link->iface->command, (uint32_t)command);
	vmft_agent_link_wake(link);
	vmft_agent_link_ring(link);
}

enum vmft_agent_state vmft_agent_link_state(const struct vmft_agent_link *link)
{
	return (enum vmft_agent_state)atomic_load(&link->iface->agent_state);
}

void vmft_agent_link_request(struct vmft_agent_link *link, enum vmft_area_op op)
{
	atomic_store(&link->area->op, (uint32_t)op);
	atomic_store_explicit(&link->area->request, ++link->requests, memory_order_release);
	vmft_agent_link_ring(link);
}

bool vmft_agent_link_is_done(const struct vmft_agent_link *link)
{
	return atomic_load_explicit(&link->area->done, memory_order_acquire) == link->requests;
}

int vmft_agent_link_result(const struct vmft_agent_link *link, char *ret_why, size_t size)
{
	const int result = atomic_load(&link->area->result);

	/* Not trusted to be terminated. */
	(void)snprintf(ret_why, size, "%.*s", (int)sizeof(link->area->error) - 1,
		       result < 0 ? link->area->error : "");
	return result;
}

int vmft_agent_link_regions(struct vmft_agent_link *link, uint32_t *ret_count)
{
	const struct vmft_area *area = link->area;
	const uint32_t count = atomic_load(&area->region_count);

	if (count < area->disk_count || count > VMFT_AREA_REGIONS_MAX)
		return -EBADMSG;
	/* Copied before it is looked at: what is checked must stay what is used. */
	memcpy(link->region, area->region, count * sizeof(link->region[0]));
	for (uint32_t i = 0; i < count; i++)
		if ((link->region[i].kind == VMFT_REGION_DISK) != (i < area->disk_count) ||
		    !vmft_region_is_sane(area, &link->region[i]))
			return -EBADMSG;
	if (!vmft_regions_are_whole(area, link->region, count))
		return -EBADMSG;
	*ret_count = count;
	return 0;
}
