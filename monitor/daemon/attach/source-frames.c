/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source-frames.h"

#include <string.h>

bool vmft_source_is_disk(const struct vmft_attach_source *s, uint32_t region)
{
	return region < s->world.disk_count;
}

uint8_t *vmft_source_frames_room(struct vmft_attach_source *s, size_t n)
{
	return s->world.room(s->world.user, n);
}

void vmft_source_frames_send(struct vmft_attach_source *s, enum vmft_frame_type type,
			     uint64_t position, uint8_t *payload, size_t n)
{
	s->world.send(s->world.user, type, position, payload, n);
}

/* The cap is for what is copied while the guest runs. What was taken at the attach point is not
 * delayed: the log waits for it. */
bool vmft_source_frames_may_send(const struct vmft_attach_source *s)
{
	return s->phase == VMFT_ATTACH_SENDING || vmft_pace_may_send(&s->pace);
}

static void count_sent(struct vmft_attach_source *s, uint32_t region, size_t n)
{
	if (vmft_source_is_disk(s, region))
		s->now.disk_bytes += n;
	else
		s->now.ram_bytes += n;
	vmft_pace_sent(&s->pace, n);
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

void vmft_source_frames_block(struct vmft_attach_source *s, uint32_t region, uint64_t offset,
			      uint8_t *payload, size_t n)
{
	if (all_zero(payload + VMFT_CHUNK_HEAD, n)) {
		vmft_source_frames_send(s, VMFT_FRAME_ZERO, offset, payload,
					vmft_zero_encode(region, n, payload));
		return;
	}
	vmft_chunk_encode(region, payload);
	vmft_source_frames_send(s, VMFT_FRAME_CHUNK, offset, payload, VMFT_CHUNK_HEAD + n);
	count_sent(s, region, n);
}
