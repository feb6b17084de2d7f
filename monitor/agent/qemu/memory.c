/* SPDX-License-Identifier: GPL-2.0-or-later */
/* port.h: guest memory, what is written to it, and images. */
#include "inside.h"

#include <errno.h>

#define PAGES_OF_A_WORD 64u
#define PAGE_BYTES	4096u /* TARGET_PAGE_SIZE of x86 */

/* DirtyBitmapSnapshot (softmmu/physmem.c). A RAMBlock begins at a multiple of 64 pages
 * (find_ram_offset()), so the first bit is the block's first page. */
struct snapshot {
	uint64_t start, end;
	uint64_t dirty[];
};

struct walk {
	int (*visit)(const struct vmft_qemu_ram *ram, void *user);
	void *user;
};

static int visit_block(void *block, void *user)
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;
	const struct walk *walk = user;
	const struct vmft_qemu_ram ram = {
	    .name = q->qemu_ram_get_idstr(block),
	    .host = q->qemu_ram_get_host_addr(block),
	    .bytes = q->qemu_ram_get_used_length(block),
	    .fd = q->qemu_ram_get_fd(block),
	};

	return walk->visit(&ram, walk->user);
}

int vmft_qemu_ram_each(int (*visit)(const struct vmft_qemu_ram *ram, void *user), void *user)
{
	struct walk walk = {.visit = visit, .user = user};

	return vmft_qemu.symbols.qemu_ram_foreach_block(visit_block, &walk);
}

int vmft_qemu_dirty_log_start(void)
{
	return vmft_qemu.series->ops.dirty_log_start(vmft_qemu.series->numbers.dirty_log);
}

void vmft_qemu_dirty_log_stop(void)
{
	vmft_qemu.symbols.memory_global_dirty_log_stop(vmft_qemu.series->numbers.dirty_log);
}

void vmft_qemu_dirty_log_sync(void)
{
	vmft_qemu.series->ops.dirty_log_sync();
}

void vmft_qemu_dirty_log_settle(void)
{
	vmft_qemu.symbols.memory_global_after_dirty_log_sync();
}

static void visit_marks(const struct snapshot *snapshot, uint64_t pages,
			void (*visit)(uint64_t word, uint64_t pages, void *user), void *user)
{
	for (uint64_t word = 0; word * PAGES_OF_A_WORD < pages; word++) {
		uint64_t bits = snapshot->dirty[word];

		/* The last word has pages of the next block. */
		if (pages - word * PAGES_OF_A_WORD < PAGES_OF_A_WORD)
			bits &= (UINT64_C(1) << (pages - word * PAGES_OF_A_WORD)) - 1;
		if (bits)
			visit(word, bits, user);
	}
}

int vmft_qemu_dirty_take(uint8_t *host, uint64_t bytes,
			 void (*visit)(uint64_t word, uint64_t pages, void *user), void *user)
{
	const struct vmft_qemu_symbols *q = &vmft_qemu.symbols;
	struct snapshot *snapshot;
	uint64_t offset;
	void *region = q->memory_region_from_host(host, &offset);

	if (!region)
		return -ENOENT;
	snapshot = q->cpu_physical_memory_snapshot_and_clear_dirty(
	    region, 0, bytes, vmft_qemu.series->numbers.dirty_client);
	if (visit)
		visit_marks(snapshot, (bytes + PAGE_BYTES - 1) / PAGE_BYTES, visit, user);
	q->g_free(snapshot);
	return 0;
}

/* --- images ------------------------------------------------------------------------ */

void vmft_qemu_disks_drain(void)
{
	vmft_qemu.symbols.bdrv_drain_all();
}

void vmft_qemu_disks_flush(void)
{
	(void)vmft_qemu.symbols.bdrv_flush_all();
}

const char *vmft_qemu_disks_activate(void)
{
	void *error = NULL;

	vmft_qemu.symbols.bdrv_activate_all(&error);
	return error ? vmft_qemu.symbols.error_get_pretty(error) : NULL;
}
