/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The primary's half of the checkpoint strategy: has epochs taken by the agent and packs them for
 * the channel (docs/checkpoint.md). The operations are those of monitor/daemon/strategy.h.
 */
#ifndef VMFT_CHECKPOINT_SOURCE_H
#define VMFT_CHECKPOINT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "epoch-figures.h"
#include "logging-channel/epoch.h"
#include "monitor/daemon/strategy.h"
#include "pacer.h"

struct vmft_epoch_source {
	const struct vmft_strategy_world *world;
	/* In the area, where its header said when it was checked: the agent can write to the
	 * header. */
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
	bool last;	/* the epoch that was asked for is the guest's last */
	bool over;	/* no more epochs are taken */
	uint64_t asked_ns, output_ns;

	/* What of the staged epoch take() returns next. */
	enum {
		VMFT_EPOCH_SOURCE_NONE,
		VMFT_EPOCH_SOURCE_PIECES,
		VMFT_EPOCH_SOURCE_STATE,
		VMFT_EPOCH_SOURCE_COMMIT
	} step;
	uint64_t epoch; /* the last that take() has returned completely */
	uint64_t acked; /* the last that the backup has acknowledged */
	uint64_t staged_ns;
	bool more;				     /* of this epoch is still to be staged */
	uint64_t piece_at, piece_done, staged_bytes; /* in the area's staging */
	uint64_t state_at, state_bytes;
	uint64_t input_at;    /* in the ring of frames that came in */
	uint64_t sent_before; /* bytes that take() had returned before this epoch */
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

#endif
