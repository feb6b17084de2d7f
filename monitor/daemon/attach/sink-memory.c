/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "sink-memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "sink-parts.h"

static int punch(int fd, uint64_t offset, uint64_t n)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n) < 0)
		return -errno;
	return 0;
}

int vmft_sink_memory_empty(struct vmft_attach_sink *s)
{
	const struct vmft_agent_link *link = s->world.link;

	return punch(link->ram_fd, 0, link->area->ram_bytes);
}

/* Where a region's bytes are: a descriptor, and the offset in it. */
static int place_of(const struct vmft_attach_sink *s, uint32_t region, uint64_t *offset)
{
	const struct vmft_agent_link *link = s->world.link;
	const struct vmft_region *r = &link->region[region];

	if (r->kind == VMFT_REGION_RAM)
		return link->ram_fd;
	*offset += r->shadow_at;
	return link->area_fd;
}

void vmft_sink_memory_write(struct vmft_attach_sink *s, uint32_t region, uint64_t offset,
			    const uint8_t *bytes, size_t n)
{
	const int fd = place_of(s, region, &offset);
	const ssize_t done = pwrite(fd, bytes, n, (off_t)offset);

	if (done != (ssize_t)n)
		vmft_sink_give_up(s, "guest memory cannot be written: %s",
				  done < 0 ? strerror(errno) : "no memory");
}

void vmft_sink_memory_zero(struct vmft_attach_sink *s, uint32_t region, uint64_t offset, uint64_t n)
{
	const int fd = place_of(s, region, &offset);
	const int rc = punch(fd, offset, n);

	if (rc < 0)
		vmft_sink_give_up(s, "guest memory cannot be emptied: %s", strerror(-rc));
}
