/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Samples of memory and registers at equal log positions. */
#ifndef VMFT_AGENT_DIGEST_H
#define VMFT_AGENT_DIGEST_H

#include <stddef.h>
#include <stdint.h>

struct vmft_digest { /* main loop */
	uint64_t taken_ns;
	uint32_t next; /* page */
};

extern struct vmft_digest vmft_digest;

/* Recording, at a position where a sample can be taken (tap.c): takes one if it is time. */
void vmft_digest_point(void);
/* Replaying: compares with the entry at this log position. */
void vmft_digest_compare(uint64_t position, const uint8_t *bytes, size_t n);

#endif
