/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor's end of monitor/interface.h: orders to the agent, and what it reports. */
#ifndef VMFT_AGENT_LINK_H
#define VMFT_AGENT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "../../logging-channel/ring.h"
#include "../common/error.h"
#include "../interface.h"

struct vmft_agent_link {
	struct vmft_iface *iface; /* mapped for the life of the process */
	struct vmft_ring ring;
	int bell_agent; /* wakes the agent's service thread */
	int bell_monitor;
	int ram_fd;
};

int vmft_agent_link_init(struct vmft_agent_link *link, int iface_fd, int bell_monitor,
			 int bell_agent, int ram_fd, struct vmft_error *err);

void vmft_agent_link_command(struct vmft_agent_link *link, enum vmft_command command);
enum vmft_agent_state vmft_agent_link_state(const struct vmft_agent_link *link);

/* Wakes QEMU threads asleep in the agent, if any, after the ring or a field has moved. */
void vmft_agent_link_wake(struct vmft_agent_link *link);
/* Wakes the agent's service thread: frames may leave, or an order is there. */
void vmft_agent_link_ring(struct vmft_agent_link *link);

#endif
