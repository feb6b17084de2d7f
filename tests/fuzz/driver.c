/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Without libFuzzer: each seed cut off at every byte, with every byte changed in turn, and
 * a fixed series of random damage. The same inputs in every run.
 */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of each seed; less for a harness that takes a millisecond an input. */
#ifndef RANDOM_ROUNDS
#define RANDOM_ROUNDS 3000u
#endif

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

/* From a heap block of exactly that size, so that AddressSanitizer sees one byte too far. */
static void try_bytes(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, bytes, size);
	(void)LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static void try_changed(const uint8_t *seed, size_t size)
{
	static const uint8_t values[] = {0,   1,   '\n', ' ',  ',',  '=', '"',
					 '{', ';', ':',	 0x7f, 0x80, 0xff};
	uint8_t copy[VMFT_FUZZ_SEED_MAX];

	memcpy(copy, seed, size);
	for (size_t at = 0; at < size; at++) {
		for (size_t v = 0; v < sizeof(values); v++) {
			copy[at] = values[v];
			try_bytes(copy, size);
		}
		copy[at] = seed[at];
	}
}

static void try_damaged(const uint8_t *seed, size_t size)
{
	uint64_t state = size;
	uint8_t copy[VMFT_FUZZ_SEED_MAX];

	for (unsigned round = 0; round < RANDOM_ROUNDS && size > 0; round++) {
		unsigned hits = 1 + (unsigned)(next_random(&state) % 8);

		memcpy(copy, seed, size);
		while (hits-- > 0)
			copy[next_random(&state) % size] = (uint8_t)next_random(&state);
		try_bytes(copy, size - next_random(&state) % 3 % size);
	}
}

int main(void)
{
	size_t seeds = 0;

	for (const struct vmft_fuzz_seed *seed = vmft_fuzz_seeds; seed->bytes; seed++, seeds++) {
		if (seed->size > VMFT_FUZZ_SEED_MAX)
			abort();
		for (size_t size = 0; size <= seed->size; size++)
			try_bytes(seed->bytes, size);
		try_changed(seed->bytes, seed->size);
		try_damaged(seed->bytes, seed->size);
	}
	printf("%zu seeds, each cut and damaged\n", seeds);
	return seeds ? EXIT_SUCCESS : EXIT_FAILURE;
}
