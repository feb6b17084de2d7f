/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A planned hand-over: the backup takes over because the primary asks it to.
 *
 * 0. The primary asks the arbiter for the latest generation, to learn whether the arbiter answers.
 *    Without the arbiter neither side could go on after step 3.
 * 1. A guest that is replayed is slowed to half its speed until the backup has nearly caught up,
 *    because what the backup still has to replay is part of the outage. Slowing the guest more
 * would be an outage itself.
 * 2. The primary freezes the guest where all that it did can be sent (monitor/agent/tap.c; with
 *    checkpoints at the end of an epoch), sends it, and waits for the acks. It also sends the
 * output that it still holds. The backup sends that output to the clients when it is live. If the
 *    primary sent it, a client could answer it with a request to a guest that is stopped.
 * 3. The primary's goodbye says "take over". From then on both sides may claim the next generation.
 *    The backup claims it when it has applied all. The primary claims it only if it loses the
 * backup before it hears that the backup is live; if it wins, its guest continues where it was
 * stopped.
 *
 * Before step 3 the hand-over can be called off, and is called off if it takes too long. Then the
 * guest continues on the primary, after a short stop.
 */
#ifndef VMFT_HANDOVER_H
#define VMFT_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logging-channel/frame.h"
#include "monitor/common/pair-config.h"
#include "monitor/core/core.h"
#include "monitor/daemon/arbiter/arbiter.h"
#include "monitor/daemon/guest/agent-link.h"
#include "monitor/daemon/peer/channel.h"
#include "monitor/daemon/status/journal.h"
#include "monitor/daemon/strategy.h"

enum vmft_handover_phase {
	VMFT_HANDOVER_NONE,
	VMFT_HANDOVER_ASKING,	 /* the arbiter has not answered yet */
	VMFT_HANDOVER_NEARING,	 /* the guest is slowed */
	VMFT_HANDOVER_UNDER_WAY, /* the guest is to be frozen, or is; the core decides what is next
				  */
};

/* What a hand-over uses of the monitor, and whom it tells. All of it outlives the hand-over. */
struct vmft_handover_world {
	struct vmft_agent_link *link;
	struct vmft_channel *channel; /* of the pair */
	struct vmft_arbiter_worker *worker;
	const struct vmft_strategy_ops *ops;
	struct vmft_strategy *strategy;
	const struct vmft_core *core;
	const struct vmft_pair_config *config;
	struct vmft_journal *journal;
	/* The guest has ended, or its QEMU. */
	bool (*is_guest_gone)(void *user);
	/* The execution lag of the backup, ms. now: CLOCK_MONOTONIC, ns. */
	uint64_t (*lag_ms)(void *user, uint64_t now);
	/* Gives an event to the core; vmft_handover_state() may be called before it returns. */
	void (*event)(void *user, const struct vmft_event_in *event);
	/* The agent wrote something impossible into the shared memory. */
	void (*agent_broken)(void *user);
	void *user;
};

struct vmft_handover {
	struct vmft_handover_world world;
	enum vmft_handover_phase phase;
	uint64_t since;	     /* when the phase began, ns */
	uint64_t stopped_ns; /* when the monitor saw that the guest was frozen; 0: not yet */
	uint64_t output_at;  /* bytes of the held output that the channel has */
	uint64_t output_frames;
	/* The caller of vmft_handover_begin(), who waits for the end. NULL: the pair file asked
	 * (on-stop), or the caller has gone. */
	void (*done)(void *user, bool handed, const char *text);
	void *user;
	uint64_t taken_bytes, taken_frames; /* backup: output of the primary in the attach area */
	/* The arbiter's answer is due; also while the hand-over that asked is over already. */
	bool asked;
};

void vmft_handover_init(struct vmft_handover *h, const struct vmft_handover_world *world);

/* Whether to freeze the guest now: its backup lags by lag_ms, and it has been slowed for slowed_ns.
 */
bool vmft_handover_is_near(uint64_t lag_ms, uint64_t slowed_ns);

/* Returns NULL if the hand-over has begun; then done is called once, if it is not NULL. Otherwise
 * returns why it has not begun. text is one line for people. */
const char *vmft_handover_begin(struct vmft_handover *h,
				void (*done)(void *user, bool handed, const char *text),
				void *user);
/* The caller that gave this user to vmft_handover_begin() has gone: do not call it. */
void vmft_handover_forget(struct vmft_handover *h, const void *user);
/* The arbiter has answered VMFT_ASK_LATEST, and h->asked is set. */
void vmft_handover_got_latest(struct vmft_handover *h, const struct vmft_arbiter_answer *answer);
/* Call it whenever the agent, the channel or the backup may have moved. */
void vmft_handover_look(struct vmft_handover *h);
/* The core has taken a step; before is the core as it was. */
void vmft_handover_state(struct vmft_handover *h, const struct vmft_core *before);
/* By how much the hand-over slows the guest, permille. */
uint32_t vmft_handover_throttle(const struct vmft_handover *h);
/* Backup: an OUTPUT frame, to be sent when this side goes live. 0, or -EBADMSG. */
int vmft_handover_got_output(struct vmft_handover *h, const struct vmft_frame_info *frame);
/* Backup: call it before the agent is told to go live. */
void vmft_handover_goes_live(struct vmft_handover *h);
/* Primary: a hand-over has begun and is not over. */
bool vmft_handover_is_on(const struct vmft_handover *h);

#endif
