/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest shows of itself to its networks, and what the networks are told. */
#ifndef VMFT_AGENT_ANNOUNCE_H
#define VMFT_AGENT_ANNOUNCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "monitor/common/announcement.h"
#include "monitor/common/presence.h"

struct vmft_announcer {
	struct vmft_presence presence; /* with the gate's lock, and the next three */
	unsigned published;	       /* since the service thread's last turn */
	bool publish_due;
	uint64_t expired_ns;
	struct vmft_presence copy; /* the thread that announces */
	uint64_t begin_ns;	   /* live, or a link has come up */
	unsigned made;		   /* since begin_ns */
	uint32_t again;		   /* links that have come up, as seen */
};

extern struct vmft_announcer vmft_announcer;

void vmft_announce_begin(void); /* the cards are found */
/* The guest sends a frame. The caller holds the gate's lock. */
void vmft_announce_sent(int fd, const struct iovec *iov, int count);
/* QEMU has read a frame from fd. Main loop. */
void vmft_announce_got(int fd, const uint8_t *bytes, size_t n);
/* The gate is open, the guest has not sent a frame yet. The thread that goes live. */
void vmft_announce_live(void);
void vmft_announce_service(void); /* service thread */

#endif
