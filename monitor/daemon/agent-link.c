/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "agent-link.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/iface-setup.h"

int vmft_agent_link_init(struct vmft_agent_link *link, int iface_fd, int bell_monitor,
			 int bell_agent, int ram_fd, struct vmft_error *err)
{
	int rc = vmft_iface_map(iface_fd, &link->iface, &link->ring, err);

	if (rc < 0)
		return rc;
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
