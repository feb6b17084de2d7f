/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup's epochs. What arrives is checked and kept beside the guest's memory and images. Once
 * the epoch is complete it is acknowledged and then applied to them (checkpoint-apply.c). So memory
 * and images are those of one epoch whenever the guest is to go live, and an epoch that was never
 * completed is thrown away. While one epoch is applied the next may arrive.
 */
#define _GNU_SOURCE
#include "checkpoint-sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checkpoint-apply.h"
#include "monitor/common/area-setup.h"

/* Of address space, more than the guest's memory: an epoch may be all of that, and what the guest
 * has written to its disks while a slow channel made the epoch long. */
#define HALF_SPARE_BYTES (UINT64_C(16) << 30)
#define INPUT_MAX_BYTES	 (2u << 20) /* of frames; the ring of a backup has nothing else */

static struct vmft_area *area_of(const struct vmft_epoch_sink *s)
{
	return s->world->link->area;
}

static bool is_disk(const struct vmft_epoch_sink *s, uint32_t region)
{
	return region < s->world->disk_count;
}

static size_t padded(size_t n)
{
	return (n + 7) / 8 * 8;
}

/* --- taking in ------------------------------------------------------------ */

static uint64_t region_end(const struct vmft_epoch_sink *s, uint32_t region)
{
	const struct vmft_area *area = area_of(s);

	if (region == VMFT_EPOCH_STATE_REGION)
		return VMFT_AREA_STATE_BYTES;
	return region < atomic_load(&area->region_count) && region < VMFT_AREA_REGIONS_MAX
		   ? s->world->link->region[region].bytes
		   : 0;
}

static bool piece_is_sane(const struct vmft_epoch_sink *s, const struct vmft_epoch_piece *piece)
{
	const uint64_t end = region_end(s, piece->region);

	if (piece->n > end || piece->offset > end - piece->n)
		return false;
	if (is_disk(s, piece->region))
		return piece->how != VMFT_EPOCH_XOR && !s->world->disk[piece->region].read_only;
	return piece->n <= VMFT_EPOCH_PAGE;
}

static int keep(struct vmft_epoch_sink *s, struct vmft_epoch_half *half,
		const struct vmft_epoch_piece *piece)
{
	struct vmft_epoch_kept kept = {
	    .offset = piece->offset,
	    .region = piece->region,
	    .n = piece->n,
	    .how = piece->how,
	};

	if (!piece_is_sane(s, piece) || vmft_epoch_kept_bytes(&kept) > s->half_max - half->used)
		return -EBADMSG;
	memcpy(half->bytes + half->used, &kept, sizeof(kept));
	if (piece->how != VMFT_EPOCH_ZERO)
		memcpy(half->bytes + half->used + sizeof(kept), piece->bytes, piece->n);
	half->used += vmft_epoch_kept_bytes(&kept);
	half->pieces++;
	half->piece_bytes += piece->n;
	return 0;
}

static int keep_pieces(struct vmft_epoch_sink *s, struct vmft_epoch_view *view)
{
	struct vmft_epoch_piece piece;
	int rc;

	while ((rc = vmft_epoch_next(view, &piece)) > 0) {
		rc = keep(s, &s->half[s->filling], &piece);
		if (rc < 0)
			return rc;
	}
	return rc;
}

static bool commit_is_sane(const struct vmft_epoch_sink *s, const struct vmft_epoch_half *half)
{
	const struct vmft_epoch_commit *commit = &half->commit;

	if (commit->pieces != half->pieces || commit->bytes != half->piece_bytes ||
	    commit->state_bytes > VMFT_AREA_STATE_BYTES ||
	    commit->disk_count != s->world->disk_count)
		return false;
	for (uint32_t i = 0; i < commit->disk_count; i++)
		if (commit->disk_bytes[i] > region_end(s, i))
			return false;
	return true;
}

static size_t input_record_bytes(const struct vmft_input *head)
{
	return sizeof(*head) + padded(head->bytes);
}

/* What the guest can be handed when it goes live. */
static size_t input_room(const struct vmft_epoch_sink *s)
{
	const uint64_t ring = s->world->link->ring.size;
	const size_t most = ring < INPUT_MAX_BYTES ? (size_t)ring : INPUT_MAX_BYTES;

	return most - s->input_bytes;
}

/* A frame that does not fit is dropped, as a network may drop one. */
static int keep_input(struct vmft_epoch_sink *s, const struct vmft_epoch_view *view)
{
	struct vmft_epoch_input input;
	struct vmft_input head;
	int rc = vmft_epoch_input(view, &input);

	if (rc < 0)
		return rc;
	head = (struct vmft_input){.epoch = input.epoch, .nic = input.nic, .bytes = input.n};
	if (input.n > VMFT_INPUT_MAX || input.epoch <= s->held ||
	    input_record_bytes(&head) > input_room(s))
		return 0;
	memcpy(s->input + s->input_bytes, &head, sizeof(head));
	memcpy(s->input + s->input_bytes + sizeof(head), input.bytes, input.n);
	s->input_bytes += input_record_bytes(&head);
	return 0;
}

/* Forgets the frames that the epoch just held has seen. They are in the order of their epochs. */
static void forget_input(struct vmft_epoch_sink *s)
{
	size_t at = 0;

	while (at < s->input_bytes) {
		const struct vmft_input *head = (const void *)(s->input + at);

		if (head->epoch > s->held)
			break;
		at += input_record_bytes(head);
	}
	memmove(s->input, s->input + at, s->input_bytes - at);
	s->input_bytes -= at;
}

void vmft_epoch_sink_hand_out(struct vmft_epoch_sink *s)
{
	const struct vmft_ring *ring = &s->world->link->ring;
	const uint64_t at = atomic_load(&s->world->link->iface->log_head);

	if (vmft_ring_room(ring, at) < (int64_t)s->input_bytes)
		return;
	vmft_ring_write(ring, at, s->input, s->input_bytes);
	vmft_ring_publish(ring, at + s->input_bytes);
	s->input_bytes = 0;
}

static int keep_commit(struct vmft_epoch_sink *s, const struct vmft_epoch_view *view)
{
	struct vmft_epoch_half *half = &s->half[s->filling];
	int rc;

	rc = vmft_epoch_commit(view, &half->commit);
	if (rc < 0)
		return rc;
	if (!commit_is_sane(s, half))
		return -EBADMSG;
	half->whole = true;
	s->held++;
	forget_input(s);
	s->filling ^= 1;
	vmft_epoch_apply_next(s);
	return 0;
}

int vmft_epoch_sink_hold(struct vmft_epoch_sink *s, uint64_t position, const uint8_t *payload,
			 size_t n)
{
	struct vmft_epoch_view view;
	int rc;

	if (s->failed || s->abandoned || position != s->held + 1)
		return -EBADMSG;
	/* Both halves are complete, and the older one is still being applied. */
	if (s->half[s->filling].whole)
		return -ENOSPC;
	rc = vmft_epoch_open(s->opener, payload, n, &view);
	if (rc < 0)
		return rc;
	if (view.kind == VMFT_EPOCH_PIECES)
		return keep_pieces(s, &view);
	if (view.kind == VMFT_EPOCH_INPUT)
		return keep_input(s, &view);
	return keep_commit(s, &view);
}

bool vmft_epoch_sink_has_room(const struct vmft_epoch_sink *s)
{
	return !s->half[s->filling].whole;
}

uint64_t vmft_epoch_sink_partial(const struct vmft_epoch_sink *s)
{
	const struct vmft_epoch_half *half = &s->half[s->filling];

	return half->whole ? 0 : half->used;
}

/* --- from outside --------------------------------------------------------- */

int vmft_epoch_sink_restart(struct vmft_epoch_sink *s, uint64_t position)
{
	const size_t bytes = area_of(s)->ram_bytes;

	if (!s->ram) {
		void *ram = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
				 s->world->link->ram_fd, 0);

		if (ram == MAP_FAILED)
			return -errno;
		s->ram = ram;
		/* The guest's memory may be swapped out, as it may without a monitor; the
		 * monitor's own may not (hub). */
		(void)munlock(ram, bytes);
	}
	vmft_epoch_half_clear(&s->half[0]);
	vmft_epoch_half_clear(&s->half[1]);
	s->held = s->applied = s->began = position;
	s->filling = 0;
	s->input_bytes = 0;
	s->applying = s->failed = s->abandoned = false;
	return 0;
}

bool vmft_epoch_sink_abandon(struct vmft_epoch_sink *s)
{
	s->abandoned = true;
	s->applying = false;
	return vmft_epoch_apply_is_quiet(s);
}

static int map_half(struct vmft_epoch_sink *s, struct vmft_epoch_half *half)
{
	void *bytes = mmap(NULL, s->half_max, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (bytes == MAP_FAILED)
		return -errno;
	half->bytes = bytes;
	return 0;
}

int vmft_epoch_sink_init(struct vmft_epoch_sink *s, const struct vmft_strategy_world *world)
{
	int rc;

	s->world = world;
	vmft_epoch_apply_init(s);
	s->half_max = world->link->area->ram_bytes + HALF_SPARE_BYTES;
	rc = map_half(s, &s->half[0]);
	if (rc == 0)
		rc = map_half(s, &s->half[1]);
	s->input = malloc(INPUT_MAX_BYTES);
	if (rc == 0 && !s->input)
		rc = -ENOMEM;
	return rc < 0 ? rc : vmft_epoch_opener_create(&s->opener);
}

void vmft_epoch_sink_fini(struct vmft_epoch_sink *s)
{
	vmft_epoch_opener_destroy(s->opener);
	free(s->input);
	for (unsigned i = 0; i < 2; i++)
		if (s->half[i].bytes)
			(void)munmap(s->half[i].bytes, s->half_max);
	if (s->ram)
		(void)munmap(s->ram, area_of(s)->ram_bytes);
}
