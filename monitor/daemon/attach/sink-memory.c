/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "sink-memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

	*offset += r->shadow_at;
	return r->kind == VMFT_REGION_RAM ? link->ram_fd : link->area_fd;
}

/* Memory of huge pages: its file can be read and mapped, but not written (hugetlbfs). */
static ssize_t write_mapped(int fd, const uint8_t *bytes, size_t n, uint64_t offset)
{
	struct stat st;
	uint64_t begin, end, page;
	uint8_t *mapped;

	if (fstat(fd, &st) < 0)
		return -1;
	page = (uint64_t)st.st_blksize;
	begin = offset / page * page;
	end = (offset + n + page - 1) / page * page;
	mapped = mmap(NULL, end - begin, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)begin);
	if (mapped == MAP_FAILED)
		return -1;
	memcpy(mapped + (offset - begin), bytes, n);
	(void)munmap(mapped, end - begin);
	return (ssize_t)n;
}

void vmft_sink_memory_write(struct vmft_attach_sink *s, uint32_t region, uint64_t offset,
			    const uint8_t *bytes, size_t n)
{
	const int fd = place_of(s, region, &offset);
	ssize_t done = pwrite(fd, bytes, n, (off_t)offset);

	if (done < 0 && errno == EINVAL)
		done = write_mapped(fd, bytes, n, offset);
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
