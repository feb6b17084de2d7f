/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest has shown of itself on its networks (monitor/common/presence.h), on its way from
 * the agent that noted it to the one that announces it: the primary's monitor sends each change
 * before the log, or the epoch, that it came with; the backup's keeps the last one for its agent.
 * When the guest has gone live here, the journal says what is announced, and the host's links are
 * watched: when one comes up later, nobody on that side of it has heard an announcement yet.
 */
#ifndef VMFT_SHOWN_H
#define VMFT_SHOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "agent-link.h"
#include "links.h"
#include "logging-channel/frame.h"
#include "logging-channel/loop.h"
#include "monitor/common/presence.h"
#include "monitor/daemon/peer/channel.h"
#include "monitor/daemon/status/journal.h"
#include "monitor/interface.h"

struct vmft_shown {
	struct vmft_loop *loop; /* borrowed, like the next */
	struct vmft_agent_link *link;
	struct vmft_channel *channel;
	struct vmft_journal *journal;
	struct vmft_exchange *shown, *told; /* where they were when the area was checked */
	struct vmft_presence *presence;
	uint8_t *bytes;	  /* VMFT_EXCHANGE_MAX */
	uint32_t sent;	  /* primary: the version that this connection was told; 0: none */
	uint64_t sent_ns; /* and when */

	/* a guest that has gone live here */
	int fd; /* rtnetlink; -1: not watched */
	struct vmft_op op;
	struct vmft_links links;
	uint64_t again_ns;	/* when it was last announced again */
	char came_up[IFNAMSIZ]; /* a link that has, and is still to be announced to; "" */
};

/* The link must have been initialised. All that is given must outlive s. 0 or -ENOMEM. */
int vmft_shown_init(struct vmft_shown *s, struct vmft_loop *loop, struct vmft_agent_link *link,
		    struct vmft_channel *channel, struct vmft_journal *journal);
void vmft_shown_fini(struct vmft_shown *s);
/* A new connection: its peer knows nothing. */
void vmft_shown_forget(struct vmft_shown *s);
/* Primary: sends what has changed, if there is room; called before log is sent. */
void vmft_shown_pump(struct vmft_shown *s);
/* Backup: 0 or -EBADMSG. */
int vmft_shown_got(struct vmft_shown *s, const struct vmft_frame_info *frame);
void vmft_shown_live(struct vmft_shown *s);
void vmft_shown_tick(struct vmft_shown *s, uint64_t now);

#endif
