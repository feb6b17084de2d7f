/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connections to the other side: who may connect, which one is the pair's, and what comes of
 * each. The frames of a pair are the hub's to understand (hub/frames.h).
 *
 * The backup listens. The primary connects to the other hosts of the pair file in turn, until a
 * pair is formed, and again when it is alone. A pair once formed is never formed again on a new
 * connection: its loss is for the arbiter to decide. A guest that runs already is given to its new
 * backup by an attach (attach.h) on the same connection.
 */
#ifndef VMFT_PEER_H
#define VMFT_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel.h"
#include "handshake.h"
#include "liveness.h"
#include "monitor/common/error.h"
#include "reach.h"
#include "strangers.h"
#include "world.h"

struct vmft_peer {
	struct vmft_peer_world world;
	struct vmft_channel channel;
	struct vmft_liveness liveness;
	struct vmft_handshake handshake;
	struct vmft_reach reach;
	struct vmft_strangers strangers; /* accepted, and not the pair's */
	struct vmft_listener *listener;	 /* of a side that was started as the backup */
	struct vmft_op retry_op;	 /* primary: time to connect again */
	bool connecting;		 /* primary: a connection is being tried */
	bool said_waiting;		 /* "waiting for the backup" has been said */
	bool form_due;			 /* primary: the backup is still to be told of the pair */
	char gave_up[161]; /* why the peer of the last pair said it would give up; or "" */
};

/*
 * Listens, or begins to look for a backup as soon as the loop runs. On failure err says which
 * address is not free; call vmft_peer_fini() then, too.
 */
int vmft_peer_init(struct vmft_peer *peer, const struct vmft_peer_world *world,
		   struct vmft_error *err);
/* The pair file's addresses are free when it returns. */
void vmft_peer_fini(struct vmft_peer *peer);

/* Heartbeats and acks that are due, silence, strangers, a paused channel; called every tick.
 * slept: how long this tick came too late, ns. */
void vmft_peer_tick(struct vmft_peer *peer, uint64_t now, uint64_t slept);
/* Backup: sends the ack that is due, if any. */
void vmft_peer_flush_ack(struct vmft_peer *peer);

/* Both hellos were accepted and there is a pair, or the backup was told of it. */
void vmft_peer_formed(struct vmft_peer *peer);
/* Primary: the pair is formed, the backup is told (VMFT_DO_FORM_PAIR). */
void vmft_peer_form(struct vmft_peer *peer);

/* Primary: looks for a backup, now or in a while, if it has use for one. */
void vmft_peer_look_for_backup(struct vmft_peer *peer);
/* This side gives its peer up, or is done: the connection is closed. */
void vmft_peer_close(struct vmft_peer *peer);
/* For the status: "no peer", "channel ok", or for how long the channel has been silent. */
void vmft_peer_describe(const struct vmft_peer *peer, uint64_t now, char *text, size_t size);

#endif
