/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "handover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "monitor.h"

#define MS UINT64_C(1000000)

/* A backup that does not come this near meanwhile has other work to do. */
#define NEAR_MS		 20u
#define NEARING_NS	 (1000 * MS)
#define NEARING_PERMILLE 500u
/* Beyond this a guest that stands still is worse than one that stays. */
#define FROZEN_NS (5000 * MS)

bool vmft_handover_is_near(uint64_t lag_ms, uint64_t slowed_ns)
{
	return lag_ms <= NEAR_MS || slowed_ns >= NEARING_NS;
}

bool vmft_handover_is_on(const struct vmft_monitor *m)
{
	return m->handover.phase != VMFT_HANDOVER_NONE;
}

uint32_t vmft_handover_throttle(const struct vmft_monitor *m)
{
	return m->handover.phase == VMFT_HANDOVER_NEARING ? NEARING_PERMILLE : 0;
}

static void finish(struct vmft_monitor *m, bool handed, const char *text)
{
	const struct vmft_handover over = m->handover;

	m->handover = (struct vmft_handover){.asked = over.asked};
	/* Once handed over it is the other side's to send. */
	if (!handed)
		atomic_store(&m->agent.iface->keep_output, 0);
	vmft_agent_link_ring(&m->agent);
	vmft_journal_say(&m->journal, "%s", text);
	if (over.done)
		over.done(over.user, handed, text);
}

const char *vmft_handover_begin(struct vmft_monitor *m,
				void (*done)(void *user, bool handed, const char *text), void *user)
{
	if (!vmft_monitor_is_primary(m))
		return "this is the backup: ask the primary";
	if (vmft_handover_is_on(m))
		return "a hand-over is under way already";
	if (!vmft_core_may_hand_over(&m->core))
		return "no backup to hand over to: this side is not protected";
	if (m->guest_ended || m->guest_gone)
		return "the guest has ended";
	if (m->handover.asked)
		return "the arbiter has not yet answered the question of the last hand-over";
	m->handover = (struct vmft_handover){
	    .phase = VMFT_HANDOVER_ASKING,
	    .since = vmft_loop_now(),
	    .done = done,
	    .user = user,
	    .asked = true,
	};
	vmft_journal_say(&m->journal, "handing over to the backup at %s",
			 m->config.host[m->peer.channel.to].channel.text);
	vmft_arbiter_worker_ask(m->worker, &(struct vmft_arbiter_question){.ask = VMFT_ASK_LATEST});
	return NULL;
}

void vmft_handover_got_latest(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	char text[600];

	m->handover.asked = false;
	if (m->handover.phase != VMFT_HANDOVER_ASKING)
		return;
	if (answer->rc == 0 && answer->latest.generation == m->core.generation) {
		m->handover.phase = VMFT_HANDOVER_NEARING;
		m->handover.since = vmft_loop_now();
		vmft_handover_look(m);
		return;
	}
	(void)snprintf(text, sizeof(text), "not handed over: %s",
		       answer->rc < 0 ? answer->err.text
				      : "the arbiter knows another generation than this one");
	finish(m, false, text);
}

static size_t record_bytes(size_t n)
{
	return sizeof(struct vmft_held_output) + (n + 7) / 8 * 8;
}

static void freeze(struct vmft_monitor *m, uint64_t now)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_HAND_OVER};

	m->handover.phase = VMFT_HANDOVER_UNDER_WAY;
	m->handover.since = now;
	vmft_monitor_event(m, &event);
}

/* As the agent wrote it: not trusted. 1: all is sent, 0: the channel has no room now. */
static int send_output(struct vmft_monitor *m, uint64_t bytes)
{
	const struct vmft_area *area = m->agent.area;
	const uint8_t *from = (const uint8_t *)area + area->staging_at;
	struct vmft_handover *h = &m->handover;
	struct vmft_held_output head;

	if (bytes > VMFT_AREA_STAGING_BYTES)
		return -EBADMSG;
	while (bytes - h->output_at >= sizeof(head)) {
		uint8_t *payload;

		memcpy(&head, from + h->output_at, sizeof(head));
		if (head.bytes == 0 || head.bytes > VMFT_HELD_OUTPUT_MAX ||
		    record_bytes(head.bytes) > bytes - h->output_at)
			return -EBADMSG;
		payload = vmft_channel_room(&m->peer.channel, VMFT_CHUNK_HEAD + head.bytes);
		if (!payload)
			return 0;
		vmft_chunk_encode(head.tap, payload);
		memcpy(payload + VMFT_CHUNK_HEAD, from + h->output_at + sizeof(head), head.bytes);
		vmft_channel_commit(&m->peer.channel, VMFT_FRAME_OUTPUT, h->output_frames++,
				    payload, VMFT_CHUNK_HEAD + head.bytes);
		h->output_at += record_bytes(head.bytes);
	}
	return 1;
}

/* All that the guest did up to where it stands is with the backup, and so is all it said. */
static bool is_all_handed(struct vmft_monitor *m, uint64_t position)
{
	struct vmft_iface *iface = m->agent.iface;
	const uint64_t kept =
	    atomic_load(&iface->keep_output) ? atomic_load(&iface->kept_output) : 0;
	int rc;

	if (m->strategy_ops->taken(m->strategy) != position || m->core.acked != position ||
	    kept == 0)
		return false;
	rc = send_output(m, kept - 1);
	if (rc < 0)
		vmft_monitor_agent_broken(m);
	return rc > 0;
}

int vmft_handover_got_output(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_area *area = m->agent.area;
	uint8_t *to = (uint8_t *)area + area->staging_at;
	struct vmft_handover *h = &m->handover;
	struct vmft_held_output head;
	const uint8_t *bytes;
	size_t n;

	/* An attempt that was called off may have been before it. */
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

void vmft_handover_goes_live(struct vmft_monitor *m)
{
	/* Not of an attempt that was called off: the primary has sent it itself. */
	atomic_store(&m->agent.iface->take_output, m->core.handed ? m->handover.taken_bytes : 0);
}

/* Its copy comes where an epoch is staged: not before that has been read, nor before the agent has
 * seen that the last attempt was called off. */
static void keep_output(struct vmft_monitor *m)
{
	struct vmft_iface *iface = m->agent.iface;

	if (atomic_load(&iface->keep_output) || atomic_load(&iface->kept_output))
		return;
	atomic_store(&iface->keep_output, 1);
	vmft_agent_link_ring(&m->agent);
}

static void look_at_frozen(struct vmft_monitor *m, uint64_t now)
{
	const struct vmft_event_in back = {.kind = VMFT_IN_HAND_BACK};
	const uint64_t frozen = atomic_load(&m->agent.iface->frozen_at);
	struct vmft_event_in event = {.kind = VMFT_IN_ALL_HANDED};

	if (frozen > 0 && m->handover.stopped_ns == 0)
		m->handover.stopped_ns = now;
	event.position = frozen - 1;
	if (frozen > 0 && m->strategy_ops->taken(m->strategy) == event.position)
		keep_output(m);
	if (frozen > 0 && is_all_handed(m, event.position))
		vmft_monitor_event(m, &event);
	else if (vmft_loop_since(m->handover.since, now) > FROZEN_NS)
		vmft_monitor_event(m, &back);
}

void vmft_handover_look(struct vmft_monitor *m)
{
	const uint64_t now = vmft_loop_now();

	if (m->handover.phase == VMFT_HANDOVER_NEARING && vmft_core_may_hand_over(&m->core) &&
	    (!m->strategy_ops->replays ||
	     vmft_handover_is_near(vmft_monitor_lag_ms(m, now),
				   vmft_loop_since(m->handover.since, now))))
		freeze(m, now);
	if (m->core.state == VMFT_STATE_HANDING_OVER)
		look_at_frozen(m, now);
}

static void say_handed(struct vmft_monitor *m, const struct vmft_core *before)
{
	const uint64_t stood = vmft_loop_since(m->handover.stopped_ns, vmft_loop_now());
	char text[200];

	/* That it took over is known from the arbiter, when it was live not. */
	if (before->state == VMFT_STATE_HANDED_OVER)
		(void)snprintf(text, sizeof(text),
			       "handed over: the guest is live on %s as generation %llu; it was "
			       "stopped for %.1f ms",
			       vmft_pair_host_name(&m->config, m->peer.channel.to),
			       (unsigned long long)m->core.generation + 1, (double)stood / 1e6);
	else
		(void)snprintf(text, sizeof(text),
			       "handed over: %s has generation %llu; the connection to it was lost "
			       "meanwhile",
			       vmft_pair_host_name(&m->config, m->peer.channel.to),
			       (unsigned long long)m->core.generation + 1);
	finish(m, true, text);
}

void vmft_handover_state(struct vmft_monitor *m, const struct vmft_core *before)
{
	const struct vmft_core *core = &m->core;

	if (!vmft_handover_is_on(m) || core->state == before->state)
		return;
	switch (core->state) {
	case VMFT_STATE_PROTECTED:
		if (before->state == VMFT_STATE_HANDING_OVER)
			finish(m, false,
			       "not handed over: the guest could not be stopped, or its state did "
			       "not reach the backup, in time; it goes on here, protected");
		break;
	case VMFT_STATE_ALONE:
		finish(m, false, "not handed over: the backup was lost, the guest goes on here");
		break;
	case VMFT_STATE_FENCED:
		finish(m, false, "not handed over: the backup was lost, and is live");
		break;
	case VMFT_STATE_SHIPPING:
		finish(m, false, "not handed over: the guest is gone");
		break;
	case VMFT_STATE_ENDED:
		if (core->why == VMFT_WHY_HANDED_OVER)
			say_handed(m, before);
		else
			finish(m, false, "not handed over: the guest is gone");
		break;
	default:
		break; /* the outcome is not known yet */
	}
}
