/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hellos: who may be the other side of the pair.
 *
 * The primary sends its hello first, the backup answers. Each side checks the other's hello
 * (hello-check.h), then asks its arbiter. The backup asks for the latest generation: a primary of
 * an older one has slept through a failover, and its guest must not get a backup. The primary asks
 * for the mark that the backup has left: found, both hosts use one arbiter. With two arbiters each
 * side could win the next generation at its own.
 *
 * What a connection is refused for is sent to the peer and said in the journal. A peer that is
 * refused tries again several times a second: the journal says it when it is new.
 */
#ifndef VMFT_HANDSHAKE_H
#define VMFT_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "channel.h"
#include "liveness.h"
#include "strangers.h"
#include "world.h"

struct vmft_handshake {
	const struct vmft_peer_world *world; /* borrowed, like the next */
	struct vmft_channel *channel;
	struct vmft_liveness *liveness;
	struct vmft_strangers *strangers;
	char refusal[241]; /* the last that was said, of those that come again and again */

	/* Backup: the connection whose hello fits, while the arbiter is asked for the latest
	 * generation; NULL: none. */
	struct vmft_conn *caller;
	struct vmft_hello caller_hello;
	uint64_t caller_generation;
	uint16_t caller_version; /* of the hello's frame */
	bool latest_asked;	 /* a question is out */
	bool latest_old;	 /* that question is older than the caller's hello */

	/* Primary: the backup's hello, while the arbiter is asked for the mark it has left. */
	struct vmft_hello backup_hello;
	bool marking;	 /* the answer is awaited; until then the connection is not read */
	bool mark_asked; /* a question is out */
	bool mark_old;	 /* that question is older than the backup's hello */
};

/* All that is given must outlive the handshake. */
void vmft_handshake_init(struct vmft_handshake *h, const struct vmft_peer_world *world,
			 struct vmft_channel *channel, struct vmft_liveness *liveness,
			 struct vmft_strangers *strangers);

/* Sends this side's hello on the channel. */
void vmft_handshake_send(struct vmft_handshake *h);
/* A hello came on conn. 0, or -EBADMSG: it is none, or it is out of order. */
int vmft_handshake_got_hello(struct vmft_handshake *h, struct vmft_conn *conn,
			     const struct vmft_frame_info *frame);
/* conn is gone. */
void vmft_handshake_forget(struct vmft_handshake *h, const struct vmft_conn *conn);

/* Backup: the arbiter has said which generation is the latest, or why it does not. */
void vmft_handshake_got_latest(struct vmft_handshake *h, const struct vmft_arbiter_answer *answer);
/* Primary: the arbiter has shown the mark of a backup, or says why it does not. True: that is
 * what was waited for; false: it is not of the backup that is connected now. */
bool vmft_handshake_got_mark(struct vmft_handshake *h, const struct vmft_arbiter_answer *answer);

/* Says in the journal what there is between this side and the peer, "PEER what why", if why is
 * new. */
void vmft_handshake_say(struct vmft_handshake *h, const char *what, const char *why);

/* Whether this side, as a primary, forms its next pair by an attach. */
bool vmft_handshake_attaches(const struct vmft_handshake *h);

#endif
