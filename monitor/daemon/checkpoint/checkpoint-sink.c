/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup's epochs. What arrives is checked and kept beside the guest's memory and images;
 * once the epoch is whole it is acknowledged and applied to them, memory step by step, disks
 * by io_uring. Memory and images so are those of one epoch whenever the guest is to go live, and
 * one that was never completed is thrown away. While one is applied the next may arrive.
 */
#define _GNU_SOURCE
#include "checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/common/area-setup.h"

/* Of address space: an epoch may be all of the guest's memory, and what it has written to its disks
 * while a slow channel made the epoch long. */
#define HALF_SPARE_BYTES (UINT64_C(16) << 30)
#define INPUT_MAX_BYTES	 (2u << 20)  /* of frames; the ring of a backup has nothing else */
#define STEP_BYTES	 (8u << 20)  /* applied at a go */
#define KEEP_BYTES	 (32u << 20) /* of a half's memory, for the next */
#define DISK_RETRY_NS	 UINT64_C(100000000)

struct kept {
	uint64_t offset;
	uint32_t region;
	uint32_t n;
	uint32_t how;
	uint32_t zero;
};

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

static size_t kept_bytes(const struct kept *kept)
{
	return sizeof(*kept) + (kept->how == VMFT_EPOCH_ZERO ? 0 : padded(kept->n));
}

static void apply_more(struct vmft_epoch_sink *s);

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
	struct kept kept = {
	    .offset = piece->offset,
	    .region = piece->region,
	    .n = piece->n,
	    .how = piece->how,
	};

	if (!piece_is_sane(s, piece) || kept_bytes(&kept) > s->half_max - half->used)
		return -EBADMSG;
	memcpy(half->bytes + half->used, &kept, sizeof(kept));
	if (piece->how != VMFT_EPOCH_ZERO)
		memcpy(half->bytes + half->used + sizeof(kept), piece->bytes, piece->n);
	half->used += kept_bytes(&kept);
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

/* The older of the two, if it is whole. Not from in here: the ack comes first. */
static void apply_next(struct vmft_epoch_sink *s)
{
	if (s->applying || s->applied == s->held)
		return;
	s->applying = true;
	s->memory_at = s->disk_at = 0;
	vmft_loop_timer(s->world->loop, &s->step, 0);
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

/* One more than fits is a frame that the network has lost. */
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

/* Those that the epoch just held has seen. They come in the order of their epochs. */
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
	apply_next(s);
	return 0;
}

int vmft_epoch_sink_hold(struct vmft_epoch_sink *s, uint64_t position, const uint8_t *payload,
			 size_t n)
{
	struct vmft_epoch_view view;
	int rc;

	if (s->failed || s->abandoned || position != s->held + 1)
		return -EBADMSG;
	/* Both are whole, the older is still being applied. */
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

/* --- applying ------------------------------------------------------------- */

/* Epochs go into the two in turn, from restart() on. */
static struct vmft_epoch_half *applied_half(struct vmft_epoch_sink *s)
{
	return &s->half[(s->applied - s->began) % 2];
}

static uint8_t *memory_of(struct vmft_epoch_sink *s, uint32_t region)
{
	struct vmft_area *area = area_of(s);
	const struct vmft_region *r;

	if (region == VMFT_EPOCH_STATE_REGION)
		return (uint8_t *)area + area->state_at;
	r = &s->world->link->region[region];
	return r->kind == VMFT_REGION_RAM ? s->ram : (uint8_t *)area + r->shadow_at;
}

static void apply_memory(struct vmft_epoch_sink *s, const struct kept *kept, const uint8_t *bytes)
{
	uint8_t *to = memory_of(s, kept->region) + kept->offset;

	if (kept->how == VMFT_EPOCH_AS_IS)
		memcpy(to, bytes, kept->n);
	else if (kept->how == VMFT_EPOCH_ZERO)
		memset(to, 0, kept->n);
	else
		for (uint32_t i = 0; i < kept->n; i++)
			to[i] ^= bytes[i];
}

/* The next piece of the epoch that is applied, behind *at; NULL: there is none. */
static const struct kept *next_kept(struct vmft_epoch_sink *s, size_t *at)
{
	const struct vmft_epoch_half *half = applied_half(s);
	const struct kept *kept;

	if (*at >= half->used)
		return NULL;
	kept = (const void *)(half->bytes + *at);
	*at += kept_bytes(kept);
	return kept;
}

static void apply_step(struct vmft_epoch_sink *s)
{
	const size_t until = s->memory_at + STEP_BYTES;
	const struct kept *kept;

	while (s->memory_at < until && (kept = next_kept(s, &s->memory_at)))
		if (!is_disk(s, kept->region))
			apply_memory(s, kept, (const uint8_t *)(kept + 1));
}

/* A call that can be made again may yet do what it should; a flush cannot (agent/disk.c). */
enum vmft_again { NEVER_AGAIN, MAYBE_AGAIN };

/* True: it is to be tried again in a while. */
static bool fail(struct vmft_epoch_sink *s, uint32_t disk, const char *what, int rc,
		 enum vmft_again again)
{
	char why[161];

	if (s->failed)
		return false;
	vmft_image_fault(&s->world->disk[disk], what, -rc, why, sizeof(why));
	if (again == MAYBE_AGAIN && s->world->disk_failed(s->world->user, why))
		return true;
	s->failed = true;
	s->world->broken(s->world->user, why);
	return false;
}

static void wait_a_while(struct vmft_epoch_write *write)
{
	write->waits = true;
	vmft_loop_timer(write->sink->world->loop, &write->op, DISK_RETRY_NS);
}

static void write_more(struct vmft_epoch_write *write)
{
	const struct vmft_epoch_sink *s = write->sink;

	vmft_loop_write(s->world->loop, &write->op, s->world->disk[write->disk].fd,
			write->bytes + write->done, write->n - write->done,
			write->offset + write->done);
}

/* What was left of it; returns as if it had been written at once. */
static int zero_again(struct vmft_epoch_write *write)
{
	const struct vmft_image *image = &write->sink->world->disk[write->disk];
	int rc = vmft_image_zero(image, write->offset, write->n);

	return rc < 0 ? rc : (int)write->n;
}

static void on_written(struct vmft_op *op, int result)
{
	struct vmft_epoch_write *write = op->owner;
	struct vmft_epoch_sink *s = write->sink;

	if (s->abandoned) {
		write->busy = write->waits = false;
		s->writing--;
		return;
	}
	if (write->waits && write->bytes) {
		write->waits = false;
		write_more(write);
		return;
	}
	if (write->waits)
		result = zero_again(write);
	write->waits = false;
	if (result > 0)
		write->done += (uint32_t)result;
	if (result > 0 && write->done < write->n) {
		write_more(write);
		return;
	}
	if (result <= 0 &&
	    fail(s, write->disk, "written", result < 0 ? result : -EIO, MAYBE_AGAIN)) {
		wait_a_while(write);
		return;
	}
	write->busy = false;
	s->writing--;
	apply_more(s);
}

static struct vmft_epoch_write *free_write(struct vmft_epoch_sink *s)
{
	for (unsigned i = 0; i < VMFT_EPOCH_WRITES; i++)
		if (!s->write[i].busy)
			return &s->write[i];
	return NULL;
}

static void start_write(struct vmft_epoch_sink *s, const struct kept *kept)
{
	struct vmft_epoch_write *write = free_write(s);
	const bool zero = kept->how == VMFT_EPOCH_ZERO;
	int rc = 0;

	s->dirty[kept->region] = true;
	if (zero) {
		rc = vmft_image_zero(&s->world->disk[kept->region], kept->offset, kept->n);
		if (rc == 0 || !fail(s, kept->region, "written", rc, MAYBE_AGAIN))
			return;
	}
	write->busy = true;
	write->disk = kept->region;
	write->offset = kept->offset;
	write->n = kept->n;
	write->done = 0;
	write->bytes = zero ? NULL : (const uint8_t *)(kept + 1);
	s->writing++;
	if (zero)
		wait_a_while(write);
	else
		write_more(write);
}

/* The pieces of an epoch do not overlap: each is of what was there at its end. */
static void apply_disks(struct vmft_epoch_sink *s)
{
	const struct kept *kept;

	while (!s->failed && s->writing < VMFT_EPOCH_WRITES && (kept = next_kept(s, &s->disk_at)))
		if (is_disk(s, kept->region))
			start_write(s, kept);
}

static int cut_images(struct vmft_epoch_sink *s)
{
	for (uint32_t i = 0; i < s->world->disk_count; i++) {
		const struct vmft_image *image = &s->world->disk[i];
		const uint64_t bytes = applied_half(s)->commit.disk_bytes[i];

		if (image->is_device || image->read_only || bytes == 0 ||
		    vmft_image_file_bytes(image) == (int64_t)bytes)
			continue;
		if (ftruncate(image->fd, (off_t)bytes) < 0) {
			if (fail(s, i, "made as long as the primary's", -errno, MAYBE_AGAIN))
				vmft_loop_timer(s->world->loop, &s->step, DISK_RETRY_NS);
			return -EIO;
		}
	}
	return 0;
}

/*
 * Behind the ack: acknowledged means that this host's memory has it. What the guest was told
 * is durable is so on the primary's disk, and on this one's soon.
 */
static void sync_images(struct vmft_epoch_sink *s)
{
	for (uint32_t i = 0; i < s->world->disk_count; i++) {
		if (!s->dirty[i] || s->sync[i].op.pending)
			continue;
		s->dirty[i] = false;
		vmft_loop_sync(s->world->loop, &s->sync[i].op, s->world->disk[i].fd);
	}
}

static void on_synced(struct vmft_op *op, int result)
{
	struct vmft_epoch_sync *sync = op->owner;
	struct vmft_epoch_sink *s = sync->sink;
	const uint32_t disk = (uint32_t)(sync - s->sync);

	if (result < 0 && !s->abandoned && s->world->disk[disk].fd >= 0)
		(void)fail(s, disk, "made durable", result, NEVER_AGAIN);
}

static void clear(struct vmft_epoch_half *half)
{
	if (half->used > KEEP_BYTES)
		(void)madvise(half->bytes + KEEP_BYTES, half->used - KEEP_BYTES, MADV_DONTNEED);
	half->whole = false;
	half->used = 0;
	half->pieces = half->piece_bytes = 0;
}

static void applied(struct vmft_epoch_sink *s)
{
	struct vmft_area *area = area_of(s);
	struct vmft_epoch_half *half = applied_half(s);

	if (cut_images(s) < 0)
		return;
	atomic_store(&area->load_bytes, half->commit.state_bytes);
	clear(half);
	s->applying = false;
	s->applied++;
	sync_images(s);
	apply_next(s);
	s->world->moved(s->world->user);
}

static void apply_more(struct vmft_epoch_sink *s)
{
	if (!s->applying || s->failed)
		return;
	apply_disks(s);
	if (s->failed)
		return;
	if (s->memory_at >= applied_half(s)->used && s->disk_at >= applied_half(s)->used &&
	    s->writing == 0 && !s->step.pending)
		applied(s);
}

static void on_step(struct vmft_op *op, int result)
{
	struct vmft_epoch_sink *s = op->owner;

	(void)result;
	if (!s->applying)
		return;
	apply_step(s);
	if (s->memory_at < applied_half(s)->used)
		vmft_loop_timer(s->world->loop, &s->step, 0);
	apply_more(s);
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
		/* The guest's memory may be swapped out, as without us (the monitor's may not). */
		(void)munlock(ram, bytes);
	}
	clear(&s->half[0]);
	clear(&s->half[1]);
	s->held = s->applied = s->began = position;
	s->filling = 0;
	s->input_bytes = 0;
	s->applying = s->failed = s->abandoned = false;
	return 0;
}

bool vmft_epoch_sink_abandon(struct vmft_epoch_sink *s)
{
	bool quiet;

	s->abandoned = true;
	s->applying = false;
	quiet = s->writing == 0 && !s->step.pending;
	for (uint32_t i = 0; i < s->world->disk_count; i++)
		quiet = quiet && !s->sync[i].op.pending;
	return quiet;
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
	s->step = (struct vmft_op){.done = on_step, .owner = s};
	for (unsigned i = 0; i < VMFT_EPOCH_WRITES; i++) {
		s->write[i].sink = s;
		s->write[i].op = (struct vmft_op){.done = on_written, .owner = &s->write[i]};
	}
	for (unsigned i = 0; i < VMFT_AREA_DISKS_MAX; i++) {
		s->sync[i].sink = s;
		s->sync[i].op = (struct vmft_op){.done = on_synced, .owner = &s->sync[i]};
	}
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
