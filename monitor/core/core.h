/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The failover state machine of one side of one protected VM.
 *
 * Pure: an event goes in, a set of actions comes out; no clock, no I/O, no allocation.
 * Whoever drives it (the monitor, the simulation) measures time, talks to the peer, the
 * agent and the arbiter, reports what happened as events, and carries the actions out.
 * docs/failover.md tells the story and is checked against the table in core.c.
 *
 * Two kinds of input are told apart. What a peer or an agent may have got wrong (an ack of
 * what was never sent, a replay past the log's end) is answered by a transition. What only
 * the caller can get wrong (an answer to a claim never made) aborts, in release builds too:
 * a monitor that dies is a fault the pair survives, a monitor that guesses is not.
 */
#ifndef VMFT_CORE_H
#define VMFT_CORE_H

#include <stdbool.h>
#include <stdint.h>

/* What a side is to the pair now: a backup that has gone live is a primary from then on. */
enum vmft_side {
	VMFT_SIDE_PRIMARY, /* records, its output waits for acks */
	VMFT_SIDE_BACKUP,  /* replays, emits nothing until live */
	VMFT_SIDE_COUNT,
};

enum vmft_state {
	VMFT_STATE_FORMING,	    /* no pair yet; the guest has not started */
	VMFT_STATE_ATTACHING,	    /* primary: live and alone, its state is on its way to a new
				     * backup; backup: takes it in, replays, may not take over */
	VMFT_STATE_SEALING,	    /* primary: its new backup follows; output is held until all
				     * that was seen outside is acked */
	VMFT_STATE_PROTECTED,	    /* pair formed: recording under acks / replaying */
	VMFT_STATE_LAGGING,	    /* primary: protected, but its backup is behind the bound, and
				     * the guest is slowed down for it */
	VMFT_STATE_SHIPPING,	    /* primary: own guest is gone, its last log goes to the peer */
	VMFT_STATE_HANDING_OVER,    /* primary: its guest stops, all it did goes to the backup */
	VMFT_STATE_HANDED_OVER,	    /* primary: the backup has all and was told to take over; its
				     * word that it has, or its loss, is waited for */
	VMFT_STATE_DRAINING,	    /* backup: peer lost, replaying what is held before claiming */
	VMFT_STATE_ENDING,	    /* backup: the guest ended in order, replaying up to its end */
	VMFT_STATE_ARBITRATING,	    /* generation + 1 claimed, answer outstanding */
	VMFT_STATE_WAITING_ARBITER, /* arbiter unreachable: nobody may go on; claims again */
	VMFT_STATE_GOING_LIVE,	    /* backup: won, the agent is leaving replay */
	VMFT_STATE_ALONE,	    /* primary: live and unprotected */
	VMFT_STATE_FENCED,	    /* final: lost the arbitration, the guest is stopped for good */
	VMFT_STATE_DIVERGED,	    /* final, backup: its guest is not what the primary's was at the
				     * same position; it may never go live */
	VMFT_STATE_ENDED,	    /* final: this side's guest is gone; core.why says how */
	VMFT_STATE_COUNT,
};

enum vmft_why {
	VMFT_WHY_NONE,
	VMFT_WHY_CONNECTION,	      /* peer: connection reset, closed or never answered */
	VMFT_WHY_SILENCE,	      /* peer: nothing heard for the configured time */
	VMFT_WHY_PEER_GUEST_DIED,     /* peer said goodbye: its guest died */
	VMFT_WHY_PEER_GUEST_ENDED,    /* peer said goodbye: its guest ended in order */
	VMFT_WHY_PEER_FAULT,	      /* peer broke the protocol */
	VMFT_WHY_GUEST_DIED,	      /* own QEMU gone without an orderly end */
	VMFT_WHY_GUEST_ENDED,	      /* own QEMU ended in order */
	VMFT_WHY_AGENT_FAULT,	      /* own agent reported what cannot be */
	VMFT_WHY_ARBITER_UNREACHABLE, /* no answer to the claim */
	VMFT_WHY_CLAIM_LOST,	      /* the other side holds generation + 1 */
	VMFT_WHY_ATTACH_FAILED,	      /* an attach was given up by this side */
	VMFT_WHY_STALLED,	      /* peer: a backup whose replay does not move */
	VMFT_WHY_LAGGED,	      /* peer: a backup that did not keep up for too long */
	VMFT_WHY_DIVERGED,	      /* own guest is not what the primary's was */
	VMFT_WHY_PEER_DIVERGED,	      /* peer said goodbye: its guest diverged from ours */
	VMFT_WHY_STOPPED,	      /* this side was told to stop, and no guest lives on it */
	VMFT_WHY_PEER_STOPPED,	      /* peer said goodbye: a backup that was told to stop */
	VMFT_WHY_HANDED_OVER,	      /* the guest goes on on the other side, as it was asked for */
	VMFT_WHY_PEER_HANDED_OVER,    /* peer: a primary that has stopped its guest for us */
	VMFT_WHY_TOOK_OVER,	      /* bye only: this side has taken the guest over, it is live */
	VMFT_WHY_COUNT,
};

enum vmft_in {
	/*
	 * Forming: hello accepted. Primary: the backup's hello passed. Backup: the primary's
	 * first frame after the hellos arrived, so the primary has accepted too; a backup that
	 * counted a half-made pair would go live beside a primary still waiting to form.
	 * Attaching, backup: the primary's word (VMFT_DO_FORM_PAIR) that there is a pair now.
	 */
	VMFT_IN_PEER_READY,
	VMFT_IN_START_ALONE, /* primary: the guest is to run without waiting for a backup */
	VMFT_IN_ATTACH,	     /* hellos accepted for an attach; only while vmft_core_wants_peer() */
	/* .position: where the log begins that goes with the state. Primary: the state was taken
	 * there; backup: all of it has arrived. Once an attach. */
	VMFT_IN_ATTACH_POINT,
	VMFT_IN_CAUGHT_UP,   /* primary: the new backup replays and its lag is within the bound */
	VMFT_IN_GATE_CLOSED, /* primary: nothing more leaves; all that left depends on no more
			      * log than .position */
	VMFT_IN_PEER_LOST,   /* .why: CONNECTION, SILENCE, PEER_GUEST_DIED, PEER_DIVERGED,
			      * PEER_STOPPED, PEER_FAULT; or given up by this side: STALLED, LAGGED,
			      * ATTACH_FAILED */
	VMFT_IN_PEER_ENDED,  /* the peer's goodbye after an orderly end of its guest */
	VMFT_IN_LOG_HELD,    /* backup: log held in memory up to .position */
	VMFT_IN_ACK,	     /* primary: .position acked; .sent = last handed to transport */
	VMFT_IN_REPLAYED,    /* backup: agent has replayed up to .position */
	VMFT_IN_CLAIM_WON,   /* answers to VMFT_DO_CLAIM, exactly one each */
	VMFT_IN_CLAIM_LOST,
	VMFT_IN_CLAIM_UNREACHABLE, /* also when it is not known whether the claim was recorded */
	VMFT_IN_RETRY_TIMER,	   /* the timer of VMFT_DO_START_RETRY_TIMER, once */
	VMFT_IN_LIVE,		   /* backup: the agent says the guest runs live */
	VMFT_IN_GUEST_DIED,	   /* own QEMU gone without an orderly end */
	VMFT_IN_GUEST_ENDED,	   /* own QEMU ended in order */
	VMFT_IN_LOG_SHIPPED,	   /* primary in SHIPPING: whole ring handed to the transport */
	VMFT_IN_LAGS,		   /* primary, protected: the backup is behind the bound */
	VMFT_IN_KEEPS_UP,	   /* primary, lagging: it is within it again */
	VMFT_IN_DIVERGED,	   /* backup: its guest was found to differ from the primary's */
	VMFT_IN_STOPPED,	   /* told to stop, where no guest lives: primary in FORMING;
				    * backup up to PROTECTED */
	/* A planned hand-over, primary: */
	VMFT_IN_HAND_OVER,  /* the backup is to take over; only while vmft_core_may_hand_over() */
	VMFT_IN_ALL_HANDED, /* .position: the guest stands there, all up to there is acked, and
			     * output it still holds is with the backup */
	VMFT_IN_HAND_BACK,  /* that took too long: the guest goes on here */
	VMFT_IN_PEER_TOOK_OVER,	 /* the backup's word that it is live */
	VMFT_IN_PEER_HANDS_OVER, /* backup: the primary's goodbye after ALL_HANDED; it listens on */
	VMFT_IN_COUNT,
};

struct vmft_event_in {
	enum vmft_in kind;
	enum vmft_why why; /* PEER_LOST only */
	uint64_t position; /* LOG_HELD, ACK, REPLAYED, ATTACH_POINT, GATE_CLOSED */
	uint64_t sent;	   /* ACK only */
	bool formed;	   /* ACK only: the backup knew of the pair when it sent this */
};

/* Bits of vmft_actions.set. To be carried out in this order, lowest bit first. */
enum vmft_do {
	VMFT_DO_FENCE_GUEST = 1 << 0, /* stop the guest for good, shut its gate for good */
	VMFT_DO_SEND_ACK = 1 << 1,    /* tell the peer .ack is held */
	VMFT_DO_SEND_BYE = 1 << 2,    /* .bye: what becomes of this side, after all log was sent */
	VMFT_DO_CLOSE_PEER = 1 << 3,  /* with SEND_BYE: once it is flushed (bounded wait) */
	VMFT_DO_CLAIM = 1 << 4,	      /* test-and-set .generation for this VM, asynchronously */
	VMFT_DO_START_RETRY_TIMER = 1 << 5,
	VMFT_DO_RUN_GUEST = 1 << 6,	/* primary: start recording; backup: replay may start */
	VMFT_DO_SET_RELEASE = 1 << 7,	/* output depending on log <= .release may leave */
	VMFT_DO_GO_LIVE = 1 << 8,	/* leave replay at .live_at, the end of the log held */
	VMFT_DO_OPEN_GATE = 1 << 9,	/* all output may leave, the log need not be kept */
	VMFT_DO_CLOSE_GATE = 1 << 10,	/* no output leaves from now on; GATE_CLOSED answers */
	VMFT_DO_FORM_PAIR = 1 << 11,	/* tell the peer that there is a pair: its PEER_READY */
	VMFT_DO_STOP = 1 << 12,		/* this side's work is over, .stop says why */
	VMFT_DO_FREEZE_GUEST = 1 << 13, /* stop the guest where all it did can be sent */
	VMFT_DO_THAW_GUEST = 1 << 14,	/* let it go on */
};
#define VMFT_DO_COUNT 15

struct vmft_actions {
	uint32_t set; /* of enum vmft_do; the fields below count only with their bit */
	uint64_t ack;
	uint64_t release;
	uint64_t live_at;
	uint64_t generation;
	enum vmft_why bye;
	enum vmft_why stop;
};

/* Read freely, written by core.c only. */
struct vmft_core {
	enum vmft_side side;
	enum vmft_state state;
	enum vmft_why why;   /* what brought this state about */
	enum vmft_why lost;  /* why the peer was given up; NONE while it was not */
	uint64_t generation; /* of the pair; + 1 once this side has won */
	uint64_t acked;	     /* primary: held by the backup */
	uint64_t released;   /* primary: output up to here has been released by an ack; <= acked */
	uint64_t held;	     /* backup: held and acked; final once the peer is given up */
	uint64_t replayed;   /* backup: <= held */
	bool pointed;	     /* attaching: ATTACH_POINT was seen */
	bool sealed;	     /* sealing: GATE_CLOSED was seen */
	uint64_t seal;	     /* ack that makes the pair, once sealed */
	bool frozen;	     /* primary: its guest was stopped for a hand-over */
	bool handed; /* primary: the backup was told to take over; backup: and is heard out */
};

void vmft_core_init(struct vmft_core *core, enum vmft_side side, uint64_t generation);

/* Fills *ret_actions completely. Aborts when the table forbids the event. */
void vmft_core_step(struct vmft_core *core, const struct vmft_event_in *event,
		    struct vmft_actions *ret_actions);

/* Whether a hello may be accepted now, for a pair to form or, by a primary that is alone, for
 * an attach; a peer that knocks at any other time is refused. */
bool vmft_core_wants_peer(const struct vmft_core *core);

/* Whether a primary may be told to hand its guest over: it has a backup. */
bool vmft_core_may_hand_over(const struct vmft_core *core);

/* Whether this side is a pair's, each other's protection: protected, lagging or handing over. */
bool vmft_core_is_paired(const struct vmft_core *core);

/* Whether nothing can change any more. */
bool vmft_core_is_final(const struct vmft_core *core);

/* What the table says about an event, for tests and the diagram. */
enum vmft_core_rule {
	VMFT_RULE_FORBIDDEN, /* the caller's mistake: aborts */
	VMFT_RULE_IGNORED,   /* stale or repeated: nothing changes, no action */
	VMFT_RULE_HANDLED,
};

/* *ret_next (may be NULL): bit 1 << state for each state a handled event may lead to. */
enum vmft_core_rule vmft_core_rule(enum vmft_side side, enum vmft_state state, enum vmft_in kind,
				   uint32_t *ret_next);

/* Stable lower-case names, for status, logs and the diagram; static storage. */
const char *vmft_side_name(enum vmft_side side);
const char *vmft_state_name(enum vmft_state state);
const char *vmft_in_name(enum vmft_in kind);
const char *vmft_do_name(enum vmft_do bit);
const char *vmft_why_text(enum vmft_why why); /* a phrase: "the peer fell silent" */

#endif
