/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "frames.h"

#include <errno.h>
#include <stdio.h>

#include "monitor.h"
#include "monitor/common/exit-codes.h"
#include "pairing.h"

#define REFUSAL_MAX 240 /* bytes of a refusal that are shown */

static bool is_attaching(const struct vmft_monitor *m)
{
	return m->peer.channel.stage == VMFT_PEER_ATTACHING;
}

/* --- the log goes out ----------------------------------------------------- */

/* The strategy writes into the transport's buffer: log bytes are copied once. False: there was no
 * room, or no log. */
static bool send_log(struct vmft_monitor *m)
{
	uint8_t *room = vmft_channel_room(&m->peer.channel, VMFT_FRAME_PAYLOAD_MAX);
	uint64_t position;
	ssize_t n;

	if (!room)
		return false;
	n = m->strategy_ops->take(m->strategy, room, VMFT_FRAME_PAYLOAD_MAX, &position);
	if (n < 0) {
		vmft_monitor_agent_broken(m);
		return false;
	}
	if (n == 0)
		return false;
	vmft_channel_commit(&m->peer.channel, VMFT_FRAME_LOG, position, room, (size_t)n);
	return true;
}

/*
 * When the guest has ended, both sides must have its last state before this side closes the
 * connection: a backup that is still busy with it would take the VM for dead, and bring it back to
 * life.
 */
static bool is_shipped(const struct vmft_monitor *m)
{
	return m->strategy_ops->is_empty(m->strategy) &&
	       (!m->guest_ended || m->core.acked >= m->strategy_ops->taken(m->strategy));
}

void vmft_frames_pump(struct vmft_monitor *m)
{
	const bool shipping = m->core.state == VMFT_STATE_SHIPPING;
	const struct vmft_event_in shipped = {.kind = VMFT_IN_LOG_SHIPPED};

	if (m->peer.channel.stage < VMFT_PEER_ATTACHING || m->peer.channel.closing ||
	    (!vmft_core_is_paired(&m->core) && !shipping && !m->source.log_flows))
		return;
	vmft_shown_pump(&m->shown);
	while (send_log(m))
		;
	vmft_lag_sent(&m->lag, m->strategy_ops->taken(m->strategy), vmft_loop_now());
	if (shipping && is_shipped(m))
		vmft_monitor_event(m, &shipped);
}

/* --- the peer gives up ---------------------------------------------------- */

static void note_attach_refused(struct vmft_monitor *m, const char *why)
{
	if (vmft_monitor_is_primary(m))
		vmft_attach_source_abort(&m->source, "the backup gives up: %s", why);
	else
		vmft_journal_say(&m->journal, "the primary gives up: %s", why);
}

static int got_refusal(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	const int n = frame->length < REFUSAL_MAX ? (int)frame->length : REFUSAL_MAX;
	char why[REFUSAL_MAX + 1];
	bool diverged;

	(void)snprintf(why, sizeof(why), "%.*s", n, (const char *)frame->payload);
	diverged = vmft_divergence_heard(&m->divergence, why);
	/* In a pair it is the reason of the goodbye that follows. */
	if (vmft_core_is_paired(&m->core)) {
		(void)snprintf(m->peer.gave_up, sizeof(m->peer.gave_up), "%.160s", why);
		vmft_journal_say(&m->journal, "the peer gives up: %s", why);
		return 0;
	}
	if (diverged && vmft_monitor_is_primary(m))
		vmft_divergence_count(&m->divergence, why);
	if (m->core.state == VMFT_STATE_ATTACHING || m->core.state == VMFT_STATE_SEALING)
		note_attach_refused(m, why);
	else
		vmft_handshake_say(&m->peer.handshake, "refuses this side, which has", why);
	if (vmft_monitor_is_primary(m) && m->core.state == VMFT_STATE_FORMING)
		vmft_monitor_leave(m, VMFT_EXIT_PEER);
	return -ECONNREFUSED;
}

/* A goodbye that is about a hand-over. */
static bool is_handover(const struct vmft_frame_info *frame)
{
	return frame->type == VMFT_FRAME_BYE && frame->length == 1 &&
	       (frame->payload[0] == VMFT_BYE_HANDED_OVER ||
		frame->payload[0] == VMFT_BYE_TOOK_OVER);
}

/*
 * "The guest is live here" is the only frame that comes from the generation after the pair's.
 *
 * A backup has the next generation as soon as the arbiter has answered, and says that it is live
 * only after its agent has answered. Until the primary hears that, it sends heartbeats in the
 * generation of the pair.
 */
enum vmft_frame_age vmft_frames_age(const struct vmft_core *core,
				    const struct vmft_frame_info *frame)
{
	const bool took_over = is_handover(frame) && frame->payload[0] == VMFT_BYE_TOOK_OVER;

	if (frame->generation == core->generation + took_over)
		return VMFT_FRAME_IS_NEW;
	if (core->handed && core->state == VMFT_STATE_GOING_LIVE &&
	    frame->generation + 1 == core->generation)
		return VMFT_FRAME_IS_LATE;
	return VMFT_FRAME_IS_ALIEN;
}

/* Each of the two comes from one side, in one state. */
static int got_handover(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	const struct vmft_event_in hands = {.kind = VMFT_IN_PEER_HANDS_OVER};
	const struct vmft_event_in took = {.kind = VMFT_IN_PEER_TOOK_OVER};

	if (frame->payload[0] == VMFT_BYE_HANDED_OVER &&
	    (vmft_monitor_is_primary(m) || m->core.state != VMFT_STATE_PROTECTED))
		return -EBADMSG;
	if (frame->payload[0] == VMFT_BYE_TOOK_OVER && m->core.state != VMFT_STATE_HANDED_OVER)
		return -EBADMSG;
	vmft_monitor_event(m, frame->payload[0] == VMFT_BYE_TOOK_OVER ? &took : &hands);
	return 0;
}

static int got_bye(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_event_in event = {
	    .kind = VMFT_IN_PEER_LOST,
	    .why = VMFT_WHY_PEER_GUEST_DIED,
	};

	if (frame->length != 1)
		return -EBADMSG;
	if (is_handover(frame))
		return got_handover(m, frame);
	if (frame->payload[0] == VMFT_BYE_GUEST_ENDED)
		event.kind = VMFT_IN_PEER_ENDED;
	else if (frame->payload[0] == VMFT_BYE_DIVERGED && vmft_monitor_is_primary(m)) {
		event.why = VMFT_WHY_PEER_DIVERGED;
		vmft_divergence_count(&m->divergence, "");
	} else if (frame->payload[0] == VMFT_BYE_STOPPED && vmft_monitor_is_primary(m)) {
		event.why = VMFT_WHY_PEER_STOPPED;
	} else if (frame->payload[0] != VMFT_BYE_GUEST_DIED)
		return -EBADMSG;
	vmft_monitor_event(m, &event);
	return 0;
}

/* --- acks, on the primary ------------------------------------------------- */

static void release(struct vmft_monitor *m, uint64_t position)
{
	m->strategy_ops->release(m->strategy, position, vmft_liveness_lease_ns(&m->peer.liveness));
}

static int got_ack(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_event_in event = {
	    .kind = VMFT_IN_ACK,
	    .position = frame->position,
	    .sent = m->strategy_ops->taken(m->strategy),
	};
	struct vmft_ack ack;

	if ((is_attaching(m) && !m->core.pointed) ||
	    vmft_liveness_got_ack(&m->peer.liveness, frame, &ack) < 0)
		return -EBADMSG;
	event.formed = ack.formed;
	vmft_monitor_event(m, &event);
	m->strategy_ops->acked(m->strategy, m->core.acked);
	if (vmft_core_is_paired(&m->core) && ack.formed)
		release(m, m->core.released);
	/* The guest has switched itself off, and QEMU and its gate are still there: the output that
	 * it sent before may leave. */
	if (m->core.state == VMFT_STATE_SHIPPING && m->guest_ended && ack.formed)
		release(m, m->core.acked);
	/* Last: when the end of the log is shipped, QEMU is told to end. */
	if (m->core.state == VMFT_STATE_SHIPPING)
		vmft_frames_pump(m);
	return 0;
}

static int got_alive(const struct vmft_frame_info *frame)
{
	uint64_t echo;

	if (vmft_u64_decode(frame->payload, frame->length, &echo) < 0 || echo > vmft_loop_now())
		return -EBADMSG;
	return 0;
}

/* --- the log comes in, on the backup -------------------------------------- */

static int got_log(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	struct vmft_event_in held = {.kind = VMFT_IN_LOG_HELD};
	int rc;

	/* After the primary has handed over there is none: it would come after the end of the
	 * log. */
	if (m->core.handed)
		return -EBADMSG;
	rc = m->strategy_ops->hold(m->strategy, frame->position, frame->payload, frame->length);
	if (rc < 0)
		return rc;
	held.position = m->strategy_ops->held(m->strategy);
	vmft_monitor_event(m, &held);
	return 0;
}

/* The end of an attach: the primary counts on this side from now on. */
static int got_formed(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	const struct vmft_event_in ready = {.kind = VMFT_IN_PEER_READY};

	if (vmft_liveness_got_heartbeat(&m->peer.liveness, frame) < 0 || !m->core.pointed ||
	    vmft_attach_sink_formed(&m->sink) < 0)
		return -EBADMSG;
	vmft_peer_formed(&m->peer);
	vmft_monitor_event(m, &ready);
	return 0;
}

/* --- dispatch ------------------------------------------------------------- */

/* Frames that come also while an attach is under way. Before the attach point there is no log. */
static bool is_for_pair(const struct vmft_monitor *m, uint16_t type)
{
	return type == VMFT_FRAME_HEARTBEAT || type == VMFT_FRAME_BYE ||
	       (m->core.pointed &&
		(type == VMFT_FRAME_LOG || type == VMFT_FRAME_ACK || type == VMFT_FRAME_SHOWN));
}

static int primary_got_attach(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	switch (frame->type) {
	case VMFT_FRAME_READY:
		return vmft_attach_source_got_ready(&m->source);
	case VMFT_FRAME_WANT:
		return vmft_attach_source_got_want(&m->source, frame);
	case VMFT_FRAME_ALIVE:
		return got_alive(frame);
	default:
		return -EBADMSG;
	}
}

static int backup_got_attach(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	switch (frame->type) {
	case VMFT_FRAME_ATTACH:
		return vmft_attach_sink_got_attach(&m->sink, frame);
	case VMFT_FRAME_FORMED:
		return got_formed(m, frame);
	default:
		return vmft_attach_sink_got_frame(&m->sink, frame);
	}
}

static int primary_got(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	if (is_attaching(m) && !is_for_pair(m, frame->type))
		return primary_got_attach(m, frame);
	switch (frame->type) {
	case VMFT_FRAME_ACK:
		return got_ack(m, frame);
	case VMFT_FRAME_BYE:
		return got_bye(m, frame);
	default:
		return -EBADMSG;
	}
}

static int backup_got(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	if (is_attaching(m) && !is_for_pair(m, frame->type))
		return backup_got_attach(m, frame);
	switch (frame->type) {
	case VMFT_FRAME_LOG:
		return got_log(m, frame);
	case VMFT_FRAME_OUTPUT:
		return m->core.state == VMFT_STATE_PROTECTED
			   ? vmft_handover_got_output(&m->handover, frame)
			   : -EBADMSG;
	case VMFT_FRAME_HEARTBEAT:
		return vmft_liveness_got_heartbeat(&m->peer.liveness, frame);
	case VMFT_FRAME_BYE:
		return got_bye(m, frame);
	case VMFT_FRAME_SHOWN:
		return vmft_shown_got(&m->shown, frame);
	default:
		return -EBADMSG;
	}
}

int vmft_frames_got(struct vmft_monitor *m, const struct vmft_frame_info *frame)
{
	if (frame->type == VMFT_FRAME_REFUSE)
		return got_refusal(m, frame);
	switch (vmft_frames_age(&m->core, frame)) {
	case VMFT_FRAME_IS_NEW:
		break;
	case VMFT_FRAME_IS_LATE:
		return 0;
	case VMFT_FRAME_IS_ALIEN:
		return -EBADMSG;
	}
	/* The primary's first frame says that it has accepted this side, too: core.h, PEER_READY.
	 */
	if (!vmft_monitor_is_primary(m) && m->peer.channel.stage == VMFT_PEER_HELLO)
		vmft_pairing_done(m);
	if (m->peer.channel.stage < VMFT_PEER_ATTACHING)
		return -EBADMSG;
	return vmft_monitor_is_primary(m) ? primary_got(m, frame) : backup_got(m, frame);
}
