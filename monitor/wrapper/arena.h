/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that lives as long as one rewritten command line, and goes in one call.
 *
 * The wrapper is a short-lived program that holds a few kilobytes: when even those cannot be
 * had, nothing has been started yet and abort() is the whole answer. In return no function
 * of the rewriter has an out-of-memory path.
 */
#ifndef VMFT_ARENA_H
#define VMFT_ARENA_H

#include <stddef.h>

struct vmft_arena;

struct vmft_arena *vmft_arena_new(void);

/* NULL is fine. */
void vmft_arena_free(struct vmft_arena *arena);

/* Zeroed, aligned for any type, valid until the arena is freed. */
void *vmft_arena_alloc(struct vmft_arena *arena, size_t count, size_t size);

char *vmft_arena_copy(struct vmft_arena *arena, const char *text, size_t len);

char *vmft_arena_printf(struct vmft_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
