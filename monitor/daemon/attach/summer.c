/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "summer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

static bool all_zero(const uint8_t *bytes, size_t n)
{
	return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

static uint64_t offset_of(const struct vmft_summer *s, unsigned index)
{
	return (s->first + index) * VMFT_DISK_BLOCK_BYTES;
}

static void add(struct vmft_summer *s, unsigned index, uint8_t *bytes, size_t n)
{
	XXH128_hash_t hash = {0, 0};

	/* The rest of a short block is zero to a reader of either side's image. */
	memset(bytes + n, 0, VMFT_DISK_BLOCK_BYTES - n);
	if (!all_zero(bytes, n))
		hash = XXH3_128bits_withSeed(bytes, VMFT_DISK_BLOCK_BYTES, s->sums.seed);
	s->sums.sum[index].low = hash.low64;
	s->sums.sum[index].high = hash.high64;
}

static bool is_hole(const struct vmft_summer *s, unsigned index)
{
	const uint64_t offset = offset_of(s, index);
	off_t data = lseek(s->image->fd, (off_t)offset, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO; /* nothing but a hole up to the end */
	return (uint64_t)data >= offset + VMFT_DISK_BLOCK_BYTES;
}

static void read_more(struct vmft_summer *s, struct vmft_summer_slot *slot)
{
	while (s->next < s->sums.count && s->result == 0) {
		const unsigned index = s->next++;

		s->sums.sum[index].low = 0;
		s->sums.sum[index].high = 0;
		if (is_hole(s, index))
			continue;
		slot->index = index;
		s->reading++;
		vmft_loop_read(s->loop, &slot->op, s->image->fd, slot->bytes, VMFT_DISK_BLOCK_BYTES,
			       offset_of(s, index));
		return;
	}
}

static void end(struct vmft_summer *s)
{
	if (s->reading > 0 || !s->busy)
		return;
	s->busy = false;
	s->done(s, s->result);
}

static void on_read(struct vmft_op *op, int result)
{
	struct vmft_summer_slot *slot = op->owner;
	struct vmft_summer *s = slot->summer;

	s->reading--;
	if (result < 0)
		s->result = result;
	else
		add(s, slot->index, slot->bytes, (size_t)result);
	read_more(s, slot);
	end(s);
}

int vmft_summer_init(struct vmft_summer *s, struct vmft_loop *loop, void *owner,
		     void (*done)(struct vmft_summer *summer, int result))
{
	*s = (struct vmft_summer){.loop = loop, .owner = owner, .done = done};
	for (unsigned i = 0; i < sizeof(s->slot) / sizeof(s->slot[0]); i++) {
		s->slot[i].summer = s;
		s->slot[i].op = (struct vmft_op){.done = on_read, .owner = &s->slot[i]};
		s->slot[i].bytes = malloc(VMFT_DISK_BLOCK_BYTES);
		if (!s->slot[i].bytes) {
			vmft_summer_fini(s);
			return -ENOMEM;
		}
	}
	return 0;
}

void vmft_summer_start(struct vmft_summer *s)
{
	s->busy = true;
	s->result = 0;
	s->next = 0;
	for (unsigned i = 0; i < sizeof(s->slot) / sizeof(s->slot[0]); i++)
		read_more(s, &s->slot[i]);
	end(s);
}

void vmft_summer_fini(struct vmft_summer *s)
{
	for (unsigned i = 0; i < sizeof(s->slot) / sizeof(s->slot[0]); i++) {
		free(s->slot[i].bytes);
		s->slot[i].bytes = NULL;
	}
}
