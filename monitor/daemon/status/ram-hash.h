/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hash of a guest's memory, made in pieces: between two of them the loop does other work. */
#ifndef VMFT_RAM_HASH_H
#define VMFT_RAM_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "logging-channel/loop.h"

struct vmft_ram_hash;

/*
 * Begins to hash the memory behind ram_fd (XXH3, 64 bits). done is called from the loop when it
 * is finished, unless it was dropped before; *ret is the caller's, to be dropped in the end. 0,
 * -ENODATA when there is no memory, -ENOMEM when it cannot be mapped.
 */
int vmft_ram_hash_begin(struct vmft_loop *loop, int ram_fd,
			void (*done)(void *user, uint64_t hash, size_t bytes), void *user,
			struct vmft_ram_hash **ret);
/* NULL is fine. Also from inside done(). */
void vmft_ram_hash_drop(struct vmft_ram_hash *digest);

#endif
