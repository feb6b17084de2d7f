/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attach-sink.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink-compare.h"
#include "sink-disks.h"
#include "sink-memory.h"
#include "sink-parts.h"
#include "sink-point.h"

/* --- for the parts -------------------------------------------------------- */

bool vmft_sink_is_disk(const struct vmft_attach_sink *s, uint32_t region)
{
	return region < s->world.disk_count;
}

bool vmft_sink_is_read_only(const struct vmft_attach_sink *s, uint32_t region)
{
	return vmft_sink_is_disk(s, region) && s->world.disk[region].read_only;
}

bool vmft_sink_fits(const struct vmft_attach_sink *s, uint32_t region, uint64_t offset, uint64_t n)
{
	const uint64_t end = region < s->regions ? s->world.link->region[region].bytes : 0;

	return n <= end && offset <= end - n;
}

void vmft_sink_give_up(struct vmft_attach_sink *s, const char *format, ...)
{
	char why[200];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(why, sizeof(why), format, ap);
	va_end(ap);
	s->world.on_failed(s->world.user, why);
}

void vmft_sink_settled(struct vmft_attach_sink *s)
{
	if (s->leaving)
		vmft_attach_sink_failed(s);
	else
		s->world.resume(s->world.user);
}

/* --- what will come ------------------------------------------------------- */

int vmft_attach_sink_got_attach(struct vmft_attach_sink *s, const struct vmft_frame_info *frame)
{
	if (s->phase != VMFT_ATTACH_IDLE ||
	    vmft_geometry_decode(frame->payload, frame->length, s->geometry) < 0 ||
	    s->geometry->count < s->world.disk_count)
		return -EBADMSG;
	s->phase = VMFT_ATTACH_OFFERED;
	s->loaded = false;
	s->synced = false;
	s->proven = false;
	s->state_bytes = 0;
	s->bytes = 0;
	if (vmft_sink_disks_open(s) < 0)
		return 0;
	if (!s->prepared)
		vmft_agent_link_command(s->world.link, VMFT_COMMAND_PREPARE);
	s->prepared = true;
	vmft_agent_link_request(s->world.link, VMFT_AREA_DESCRIBE);
	return 0;
}

/* The same build and the same command line make the same blocks in the same order. */
static bool is_same_memory(const struct vmft_attach_sink *s)
{
	const struct vmft_geometry *theirs = s->geometry;

	if (theirs->count != s->regions)
		return false;
	for (uint32_t i = s->world.disk_count; i < theirs->count; i++) {
		const struct vmft_region *ours = &s->world.link->region[i];

		if (ours->kind != theirs->region[i].kind ||
		    ours->bytes != theirs->region[i].bytes ||
		    strcmp(ours->name, theirs->region[i].name) != 0)
			return false;
	}
	return true;
}

/*
 * QEMU is up and does not touch its memory before the state is loaded. The memory is emptied of
 * what an earlier attempt or QEMU's own firmware left there: the primary sends nothing for memory
 * that was never used.
 */
static void described(struct vmft_attach_sink *s)
{
	uint8_t *payload;
	int rc;

	if (vmft_agent_link_regions(s->world.link, &s->regions) < 0 || !is_same_memory(s)) {
		vmft_sink_give_up(s, "this QEMU's memory has another layout than the primary's");
		return;
	}
	rc = vmft_sink_memory_empty(s);
	if (rc < 0) {
		vmft_sink_give_up(s, "guest memory cannot be emptied: %s", strerror(-rc));
		return;
	}
	s->phase = VMFT_ATTACH_COPYING;
	payload = s->world.room(s->world.user, 0);
	if (payload)
		s->world.send(s->world.user, VMFT_FRAME_READY, 0, payload, 0);
}

/* --- blocks --------------------------------------------------------------- */

static int got_chunk(struct vmft_attach_sink *s, const struct vmft_frame_info *frame)
{
	const uint8_t *bytes;
	uint32_t region;
	size_t n;
	int rc;

	if (vmft_chunk_decode(frame->payload, frame->length, &region, &bytes, &n) < 0 ||
	    n > VMFT_DISK_BLOCK_BYTES || !vmft_sink_fits(s, region, frame->position, n) ||
	    vmft_sink_is_read_only(s, region))
		return -EBADMSG;
	if (!vmft_sink_is_disk(s, region)) {
		vmft_sink_memory_write(s, region, frame->position, bytes, n);
	} else {
		rc = vmft_sink_disks_write(s, region, frame->position, bytes, n);
		if (rc < 0)
			return rc;
	}
	s->bytes += n;
	return 0;
}

static int got_zero(struct vmft_attach_sink *s, const struct vmft_frame_info *frame)
{
	uint32_t region;
	uint64_t n;

	if (vmft_zero_decode(frame->payload, frame->length, &region, &n) < 0 || n == 0 ||
	    n > VMFT_DISK_BLOCK_BYTES || !vmft_sink_fits(s, region, frame->position, n) ||
	    vmft_sink_is_read_only(s, region))
		return -EBADMSG;
	if (vmft_sink_is_disk(s, region))
		vmft_sink_disks_zero(s, region, frame->position, n);
	else
		vmft_sink_memory_zero(s, region, frame->position, n);
	return 0;
}

static int got_round(struct vmft_attach_sink *s)
{
	/* A block of this round that is written late would overwrite one of the next round. */
	if (s->writing > 0)
		return -ENOSPC;
	vmft_sink_disks_sync(s);
	return 0;
}

int vmft_attach_sink_got_frame(struct vmft_attach_sink *s, const struct vmft_frame_info *frame)
{
	if (s->phase != VMFT_ATTACH_COPYING)
		return -EBADMSG;
	switch (frame->type) {
	case VMFT_FRAME_CHUNK:
		return got_chunk(s, frame);
	case VMFT_FRAME_ZERO:
		return got_zero(s, frame);
	case VMFT_FRAME_ROUND:
		return got_round(s);
	case VMFT_FRAME_STATE:
		return vmft_sink_point_got_state(s, frame);
	case VMFT_FRAME_POINT:
		return vmft_sink_point_got(s, frame);
	case VMFT_FRAME_SUMS:
		return vmft_sink_compare_got_sums(s, frame);
	default:
		return -EBADMSG;
	}
}

/* Whatever was waited for: a slot, all slots, durability, the digests, or the proof. */
bool vmft_attach_sink_has_room(const struct vmft_attach_sink *s)
{
	return s->writing == 0 && s->syncing == 0 && !s->summer.busy && !s->proving;
}

/* --- the agent ------------------------------------------------------------ */

static void loaded(struct vmft_attach_sink *s)
{
	s->loaded = true;
	vmft_journal_say(s->world.journal, "state loaded: replaying from log position %llu",
			 (unsigned long long)atomic_load(&s->world.link->area->load_position));
}

void vmft_attach_sink_look(struct vmft_attach_sink *s)
{
	char why[200];

	if (s->leaving) {
		vmft_attach_sink_failed(s);
		return;
	}
	if (s->proving) {
		vmft_sink_point_look(s);
		return;
	}
	if ((s->phase != VMFT_ATTACH_OFFERED && s->phase != VMFT_ATTACH_CATCHING_UP) || s->loaded ||
	    !vmft_agent_link_is_done(s->world.link))
		return;
	if (vmft_agent_link_result(s->world.link, why, sizeof(why)) < 0)
		vmft_sink_give_up(s, "%s", why);
	else if (s->phase == VMFT_ATTACH_OFFERED)
		described(s);
	else
		loaded(s);
}

/* --- the end of an attempt ------------------------------------------------ */

/* Called again as each thing under way ends. */
void vmft_attach_sink_failed(struct vmft_attach_sink *s)
{
	if (s->phase == VMFT_ATTACH_IDLE)
		return;
	s->leaving = true;
	/* An epoch that is applied after the attach point is written to the same descriptors. */
	if (!s->world.abandon(s->world.user))
		return;
	if (s->writing > 0 || s->syncing > 0 || s->summer.busy ||
	    !vmft_agent_link_is_done(s->world.link))
		return;
	vmft_sink_disks_close(s);
	s->leaving = false;
	s->proving = false;
	s->phase = VMFT_ATTACH_IDLE;
}

int vmft_attach_sink_formed(struct vmft_attach_sink *s)
{
	/* The primary was told that replay moves, so the state is in; what the agent says about it
	 * may not have been looked at yet. */
	vmft_attach_sink_look(s);
	if (!s->loaded)
		return -EBADMSG;
	s->phase = VMFT_ATTACH_IDLE;
	return 0;
}

int vmft_attach_sink_init(struct vmft_attach_sink *s, const struct vmft_attach_world *world)
{
	int rc = -ENOMEM;

	*s = (struct vmft_attach_sink){.world = *world};
	s->geometry = calloc(1, sizeof(*s->geometry));
	if (s->geometry)
		rc = vmft_sink_disks_init(s);
	if (rc == 0)
		rc = vmft_sink_compare_init(s);
	if (rc < 0)
		vmft_attach_sink_fini(s);
	return rc;
}

void vmft_attach_sink_fini(struct vmft_attach_sink *s)
{
	vmft_sink_disks_fini(s);
	vmft_sink_compare_fini(s);
	free(s->geometry);
	s->geometry = NULL;
}
