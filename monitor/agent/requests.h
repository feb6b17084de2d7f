/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the monitor asks for through the shared area. */
#ifndef VMFT_AGENT_REQUESTS_H
#define VMFT_AGENT_REQUESTS_H

#include <stdint.h>

struct vmft_requests {
	uint32_t scheduled; /* service thread: the request that was passed on last */
};

extern struct vmft_requests vmft_requests;

/* Service thread: passes a new request on to the main loop. */
void vmft_requests_service(void);

#endif
