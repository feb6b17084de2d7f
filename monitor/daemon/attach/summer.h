/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Digests of the blocks of an image, by which both sides of an attach compare theirs. */
#ifndef VMFT_SUMMER_H
#define VMFT_SUMMER_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"
#include "logging-channel/frame.h"
#include "logging-channel/loop.h"

/*
 * Digests up to VMFT_SUMS_MAX blocks, a few at a time, by io_uring. A block of zeroes, or one
 * beyond the end, has the digest 0; holes are not read.
 */
struct vmft_summer {
	struct vmft_loop *loop;
	void (*done)(struct vmft_summer *summer, int result); /* 0 or a negative errno */
	void *owner;
	const struct vmft_image *image;
	uint64_t first; /* block */
	struct vmft_sums sums;
	bool busy;
	int result;
	unsigned next, reading;
	struct vmft_summer_slot {
		struct vmft_summer *summer;
		struct vmft_op op;
		unsigned index;
		uint8_t *bytes;
	} slot[4];
};

/* 0 or -ENOMEM. */
int vmft_summer_init(struct vmft_summer *summer, struct vmft_loop *loop, void *owner,
		     void (*done)(struct vmft_summer *summer, int result));
/* The caller sets sums.region, .count and .seed, first and image before. Not while busy. done may
 * be called before this returns. */
void vmft_summer_start(struct vmft_summer *summer);
void vmft_summer_fini(struct vmft_summer *summer); /* not while busy */

#endif
