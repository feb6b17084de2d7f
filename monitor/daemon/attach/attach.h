/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attaching a new backup (VM-FT 3.1): attach-source.c on the primary, attach-sink.c on the
 * backup. docs/attach.md tells the story.
 *
 * Both are driven by the monitor's loop and never block in it: images are read and written
 * by io_uring, memory comes out of and goes into memfds. What they hold does not grow with
 * the guest: VMFT_ATTACH_SOURCE_SLOTS and VMFT_ATTACH_SINK_SLOTS blocks, and the marks in the
 * attach area.
 */
#ifndef VMFT_ATTACH_H
#define VMFT_ATTACH_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"
#include "logging-channel/frame.h"
#include "logging-channel/loop.h"
#include "monitor/interface.h"

struct vmft_monitor;

#define VMFT_ATTACH_SOURCE_SLOTS 8u
#define VMFT_ATTACH_SINK_SLOTS	 16u

/* The order of an attach; status shows the names. */
enum vmft_attach_phase {
	VMFT_ATTACH_IDLE,
	VMFT_ATTACH_TRACKING,	 /* primary: the agent begins to mark what is written */
	VMFT_ATTACH_OFFERED,	 /* primary: the backup makes ready; backup: QEMU comes up */
	VMFT_ATTACH_COMPARING,	 /* digests of the images' blocks */
	VMFT_ATTACH_COPYING,	 /* rounds of memory and disk blocks */
	VMFT_ATTACH_SCANNING,	 /* primary: what was written during the last round */
	VMFT_ATTACH_STOPPING,	 /* primary: the attach point */
	VMFT_ATTACH_SENDING,	 /* what was taken at the attach point */
	VMFT_ATTACH_CATCHING_UP, /* the backup loads the state and replays */
	VMFT_ATTACH_SEALING,	 /* primary: its output waits for the backup to have it all */
	VMFT_ATTACH_DROPPING,	 /* primary: an attempt that failed is being cleaned up */
	VMFT_ATTACH_PHASES,
};

const char *vmft_attach_phase_name(enum vmft_attach_phase phase);

/* How the last attach that was completed went. */
struct vmft_attach_figures {
	uint64_t total_ns; /* hello to pair */
	uint64_t stun_ns;  /* the guest was stopped for so long; its parts: */
	uint64_t stop_ns, drain_ns, copy_ns, save_ns, start_ns;
	uint64_t hold_ns;		/* output waited for the backup before there was a pair */
	uint64_t ram_bytes, disk_bytes; /* sent */
	uint64_t staged_bytes;		/* of these, taken while the guest was stopped */
	uint32_t rounds;
};

struct vmft_attach_source_slot {
	struct vmft_monitor *m;
	struct vmft_op op;
	uint8_t *bytes; /* VMFT_DISK_BLOCK_BYTES */
	enum { VMFT_SLOT_FREE, VMFT_SLOT_READING, VMFT_SLOT_READY } state;
	uint32_t region;
	uint32_t n;
	uint64_t offset;
};

struct vmft_attach_source {
	enum vmft_attach_phase phase;
	uint32_t regions;
	bool log_flows; /* the POINT frame is out: the log may follow */
	bool held;	/* a drill's: the attach stays in its phase, see control.c */
	bool stepping;	/* until the phase changes, then it is held again */

	/* where the round is */
	uint32_t region;
	uint64_t word;
	uint32_t round;
	struct vmft_attach_source_slot slot[VMFT_ATTACH_SOURCE_SLOTS];
	struct vmft_summer summer;
	uint64_t seed;
	unsigned sums_unanswered;
	bool sums_ready; /* summer.sums is to be sent */

	/* what was taken at the attach point */
	uint64_t piece_at, state_at;
	struct vmft_point point;

	/* how it goes */
	uint64_t begin_ns, round_ns, seal_ns;
	uint64_t left_bytes;   /* of this round, as it began */
	uint64_t round_bytes;  /* sent in this round */
	uint64_t marked_bytes; /* at the last scan */
	uint64_t bytes_per_s;  /* the last round's, or of the last seconds */
	uint64_t dirty_per_s;
	uint64_t window_ns, window_bytes;
	uint64_t tokens, tokens_ns; /* bandwidth cap */
	uint64_t moved, moved_ns;   /* a sum over all progress there is, when it last changed */
	uint32_t throttle;	    /* permille */
	struct vmft_attach_figures now, last;

	/* attempts */
	uint32_t attached, failures, in_a_row;
	uint32_t dropped;  /* in a row, for lag */
	uint64_t retry_ns; /* not before; CLOCK_MONOTONIC */
	bool asked;	   /* reprotect = manual: "vmft attach" was said */
	char error[200];   /* of the last failed attempt, "" after a good one */
};

struct vmft_attach_sink_slot {
	struct vmft_monitor *m;
	struct vmft_op op;
	uint8_t *bytes;
	bool busy;
	uint32_t region;
	uint32_t n, done;
	uint64_t offset;
};

struct vmft_attach_sink {
	enum vmft_attach_phase phase;
	bool prepared; /* QEMU came up for an attach and is good for nothing else */
	bool loaded;   /* the device state is in: it replays */
	uint32_t regions;
	struct vmft_geometry *geometry; /* of the attempt under way */
	struct vmft_attach_sink_slot slot[VMFT_ATTACH_SINK_SLOTS];
	unsigned writing;
	struct vmft_attach_sink_sync {
		struct vmft_monitor *m;
		struct vmft_op op;
		uint32_t disk;
	} sync[VMFT_AREA_DISKS_MAX];
	unsigned syncing;
	bool synced;	      /* at the attach point: all that was copied is durable */
	bool proving, proven; /* the state is being loaded once, or was: QEMU can */
	struct vmft_summer summer;
	struct vmft_sums *theirs; /* the primary's digests of the blocks summer reads */
	uint64_t state_bytes;
	uint64_t bytes; /* taken in */
	struct vmft_point point;
	bool leaving; /* given up; writes under way still have to end */
};

/* --- primary -------------------------------------------------------------- */

int vmft_attach_source_init(struct vmft_monitor *m);
/* Whether a backup may be looked for now. */
bool vmft_attach_source_wants_backup(const struct vmft_monitor *m, uint64_t now);
/* The hellos are exchanged. */
void vmft_attach_source_begin(struct vmft_monitor *m);
int vmft_attach_source_got_ready(struct vmft_monitor *m);
int vmft_attach_source_got_want(struct vmft_monitor *m, const struct vmft_frame_info *frame);
/* Sends as much as there is room for; when the agent answered, there is room, or time passed. */
void vmft_attach_source_pump(struct vmft_monitor *m);
void vmft_attach_source_tick(struct vmft_monitor *m, uint64_t now);
/* The core gave the attempt up, or made a pair of it. */
void vmft_attach_source_failed(struct vmft_monitor *m);
void vmft_attach_source_formed(struct vmft_monitor *m);
/* A pair is given up because its backup lags: none is attached for a while, longer each time. */
void vmft_attach_source_dropped(struct vmft_monitor *m, uint64_t now);
/* The attempt is given up for a reason of this side's, or one the backup told. */
void vmft_attach_source_abort(struct vmft_monitor *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Drills: keeps the attach in the phase it is in, lets it go on into the next, or on. */
void vmft_attach_source_hold(struct vmft_monitor *m);
void vmft_attach_source_step(struct vmft_monitor *m);
void vmft_attach_source_release(struct vmft_monitor *m);
/* Bytes that are still to be sent in this round or step; expected ms to the end of it. */
uint64_t vmft_attach_source_left(const struct vmft_monitor *m);
uint64_t vmft_attach_source_expected_ms(const struct vmft_monitor *m);

/* --- backup --------------------------------------------------------------- */

int vmft_attach_sink_init(struct vmft_monitor *m);
/* Each 0, -ENOSPC (come again with the same frame later) or -EBADMSG. */
int vmft_attach_sink_got_attach(struct vmft_monitor *m, const struct vmft_frame_info *frame);
int vmft_attach_sink_got_frame(struct vmft_monitor *m, const struct vmft_frame_info *frame);
/* The agent may have answered. */
void vmft_attach_sink_look(struct vmft_monitor *m);
/* There is no more to wait for: a frame that was answered -ENOSPC can be taken. */
bool vmft_attach_sink_has_room(const struct vmft_monitor *m);
void vmft_attach_sink_failed(struct vmft_monitor *m);

#endif
