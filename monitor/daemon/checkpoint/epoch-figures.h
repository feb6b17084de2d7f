/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the last epochs of a guest went, for status and benchmarks. Pure bookkeeping. */
#ifndef VMFT_EPOCH_FIGURES_H
#define VMFT_EPOCH_FIGURES_H

#include <stdint.h>

#define VMFT_EPOCH_SAMPLES 2048u /* about a minute of short ones */

enum vmft_epoch_figure {
	VMFT_FIGURE_LENGTH, /* ns: the guest ran */
	VMFT_FIGURE_PAUSE,  /* ns: it was stopped; its parts: */
	VMFT_FIGURE_STOP,
	VMFT_FIGURE_DRAIN, /* disk requests under way */
	VMFT_FIGURE_SAVE,
	VMFT_FIGURE_SCAN,
	VMFT_FIGURE_COPY,
	VMFT_FIGURE_START,
	VMFT_FIGURE_STAGED, /* bytes copied while it was */
	VMFT_FIGURE_SENT,   /* bytes on the channel */
	VMFT_FIGURE_COMMIT, /* ns: from the stop to the backup's ack */
	VMFT_FIGURE_OUTPUT, /* ns: the epoch's first frame waited; 0: it had none */
	VMFT_FIGURES,
};

struct vmft_epoch_sample {
	uint64_t epoch;
	uint64_t asked_ns;  /* CLOCK_MONOTONIC, the end was asked for */
	uint64_t output_ns; /* the same, its first frame was seen waiting; 0: none */
	uint64_t value[VMFT_FIGURES];
};

struct vmft_epoch_figures {
	uint64_t epochs;   /* since the guest's strategy began, on this side */
	uint64_t early;	   /* ended because output waited */
	uint64_t split;	   /* did not fit into staging at once */
	uint64_t released; /* samples up to this epoch have their COMMIT and OUTPUT */
	uint64_t pages, zero, unchanged, delta, whole; /* of memory: how they were sent */
	uint64_t partial_bytes; /* had of an epoch that is not whole; never was, on a live side */
	struct vmft_epoch_sample sample[VMFT_EPOCH_SAMPLES];
};

/* The place of an epoch's sample; what was there before is older by VMFT_EPOCH_SAMPLES. */
struct vmft_epoch_sample *vmft_epoch_sample(struct vmft_epoch_figures *figures, uint64_t epoch);
/* The epochs up to this one are acknowledged and their output leaves now. */
void vmft_epoch_released(struct vmft_epoch_figures *figures, uint64_t epoch, uint64_t now);
/* Of the samples there are; permille 500 is the median, 1000 the greatest. 0 if there are none.
 * Those of COMMIT and OUTPUT that are 0 do not count. */
uint64_t vmft_epoch_quantile(const struct vmft_epoch_figures *figures, enum vmft_epoch_figure which,
			     unsigned permille);

#endif
