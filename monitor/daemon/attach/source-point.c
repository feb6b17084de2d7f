/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "source-point.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "source-disks.h"
#include "source-frames.h"

#define STATE_BYTES	(60u * 1024) /* of device state in one frame */
#define POINT_BYTES_MAX 512u	     /* of a POINT frame's payload */

static void note_times(struct vmft_attach_figures *now, const struct vmft_area *area)
{
	now->stop_ns = atomic_load(&area->stop_ns);
	now->drain_ns = atomic_load(&area->drain_ns);
	now->copy_ns = atomic_load(&area->copy_ns);
	now->save_ns = atomic_load(&area->save_ns);
	now->start_ns = atomic_load(&area->start_ns);
	now->stun_ns = now->stop_ns + now->drain_ns + now->copy_ns + now->save_ns + now->start_ns;
}

void vmft_source_point_taken(struct vmft_attach_source *s)
{
	const struct vmft_area *area = s->world.link->area;

	note_times(&s->now, area);
	s->now.staged_bytes = atomic_load(&area->staged_bytes);
	s->now.rounds = s->pace.round;
	s->pace.throttle = 0;
	s->piece_at = 0;
	s->state_at = 0;
	s->point = (struct vmft_point){
	    .state_bytes = atomic_load(&area->state_bytes),
	    .guest_ns = atomic_load(&area->point_guest_ns),
	    .disk_count = s->world.disk_count,
	};
	if (s->now.staged_bytes > VMFT_AREA_STAGING_BYTES ||
	    s->point.state_bytes > VMFT_AREA_STATE_BYTES) {
		vmft_attach_source_abort(s, "the agent's answer is not valid");
		return;
	}
	s->phase = VMFT_ATTACH_SENDING;
	vmft_journal_say(s->world.journal, "attach point: the guest was stopped for %.1f ms",
			 (double)s->now.stun_ns / 1e6);
}

/* False: the attempt has been given up. */
static bool area_read(struct vmft_attach_source *s, void *bytes, size_t n, uint64_t at)
{
	const ssize_t got = pread(s->world.link->area_fd, bytes, n, (off_t)at);

	if (got == (ssize_t)n)
		return true;
	vmft_attach_source_abort(s, "the attach area cannot be read: %s",
				 strerror(got < 0 ? errno : EIO));
	return false;
}

/* False: no room, or the attempt has been given up. */
static bool send_piece(struct vmft_attach_source *s)
{
	const uint64_t at = s->world.link->area->staging_at + s->piece_at;
	struct vmft_area_piece piece;
	uint8_t *payload;
	bool is_length;

	if (!area_read(s, &piece, sizeof(piece), at))
		return false;
	/* A piece without bytes says how long an image is; it makes no sense for memory. */
	is_length = piece.bytes == 0 && vmft_source_is_disk(s, piece.region);
	if (piece.region >= s->regions || piece.bytes > VMFT_DISK_BLOCK_BYTES ||
	    (piece.bytes == 0 && !is_length) ||
	    piece.bytes > VMFT_AREA_STAGING_BYTES - s->piece_at) {
		vmft_attach_source_abort(s, "the agent's answer is not valid");
		return false;
	}
	if (is_length) {
		s->point.disk_bytes[piece.region] = piece.offset;
	} else {
		payload = vmft_source_frames_room(s, VMFT_CHUNK_HEAD + piece.bytes);
		if (!payload)
			return false;
		if (!area_read(s, payload + VMFT_CHUNK_HEAD, piece.bytes, at + sizeof(piece)))
			return false;
		vmft_source_frames_block(s, piece.region, piece.offset, payload, piece.bytes);
	}
	s->piece_at += sizeof(piece) + (piece.bytes + UINT64_C(15)) / 16 * 16;
	return true;
}

static bool send_state(struct vmft_attach_source *s)
{
	uint64_t n = s->point.state_bytes - s->state_at;
	uint8_t *payload;

	if (n > STATE_BYTES)
		n = STATE_BYTES;
	payload = vmft_source_frames_room(s, n);
	if (!payload)
		return false;
	if (!area_read(s, payload, n, s->world.link->area->state_at + s->state_at))
		return false;
	vmft_source_frames_send(s, VMFT_FRAME_STATE, s->state_at, payload, n);
	s->state_at += n;
	return true;
}

/* What was staged has been read: gives its memory back. */
static void empty_staging(const struct vmft_agent_link *link)
{
	(void)fallocate(link->area_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)link->area->staging_at,
			(off_t)(VMFT_AREA_STAGING_BYTES + VMFT_AREA_STATE_BYTES));
}

/* All is on its way: the log follows. False: no room. */
static bool send_point(struct vmft_attach_source *s)
{
	const struct vmft_attach_world *world = &s->world;
	const uint64_t position = atomic_load(&world->link->area->point_position);
	uint8_t *payload = vmft_source_frames_room(s, POINT_BYTES_MAX);
	int rc;

	if (!payload)
		return false;
	vmft_source_frames_send(s, VMFT_FRAME_POINT, position, payload,
				vmft_point_encode(&s->point, payload));
	empty_staging(world->link);
	vmft_source_disks_close(s);
	rc = world->begin_log(world->user, position);
	if (rc < 0) {
		vmft_attach_source_abort(s, "the log cannot be started again: %s", strerror(-rc));
		return true;
	}
	s->phase = VMFT_ATTACH_CATCHING_UP;
	s->point_at = position;
	s->log_flows = true;
	world->on_point(world->user, position);
	return true;
}

void vmft_source_point_pump(struct vmft_attach_source *s)
{
	while (s->phase == VMFT_ATTACH_SENDING) {
		if (s->piece_at < s->now.staged_bytes) {
			if (!send_piece(s))
				return;
		} else if (s->state_at < s->point.state_bytes) {
			if (!send_state(s))
				return;
		} else if (!send_point(s)) {
			return;
		}
	}
}
