/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a harness gives to driver.c besides libFuzzer's entry point: inputs to start from. */
#ifndef VMFT_FUZZ_DRIVER_H
#define VMFT_FUZZ_DRIVER_H

#include <stddef.h>
#include <stdint.h>

struct vmft_fuzz_seed {
	const void *bytes; /* NULL ends the list */
	size_t size;	   /* at most VMFT_FUZZ_SEED_MAX */
};

#define VMFT_FUZZ_SEED_MAX 2048u

extern const struct vmft_fuzz_seed vmft_fuzz_seeds[];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* seeds.c */
int LLVMFuzzerInitialize(int *argc, char ***argv);

#endif
