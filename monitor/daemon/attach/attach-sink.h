/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An attach (VM-FT 3.1; docs/attach.md) as the new backup sees it: QEMU comes up stopped with its
 * images untouched, memory goes into its memfds and blocks go into the images. At the attach point
 * the agent loads the device state and replays from there on, or, when the strategy loads it later,
 * proves that it can. Until the primary says that there is a pair, all of it can be thrown away.
 *
 * Driven by the monitor's loop, and never blocks in it, but for writes to memfds: images are read
 * and written by io_uring. What it holds does not grow with the guest:
 * VMFT_ATTACH_SINK_SLOTS blocks of images.
 *
 *   attach-sink.c   the order of the phases, and the end of an attempt
 *   sink-disks.c    blocks that go into the images, and that they are durable
 *   sink-memory.c   blocks that go into the guest's memory
 *   sink-compare.c  digests of the images
 *   sink-point.c    the attach point
 */
#ifndef VMFT_ATTACH_SINK_H
#define VMFT_ATTACH_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "attach-phase.h"
#include "attach-world.h"
#include "summer.h"

#define VMFT_ATTACH_SINK_SLOTS 16u

struct vmft_attach_sink;

/* A block that is being written to an image. */
struct vmft_attach_sink_slot {
	struct vmft_attach_sink *sink;
	struct vmft_op op;
	uint8_t *bytes; /* VMFT_DISK_BLOCK_BYTES, owned */
	bool busy;
	uint32_t region;
	uint32_t n, done;
	uint64_t offset;
};

/* An image that is being made durable. */
struct vmft_attach_sink_sync {
	struct vmft_attach_sink *sink;
	struct vmft_op op;
	uint32_t disk;
};

/* Read freely by the status; written by the attach's own files only. */
struct vmft_attach_sink {
	struct vmft_attach_world world;
	enum vmft_attach_phase phase;
	bool prepared; /* QEMU came up for an attach, and is good for nothing else */
	bool loaded;   /* the state is in place: what is applied is of this log */
	bool leaving;  /* the attempt has ended; writes under way still have to end */
	uint32_t regions;
	struct vmft_geometry *geometry; /* of the attempt under way; owned */
	struct vmft_attach_sink_slot slot[VMFT_ATTACH_SINK_SLOTS];
	unsigned writing; /* slots that are busy */
	struct vmft_attach_sink_sync sync[VMFT_AREA_DISKS_MAX];
	unsigned syncing;
	bool synced;	      /* at the attach point: making all durable has begun */
	bool proving, proven; /* the agent loads the state once to see that it can; it could */
	struct vmft_summer summer;
	struct vmft_sums *theirs; /* the primary's digests of the blocks summer reads; owned */
	uint64_t state_bytes;	  /* of the device state, so far */
	uint64_t bytes;		  /* taken in by this attempt */
	struct vmft_point point;
};

/* Copies the world. 0 or -ENOMEM. */
int vmft_attach_sink_init(struct vmft_attach_sink *sink, const struct vmft_attach_world *world);
/* Also after an init that failed. Not while an image is read or written. */
void vmft_attach_sink_fini(struct vmft_attach_sink *sink);

/* Frames of the primary: ATTACH, and all others of an attach. Each 0, -ENOSPC (the same frame may
 * come again after resume()) or -EBADMSG. */
int vmft_attach_sink_got_attach(struct vmft_attach_sink *sink, const struct vmft_frame_info *frame);
int vmft_attach_sink_got_frame(struct vmft_attach_sink *sink, const struct vmft_frame_info *frame);
/* The agent may have answered. */
void vmft_attach_sink_look(struct vmft_attach_sink *sink);
/* A frame that was answered -ENOSPC can be taken. */
bool vmft_attach_sink_has_room(const struct vmft_attach_sink *sink);
/* The core has given the attempt up. */
void vmft_attach_sink_failed(struct vmft_attach_sink *sink);
/* The primary says that there is a pair. 0, or -EBADMSG: the state is not loaded. */
int vmft_attach_sink_formed(struct vmft_attach_sink *sink);

#endif
