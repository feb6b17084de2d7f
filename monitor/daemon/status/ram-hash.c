/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ram-hash.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

#define PIECE (16u * 1024 * 1024)

struct vmft_ram_hash {
	struct vmft_loop *loop;
	struct vmft_op op;
	const uint8_t *ram; /* mapped */
	size_t bytes, hashed;
	XXH3_state_t *hash;
	void (*done)(void *user, uint64_t hash, size_t bytes);
	void *user;
};

static void on_piece(struct vmft_op *op, int result)
{
	struct vmft_ram_hash *digest = op->owner;
	size_t n = digest->bytes - digest->hashed;

	(void)result;
	if (n > PIECE)
		n = PIECE;
	XXH3_64bits_update(digest->hash, digest->ram + digest->hashed, n);
	digest->hashed += n;
	if (digest->hashed == digest->bytes)
		digest->done(digest->user, XXH3_64bits_digest(digest->hash), digest->bytes);
	else
		vmft_loop_timer(digest->loop, op, 0);
}

int vmft_ram_hash_begin(struct vmft_loop *loop, int ram_fd,
			void (*done)(void *user, uint64_t hash, size_t bytes), void *user,
			struct vmft_ram_hash **ret)
{
	struct vmft_ram_hash *digest;
	struct stat st;
	void *ram;

	if (fstat(ram_fd, &st) < 0 || st.st_size <= 0)
		return -ENODATA;
	digest = calloc(1, sizeof(*digest));
	if (!digest)
		return -ENOMEM;
	digest->loop = loop;
	digest->op = (struct vmft_op){.done = on_piece, .owner = digest};
	digest->done = done;
	digest->user = user;
	digest->bytes = (size_t)st.st_size;
	digest->hash = XXH3_createState();
	ram = mmap(NULL, digest->bytes, PROT_READ, MAP_SHARED, ram_fd, 0);
	if (ram != MAP_FAILED)
		digest->ram = ram;
	if (!digest->ram || !digest->hash) {
		vmft_ram_hash_drop(digest);
		return -ENOMEM;
	}
	XXH3_64bits_reset(digest->hash);
	vmft_loop_timer(loop, &digest->op, 0);
	*ret = digest;
	return 0;
}

void vmft_ram_hash_drop(struct vmft_ram_hash *digest)
{
	if (!digest)
		return;
	/* Pending only when the monitor has come to its end: the loop runs no more. */
	(void)vmft_loop_withdraw(digest->loop, &digest->op);
	if (digest->ram)
		(void)munmap((void *)digest->ram, digest->bytes);
	XXH3_freeState(digest->hash);
	free(digest);
}
