/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The monitor's end of monitor/interface.h: orders to the agent, and what it reports. */
#ifndef VMFT_AGENT_LINK_H
#define VMFT_AGENT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "logging-channel/ring.h"
#include "monitor/common/error.h"
#include "monitor/interface.h"

struct vmft_agent_link {
	struct vmft_iface *iface; /* mapped for the life of the process */
	struct vmft_ring ring;
	int bell_agent; /* wakes the agent's service thread */
	int bell_monitor;
	int ram_fd;
	int area_fd;
	struct vmft_area *area;				  /* mapped for the life of the process */
	uint32_t requests;				  /* made of the agent */
	struct vmft_region region[VMFT_AREA_REGIONS_MAX]; /* as they were when checked */
};

int vmft_agent_link_init(struct vmft_agent_link *link, int iface_fd, int area_fd, int bell_monitor,
			 int bell_agent, int ram_fd, struct vmft_error *err);

/* One at a time: the one before must be done. Its arguments stand in the area already. */
void vmft_agent_link_request(struct vmft_agent_link *link, enum vmft_area_op op);
/* No request is under way. Then its result, and the reason for a bad one; "" else. */
bool vmft_agent_link_is_done(const struct vmft_agent_link *link);
int vmft_agent_link_result(const struct vmft_agent_link *link, char *ret_why, size_t size);

/* Takes over the regions of the attach area as the agent listed them; -EBADMSG if they cannot
 * be. *ret_count is at least the number of disks. */
int vmft_agent_link_regions(struct vmft_agent_link *link, uint32_t *ret_count);

void vmft_agent_link_command(struct vmft_agent_link *link, enum vmft_command command);
enum vmft_agent_state vmft_agent_link_state(const struct vmft_agent_link *link);

/* Wakes QEMU threads asleep in the agent, if any, after the ring or a field has moved. */
void vmft_agent_link_wake(struct vmft_agent_link *link);
/* Wakes the agent's service thread: frames may leave, or an order is there. */
void vmft_agent_link_ring(struct vmft_agent_link *link);

#endif
