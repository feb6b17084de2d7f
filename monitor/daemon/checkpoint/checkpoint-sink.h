/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup's half of the checkpoint strategy: checkpoint-sink.c keeps epochs as they arrive,
 * checkpoint-apply.c applies each once it is complete (docs/checkpoint.md). The operations are
 * those of monitor/daemon/strategy.h.
 */
#ifndef VMFT_CHECKPOINT_SINK_H
#define VMFT_CHECKPOINT_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "logging-channel/epoch.h"
#include "monitor/daemon/strategy.h"

#define VMFT_EPOCH_WRITES 16u /* writes to disks that are under way at once */

/* One epoch as it arrived: its pieces (struct vmft_epoch_kept) one after the other, checked. */
struct vmft_epoch_half {
	uint8_t *bytes;
	size_t used;
	bool whole; /* acknowledged, and not applied yet */
	uint64_t pieces, piece_bytes;
	struct vmft_epoch_commit commit;
};

struct vmft_epoch_sink {
	const struct vmft_strategy_world *world;
	struct vmft_epoch_opener *opener;
	size_t half_max;
	uint8_t *ram; /* the guest's, mapped */
	struct vmft_epoch_half half[2];
	unsigned filling;	/* which of them the next epoch comes into */
	uint64_t held, applied; /* epochs; began: where they were at restart() */
	uint64_t began;
	bool applying;
	size_t memory_at, disk_at; /* in the half that is applied: where each pass is */
	uint8_t *input;		   /* records of frames that no epoch held has seen, oldest first */
	size_t input_bytes;
	unsigned writing;
	bool failed;
	bool abandoned;	     /* what is under way ends, nothing new begins */
	struct vmft_op step; /* memory is applied in steps, so that the channel is served */
	struct vmft_epoch_write {
		struct vmft_epoch_sink *sink;
		struct vmft_op op;
		bool busy, waits; /* to be tried again */
		uint32_t disk, n, done;
		uint64_t offset;
		const uint8_t *bytes; /* NULL: zeroes */
	} write[VMFT_EPOCH_WRITES];
	struct vmft_epoch_sync {
		struct vmft_epoch_sink *sink;
		struct vmft_op op;
	} sync[VMFT_AREA_DISKS_MAX];
	bool dirty[VMFT_AREA_DISKS_MAX]; /* written since the last sync began */
};

int vmft_epoch_sink_init(struct vmft_epoch_sink *s, const struct vmft_strategy_world *world);
void vmft_epoch_sink_fini(struct vmft_epoch_sink *s);
/* 0 or a negative errno: memory cannot be mapped. */
int vmft_epoch_sink_restart(struct vmft_epoch_sink *s, uint64_t position);
int vmft_epoch_sink_hold(struct vmft_epoch_sink *s, uint64_t position, const uint8_t *payload,
			 size_t n);
/* Applies no more. True: nothing is under way on memory or images any more. */
bool vmft_epoch_sink_abandon(struct vmft_epoch_sink *s);
/* Writes the frames that the guest is to get when it goes live into the ring. */
void vmft_epoch_sink_hand_out(struct vmft_epoch_sink *s);
bool vmft_epoch_sink_has_room(const struct vmft_epoch_sink *s);
/* Bytes kept of an epoch that is not complete. */
uint64_t vmft_epoch_sink_partial(const struct vmft_epoch_sink *s);

#endif
