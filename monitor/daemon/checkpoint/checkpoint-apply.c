/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory is applied in steps, so that the loop serves the channel in between; disks are written by
 * io_uring at the same time. The epoch is applied when both passes have come to its end.
 */
#define _GNU_SOURCE
#include "checkpoint-apply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP_BYTES    (8u << 20)  /* of memory, written in one step */
#define KEEP_BYTES    (32u << 20) /* of a half's memory, for the next epoch */
#define DISK_RETRY_NS UINT64_C(100000000)

static bool is_disk(const struct vmft_epoch_sink *s, uint32_t region)
{
	return region < s->world->disk_count;
}

size_t vmft_epoch_kept_bytes(const struct vmft_epoch_kept *kept)
{
	return sizeof(*kept) + (kept->how == VMFT_EPOCH_ZERO ? 0 : (kept->n + UINT64_C(7)) / 8 * 8);
}

static void apply_more(struct vmft_epoch_sink *s);

void vmft_epoch_apply_next(struct vmft_epoch_sink *s)
{
	if (s->applying || s->applied == s->held)
		return;
	s->applying = true;
	s->memory_at = s->disk_at = 0;
	vmft_loop_timer(s->world->loop, &s->step, 0);
}

/* Epochs go into the two halves in turn, from restart() on. */
static struct vmft_epoch_half *applied_half(struct vmft_epoch_sink *s)
{
	return &s->half[(s->applied - s->began) % 2];
}

static uint8_t *memory_of(struct vmft_epoch_sink *s, uint32_t region)
{
	struct vmft_area *area = s->world->link->area;
	const struct vmft_region *r;

	if (region == VMFT_EPOCH_STATE_REGION)
		return (uint8_t *)area + area->state_at;
	r = &s->world->link->region[region];
	return (r->kind == VMFT_REGION_RAM ? s->ram : (uint8_t *)area) + r->shadow_at;
}

static void apply_memory(struct vmft_epoch_sink *s, const struct vmft_epoch_kept *kept,
			 const uint8_t *bytes)
{
	uint8_t *to = memory_of(s, kept->region) + kept->offset;

	if (kept->how == VMFT_EPOCH_AS_IS)
		memcpy(to, bytes, kept->n);
	else if (kept->how == VMFT_EPOCH_ZERO)
		memset(to, 0, kept->n);
	else
		vmft_epoch_xor(to, bytes, kept->n);
}

/* The next piece of the epoch that is applied, after *at; NULL: there is none. */
static const struct vmft_epoch_kept *next_kept(struct vmft_epoch_sink *s, size_t *at)
{
	const struct vmft_epoch_half *half = applied_half(s);
	const struct vmft_epoch_kept *kept;

	if (*at >= half->used)
		return NULL;
	kept = (const void *)(half->bytes + *at);
	*at += vmft_epoch_kept_bytes(kept);
	return kept;
}

/* What is written counts, and not what was kept for it: 24 bytes may stand for 4 KiB of zeroes.
 * Right after the firmware has run, all memory of a KVM guest is in one epoch, nearly all of it
 * zeroes. */
static void apply_step(struct vmft_epoch_sink *s)
{
	const struct vmft_epoch_kept *kept;
	size_t done = 0;

	while (done < STEP_BYTES && (kept = next_kept(s, &s->memory_at))) {
		done += sizeof(*kept);
		if (is_disk(s, kept->region))
			continue;
		apply_memory(s, kept, (const uint8_t *)(kept + 1));
		done += kept->n;
	}
}

/* A call that is made again may succeed then; a flush may not be made again
 * (monitor/agent/disk.c). */
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

/* Zeroes that could not be written. Returns what a write of all of them would. */
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

static void start_write(struct vmft_epoch_sink *s, const struct vmft_epoch_kept *kept)
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

/* In any order: the pieces of an epoch do not overlap, as each is what was there at its end. */
static void apply_disks(struct vmft_epoch_sink *s)
{
	const struct vmft_epoch_kept *kept;

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
 * Begun after the acknowledgement, which says that this host's memory has the epoch. What the guest
 * was told is durable is durable on the primary's disk, and soon on this host's too.
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

void vmft_epoch_half_clear(struct vmft_epoch_half *half)
{
	if (half->used > KEEP_BYTES)
		(void)madvise(half->bytes + KEEP_BYTES, half->used - KEEP_BYTES, MADV_DONTNEED);
	half->whole = false;
	half->used = 0;
	half->pieces = half->piece_bytes = 0;
}

static void applied(struct vmft_epoch_sink *s)
{
	struct vmft_area *area = s->world->link->area;
	struct vmft_epoch_half *half = applied_half(s);

	if (cut_images(s) < 0)
		return;
	atomic_store(&area->load_bytes, half->commit.state_bytes);
	vmft_epoch_half_clear(half);
	s->applying = false;
	s->applied++;
	sync_images(s);
	vmft_epoch_apply_next(s);
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

bool vmft_epoch_apply_is_quiet(const struct vmft_epoch_sink *s)
{
	bool quiet = s->writing == 0 && !s->step.pending;

	for (uint32_t i = 0; i < s->world->disk_count; i++)
		quiet = quiet && !s->sync[i].op.pending;
	return quiet;
}

void vmft_epoch_apply_init(struct vmft_epoch_sink *s)
{
	s->step = (struct vmft_op){.done = on_step, .owner = s};
	for (unsigned i = 0; i < VMFT_EPOCH_WRITES; i++) {
		s->write[i].sink = s;
		s->write[i].op = (struct vmft_op){.done = on_written, .owner = &s->write[i]};
	}
	for (unsigned i = 0; i < VMFT_AREA_DISKS_MAX; i++) {
		s->sync[i].sink = s;
		s->sync[i].op = (struct vmft_op){.done = on_synced, .owner = &s->sync[i]};
	}
}
