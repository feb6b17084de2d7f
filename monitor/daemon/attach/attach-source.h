/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An attach (VM-FT 3.1; docs/attach.md) as the primary leads it: compare the images, copy memory
 * and disk blocks in rounds while the guest runs, stop the guest for a moment, send what is left,
 * follow the backup until it has caught up, seal. The guest is alone all the while and its output
 * leaves at once. There is a pair when the monitor's core says so.
 *
 * Driven by the monitor's loop, and never blocks in it, but for reads of memfds: images are read
 * by io_uring. What it holds does not grow with the guest: VMFT_ATTACH_SOURCE_SLOTS blocks of
 * images, and the marks in the attach area.
 *
 *   attach-source.c   the order of the phases, attempts and their failures
 *   source-compare.c  COMPARING: digests of the images
 *   source-rounds.c   COPYING, SCANNING: rounds, and when they end
 *   source-disks.c    blocks of the images
 *   source-memory.c   blocks of memory
 *   source-point.c    STOPPING, SENDING: what was taken at the attach point
 *   source-frames.c   frames with blocks
 *   marks.c, pace.c   which blocks; how fast
 */
#ifndef VMFT_ATTACH_SOURCE_H
#define VMFT_ATTACH_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "attach-phase.h"
#include "attach-world.h"
#include "pace.h"
#include "summer.h"

#define VMFT_ATTACH_SOURCE_SLOTS 8u

struct vmft_attach_source;

/* A block of an image that is being read, or was read and waits for room in the channel. */
struct vmft_attach_source_slot {
	struct vmft_attach_source *source;
	struct vmft_op op;
	uint8_t *bytes; /* VMFT_DISK_BLOCK_BYTES, owned */
	enum { VMFT_SLOT_FREE, VMFT_SLOT_READING, VMFT_SLOT_READY } state;
	uint32_t region;
	uint32_t n;
	uint64_t offset;
};

/* Read freely by the status; written by the attach's own files only. */
struct vmft_attach_source {
	struct vmft_attach_world world;
	enum vmft_attach_phase phase;
	uint32_t regions; /* disks first, as the agent listed them */
	bool log_flows;	  /* the POINT frame is sent: the log may follow */
	bool held;	  /* by a drill: the attach stays in its phase */
	bool stepping;	  /* until the phase changes; then it is held again */

	/* COMPARING and COPYING: where the cursor is */
	uint32_t region;
	uint64_t word; /* of 64 marks */
	struct vmft_attach_source_slot slot[VMFT_ATTACH_SOURCE_SLOTS];
	struct vmft_summer summer;
	uint64_t seed; /* of the digests, random for each attempt */
	unsigned sums_unanswered;
	bool sums_ready; /* summer.sums is to be sent */

	/* SENDING: what of the attach point was sent, in bytes */
	uint64_t piece_at, state_at;
	uint64_t point_at; /* its position in the log */
	struct vmft_point point;

	/* how it goes */
	struct vmft_pace pace;
	uint64_t begin_ns, seal_ns;
	uint64_t progress, progress_ns; /* a sum over all progress; when it last changed */
	struct vmft_attach_figures now, last;

	/* attempts */
	uint32_t attached, failures;
	uint32_t failed_in_a_row;
	uint32_t dropped;  /* pairs that were given up because they lagged, in a row */
	uint64_t retry_ns; /* no attempt before it; CLOCK_MONOTONIC */
	bool asked;	   /* reprotect = manual: "vmft attach" was said */
	char aborted[200]; /* why this side gives up the attempt under way */
	char error[200];   /* of the last attempt, if it failed; "" after a good one */
};

/* Copies the world. 0 or -ENOMEM. */
int vmft_attach_source_init(struct vmft_attach_source *source,
			    const struct vmft_attach_world *world);
/* Also after an init that failed. Not while an image is read. */
void vmft_attach_source_fini(struct vmft_attach_source *source);

/* As far as the attach knows, a backup may be looked for now. */
bool vmft_attach_source_wants_backup(const struct vmft_attach_source *source, uint64_t now);
/* reprotect = manual: a person asks for one attempt, at once. */
void vmft_attach_source_ask(struct vmft_attach_source *source);
/* The hellos are exchanged, and the core is told of the attach. */
void vmft_attach_source_begin(struct vmft_attach_source *source);
/* Frames of the backup: 0 or -EBADMSG. */
int vmft_attach_source_got_ready(struct vmft_attach_source *source);
int vmft_attach_source_got_want(struct vmft_attach_source *source,
				const struct vmft_frame_info *frame);
/* Does what the phase can do now. To be called when the agent answered or there is room. */
void vmft_attach_source_pump(struct vmft_attach_source *source);
/* To be called every 20 ms. */
void vmft_attach_source_tick(struct vmft_attach_source *source, uint64_t now);

/* Gives the attempt up, if there is one, for a reason of this side or one that the backup told. */
void vmft_attach_source_abort(struct vmft_attach_source *source, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The core has given the attempt up. why: a reason of the core's; NULL: the one of abort(). */
void vmft_attach_source_failed(struct vmft_attach_source *source, const char *why);
/* The core has made a pair of it. */
void vmft_attach_source_formed(struct vmft_attach_source *source);
/* A pair is given up because its backup lags: none is attached for a while, longer each time. */
void vmft_attach_source_dropped(struct vmft_attach_source *source, uint64_t now);
/* A pair has held for long: the ones that were dropped before do not count any more. */
void vmft_attach_source_forgive(struct vmft_attach_source *source);

/* Drills: keeps the attach in its phase, lets it into the next phase, lets it go on. */
void vmft_attach_source_hold(struct vmft_attach_source *source);
void vmft_attach_source_step(struct vmft_attach_source *source);
void vmft_attach_source_release(struct vmft_attach_source *source);

/* Bytes that are still to be sent in this round or step; ms to the attach point, expected. */
uint64_t vmft_attach_source_left(const struct vmft_attach_source *source);
uint64_t vmft_attach_source_expected_ms(const struct vmft_attach_source *source);

#endif
