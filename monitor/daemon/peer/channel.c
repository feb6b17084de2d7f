/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "channel.h"

#include <string.h>

void vmft_channel_init(struct vmft_channel *channel, const struct vmft_transport_ops *transport,
		       const struct vmft_core *core)
{
	*channel = (struct vmft_channel){.transport = transport, .core = core};
}

void vmft_channel_open(struct vmft_channel *channel, struct vmft_conn *conn)
{
	channel->conn = conn;
	channel->stage = VMFT_PEER_HELLO;
	channel->version = VMFT_FRAME_VERSION;
	channel->features = 0;
	channel->closing = false;
	channel->paused = false;
}

void vmft_channel_gone(struct vmft_channel *channel)
{
	channel->conn = NULL;
	channel->stage = VMFT_PEER_NONE;
	channel->paused = false;
}

bool vmft_channel_is_up(const struct vmft_channel *channel)
{
	return channel->conn && !channel->closing;
}

bool vmft_channel_is_quiet(const struct vmft_channel *channel)
{
	return !channel->conn;
}

/* --- sending -------------------------------------------------------------- */

static struct vmft_frame_info info_of(const struct vmft_channel *channel, enum vmft_frame_type type,
				      uint64_t position, const uint8_t *payload, size_t n)
{
	return (struct vmft_frame_info){
	    .version = channel->version,
	    .type = (uint16_t)type,
	    .generation = channel->core->generation,
	    .position = position,
	    .length = (uint32_t)n,
	    .payload = payload,
	};
}

/* False: no room, nothing was queued. */
static bool send_to(struct vmft_channel *channel, struct vmft_conn *conn,
		    const struct vmft_frame_info *info)
{
	const size_t n = info->length;
	uint8_t *room = channel->transport->reserve(conn, VMFT_FRAME_HEADER + n);

	if (!room)
		return false;
	if (n > 0)
		memcpy(room + VMFT_FRAME_HEADER, info->payload, n);
	vmft_frame_seal(room, info);
	channel->transport->commit(conn, VMFT_FRAME_HEADER + n);
	return true;
}

uint8_t *vmft_channel_room(struct vmft_channel *channel, size_t n)
{
	uint8_t *room;

	if (!vmft_channel_is_up(channel))
		return NULL;
	room = channel->transport->reserve(channel->conn, VMFT_FRAME_HEADER + n);
	return room ? room + VMFT_FRAME_HEADER : NULL;
}

void vmft_channel_commit(struct vmft_channel *channel, enum vmft_frame_type type, uint64_t position,
			 uint8_t *payload, size_t n)
{
	const struct vmft_frame_info info = info_of(channel, type, position, NULL, n);

	vmft_frame_seal(payload - VMFT_FRAME_HEADER, &info);
	channel->transport->commit(channel->conn, VMFT_FRAME_HEADER + n);
}

bool vmft_channel_send(struct vmft_channel *channel, enum vmft_frame_type type, uint64_t position,
		       const uint8_t *payload, size_t n)
{
	struct vmft_frame_info info;

	if (!vmft_channel_is_up(channel))
		return false;
	info = info_of(channel, type, position, payload, n);
	return send_to(channel, channel->conn, &info);
}

void vmft_channel_send_empty(struct vmft_channel *channel, enum vmft_frame_type type)
{
	(void)vmft_channel_send(channel, type, 0, NULL, 0);
}

void vmft_channel_want(struct vmft_channel *channel, uint64_t block, uint32_t region, uint64_t bits)
{
	uint8_t payload[16];

	(void)vmft_channel_send(channel, VMFT_FRAME_WANT, block, payload,
				vmft_want_encode(region, bits, payload));
}

void vmft_channel_refuse(struct vmft_channel *channel, const char *why)
{
	(void)vmft_channel_send(channel, VMFT_FRAME_REFUSE, 0, (const uint8_t *)why, strlen(why));
}

static uint8_t bye_of(enum vmft_why why)
{
	switch (why) {
	case VMFT_WHY_GUEST_ENDED:
		return VMFT_BYE_GUEST_ENDED;
	case VMFT_WHY_DIVERGED:
		return VMFT_BYE_DIVERGED;
	case VMFT_WHY_STOPPED:
		return VMFT_BYE_STOPPED;
	case VMFT_WHY_HANDED_OVER:
		return VMFT_BYE_HANDED_OVER;
	case VMFT_WHY_TOOK_OVER:
		return VMFT_BYE_TOOK_OVER;
	default:
		return VMFT_BYE_GUEST_DIED;
	}
}

void vmft_channel_bye(struct vmft_channel *channel, enum vmft_why why)
{
	const uint8_t bye = bye_of(why);

	(void)vmft_channel_send(channel, VMFT_FRAME_BYE, 0, &bye, 1);
}

void vmft_channel_turn_away(struct vmft_channel *channel, struct vmft_conn *conn, uint16_t version,
			    const char *why)
{
	struct vmft_frame_info info =
	    info_of(channel, VMFT_FRAME_REFUSE, 0, (const uint8_t *)why, strlen(why));

	info.version = version;
	(void)send_to(channel, conn, &info);
	channel->transport->close(conn, true);
}

/* --- the connection ------------------------------------------------------- */

void vmft_channel_close(struct vmft_channel *channel)
{
	if (!vmft_channel_is_up(channel))
		return;
	channel->closing = true;
	channel->transport->close(channel->conn, true);
}

void vmft_channel_drop(struct vmft_channel *channel)
{
	channel->transport->close(channel->conn, false);
}

void vmft_channel_pause(struct vmft_channel *channel)
{
	channel->paused = true;
	channel->transport->pause(channel->conn, true);
}

void vmft_channel_resume(struct vmft_channel *channel)
{
	if (!channel->paused || !vmft_channel_is_up(channel))
		return;
	channel->paused = false;
	channel->transport->pause(channel->conn, false);
}
