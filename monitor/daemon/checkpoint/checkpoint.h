/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two halves of the checkpoint strategy: checkpoint-source.c has the primary's epochs taken
 * and packed, checkpoint-sink.c keeps them on the backup and applies each once it is whole.
 * docs/checkpoint.md tells the story.
 */
#ifndef VMFT_CHECKPOINT_H
#define VMFT_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "epoch-figures.h"
#include "logging-channel/epoch.h"
#include "monitor/daemon/strategy.h"
#include "pacer.h"

/* The device state goes as a region of its own, so that only what changed in it is sent. */
#define VMFT_EPOCH_STATE_REGION UINT32_MAX

/* --- primary -------------------------------------------------------------- */

struct vmft_epoch_source {
	const struct vmft_strategy_world *world;
	/* In the area, as its header had it when it was checked: the agent can write there. */
	const uint8_t *staging, *state;
	struct vmft_epoch_packer *packer;
	struct vmft_pacer pacer;
	struct vmft_epoch_figures figures;
	struct vmft_op timer;
	uint64_t timer_at;
	bool active;	/* there is a backup to send to */
	bool asked;	/* EPOCH was asked of the agent and is not answered */
	bool drop_due;	/* the agent is to stop marking, once it has answered */
	bool finishing; /* the epoch that is asked for next is the guest's last */
	bool last;	/* the one that was asked for is */
	bool over;	/* no more will be taken */
	uint64_t asked_ns, output_ns;

	/* What was staged and is not given out whole yet. */
	enum {
		VMFT_EPOCH_SOURCE_NONE,
		VMFT_EPOCH_SOURCE_PIECES,
		VMFT_EPOCH_SOURCE_STATE,
		VMFT_EPOCH_SOURCE_COMMIT
	} step;
	uint64_t epoch; /* given out whole */
	uint64_t acked; /* of these, by the backup */
	uint64_t staged_ns;
	bool more;				     /* of this epoch is to be staged */
	uint64_t piece_at, piece_done, staged_bytes; /* in the area's staging */
	uint64_t state_at, state_bytes;
	uint64_t input_at;    /* in the ring of frames that came in */
	uint64_t sent_before; /* bytes given out before this epoch */
	struct vmft_epoch_commit commit;
	struct vmft_epoch_sample sample; /* of the epoch under way */
};

int vmft_epoch_source_init(struct vmft_epoch_source *s, const struct vmft_strategy_world *world);
void vmft_epoch_source_fini(struct vmft_epoch_source *s);
void vmft_epoch_source_restart(struct vmft_epoch_source *s, uint64_t position);
void vmft_epoch_source_acked(struct vmft_epoch_source *s, uint64_t position);
void vmft_epoch_source_halt(struct vmft_epoch_source *s);
void vmft_epoch_source_look(struct vmft_epoch_source *s);
ssize_t vmft_epoch_source_take(struct vmft_epoch_source *s, uint8_t *payload,
			       uint64_t *ret_position);
void vmft_epoch_source_finish(struct vmft_epoch_source *s, bool alive);
bool vmft_epoch_source_is_empty(const struct vmft_epoch_source *s);

/* --- backup --------------------------------------------------------------- */

#define VMFT_EPOCH_WRITES 16u /* of a backup's disks under way at once */

/* One epoch as it arrived: pieces one behind the other, checked, each padded to 8 bytes. */
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
	bool abandoned;	     /* what is under way comes to its end, nothing new begins */
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
/* Applies no more. True: nothing of it is under way any more on memory or images. */
bool vmft_epoch_sink_abandon(struct vmft_epoch_sink *s);
/* The frames that the guest is to get when it goes live, into the ring. */
void vmft_epoch_sink_hand_out(struct vmft_epoch_sink *s);
bool vmft_epoch_sink_has_room(const struct vmft_epoch_sink *s);
/* Bytes kept of an epoch that is not whole. */
uint64_t vmft_epoch_sink_partial(const struct vmft_epoch_sink *s);

#endif
