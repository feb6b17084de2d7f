/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "handover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "logging-channel/loop.h"

#define MS UINT64_C(1000000)

/* If the backup does not come this near within this time, its host is busy with other work. */
#define NEAR_MS		 20u
#define NEARING_NS	 (1000 * MS)
#define NEARING_PERMILLE 500u
/* A guest that is frozen for longer than this is worse off than one that stays on this host. */
#define FROZEN_NS (5000 * MS)

void vmft_handover_init(struct vmft_handover *h, const struct vmft_handover_world *world)
{
	*h = (struct vmft_handover){.world = *world};
}

bool vmft_handover_is_near(uint64_t lag_ms, uint64_t slowed_ns)
{
	return lag_ms <= NEAR_MS || slowed_ns >= NEARING_NS;
}

bool vmft_handover_is_on(const struct vmft_handover *h)
{
	return h->phase != VMFT_HANDOVER_NONE;
}

uint32_t vmft_handover_throttle(const struct vmft_handover *h)
{
	return h->phase == VMFT_HANDOVER_NEARING ? NEARING_PERMILLE : 0;
}

void vmft_handover_forget(struct vmft_handover *h, const void *user)
{
	if (h->user == user)
		h->done = NULL;
}

static void finish(struct vmft_handover *h, bool handed, const char *text)
{
	const struct vmft_handover over = *h;

	*h = (struct vmft_handover){.world = over.world, .asked = over.asked};
	/* After a hand-over the other side sends the output that was kept. */
	if (!handed)
		atomic_store(&h->world.link->iface->keep_output, 0);
	vmft_agent_link_ring(h->world.link);
	vmft_journal_say(h->world.journal, "%s", text);
	if (over.done)
		over.done(over.user, handed, text);
}

const char *vmft_handover_begin(struct vmft_handover *h,
				void (*done)(void *user, bool handed, const char *text), void *user)
{
	const struct vmft_handover_world *w = &h->world;

	if (w->core->side != VMFT_SIDE_PRIMARY)
		return "this is the backup: ask the primary";
	if (vmft_handover_is_on(h))
		return "a hand-over is under way already";
	if (!vmft_core_may_hand_over(w->core))
		return "no backup to hand over to: this side is not protected";
	if (w->is_guest_gone(w->user))
		return "the guest has ended";
	if (h->asked)
		return "the arbiter has not yet answered the question of the last hand-over";
	*h = (struct vmft_handover){
	    .world = *w,
	    .phase = VMFT_HANDOVER_ASKING,
	    .since = vmft_loop_now(),
	    .done = done,
	    .user = user,
	    .asked = true,
	};
	vmft_journal_say(w->journal, "handing over to the backup at %s",
			 w->config->host[w->channel->to].channel.text);
	vmft_arbiter_worker_ask(w->worker, &(struct vmft_arbiter_question){.ask = VMFT_ASK_LATEST});
	return NULL;
}

void vmft_handover_got_latest(struct vmft_handover *h, const struct vmft_arbiter_answer *answer)
{
	char text[600];

	h->asked = false;
	if (h->phase != VMFT_HANDOVER_ASKING)
		return;
	if (answer->rc == 0 && answer->latest.generation == h->world.core->generation) {
		h->phase = VMFT_HANDOVER_NEARING;
		h->since = vmft_loop_now();
		vmft_handover_look(h);
		return;
	}
	(void)snprintf(text, sizeof(text), "not handed over: %s",
		       answer->rc < 0 ? answer->err.text
				      : "the arbiter knows another generation than this one");
	finish(h, false, text);
}

static size_t record_bytes(size_t n)
{
	return sizeof(struct vmft_held_output) + (n + 7) / 8 * 8;
}

static void freeze(struct vmft_handover *h, uint64_t now)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_HAND_OVER};

	h->phase = VMFT_HANDOVER_UNDER_WAY;
	h->since = now;
	h->world.event(h->world.user, &event);
}

/* The agent wrote this output, so each record is checked. 1: all is sent; 0: the channel has no
 * room now; -EBADMSG. */
static int send_output(struct vmft_handover *h, uint64_t bytes)
{
	const struct vmft_area *area = h->world.link->area;
	const uint8_t *from = (const uint8_t *)area + area->staging_at;
	struct vmft_held_output head;

	if (bytes > VMFT_AREA_STAGING_BYTES)
		return -EBADMSG;
	while (bytes - h->output_at >= sizeof(head)) {
		uint8_t *payload;

		memcpy(&head, from + h->output_at, sizeof(head));
		if (head.bytes == 0 || head.bytes > VMFT_HELD_OUTPUT_MAX ||
		    record_bytes(head.bytes) > bytes - h->output_at)
			return -EBADMSG;
		payload = vmft_channel_room(h->world.channel, VMFT_CHUNK_HEAD + head.bytes);
		if (!payload)
			return 0;
		vmft_chunk_encode(head.tap, payload);
		memcpy(payload + VMFT_CHUNK_HEAD, from + h->output_at + sizeof(head), head.bytes);
		vmft_channel_commit(h->world.channel, VMFT_FRAME_OUTPUT, h->output_frames++,
				    payload, VMFT_CHUNK_HEAD + head.bytes);
		h->output_at += record_bytes(head.bytes);
	}
	return 1;
}

static uint64_t taken(const struct vmft_handover *h)
{
	return h->world.ops->taken(h->world.strategy);
}

/* The backup has acknowledged all that the guest did up to position, where it is frozen, and the
 * channel has all the output that was held. */
static bool is_all_handed(struct vmft_handover *h, uint64_t position)
{
	struct vmft_iface *iface = h->world.link->iface;
	const uint64_t kept =
	    atomic_load(&iface->keep_output) ? atomic_load(&iface->kept_output) : 0;
	int rc;

	if (taken(h) != position || h->world.core->acked != position || kept == 0)
		return false;
	rc = send_output(h, kept - 1);
	if (rc < 0)
		h->world.agent_broken(h->world.user);
	return rc > 0;
}

int vmft_handover_got_output(struct vmft_handover *h, const struct vmft_frame_info *frame)
{
	struct vmft_area *area = h->world.link->area;
	uint8_t *to = (uint8_t *)area + area->staging_at;
	struct vmft_held_output head;
	const uint8_t *bytes;
	size_t n;

	/* The first frame replaces what an attempt that was called off has sent. */
	if (frame->position == 0)
		h->taken_bytes = h->taken_frames = 0;
	if (frame->position != h->taken_frames ||
	    vmft_chunk_decode(frame->payload, frame->length, &head.tap, &bytes, &n) < 0 ||
	    n > VMFT_HELD_OUTPUT_MAX)
		return -EBADMSG;
	head.bytes = (uint32_t)n;
	if (record_bytes(n) > VMFT_AREA_STAGING_BYTES - h->taken_bytes)
		return -EBADMSG;
	memcpy(to + h->taken_bytes, &head, sizeof(head));
	memcpy(to + h->taken_bytes + sizeof(head), bytes, n);
	h->taken_bytes += record_bytes(n);
	h->taken_frames++;
	return 0;
}

void vmft_handover_goes_live(struct vmft_handover *h)
{
	/* If the hand-over was called off, the primary has sent its output itself. */
	atomic_store(&h->world.link->iface->take_output,
		     h->world.core->handed ? h->taken_bytes : 0);
}

/* The agent copies its output to where an epoch is staged. So the epoch must have been read, and
 * the agent must have seen that the last attempt was called off. */
static void keep_output(struct vmft_handover *h)
{
	struct vmft_iface *iface = h->world.link->iface;

	if (atomic_load(&iface->keep_output) || atomic_load(&iface->kept_output))
		return;
	atomic_store(&iface->keep_output, 1);
	vmft_agent_link_ring(h->world.link);
}

static void look_at_frozen(struct vmft_handover *h, uint64_t now)
{
	const struct vmft_event_in back = {.kind = VMFT_IN_HAND_BACK};
	const uint64_t frozen = atomic_load(&h->world.link->iface->frozen_at);
	struct vmft_event_in event = {.kind = VMFT_IN_ALL_HANDED};

	if (frozen > 0 && h->stopped_ns == 0)
		h->stopped_ns = now;
	event.position = frozen - 1;
	if (frozen > 0 && taken(h) == event.position)
		keep_output(h);
	if (frozen > 0 && is_all_handed(h, event.position))
		h->world.event(h->world.user, &event);
	else if (vmft_loop_since(h->since, now) > FROZEN_NS)
		h->world.event(h->world.user, &back);
}

/* Only a backup that replays can be late; epochs are applied as they come. */
static bool is_near(const struct vmft_handover *h, uint64_t now)
{
	return !h->world.ops->replays || vmft_handover_is_near(h->world.lag_ms(h->world.user, now),
							       vmft_loop_since(h->since, now));
}

void vmft_handover_look(struct vmft_handover *h)
{
	const uint64_t now = vmft_loop_now();

	if (!vmft_handover_is_on(h))
		return;
	if (h->phase == VMFT_HANDOVER_NEARING && vmft_core_may_hand_over(h->world.core) &&
	    is_near(h, now))
		freeze(h, now);
	if (h->world.core->state == VMFT_STATE_HANDING_OVER)
		look_at_frozen(h, now);
}

static void say_handed(struct vmft_handover *h, const struct vmft_core *before)
{
	const char *host = vmft_pair_host_name(h->world.config, h->world.channel->to);
	const unsigned long long generation = h->world.core->generation + 1;
	char text[200];

	/* If the connection was lost, this side knows from the arbiter that the backup took over,
	 * and does not know when the backup was live. */
	if (before->state == VMFT_STATE_HANDED_OVER)
		(void)snprintf(
		    text, sizeof(text),
		    "handed over: the guest is live on %s as generation %llu; it was stopped for "
		    "%.1f ms",
		    host, generation,
		    (double)vmft_loop_since(h->stopped_ns, vmft_loop_now()) / 1e6);
	else
		(void)snprintf(text, sizeof(text),
			       "handed over: %s has generation %llu; the connection to it was lost "
			       "meanwhile",
			       host, generation);
	finish(h, true, text);
}

void vmft_handover_state(struct vmft_handover *h, const struct vmft_core *before)
{
	const struct vmft_core *core = h->world.core;

	if (!vmft_handover_is_on(h) || core->state == before->state)
		return;
	switch (core->state) {
	case VMFT_STATE_PROTECTED:
		if (before->state == VMFT_STATE_HANDING_OVER)
			finish(h, false,
			       "not handed over: the guest could not be stopped, or its state did "
			       "not reach the backup, in time; it goes on here, protected");
		break;
	case VMFT_STATE_ALONE:
		finish(h, false, "not handed over: the backup was lost, the guest goes on here");
		break;
	case VMFT_STATE_FENCED:
		finish(h, false, "not handed over: the backup was lost, and is live");
		break;
	case VMFT_STATE_SHIPPING:
		finish(h, false, "not handed over: the guest is gone");
		break;
	case VMFT_STATE_ENDED:
		if (core->why == VMFT_WHY_HANDED_OVER)
			say_handed(h, before);
		else
			finish(h, false, "not handed over: the guest is gone");
		break;
	default:
		break; /* the outcome is not known yet */
	}
}
