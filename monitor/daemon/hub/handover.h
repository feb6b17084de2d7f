/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A planned hand-over, on the primary: the backup takes over because it was asked to.
 *
 * 0. The arbiter is asked whether it is there: without it nobody could go on after 3.
 * 1. A guest that is replayed runs at half its speed until the backup has nearly caught up: what
 *    that has yet to replay is outage. More than half would be felt like an outage itself.
 * 2. It is frozen where all it did can be sent (agent/tap.c; with checkpoints at the end of an
 *    epoch), and that is sent and acknowledged. Output that it still holds goes to the backup, too,
 *    which sends it when it is live: a client that is answered sooner would send its next request
 *    to a guest that stands still.
 * 3. The goodbye says "take over". From here on both sides may claim the next generation: the
 *    backup does so when all is applied; this side only if it loses the backup before it hears
 *    that it is live, and then its guest goes on as it stands.
 *
 * Until 3 it can be called off, and is if it takes too long: the guest goes on as if it had
 * been stopped for a moment.
 */
#ifndef VMFT_HANDOVER_H
#define VMFT_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logging-channel/frame.h"
#include "monitor/core/core.h"

struct vmft_arbiter_answer;
struct vmft_monitor;

enum vmft_handover_phase {
	VMFT_HANDOVER_NONE,
	VMFT_HANDOVER_ASKING,	 /* whether the arbiter answers */
	VMFT_HANDOVER_NEARING,	 /* the guest is slowed */
	VMFT_HANDOVER_UNDER_WAY, /* the core leads */
};

struct vmft_handover {
	enum vmft_handover_phase phase;
	uint64_t since;	     /* of the phase */
	uint64_t stopped_ns; /* when the guest was seen to stand; 0: it does not yet */
	uint64_t output_at;  /* of the output that it held: given to the channel */
	uint64_t output_frames;
	/* Who asked, and waits for the end of it; NULL: the pair file did (on-stop). */
	void (*done)(void *user, bool handed, const char *text);
	void *user;
	uint64_t taken_bytes, taken_frames; /* backup: of output in the attach area */
	bool asked; /* a question to the arbiter is out, also one of a hand-over that is over */
};

/* Whether a guest that was slowed for so long, and is this far ahead, is to be frozen now. */
bool vmft_handover_is_near(uint64_t lag_ms, uint64_t slowed_ns);

/* NULL: it is under way; else why not. done is called once, if it is. */
const char *vmft_handover_begin(struct vmft_monitor *m,
				void (*done)(void *user, bool handed, const char *text),
				void *user);
/* The answer to that question. */
void vmft_handover_got_latest(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer);
/* Something may have moved. */
void vmft_handover_look(struct vmft_monitor *m);
/* The core's state has changed. */
void vmft_handover_state(struct vmft_monitor *m, const struct vmft_core *before);
/* How much the guest is slowed for it, permille. */
uint32_t vmft_handover_throttle(const struct vmft_monitor *m);
/* Backup: output that the primary held, to be sent when this side goes live. 0 or -EBADMSG. */
int vmft_handover_got_output(struct vmft_monitor *m, const struct vmft_frame_info *frame);
/* Backup: it is about to be told to go live. */
void vmft_handover_goes_live(struct vmft_monitor *m);
/* Whether one is under way. */
bool vmft_handover_is_on(const struct vmft_monitor *m);

#endif
