/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection of the pair, and the frames that this side sends on it.
 *
 * Every frame carries the generation of the core at the moment of sending. The functions that
 * send do nothing when there is no connection or when this side is closing it: a caller does not
 * have to ask first.
 */
#ifndef VMFT_CHANNEL_H
#define VMFT_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logging-channel/frame.h"
#include "logging-channel/hello.h"
#include "logging-channel/transport.h"
#include "monitor/common/pair-config.h"
#include "monitor/core/core.h"

/* How far the connection is on its way to a pair. */
enum vmft_peer_stage {
	VMFT_PEER_NONE,	     /* there is no connection */
	VMFT_PEER_HELLO,     /* primary: its hello is sent; backup: its answer is */
	VMFT_PEER_ATTACHING, /* hellos accepted, the guest's state is on its way */
	VMFT_PEER_FORMED,    /* there is a pair */
};

struct vmft_channel {
	const struct vmft_transport_ops *transport;
	const struct vmft_core *core; /* borrowed; only read, for the generation */
	struct vmft_conn *conn;	      /* NULL: there is none. Owned by the transport */
	enum vmft_peer_stage stage;
	enum vmft_host peer_host; /* of the peer, as its hello says */
	enum vmft_host to;	  /* primary: the host that is tried, or connected */
	uint16_t version;	  /* of the frames that are sent: both sides speak it */
	uint64_t features;	  /* bits that both have: vmft_hello_agree() */
	bool closing;		  /* vmft_channel_close() was called, on_close comes */
	bool paused; /* conn is not read: a frame that came found no room to be kept in */
};

/* transport and core must outlive the channel. */
void vmft_channel_init(struct vmft_channel *channel, const struct vmft_transport_ops *transport,
		       const struct vmft_core *core);
/* conn is the connection of the pair from now on, in stage HELLO. There must be none. */
void vmft_channel_open(struct vmft_channel *channel, struct vmft_conn *conn);
/* The transport has closed conn. */
void vmft_channel_gone(struct vmft_channel *channel);

/* There is a connection, and this side is not closing it. */
bool vmft_channel_is_up(const struct vmft_channel *channel);
/* All that was given to the connection has left, or there is none. */
bool vmft_channel_is_quiet(const struct vmft_channel *channel);

/*
 * A payload that is built in place. vmft_channel_room() returns room for n bytes, or NULL when
 * there is none now: the transport's on_sent tells when there is. Write the payload there, then
 * call vmft_channel_commit() with at most n bytes, or forget the room.
 */
uint8_t *vmft_channel_room(struct vmft_channel *channel, size_t n);
void vmft_channel_commit(struct vmft_channel *channel, enum vmft_frame_type type, uint64_t position,
			 uint8_t *payload, size_t n);

/* Copies a payload of n bytes. False: there was no room, nothing was queued. */
bool vmft_channel_send(struct vmft_channel *channel, enum vmft_frame_type type, uint64_t position,
		       const uint8_t *payload, size_t n);

/* Small frames of a backup. A backup sends little, so there is always room for them. */
void vmft_channel_send_empty(struct vmft_channel *channel, enum vmft_frame_type type);
void vmft_channel_want(struct vmft_channel *channel, uint64_t block, uint32_t region,
		       uint64_t bits);

/* Tells the peer why this side gives up, one line. The connection stays open. */
void vmft_channel_refuse(struct vmft_channel *channel, const char *why);
/* The goodbye: what became of this side's guest. */
void vmft_channel_bye(struct vmft_channel *channel, enum vmft_why why);
/* Tells any connection, also one that is not the pair's, why it is refused, and closes it. version:
 * of the hello that it said, so that its vmft can read the refusal. */
void vmft_channel_turn_away(struct vmft_channel *channel, struct vmft_conn *conn, uint16_t version,
			    const char *why);

/* Closes once all that was queued has been sent; the transport limits the wait. */
void vmft_channel_close(struct vmft_channel *channel);
/* Closes at once. The channel is not marked as closing: for the rest of this side the peer has
 * closed it. */
void vmft_channel_drop(struct vmft_channel *channel);

/* A frame that came finds no room: conn is not read until vmft_channel_resume(). */
void vmft_channel_pause(struct vmft_channel *channel);
/* There may be room for that frame. */
void vmft_channel_resume(struct vmft_channel *channel);

#endif
