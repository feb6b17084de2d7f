/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "source-memory.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "marks.h"
#include "source-frames.h"

/* Up to n bytes, fewer only at the region's end. How many, or a negative errno. */
static ssize_t read_memory(struct vmft_attach_source *s, uint8_t *bytes, size_t n, uint64_t offset)
{
	const struct vmft_agent_link *link = s->world.link;
	const struct vmft_region *r = &link->region[s->region];
	ssize_t got;

	if (offset + n > r->bytes)
		n = (size_t)(r->bytes - offset);
	got = pread(r->kind == VMFT_REGION_RAM ? link->ram_fd : link->area_fd, bytes, n,
		    (off_t)(r->shadow_at + offset));
	return got == (ssize_t)n ? got : got < 0 ? -errno : -EIO;
}

bool vmft_source_memory_send(struct vmft_attach_source *s, uint64_t block, unsigned count)
{
	const uint64_t offset = block * VMFT_RAM_BLOCK_BYTES;
	const size_t bytes = count * (size_t)VMFT_RAM_BLOCK_BYTES;
	uint8_t *payload = vmft_source_frames_room(s, VMFT_CHUNK_HEAD + bytes);
	ssize_t n;

	if (!payload)
		return false;
	/* The marks are cleared before the memory is read: what the guest writes from now on is
	 * marked again. */
	vmft_marks_clear(s->world.link, s->region, block, count);
	n = read_memory(s, payload + VMFT_CHUNK_HEAD, bytes, offset);
	if (n < 0) {
		vmft_attach_source_abort(s, "guest memory cannot be read: %s", strerror((int)-n));
		return false;
	}
	vmft_source_frames_block(s, s->region, offset, payload, (size_t)n);
	return true;
}

/*
 * The next range that may have been used, from *from on; false: there is none. Memory that was
 * never touched is a hole in the memfd, and the backup's is empty. Where that cannot be found out,
 * all that is left counts as used.
 */
static bool find_used(const struct vmft_agent_link *link, const struct vmft_region *region,
		      off_t *from, off_t *ret_to)
{
	const off_t at = (off_t)region->shadow_at;
	off_t data, hole;

	*ret_to = (off_t)region->bytes;
	if (*from >= *ret_to)
		return false;
	if (region->kind != VMFT_REGION_RAM)
		return true;
	data = lseek(link->ram_fd, at + *from, SEEK_DATA);
	if (data < 0)
		return errno != ENXIO;
	*from = data - at;
	hole = lseek(link->ram_fd, data, SEEK_HOLE);
	if (hole > data && hole - at < *ret_to)
		*ret_to = hole - at;
	return *from < *ret_to;
}

void vmft_source_memory_mark(struct vmft_attach_source *s, uint32_t region)
{
	const struct vmft_agent_link *link = s->world.link;
	off_t from, to;

	for (from = 0; find_used(link, &link->region[region], &from, &to); from = to)
		for (uint64_t block = (uint64_t)from / VMFT_RAM_BLOCK_BYTES;
		     block * VMFT_RAM_BLOCK_BYTES < (uint64_t)to; block++)
			vmft_marks_set(link, region, block / 64, UINT64_C(1) << (block % 64));
}
