/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source-compare.h"

#include <errno.h>
#include <string.h>

#include "marks.h"
#include "source-disks.h"
#include "source-frames.h"
#include "source-memory.h"
#include "source-rounds.h"

/* How many SUMS frames, each of up to VMFT_SUMS_MAX blocks, may wait for their answers. */
#define SUMS_WINDOW 4u

#define SUMS_BYTES_MAX 2048u /* of a SUMS frame's payload */

static void on_sums(struct vmft_summer *summer, int result)
{
	struct vmft_attach_source *s = summer->owner;

	if (s->phase == VMFT_ATTACH_COMPARING && result < 0)
		vmft_attach_source_abort(s, "%s: cannot be read: %s", summer->image->path,
					 strerror(-result));
	else if (s->phase == VMFT_ATTACH_COMPARING)
		s->sums_ready = true;
	vmft_attach_source_pump(s);
}

int vmft_source_compare_init(struct vmft_attach_source *s)
{
	return vmft_summer_init(&s->summer, s->world.loop, s, on_sums);
}

void vmft_source_compare_fini(struct vmft_attach_source *s)
{
	vmft_summer_fini(&s->summer);
}

void vmft_source_compare_begin(struct vmft_attach_source *s)
{
	s->phase = VMFT_ATTACH_COMPARING;
	s->region = 0;
	s->word = 0;
}

/* Digests the next VMFT_SUMS_MAX blocks of the images. False: all are digested, or the attempt has
 * been given up. */
static bool compare_more(struct vmft_attach_source *s)
{
	const int64_t bytes = vmft_source_disks_bytes(s, s->region);
	const uint64_t first = s->word * VMFT_SUMS_MAX;
	uint64_t blocks;

	if (bytes < 0)
		return false;
	blocks = ((uint64_t)bytes + VMFT_DISK_BLOCK_BYTES - 1) / VMFT_DISK_BLOCK_BYTES;
	if (first >= blocks) {
		s->region++;
		s->word = 0;
		return s->region < s->world.disk_count;
	}
	s->summer.image = &s->world.disk[s->region];
	s->summer.first = first;
	s->summer.sums.region = s->region;
	s->summer.sums.seed = s->seed;
	s->summer.sums.count =
	    (uint32_t)(blocks - first < VMFT_SUMS_MAX ? blocks - first : VMFT_SUMS_MAX);
	s->word++;
	vmft_summer_start(&s->summer);
	return true;
}

static void send_sums(struct vmft_attach_source *s)
{
	uint8_t *payload = vmft_source_frames_room(s, SUMS_BYTES_MAX);

	if (!payload)
		return;
	vmft_source_frames_send(s, VMFT_FRAME_SUMS, s->summer.first, payload,
				vmft_sums_encode(&s->summer.sums, payload));
	s->sums_ready = false;
	s->sums_unanswered++;
}

void vmft_source_compare_pump(struct vmft_attach_source *s)
{
	const uint32_t disks = s->world.disk_count;

	if (s->sums_ready)
		send_sums(s);
	while (s->region < disks && !s->summer.busy && !s->sums_ready &&
	       s->sums_unanswered < SUMS_WINDOW && s->phase == VMFT_ATTACH_COMPARING)
		if (!compare_more(s))
			break;
	if (s->phase != VMFT_ATTACH_COMPARING || s->region < disks || s->summer.busy ||
	    s->sums_ready || s->sums_unanswered > 0)
		return;
	for (uint32_t i = disks; i < s->regions; i++)
		vmft_source_memory_mark(s, i);
	vmft_source_rounds_begin(s);
}

int vmft_source_compare_got_want(struct vmft_attach_source *s, const struct vmft_frame_info *frame)
{
	const uint64_t word = frame->position / 64;
	uint32_t region;
	uint64_t bits;

	if (vmft_want_decode(frame->payload, frame->length, &region, &bits) < 0 ||
	    s->phase != VMFT_ATTACH_COMPARING || s->sums_unanswered == 0 ||
	    !vmft_source_is_disk(s, region) || frame->position % 64 != 0 ||
	    word >= vmft_marks_words(s->world.link, region))
		return -EBADMSG;
	vmft_marks_set(s->world.link, region, word, bits);
	s->pace.left_bytes += (uint64_t)__builtin_popcountll(bits) * VMFT_DISK_BLOCK_BYTES;
	s->sums_unanswered--;
	vmft_attach_source_pump(s);
	return 0;
}
