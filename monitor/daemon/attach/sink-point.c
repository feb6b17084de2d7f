/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink-point.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sink-disks.h"
#include "sink-parts.h"

int vmft_sink_point_got_state(struct vmft_attach_sink *s, const struct vmft_frame_info *frame)
{
	const struct vmft_agent_link *link = s->world.link;
	ssize_t done;

	if (frame->length == 0 || frame->position != s->state_bytes ||
	    frame->length > VMFT_AREA_STATE_BYTES - s->state_bytes)
		return -EBADMSG;
	done = pwrite(link->area_fd, frame->payload, frame->length,
		      (off_t)(link->area->state_at + s->state_bytes));
	if (done != (ssize_t)frame->length)
		vmft_sink_give_up(s, "no memory for the device state: %s",
				  strerror(done < 0 ? errno : ENOSPC));
	s->state_bytes += frame->length;
	return 0;
}

/* A state that is loaded only when this side goes live is loaded once now: so it is known before
 * there is a pair whether QEMU can load it (monitor/agent/prove.c). */
static void prove(struct vmft_attach_sink *s)
{
	s->proving = true;
	atomic_store(&s->world.link->area->load_bytes, s->state_bytes);
	vmft_agent_link_request(s->world.link, VMFT_AREA_PROVE);
}

void vmft_sink_point_look(struct vmft_attach_sink *s)
{
	char why[200];

	if (!s->proving || !vmft_agent_link_is_done(s->world.link))
		return;
	s->proving = false;
	if (vmft_agent_link_result(s->world.link, why, sizeof(why)) < 0)
		vmft_sink_give_up(s, "%s", why);
	else
		s->proven = true;
	s->world.resume(s->world.user);
}

/*
 * All that was copied is in the images and durable, so that they can be closed after the point; and
 * the state is one that can be loaded. False: not yet, or the attempt has been given up.
 */
static bool is_settled(struct vmft_attach_sink *s)
{
	if (!vmft_attach_sink_has_room(s))
		return false;
	if (!s->synced) {
		s->synced = true;
		if (!vmft_sink_disks_cut(s))
			return false;
		vmft_sink_disks_sync(s);
		if (s->syncing > 0)
			return false;
	}
	if (s->world.loads_at_point || s->proven)
		return true;
	prove(s);
	return false;
}

/* An image may become no longer than was foreseen for it: its marks have no place for more. */
static bool is_sane(const struct vmft_attach_sink *s, const struct vmft_point *point)
{
	if (point->disk_count != s->world.disk_count || point->state_bytes != s->state_bytes ||
	    s->state_bytes == 0)
		return false;
	for (uint32_t i = 0; i < point->disk_count; i++)
		if (point->disk_bytes[i] > s->world.link->region[i].bytes)
			return false;
	return true;
}

static void break_off(struct vmft_attach_sink *s, int rc)
{
	char why[128];

	(void)snprintf(why, sizeof(why), "guest memory cannot be mapped: %s", strerror(-rc));
	s->world.on_broken(s->world.user, why);
}

/* The state is in the attach area. */
static void take_state(struct vmft_attach_sink *s, uint64_t position)
{
	struct vmft_area *area = s->world.link->area;

	atomic_store(&area->load_bytes, s->state_bytes);
	atomic_store(&area->load_position, position);
	atomic_store(&area->load_guest_ns, s->point.guest_ns);
	if (!s->world.loads_at_point) {
		/* It is there for this side to go live with. What follows replaces it, and the
		 * images are written to until then. */
		s->loaded = true;
		return;
	}
	vmft_sink_disks_close(s);
	vmft_agent_link_request(s->world.link, VMFT_AREA_LOAD);
}

int vmft_sink_point_got(struct vmft_attach_sink *s, const struct vmft_frame_info *frame)
{
	const struct vmft_attach_world *world = &s->world;
	int rc;

	if (vmft_point_decode(frame->payload, frame->length, &s->point) < 0 ||
	    !is_sane(s, &s->point))
		return -EBADMSG;
	if (!is_settled(s))
		return -ENOSPC;
	rc = world->begin_log(world->user, frame->position);
	if (rc < 0) {
		break_off(s, rc);
		return 0;
	}
	s->phase = VMFT_ATTACH_CATCHING_UP;
	world->on_point(world->user, frame->position);
	take_state(s, frame->position);
	return 0;
}
