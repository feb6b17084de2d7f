/* SPDX-License-Identifier: GPL-2.0-or-later */
/* checkpoint-sink.h: epochs that are held completely are applied to memory and images, one after
 * the other. */
#ifndef VMFT_CHECKPOINT_APPLY_H
#define VMFT_CHECKPOINT_APPLY_H

#include "checkpoint-sink.h"

/* A piece of an epoch in a half's memory; its bytes follow, padded to 8, unless it is zeroes. */
struct vmft_epoch_kept {
	uint64_t offset;
	uint32_t region;
	uint32_t n;
	uint32_t how; /* enum vmft_epoch_how */
	uint32_t zero;
};

/* With its bytes and their padding. */
size_t vmft_epoch_kept_bytes(const struct vmft_epoch_kept *kept);

void vmft_epoch_apply_init(struct vmft_epoch_sink *sink);
/* Begins to apply the next epoch that is complete, if there is one and none is being applied. It
 * begins from the loop and not before this returns: the acknowledgement is sent first. */
void vmft_epoch_apply_next(struct vmft_epoch_sink *sink);
/* Nothing is under way on memory or images. */
bool vmft_epoch_apply_is_quiet(const struct vmft_epoch_sink *sink);
/* The half is empty; most of its memory goes back to the kernel. */
void vmft_epoch_half_clear(struct vmft_epoch_half *half);

#endif
