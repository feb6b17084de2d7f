/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block {
	struct block *next;
	max_align_t data[];
};

struct vmft_arena {
	struct block *blocks;
};

static void *must(void *memory)
{
	if (!memory) {
		(void)fputs("vmft-qemu: out of memory\n", stderr);
		abort();
	}
	return memory;
}

struct vmft_arena *vmft_arena_new(void)
{
	return must(calloc(1, sizeof(struct vmft_arena)));
}

void vmft_arena_free(struct vmft_arena *arena)
{
	if (!arena)
		return;
	while (arena->blocks) {
		struct block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	free(arena);
}

void *vmft_arena_alloc(struct vmft_arena *arena, size_t count, size_t size)
{
	struct block *block;

	if (size && count > (SIZE_MAX - sizeof(*block)) / size)
		return must(NULL);
	block = must(calloc(1, sizeof(*block) + count * size));
	block->next = arena->blocks;
	arena->blocks = block;
	return block->data;
}

char *vmft_arena_copy(struct vmft_arena *arena, const char *text, size_t len)
{
	char *copy = vmft_arena_alloc(arena, len + 1, 1);

	memcpy(copy, text, len);
	return copy;
}

char *vmft_arena_printf(struct vmft_arena *arena, const char *format, ...)
{
	va_list ap, again;
	char *text;
	int len;

	va_start(ap, format);
	va_copy(again, ap);
	len = vsnprintf(NULL, 0, format, ap);
	text = vmft_arena_alloc(arena, (size_t)(len < 0 ? 0 : len) + 1, 1);
	(void)vsnprintf(text, (size_t)(len < 0 ? 0 : len) + 1, format, again);
	va_end(again);
	va_end(ap);
	return text;
}
