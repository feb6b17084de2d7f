/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This file has more than 600 lines because it is one state machine: its table of rules and its
 * handlers are read together.
 */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * A handler fills in the actions and returns the next state. It writes the positions, core->why and
 * core->lost. Only vmft_core_step() writes core->state.
 */
typedef enum vmft_state handler_fn(struct vmft_core *core, const struct vmft_event_in *event,
				   struct vmft_actions *ret);

struct rule {
	enum vmft_core_rule kind;
	uint32_t next;
	handler_fn *handle;
};

/* Not assert(3): it must stay on in release builds, and must name the state and the event. */
static _Noreturn void refuse(const struct vmft_core *core, const struct vmft_event_in *event,
			     const char *text)
{
	fprintf(stderr, "vmft core: %s: %s %s, event %s, position %llu, held %llu, acked %llu\n",
		text, vmft_side_name(core->side), vmft_state_name(core->state),
		vmft_in_name(event->kind), (unsigned long long)event->position,
		(unsigned long long)core->held, (unsigned long long)core->acked);
	abort();
}

static void claim(const struct vmft_core *core, struct vmft_actions *ret)
{
	ret->set |= VMFT_DO_CLAIM;
	ret->generation = core->generation + 1;
}

static void give_up_peer(struct vmft_core *core, enum vmft_why why, struct vmft_actions *ret)
{
	core->lost = why;
	ret->set |= VMFT_DO_CLOSE_PEER;
}

static enum vmft_why peer_why(const struct vmft_core *core, const struct vmft_event_in *event)
{
	if (event->kind == VMFT_IN_PEER_ENDED)
		return VMFT_WHY_PEER_GUEST_ENDED;
	switch (event->why) {
	case VMFT_WHY_CONNECTION:
	case VMFT_WHY_SILENCE:
	case VMFT_WHY_PEER_GUEST_DIED:
	case VMFT_WHY_PEER_FAULT:
	case VMFT_WHY_ATTACH_FAILED:
	case VMFT_WHY_STALLED:
	case VMFT_WHY_LAGGED:
	case VMFT_WHY_PEER_DIVERGED:
	case VMFT_WHY_PEER_STOPPED:
		return event->why;
	default:
		refuse(core, event, "this is no reason for losing a peer");
	}
}

/* This side has nothing more to do: its guest is gone, or cannot be trusted any longer. */
static enum vmft_state end(struct vmft_core *core, enum vmft_why why, struct vmft_actions *ret)
{
	core->why = why;
	if (core->lost == VMFT_WHY_NONE || core->handed)
		ret->set |= VMFT_DO_CLOSE_PEER;
	ret->set |= VMFT_DO_STOP;
	ret->stop = why;
	return VMFT_STATE_ENDED;
}

static void say_bye(enum vmft_why why, struct vmft_actions *ret)
{
	ret->set |= VMFT_DO_SEND_BYE;
	ret->bye = why;
}

static enum vmft_why guest_why(const struct vmft_event_in *event)
{
	return event->kind == VMFT_IN_GUEST_ENDED ? VMFT_WHY_GUEST_ENDED : VMFT_WHY_GUEST_DIED;
}

/* FORMING */

static enum vmft_state on_pair_formed(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	(void)event;
	core->why = VMFT_WHY_NONE;
	ret->set |= VMFT_DO_RUN_GUEST;
	return VMFT_STATE_PROTECTED;
}

/* No guest has run, so no side has to be chosen. This side waits for the next hello. */
static enum vmft_state on_forming_failed(struct vmft_core *core, const struct vmft_event_in *event,
					 struct vmft_actions *ret)
{
	core->why = peer_why(core, event);
	ret->set |= VMFT_DO_CLOSE_PEER;
	return VMFT_STATE_FORMING;
}

/* ALONE, ATTACHING and SEALING, primary */

static enum vmft_state on_start_alone(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	(void)event;
	core->why = VMFT_WHY_NONE;
	ret->set |= VMFT_DO_RUN_GUEST | VMFT_DO_OPEN_GATE;
	return VMFT_STATE_ALONE;
}

static enum vmft_state on_attach(struct vmft_core *core, const struct vmft_event_in *event,
				 struct vmft_actions *ret)
{
	(void)event;
	(void)ret;
	core->why = VMFT_WHY_NONE;
	core->lost = VMFT_WHY_NONE;
	core->pointed = false;
	core->sealed = false;
	core->frozen = false;
	core->handed = false;
	return VMFT_STATE_ATTACHING;
}

static enum vmft_state on_attach_point(struct vmft_core *core, const struct vmft_event_in *event,
				       struct vmft_actions *ret)
{
	(void)ret;
	if (core->pointed)
		refuse(core, event, "a second attach point");
	core->pointed = true;
	core->acked = core->held = core->replayed = event->position;
	core->released = 0;
	return VMFT_STATE_ATTACHING;
}

/*
 * The peer was not told of a pair, so it will not go live and the arbiter need not be asked. The
 * gate lets go what it holds: the guest was not protected when it sent that.
 */
static enum vmft_state attach_failed(struct vmft_core *core, enum vmft_why why,
				     struct vmft_actions *ret)
{
	give_up_peer(core, why, ret);
	core->why = why;
	ret->set |= VMFT_DO_OPEN_GATE;
	return VMFT_STATE_ALONE;
}

static enum vmft_state on_attach_lost(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	return attach_failed(core, peer_why(core, event), ret);
}

static enum vmft_state on_attach_gone(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	say_bye(guest_why(event), ret);
	return end(core, guest_why(event), ret);
}

/*
 * Output was not held until now, because there was no pair to promise anything. It is held from
 * here on. The pair is formed when the backup has acknowledged everything that was seen outside:
 * then the backup can take over after anything that anybody has seen.
 */
static enum vmft_state on_caught_up(struct vmft_core *core, const struct vmft_event_in *event,
				    struct vmft_actions *ret)
{
	if (!core->pointed)
		refuse(core, event, "caught up before the attach point");
	ret->set |= VMFT_DO_CLOSE_GATE;
	return VMFT_STATE_SEALING;
}

static enum vmft_state seal(struct vmft_core *core, struct vmft_actions *ret)
{
	if (!core->sealed || core->acked < core->seal)
		return VMFT_STATE_SEALING;
	ret->set |= VMFT_DO_FORM_PAIR;
	return VMFT_STATE_PROTECTED;
}

static enum vmft_state on_gate_closed(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	if (core->sealed)
		refuse(core, event, "the gate was closed before");
	core->sealed = true;
	core->seal = event->position;
	return seal(core, ret);
}

/* PROTECTED, LAGGING and SHIPPING, primary */

static enum vmft_state primary_alone(struct vmft_core *core, enum vmft_why why,
				     struct vmft_actions *ret)
{
	give_up_peer(core, why, ret);
	core->why = why;
	claim(core, ret);
	return VMFT_STATE_ARBITRATING;
}

static enum vmft_state on_backup_lost(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	return primary_alone(core, peer_why(core, event), ret);
}

/*
 * Acks are cumulative and may repeat, as heartbeats carry them. An ack that goes back, or beyond
 * what was sent, is a fault of the peer.
 */
static bool ack_is_sane(const struct vmft_core *core, const struct vmft_event_in *event)
{
	if (event->sent < core->acked)
		refuse(core, event, "less sent than was acked before");
	return event->position >= core->acked && event->position <= event->sent;
}

static enum vmft_state on_ack(struct vmft_core *core, const struct vmft_event_in *event,
			      struct vmft_actions *ret)
{
	if (!ack_is_sane(core, event))
		return primary_alone(core, VMFT_WHY_PEER_FAULT, ret);
	core->acked = event->position;
	/* A backup that has not been told of the pair yet would not take over. */
	if (!event->formed || event->position == core->released)
		return core->state;
	core->released = event->position;
	ret->set |= VMFT_DO_SET_RELEASE;
	ret->release = event->position;
	return core->state;
}

/* Nothing changes outside: the output rule does not depend on the lag. */
static enum vmft_state on_lags(struct vmft_core *core, const struct vmft_event_in *event,
			       struct vmft_actions *ret)
{
	(void)core;
	(void)event;
	(void)ret;
	return VMFT_STATE_LAGGING;
}

static enum vmft_state on_keeps_up(struct vmft_core *core, const struct vmft_event_in *event,
				   struct vmft_actions *ret)
{
	(void)core;
	(void)event;
	(void)ret;
	return VMFT_STATE_PROTECTED;
}

/* HANDING_OVER and HANDED_OVER, primary */

static enum vmft_state on_hand_over(struct vmft_core *core, const struct vmft_event_in *event,
				    struct vmft_actions *ret)
{
	(void)event;
	core->frozen = true;
	core->why = VMFT_WHY_NONE;
	ret->set |= VMFT_DO_FREEZE_GUEST;
	return VMFT_STATE_HANDING_OVER;
}

/*
 * The backup may claim as soon as it hears this. So the guest may go on here only if this side wins
 * the same generation. The guest stands still, and the backup sends the output that this side still
 * holds.
 */
static enum vmft_state on_all_handed(struct vmft_core *core, const struct vmft_event_in *event,
				     struct vmft_actions *ret)
{
	if (event->position != core->acked)
		refuse(core, event, "handed over before all was acked");
	core->handed = true;
	say_bye(VMFT_WHY_HANDED_OVER, ret);
	return VMFT_STATE_HANDED_OVER;
}

static void thaw(struct vmft_core *core, struct vmft_actions *ret)
{
	if (core->frozen)
		ret->set |= VMFT_DO_THAW_GUEST;
	core->frozen = false;
}

/* The backup was not told to take over, so the two are a pair as before. */
static enum vmft_state on_hand_back(struct vmft_core *core, const struct vmft_event_in *event,
				    struct vmft_actions *ret)
{
	(void)event;
	thaw(core, ret);
	return VMFT_STATE_PROTECTED;
}

static enum vmft_state on_took_over(struct vmft_core *core, const struct vmft_event_in *event,
				    struct vmft_actions *ret)
{
	(void)event;
	return end(core, VMFT_WHY_HANDED_OVER, ret);
}

/* No output is left to release. */
static enum vmft_state on_ack_handed(struct vmft_core *core, const struct vmft_event_in *event,
				     struct vmft_actions *ret)
{
	return ack_is_sane(core, event) ? VMFT_STATE_HANDED_OVER
					: primary_alone(core, VMFT_WHY_PEER_FAULT, ret);
}

/*
 * The backup has the whole guest and need not be told. The end of QEMU here is not the end of the
 * guest.
 */
static enum vmft_state on_handed_gone(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	(void)event;
	return end(core, VMFT_WHY_GUEST_DIED, ret);
}

/* This ack releases nothing yet. Before the attach point there was nothing to acknowledge. */
static enum vmft_state on_ack_attaching(struct vmft_core *core, const struct vmft_event_in *event,
					struct vmft_actions *ret)
{
	if (!core->pointed || !ack_is_sane(core, event))
		return attach_failed(core, VMFT_WHY_PEER_FAULT, ret);
	core->acked = event->position;
	return core->state == VMFT_STATE_SEALING ? seal(core, ret) : VMFT_STATE_ATTACHING;
}

/*
 * QEMU is gone and its gate with it, so there is nothing to release. A wrong ack still closes the
 * connection.
 */
static enum vmft_state on_ack_shipping(struct vmft_core *core, const struct vmft_event_in *event,
				       struct vmft_actions *ret)
{
	if (!ack_is_sane(core, event)) {
		give_up_peer(core, VMFT_WHY_PEER_FAULT, ret);
		return end(core, core->why, ret);
	}
	core->acked = event->position;
	return VMFT_STATE_SHIPPING;
}

/*
 * The ring outlives QEMU. What QEMU logged before its end must reach the backup before the goodbye.
 */
static enum vmft_state on_primary_gone(struct vmft_core *core, const struct vmft_event_in *event,
				       struct vmft_actions *ret)
{
	(void)ret;
	core->why = guest_why(event);
	return VMFT_STATE_SHIPPING;
}

static enum vmft_state on_log_shipped(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	(void)event;
	say_bye(core->why, ret);
	return end(core, core->why, ret);
}

/* This side does not claim. It has no guest to run, and if it won, the backup could not go live. */
static enum vmft_state on_shipping_lost(struct vmft_core *core, const struct vmft_event_in *event,
					struct vmft_actions *ret)
{
	give_up_peer(core, peer_why(core, event), ret);
	return end(core, core->why, ret);
}

/* PROTECTED, DRAINING and ENDING, backup */

/*
 * What is held was acknowledged, so output that depends on it may have left. Only this backup still
 * has it.
 */
static enum vmft_state on_log_held(struct vmft_core *core, const struct vmft_event_in *event,
				   struct vmft_actions *ret)
{
	if (event->position < core->held)
		refuse(core, event, "log held shrinks");
	if (event->position == core->held)
		return core->state;
	core->held = event->position;
	ret->set |= VMFT_DO_SEND_ACK;
	ret->ack = event->position;
	return core->state;
}

static enum vmft_state drain(struct vmft_core *core, struct vmft_actions *ret)
{
	if (core->replayed < core->held)
		return VMFT_STATE_DRAINING;
	claim(core, ret);
	return VMFT_STATE_ARBITRATING;
}

static enum vmft_state drain_to_end(struct vmft_core *core, struct vmft_actions *ret)
{
	if (core->replayed < core->held)
		return VMFT_STATE_ENDING;
	return end(core, VMFT_WHY_GUEST_ENDED, ret);
}

static enum vmft_state on_primary_lost(struct vmft_core *core, const struct vmft_event_in *event,
				       struct vmft_actions *ret)
{
	give_up_peer(core, peer_why(core, event), ret);
	core->why = core->lost;
	return drain(core, ret);
}

/*
 * The connection stays open. If this side is gone before it is live, the primary goes on with its
 * guest.
 */
static enum vmft_state on_primary_hands_over(struct vmft_core *core,
					     const struct vmft_event_in *event,
					     struct vmft_actions *ret)
{
	(void)event;
	core->lost = core->why = VMFT_WHY_PEER_HANDED_OVER;
	core->handed = true;
	return drain(core, ret);
}

static enum vmft_state on_primary_ended(struct vmft_core *core, const struct vmft_event_in *event,
					struct vmft_actions *ret)
{
	give_up_peer(core, peer_why(core, event), ret);
	core->why = core->lost;
	return drain_to_end(core, ret);
}

/*
 * An agent that went live without being told, or replayed what it was never given, is stopped
 * first. In a formed pair the primary is told, and goes on alone.
 */
static enum vmft_state on_agent_fault(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	(void)event;
	ret->set |= VMFT_DO_FENCE_GUEST;
	if (core->state == VMFT_STATE_PROTECTED || core->state == VMFT_STATE_ATTACHING ||
	    core->handed)
		say_bye(VMFT_WHY_GUEST_DIED, ret);
	return end(core, VMFT_WHY_AGENT_FAULT, ret);
}

static enum vmft_state on_replayed(struct vmft_core *core, const struct vmft_event_in *event,
				   struct vmft_actions *ret)
{
	if (event->position < core->replayed || event->position > core->held)
		return on_agent_fault(core, event, ret);
	core->replayed = event->position;
	if (core->state == VMFT_STATE_DRAINING)
		return drain(core, ret);
	if (core->state == VMFT_STATE_ENDING)
		return drain_to_end(core, ret);
	return core->state;
}

/*
 * A backup whose guest differs from the primary's could contradict what the primary's guest told
 * its clients. So it never goes live, even if the primary is gone and nobody else has the guest. A
 * claim under way may still be won and then serves nobody, as when the guest dies at that moment.
 */
static enum vmft_state on_diverged(struct vmft_core *core, const struct vmft_event_in *event,
				   struct vmft_actions *ret)
{
	(void)event;
	ret->set |= VMFT_DO_FENCE_GUEST | VMFT_DO_STOP;
	ret->stop = VMFT_WHY_DIVERGED;
	if (core->lost == VMFT_WHY_NONE || core->handed) {
		say_bye(VMFT_WHY_DIVERGED, ret);
		ret->set |= VMFT_DO_CLOSE_PEER;
	}
	core->why = VMFT_WHY_DIVERGED;
	return VMFT_STATE_DIVERGED;
}

static enum vmft_state on_backup_gone(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	say_bye(guest_why(event), ret);
	return end(core, guest_why(event), ret);
}

/* The primary is told before the connection is closed, so it does not have to wait for silence. */
static enum vmft_state on_stopped(struct vmft_core *core, const struct vmft_event_in *event,
				  struct vmft_actions *ret)
{
	(void)event;
	if (core->state != VMFT_STATE_FORMING)
		say_bye(VMFT_WHY_STOPPED, ret);
	return end(core, VMFT_WHY_STOPPED, ret);
}

/* ATTACHING, backup */

static enum vmft_state on_log_held_attaching(struct vmft_core *core,
					     const struct vmft_event_in *event,
					     struct vmft_actions *ret)
{
	if (!core->pointed)
		refuse(core, event, "log held before the attach point");
	return on_log_held(core, event, ret);
}

/*
 * A part of a state is thrown away. So is a whole one if the primary did not say that there is a
 * pair, because such a primary goes on without asking the arbiter. Before the attach point nothing
 * has run here, so this side waits for the next attach.
 */
static enum vmft_state attach_abandoned(struct vmft_core *core, enum vmft_why why,
					struct vmft_actions *ret)
{
	core->why = why;
	if (!core->pointed) {
		ret->set |= VMFT_DO_CLOSE_PEER;
		return VMFT_STATE_FORMING;
	}
	give_up_peer(core, why, ret);
	ret->set |= VMFT_DO_FENCE_GUEST;
	return end(core, VMFT_WHY_ATTACH_FAILED, ret);
}

static enum vmft_state on_attach_abandoned(struct vmft_core *core,
					   const struct vmft_event_in *event,
					   struct vmft_actions *ret)
{
	return attach_abandoned(core, peer_why(core, event), ret);
}

static enum vmft_state on_attached(struct vmft_core *core, const struct vmft_event_in *event,
				   struct vmft_actions *ret)
{
	(void)event;
	if (!core->pointed)
		return attach_abandoned(core, VMFT_WHY_PEER_FAULT, ret);
	core->why = VMFT_WHY_NONE;
	return VMFT_STATE_PROTECTED;
}

/* ARBITRATING and after, both sides */

/*
 * A claim under way may still be won and then serves nobody (docs/failover.md, double faults). A
 * primary that has handed over may still win; it is told at once.
 */
static enum vmft_state on_guest_gone(struct vmft_core *core, const struct vmft_event_in *event,
				     struct vmft_actions *ret)
{
	if (core->side == VMFT_SIDE_BACKUP && core->handed)
		say_bye(VMFT_WHY_GUEST_DIED, ret);
	return end(core, guest_why(event), ret);
}

static enum vmft_state on_won_primary(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	(void)event;
	core->generation++;
	core->why = core->lost;
	core->handed = false;
	thaw(core, ret);
	ret->set |= VMFT_DO_OPEN_GATE;
	return VMFT_STATE_ALONE;
}

/*
 * The gate opens together with the order to go live, not after the agent's answer. Nothing is left
 * to replay, and waiting would make the outage longer by a round trip.
 */
static enum vmft_state on_won_backup(struct vmft_core *core, const struct vmft_event_in *event,
				     struct vmft_actions *ret)
{
	if (core->replayed != core->held)
		refuse(core, event, "won before the log was drained");
	core->generation++;
	core->why = core->lost;
	ret->set |= VMFT_DO_GO_LIVE | VMFT_DO_OPEN_GATE;
	ret->live_at = core->held;
	return VMFT_STATE_GOING_LIVE;
}

static enum vmft_state on_claim_lost(struct vmft_core *core, const struct vmft_event_in *event,
				     struct vmft_actions *ret)
{
	(void)event;
	/* Only to the backup that was told to take over. */
	if (core->side == VMFT_SIDE_PRIMARY && core->handed)
		return end(core, VMFT_WHY_HANDED_OVER, ret);
	if (core->handed)
		ret->set |= VMFT_DO_CLOSE_PEER;
	core->why = VMFT_WHY_CLAIM_LOST;
	ret->set |= VMFT_DO_FENCE_GUEST | VMFT_DO_STOP;
	ret->stop = VMFT_WHY_CLAIM_LOST;
	return VMFT_STATE_FENCED;
}

static enum vmft_state on_unreachable(struct vmft_core *core, const struct vmft_event_in *event,
				      struct vmft_actions *ret)
{
	(void)event;
	core->why = VMFT_WHY_ARBITER_UNREACHABLE;
	ret->set |= VMFT_DO_START_RETRY_TIMER;
	return VMFT_STATE_WAITING_ARBITER;
}

static enum vmft_state on_retry(struct vmft_core *core, const struct vmft_event_in *event,
				struct vmft_actions *ret)
{
	(void)event;
	claim(core, ret);
	return VMFT_STATE_ARBITRATING;
}

/* This side records now, and a backup may be attached to it. */
static enum vmft_state on_live(struct vmft_core *core, const struct vmft_event_in *event,
			       struct vmft_actions *ret)
{
	(void)event;
	core->side = VMFT_SIDE_PRIMARY;
	if (core->handed) {
		say_bye(VMFT_WHY_TOOK_OVER, ret);
		ret->set |= VMFT_DO_CLOSE_PEER;
	}
	core->handed = false;
	return VMFT_STATE_ALONE;
}

/*
 * An event that is not listed is forbidden. STALE marks what a closed connection, a dead guest or
 * an abandoned claim may still deliver. After PEER_LOST nothing from the peer counts: a position
 * accepted then would move the end of the log after the claim was made.
 */
#define S(state) (1U << VMFT_STATE_##state)
#define ON(handler, next)                                                                          \
	{                                                                                          \
		VMFT_RULE_HANDLED, (next), (handler)                                               \
	}
#define STALE                                                                                      \
	{                                                                                          \
		VMFT_RULE_IGNORED, 0, NULL                                                         \
	}

static const struct rule primary_rules[VMFT_STATE_COUNT][VMFT_IN_COUNT] =
    {
	[VMFT_STATE_FORMING] =
	    {
		[VMFT_IN_PEER_READY] = ON(on_pair_formed, S(PROTECTED)),
		[VMFT_IN_START_ALONE] = ON(on_start_alone, S(ALONE)),
		[VMFT_IN_PEER_LOST] = ON(on_forming_failed, S(FORMING)),
		[VMFT_IN_PEER_ENDED] = ON(on_forming_failed, S(FORMING)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_STOPPED] = ON(on_stopped, S(ENDED)),
	    },
	[VMFT_STATE_ATTACHING] =
	    {
		[VMFT_IN_ATTACH_POINT] = ON(on_attach_point, S(ATTACHING)),
		[VMFT_IN_CAUGHT_UP] = ON(on_caught_up, S(SEALING)),
		[VMFT_IN_PEER_LOST] = ON(on_attach_lost, S(ALONE)),
		[VMFT_IN_PEER_ENDED] = ON(on_attach_lost, S(ALONE)),
		[VMFT_IN_ACK] = ON(on_ack_attaching, S(ATTACHING) | S(ALONE)),
		[VMFT_IN_GUEST_DIED] = ON(on_attach_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_attach_gone, S(ENDED)),
	    },
	[VMFT_STATE_SEALING] =
	    {
		[VMFT_IN_GATE_CLOSED] = ON(on_gate_closed, S(SEALING) | S(PROTECTED)),
		[VMFT_IN_PEER_LOST] = ON(on_attach_lost, S(ALONE)),
		[VMFT_IN_PEER_ENDED] = ON(on_attach_lost, S(ALONE)),
		[VMFT_IN_ACK] = ON(on_ack_attaching, S(SEALING) | S(PROTECTED) | S(ALONE)),
		[VMFT_IN_GUEST_DIED] = ON(on_attach_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_attach_gone, S(ENDED)),
	    },
	[VMFT_STATE_PROTECTED] =
	    {
		[VMFT_IN_PEER_LOST] = ON(on_backup_lost, S(ARBITRATING)),
		[VMFT_IN_PEER_ENDED] = ON(on_backup_lost, S(ARBITRATING)),
		[VMFT_IN_ACK] = ON(on_ack, S(PROTECTED) | S(ARBITRATING)),
		[VMFT_IN_GUEST_DIED] = ON(on_primary_gone, S(SHIPPING)),
		[VMFT_IN_GUEST_ENDED] = ON(on_primary_gone, S(SHIPPING)),
		[VMFT_IN_LAGS] = ON(on_lags, S(LAGGING)),
		[VMFT_IN_HAND_OVER] = ON(on_hand_over, S(HANDING_OVER)),
	    },
	[VMFT_STATE_LAGGING] =
	    {
		[VMFT_IN_PEER_LOST] = ON(on_backup_lost, S(ARBITRATING)),
		[VMFT_IN_PEER_ENDED] = ON(on_backup_lost, S(ARBITRATING)),
		[VMFT_IN_ACK] = ON(on_ack, S(LAGGING) | S(ARBITRATING)),
		[VMFT_IN_GUEST_DIED] = ON(on_primary_gone, S(SHIPPING)),
		[VMFT_IN_GUEST_ENDED] = ON(on_primary_gone, S(SHIPPING)),
		[VMFT_IN_KEEPS_UP] = ON(on_keeps_up, S(PROTECTED)),
		[VMFT_IN_HAND_OVER] = ON(on_hand_over, S(HANDING_OVER)),
	    },
	[VMFT_STATE_SHIPPING] =
	    {
		[VMFT_IN_PEER_LOST] = ON(on_shipping_lost, S(ENDED)),
		[VMFT_IN_PEER_ENDED] = ON(on_shipping_lost, S(ENDED)),
		[VMFT_IN_ACK] = ON(on_ack_shipping, S(SHIPPING) | S(ENDED)),
		[VMFT_IN_LOG_SHIPPED] = ON(on_log_shipped, S(ENDED)),
		[VMFT_IN_GUEST_DIED] = STALE,
		[VMFT_IN_GUEST_ENDED] = STALE,
	    },
	[VMFT_STATE_HANDING_OVER] =
	    {
		[VMFT_IN_PEER_LOST] = ON(on_backup_lost, S(ARBITRATING)),
		[VMFT_IN_PEER_ENDED] = ON(on_backup_lost, S(ARBITRATING)),
		[VMFT_IN_ACK] = ON(on_ack, S(HANDING_OVER) | S(ARBITRATING)),
		[VMFT_IN_GUEST_DIED] = ON(on_primary_gone, S(SHIPPING)),
		[VMFT_IN_GUEST_ENDED] = ON(on_primary_gone, S(SHIPPING)),
		[VMFT_IN_ALL_HANDED] = ON(on_all_handed, S(HANDED_OVER)),
		[VMFT_IN_HAND_BACK] = ON(on_hand_back, S(PROTECTED)),
	    },
	[VMFT_STATE_HANDED_OVER] =
	    {
		[VMFT_IN_PEER_LOST] = ON(on_backup_lost, S(ARBITRATING)),
		[VMFT_IN_PEER_ENDED] = ON(on_backup_lost, S(ARBITRATING)),
		[VMFT_IN_ACK] = ON(on_ack_handed, S(HANDED_OVER) | S(ARBITRATING)),
		[VMFT_IN_GUEST_DIED] = ON(on_handed_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_handed_gone, S(ENDED)),
		[VMFT_IN_PEER_TOOK_OVER] = ON(on_took_over, S(ENDED)),
	    },
	[VMFT_STATE_ARBITRATING] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_TOOK_OVER] = STALE,
		[VMFT_IN_ACK] = STALE,
		[VMFT_IN_CLAIM_WON] = ON(on_won_primary, S(ALONE)),
		[VMFT_IN_CLAIM_LOST] = ON(on_claim_lost, S(FENCED) | S(ENDED)),
		[VMFT_IN_CLAIM_UNREACHABLE] = ON(on_unreachable, S(WAITING_ARBITER)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
	    },
	[VMFT_STATE_WAITING_ARBITER] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_TOOK_OVER] = STALE,
		[VMFT_IN_ACK] = STALE,
		[VMFT_IN_RETRY_TIMER] = ON(on_retry, S(ARBITRATING)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
	    },
	[VMFT_STATE_ALONE] =
	    {
		[VMFT_IN_ATTACH] = ON(on_attach, S(ATTACHING)),
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_TOOK_OVER] = STALE,
		[VMFT_IN_ACK] = STALE,
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
	    },
	[VMFT_STATE_FENCED] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_TOOK_OVER] = STALE,
		[VMFT_IN_ACK] = STALE,
		[VMFT_IN_GUEST_DIED] = STALE,
		[VMFT_IN_GUEST_ENDED] = STALE,
	    },
	[VMFT_STATE_ENDED] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_TOOK_OVER] = STALE,
		[VMFT_IN_ACK] = STALE,
		[VMFT_IN_CLAIM_WON] = STALE,
		[VMFT_IN_CLAIM_LOST] = STALE,
		[VMFT_IN_CLAIM_UNREACHABLE] = STALE,
		[VMFT_IN_RETRY_TIMER] = STALE,
		[VMFT_IN_GUEST_DIED] = STALE,
		[VMFT_IN_GUEST_ENDED] = STALE,
		[VMFT_IN_LOG_SHIPPED] = STALE,
	    },
};

static const struct rule backup_rules[VMFT_STATE_COUNT][VMFT_IN_COUNT] =
    {
	[VMFT_STATE_FORMING] =
	    {
		[VMFT_IN_PEER_READY] = ON(on_pair_formed, S(PROTECTED)),
		[VMFT_IN_ATTACH] = ON(on_attach, S(ATTACHING)),
		[VMFT_IN_PEER_LOST] = ON(on_forming_failed, S(FORMING)),
		[VMFT_IN_PEER_ENDED] = ON(on_forming_failed, S(FORMING)),
		[VMFT_IN_REPLAYED] = ON(on_replayed, S(FORMING) | S(ENDED)),
		[VMFT_IN_LIVE] = ON(on_agent_fault, S(ENDED)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_STOPPED] = ON(on_stopped, S(ENDED)),
		[VMFT_IN_DIVERGED] = STALE,
	    },
	[VMFT_STATE_ATTACHING] =
	    {
		[VMFT_IN_PEER_READY] = ON(on_attached, S(PROTECTED) | S(FORMING)),
		[VMFT_IN_ATTACH_POINT] = ON(on_attach_point, S(ATTACHING)),
		[VMFT_IN_PEER_LOST] = ON(on_attach_abandoned, S(FORMING) | S(ENDED)),
		[VMFT_IN_PEER_ENDED] = ON(on_attach_abandoned, S(FORMING) | S(ENDED)),
		[VMFT_IN_LOG_HELD] = ON(on_log_held_attaching, S(ATTACHING)),
		[VMFT_IN_REPLAYED] = ON(on_replayed, S(ATTACHING) | S(ENDED)),
		[VMFT_IN_LIVE] = ON(on_agent_fault, S(ENDED)),
		[VMFT_IN_GUEST_DIED] = ON(on_backup_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_backup_gone, S(ENDED)),
		[VMFT_IN_STOPPED] = ON(on_stopped, S(ENDED)),
		[VMFT_IN_DIVERGED] = ON(on_diverged, S(DIVERGED)),
	    },
	[VMFT_STATE_PROTECTED] =
	    {
		[VMFT_IN_PEER_LOST] = ON(on_primary_lost, S(DRAINING) | S(ARBITRATING)),
		[VMFT_IN_PEER_ENDED] = ON(on_primary_ended, S(ENDING) | S(ENDED)),
		[VMFT_IN_PEER_HANDS_OVER] = ON(on_primary_hands_over, S(DRAINING) | S(ARBITRATING)),
		[VMFT_IN_LOG_HELD] = ON(on_log_held, S(PROTECTED)),
		[VMFT_IN_REPLAYED] = ON(on_replayed, S(PROTECTED) | S(ENDED)),
		[VMFT_IN_LIVE] = ON(on_agent_fault, S(ENDED)),
		[VMFT_IN_GUEST_DIED] = ON(on_backup_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_backup_gone, S(ENDED)),
		[VMFT_IN_STOPPED] = ON(on_stopped, S(ENDED)),
		[VMFT_IN_DIVERGED] = ON(on_diverged, S(DIVERGED)),
	    },
	[VMFT_STATE_DRAINING] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_HANDS_OVER] = STALE,
		[VMFT_IN_LOG_HELD] = STALE,
		[VMFT_IN_REPLAYED] = ON(on_replayed, S(DRAINING) | S(ARBITRATING) | S(ENDED)),
		[VMFT_IN_LIVE] = ON(on_agent_fault, S(ENDED)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_DIVERGED] = ON(on_diverged, S(DIVERGED)),
	    },
	[VMFT_STATE_ENDING] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_HANDS_OVER] = STALE,
		[VMFT_IN_LOG_HELD] = STALE,
		[VMFT_IN_REPLAYED] = ON(on_replayed, S(ENDING) | S(ENDED)),
		[VMFT_IN_LIVE] = ON(on_agent_fault, S(ENDED)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_DIVERGED] = ON(on_diverged, S(DIVERGED)),
	    },
	[VMFT_STATE_ARBITRATING] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_HANDS_OVER] = STALE,
		[VMFT_IN_LOG_HELD] = STALE,
		[VMFT_IN_REPLAYED] = ON(on_replayed, S(ARBITRATING) | S(ENDED)),
		[VMFT_IN_CLAIM_WON] = ON(on_won_backup, S(GOING_LIVE)),
		[VMFT_IN_CLAIM_LOST] = ON(on_claim_lost, S(FENCED)),
		[VMFT_IN_CLAIM_UNREACHABLE] = ON(on_unreachable, S(WAITING_ARBITER)),
		[VMFT_IN_LIVE] = ON(on_agent_fault, S(ENDED)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_DIVERGED] = ON(on_diverged, S(DIVERGED)),
	    },
	[VMFT_STATE_WAITING_ARBITER] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_HANDS_OVER] = STALE,
		[VMFT_IN_LOG_HELD] = STALE,
		[VMFT_IN_REPLAYED] = ON(on_replayed, S(WAITING_ARBITER) | S(ENDED)),
		[VMFT_IN_RETRY_TIMER] = ON(on_retry, S(ARBITRATING)),
		[VMFT_IN_LIVE] = ON(on_agent_fault, S(ENDED)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_DIVERGED] = ON(on_diverged, S(DIVERGED)),
	    },
	[VMFT_STATE_GOING_LIVE] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_HANDS_OVER] = STALE,
		[VMFT_IN_LOG_HELD] = STALE,
		[VMFT_IN_REPLAYED] = STALE,
		[VMFT_IN_LIVE] = ON(on_live, S(ALONE)),
		[VMFT_IN_GUEST_DIED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_GUEST_ENDED] = ON(on_guest_gone, S(ENDED)),
		[VMFT_IN_DIVERGED] = ON(on_diverged, S(DIVERGED)),
	    },
	[VMFT_STATE_FENCED] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_HANDS_OVER] = STALE,
		[VMFT_IN_LOG_HELD] = STALE,
		[VMFT_IN_REPLAYED] = STALE,
		[VMFT_IN_LIVE] = STALE,
		[VMFT_IN_GUEST_DIED] = STALE,
		[VMFT_IN_GUEST_ENDED] = STALE,
		[VMFT_IN_DIVERGED] = STALE,
	    },
	[VMFT_STATE_DIVERGED] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_HANDS_OVER] = STALE,
		[VMFT_IN_LOG_HELD] = STALE,
		[VMFT_IN_REPLAYED] = STALE,
		[VMFT_IN_CLAIM_WON] = STALE,
		[VMFT_IN_CLAIM_LOST] = STALE,
		[VMFT_IN_CLAIM_UNREACHABLE] = STALE,
		[VMFT_IN_RETRY_TIMER] = STALE,
		[VMFT_IN_LIVE] = STALE,
		[VMFT_IN_GUEST_DIED] = STALE,
		[VMFT_IN_GUEST_ENDED] = STALE,
		[VMFT_IN_DIVERGED] = STALE,
	    },
	[VMFT_STATE_ENDED] =
	    {
		[VMFT_IN_PEER_LOST] = STALE,
		[VMFT_IN_PEER_ENDED] = STALE,
		[VMFT_IN_PEER_HANDS_OVER] = STALE,
		[VMFT_IN_LOG_HELD] = STALE,
		[VMFT_IN_REPLAYED] = STALE,
		[VMFT_IN_CLAIM_WON] = STALE,
		[VMFT_IN_CLAIM_LOST] = STALE,
		[VMFT_IN_CLAIM_UNREACHABLE] = STALE,
		[VMFT_IN_RETRY_TIMER] = STALE,
		[VMFT_IN_LIVE] = STALE,
		[VMFT_IN_GUEST_DIED] = STALE,
		[VMFT_IN_GUEST_ENDED] = STALE,
		[VMFT_IN_DIVERGED] = STALE,
	    },
};

static const struct rule *rule_for(enum vmft_side side, enum vmft_state state, enum vmft_in kind)
{
	return side == VMFT_SIDE_PRIMARY ? &primary_rules[state][kind] : &backup_rules[state][kind];
}

void vmft_core_init(struct vmft_core *core, enum vmft_side side, uint64_t generation)
{
	*core = (struct vmft_core){
	    .side = side,
	    .state = VMFT_STATE_FORMING,
	    .generation = generation,
	};
}

void vmft_core_step(struct vmft_core *core, const struct vmft_event_in *event,
		    struct vmft_actions *ret_actions)
{
	const struct rule *rule;
	enum vmft_state next;

	*ret_actions = (struct vmft_actions){0};
	if ((unsigned)core->side >= VMFT_SIDE_COUNT || (unsigned)core->state >= VMFT_STATE_COUNT ||
	    (unsigned)event->kind >= VMFT_IN_COUNT)
		refuse(core, event, "out of range");
	rule = rule_for(core->side, core->state, event->kind);
	if (rule->kind == VMFT_RULE_IGNORED)
		return;
	if (rule->kind == VMFT_RULE_FORBIDDEN)
		refuse(core, event, "forbidden here");
	next = rule->handle(core, event, ret_actions);
	if (!(rule->next & (1U << next)))
		refuse(core, event, "transition not in the table");
	core->state = next;
}

bool vmft_core_wants_peer(const struct vmft_core *core)
{
	return core->state == VMFT_STATE_FORMING || core->state == VMFT_STATE_ALONE;
}

bool vmft_core_is_paired(const struct vmft_core *core)
{
	return core->state == VMFT_STATE_PROTECTED || core->state == VMFT_STATE_LAGGING ||
	       core->state == VMFT_STATE_HANDING_OVER;
}

bool vmft_core_may_hand_over(const struct vmft_core *core)
{
	return core->side == VMFT_SIDE_PRIMARY &&
	       (core->state == VMFT_STATE_PROTECTED || core->state == VMFT_STATE_LAGGING);
}

bool vmft_core_is_final(const struct vmft_core *core)
{
	return core->state == VMFT_STATE_FENCED || core->state == VMFT_STATE_DIVERGED ||
	       core->state == VMFT_STATE_ENDED;
}

enum vmft_core_rule vmft_core_rule(enum vmft_side side, enum vmft_state state, enum vmft_in kind,
				   uint32_t *ret_next)
{
	const struct rule *rule = rule_for(side, state, kind);

	if (ret_next)
		*ret_next = rule->next;
	return rule->kind;
}

static const char *name_at(const char *const *names, unsigned count, unsigned i)
{
	return i < count && names[i] ? names[i] : "?";
}

const char *vmft_side_name(enum vmft_side side)
{
	static const char *const names[VMFT_SIDE_COUNT] = {
	    [VMFT_SIDE_PRIMARY] = "primary",
	    [VMFT_SIDE_BACKUP] = "backup",
	};

	return name_at(names, VMFT_SIDE_COUNT, side);
}

const char *vmft_state_name(enum vmft_state state)
{
	static const char *const names[VMFT_STATE_COUNT] = {
	    [VMFT_STATE_FORMING] = "forming",
	    [VMFT_STATE_ATTACHING] = "attaching",
	    [VMFT_STATE_SEALING] = "sealing",
	    [VMFT_STATE_PROTECTED] = "protected",
	    [VMFT_STATE_LAGGING] = "lagging",
	    [VMFT_STATE_SHIPPING] = "shipping",
	    [VMFT_STATE_HANDING_OVER] = "handing-over",
	    [VMFT_STATE_HANDED_OVER] = "handed-over",
	    [VMFT_STATE_DRAINING] = "draining",
	    [VMFT_STATE_ENDING] = "ending",
	    [VMFT_STATE_ARBITRATING] = "arbitrating",
	    [VMFT_STATE_WAITING_ARBITER] = "waiting-arbiter",
	    [VMFT_STATE_GOING_LIVE] = "going-live",
	    [VMFT_STATE_ALONE] = "alone",
	    [VMFT_STATE_FENCED] = "fenced",
	    [VMFT_STATE_DIVERGED] = "diverged",
	    [VMFT_STATE_ENDED] = "ended",
	};

	return name_at(names, VMFT_STATE_COUNT, state);
}

const char *vmft_in_name(enum vmft_in kind)
{
	static const char *const names[VMFT_IN_COUNT] = {
	    [VMFT_IN_PEER_READY] = "peer-ready",
	    [VMFT_IN_START_ALONE] = "start-alone",
	    [VMFT_IN_ATTACH] = "attach",
	    [VMFT_IN_ATTACH_POINT] = "attach-point",
	    [VMFT_IN_CAUGHT_UP] = "caught-up",
	    [VMFT_IN_GATE_CLOSED] = "gate-closed",
	    [VMFT_IN_PEER_LOST] = "peer-lost",
	    [VMFT_IN_PEER_ENDED] = "peer-ended",
	    [VMFT_IN_LOG_HELD] = "log-held",
	    [VMFT_IN_ACK] = "ack",
	    [VMFT_IN_REPLAYED] = "replayed",
	    [VMFT_IN_CLAIM_WON] = "claim-won",
	    [VMFT_IN_CLAIM_LOST] = "claim-lost",
	    [VMFT_IN_CLAIM_UNREACHABLE] = "claim-unreachable",
	    [VMFT_IN_RETRY_TIMER] = "retry-timer",
	    [VMFT_IN_LIVE] = "live",
	    [VMFT_IN_GUEST_DIED] = "guest-died",
	    [VMFT_IN_GUEST_ENDED] = "guest-ended",
	    [VMFT_IN_LOG_SHIPPED] = "log-shipped",
	    [VMFT_IN_LAGS] = "lags",
	    [VMFT_IN_KEEPS_UP] = "keeps-up",
	    [VMFT_IN_DIVERGED] = "diverged",
	    [VMFT_IN_STOPPED] = "stopped",
	    [VMFT_IN_HAND_OVER] = "hand-over",
	    [VMFT_IN_ALL_HANDED] = "all-handed",
	    [VMFT_IN_HAND_BACK] = "hand-back",
	    [VMFT_IN_PEER_TOOK_OVER] = "peer-took-over",
	    [VMFT_IN_PEER_HANDS_OVER] = "peer-hands-over",
	};

	return name_at(names, VMFT_IN_COUNT, kind);
}

const char *vmft_do_name(enum vmft_do bit)
{
	switch (bit) {
	case VMFT_DO_FENCE_GUEST:
		return "fence-guest";
	case VMFT_DO_SEND_ACK:
		return "send-ack";
	case VMFT_DO_SEND_BYE:
		return "send-bye";
	case VMFT_DO_CLOSE_PEER:
		return "close-peer";
	case VMFT_DO_CLAIM:
		return "claim";
	case VMFT_DO_START_RETRY_TIMER:
		return "start-retry-timer";
	case VMFT_DO_RUN_GUEST:
		return "run-guest";
	case VMFT_DO_SET_RELEASE:
		return "set-release";
	case VMFT_DO_OPEN_GATE:
		return "open-gate";
	case VMFT_DO_CLOSE_GATE:
		return "close-gate";
	case VMFT_DO_FORM_PAIR:
		return "form-pair";
	case VMFT_DO_GO_LIVE:
		return "go-live";
	case VMFT_DO_STOP:
		return "stop";
	case VMFT_DO_FREEZE_GUEST:
		return "freeze-guest";
	case VMFT_DO_THAW_GUEST:
		return "thaw-guest";
	}
	return "?";
}

const char *vmft_why_text(enum vmft_why why)
{
	static const char *const texts[VMFT_WHY_COUNT] = {
	    [VMFT_WHY_NONE] = "none",
	    [VMFT_WHY_CONNECTION] = "the connection to the peer was lost",
	    [VMFT_WHY_SILENCE] = "the peer fell silent",
	    [VMFT_WHY_PEER_GUEST_DIED] = "the peer's guest died",
	    [VMFT_WHY_PEER_GUEST_ENDED] = "the peer's guest ended",
	    [VMFT_WHY_PEER_FAULT] = "the peer broke the protocol",
	    [VMFT_WHY_GUEST_DIED] = "this side's guest died",
	    [VMFT_WHY_GUEST_ENDED] = "the guest ended",
	    [VMFT_WHY_AGENT_FAULT] = "this side's agent reported something impossible",
	    [VMFT_WHY_ARBITER_UNREACHABLE] = "the arbiter cannot be reached",
	    [VMFT_WHY_CLAIM_LOST] = "the other side won the arbitration",
	    [VMFT_WHY_ATTACH_FAILED] = "the attach did not come to an end",
	    [VMFT_WHY_STALLED] = "the backup's replay stands still",
	    [VMFT_WHY_LAGGED] = "the backup did not keep up",
	    [VMFT_WHY_DIVERGED] = "this side's guest diverged from the primary's",
	    [VMFT_WHY_PEER_DIVERGED] = "the backup's guest diverged",
	    [VMFT_WHY_STOPPED] = "this side was told to stop",
	    [VMFT_WHY_PEER_STOPPED] = "the backup was told to stop",
	    [VMFT_WHY_HANDED_OVER] = "handed over to the other side",
	    [VMFT_WHY_PEER_HANDED_OVER] = "the primary hands over",
	    [VMFT_WHY_TOOK_OVER] = "taken over",
	};

	return name_at(texts, VMFT_WHY_COUNT, why);
}
