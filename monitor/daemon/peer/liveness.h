/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the peer is there: heartbeats of the primary, acks of the backup, silence, grace.
 *
 * Each side speaks for its guest only while its agent beats: a QEMU that is stopped falls silent
 * like a host that is gone. The backup gives the primary up after silence-ms. The primary gives
 * the backup up after three quarters of silence-ms, and the lease of its gate runs out at four
 * fifths: when a channel is cut between two sides that live, the primary asks the arbiter first
 * and emits nothing by the time the backup may go live. While the heartbeat path says that the
 * peer is there, either side waits longer (detection.h).
 *
 * All times are CLOCK_MONOTONIC ns.
 */
#ifndef VMFT_LIVENESS_H
#define VMFT_LIVENESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "detection.h"
#include "heartbeat.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/status/journal.h"

struct vmft_liveness {
	const struct vmft_pair_config *config; /* borrowed, like the next */
	struct vmft_journal *journal;
	struct vmft_heartbeat heartbeat; /* the second path */

	uint64_t heard_ns; /* the last frame of the peer */
	uint64_t spoke_ns; /* primary: the last heartbeat sent; backup: the last ack */
	/* Primary: clock of its own last heartbeat that an ack brought back; backup: the primary's
	 * clock in its last heartbeat. 0: none yet. */
	uint64_t echo_ns;
	bool in_grace; /* the channel is silent, the heartbeat path is not */

	uint64_t replayed; /* primary: position up to which the backup says it has replayed */
	uint64_t ack;	   /* backup: position to acknowledge */
	bool ack_due;	   /* backup: an ack, or an answer to a heartbeat, is to be sent */
	bool acks_held;	   /* backup: a drill keeps ack where it is */
};

void vmft_liveness_init(struct vmft_liveness *l, const struct vmft_pair_config *config,
			struct vmft_journal *journal);

/* A connection is there: silence is counted from now. */
void vmft_liveness_begin(struct vmft_liveness *l, uint64_t now);
/* The peer's hello was accepted, and ours is sent: the heartbeat path begins. */
void vmft_liveness_begin_path(struct vmft_liveness *l, const struct vmft_hello *theirs,
			      uint64_t generation, bool primary);
/* The connection is gone. */
void vmft_liveness_end(struct vmft_liveness *l);
/* What was echoed before does not count: the lease begins with what the backup hears from now
 * on. */
void vmft_liveness_forget_echo(struct vmft_liveness *l);

/* --- primary -------------------------------------------------------------- */

/* Sends a heartbeat. taken: end of what was given to the channel. */
void vmft_liveness_beat(struct vmft_liveness *l, struct vmft_channel *channel, uint64_t taken,
			uint64_t now);
/* The same, if the last one is long enough ago. */
void vmft_liveness_beat_if_due(struct vmft_liveness *l, struct vmft_channel *channel,
			       uint64_t taken, uint64_t now);
/* 0, or -EBADMSG: the backup cannot have sent that, nothing has changed. */
int vmft_liveness_got_ack(struct vmft_liveness *l, const struct vmft_frame_info *frame,
			  struct vmft_ack *ret);
/* Output may leave until then. */
uint64_t vmft_liveness_lease_ns(const struct vmft_liveness *l);

/* --- backup --------------------------------------------------------------- */

/* The clock of a heartbeat, which the next ack carries back. 0 or -EBADMSG. */
int vmft_liveness_got_heartbeat(struct vmft_liveness *l, const struct vmft_frame_info *frame);
/* All before position is held: the next ack says so. */
void vmft_liveness_set_ack(struct vmft_liveness *l, uint64_t position);
/* Drills: acks stay at their position; go on, all before held. */
void vmft_liveness_hold_acks(struct vmft_liveness *l);
void vmft_liveness_release_acks(struct vmft_liveness *l, uint64_t held);
/* Sends an ack. replayed: position up to which all is applied. Before the attach point there is
 * nothing to acknowledge: then only the heartbeat is answered. */
void vmft_liveness_ack(struct vmft_liveness *l, struct vmft_channel *channel, uint64_t replayed);
/* Also without news the primary must hear from this side: true when it is time. */
bool vmft_liveness_ack_is_due(const struct vmft_liveness *l, uint64_t now);

/* --- silence -------------------------------------------------------------- */

/* How long the agent may not have beaten while this side speaks for its guest. */
uint64_t vmft_liveness_agent_ns(const struct vmft_liveness *l);

/*
 * Looks at the silence of the peer. Called every tick; says in the journal when a grace begins
 * and ends. LOST stays the verdict until the connection is gone.
 */
enum vmft_verdict vmft_liveness_look(struct vmft_liveness *l, const struct vmft_channel *channel,
				     bool primary, uint64_t now);
/* The peer is given up as silent: the journal says what was heard last. */
void vmft_liveness_say_lost(struct vmft_liveness *l, uint64_t agent_beat_ns, uint64_t now);

/* For the status: "no peer", "channel ok", or for how long it has been silent. */
void vmft_liveness_describe(const struct vmft_liveness *l, const struct vmft_channel *channel,
			    bool primary, uint64_t now, char *text, size_t size);

#endif
