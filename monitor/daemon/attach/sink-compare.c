/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sink-compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sink-parts.h"

#define WANT_BYTES_MAX 16u /* of a WANT frame's payload */

static void send_want(struct vmft_attach_sink *s, uint64_t first, uint32_t region, uint64_t bits)
{
	uint8_t *payload = s->world.room(s->world.user, WANT_BYTES_MAX);

	if (payload)
		s->world.send(s->world.user, VMFT_FRAME_WANT, first, payload,
			      vmft_want_encode(region, bits, payload));
}

/* A bit for each block whose digest is not the primary's. */
static uint64_t differing(const struct vmft_sums *ours, const struct vmft_sums *theirs)
{
	uint64_t bits = 0;

	for (uint32_t i = 0; i < theirs->count; i++)
		if (theirs->sum[i].low != ours->sum[i].low ||
		    theirs->sum[i].high != ours->sum[i].high)
			bits |= UINT64_C(1) << i;
	return bits;
}

static void on_sums(struct vmft_summer *summer, int result)
{
	struct vmft_attach_sink *s = summer->owner;
	uint64_t bits;

	if (s->leaving) {
		vmft_sink_settled(s);
		return;
	}
	if (result < 0) {
		vmft_sink_give_up(s, "%s: cannot be read: %s", summer->image->path,
				  strerror(-result));
		return;
	}
	bits = differing(&summer->sums, s->theirs);
	if (bits != 0 && summer->image->read_only) {
		vmft_sink_give_up(s,
				  "%s: read-only, and its contents are not the primary's: give "
				  "both hosts the same image",
				  summer->image->path);
		return;
	}
	send_want(s, summer->first, s->theirs->region, bits);
	vmft_sink_settled(s);
}

int vmft_sink_compare_got_sums(struct vmft_attach_sink *s, const struct vmft_frame_info *frame)
{
	const struct vmft_region *regions = s->world.link->region;

	if (s->summer.busy)
		return -ENOSPC;
	if (vmft_sums_decode(frame->payload, frame->length, s->theirs) < 0 ||
	    !vmft_sink_is_disk(s, s->theirs->region) || frame->position % VMFT_SUMS_MAX != 0 ||
	    frame->position > regions[s->theirs->region].bytes / VMFT_DISK_BLOCK_BYTES)
		return -EBADMSG;
	s->summer.image = &s->world.disk[s->theirs->region];
	s->summer.first = frame->position;
	s->summer.sums.region = s->theirs->region;
	s->summer.sums.count = s->theirs->count;
	s->summer.sums.seed = s->theirs->seed;
	vmft_summer_start(&s->summer);
	return 0;
}

int vmft_sink_compare_init(struct vmft_attach_sink *s)
{
	s->theirs = calloc(1, sizeof(*s->theirs));
	if (!s->theirs)
		return -ENOMEM;
	return vmft_summer_init(&s->summer, s->world.loop, s, on_sums);
}

void vmft_sink_compare_fini(struct vmft_attach_sink *s)
{
	vmft_summer_fini(&s->summer);
	free(s->theirs);
	s->theirs = NULL;
}
