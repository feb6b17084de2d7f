/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The marks in the attach area: one bit for each block of a region, set when the backup does not
 * have the block as it is now. The agent sets marks from any thread of QEMU; the primary's monitor
 * sets, clears and counts them. Regions are those that the link has checked.
 */
#ifndef VMFT_MARKS_H
#define VMFT_MARKS_H

#include <stdint.h>

#include "monitor/daemon/guest/agent-link.h"

/* How many words of 64 marks the region has. */
uint64_t vmft_marks_words(const struct vmft_agent_link *link, uint32_t region);
/* The first run of marks in a word: its number of marks, at most most, and its first block; 0 if
 * the word has none. */
unsigned vmft_marks_run(const struct vmft_agent_link *link, uint32_t region, uint64_t word,
			unsigned most, uint64_t *ret_block);
/* A run within one word. */
void vmft_marks_clear(const struct vmft_agent_link *link, uint32_t region, uint64_t block,
		      unsigned count);
void vmft_marks_set(const struct vmft_agent_link *link, uint32_t region, uint64_t word,
		    uint64_t bits);
/* The bytes of all marked blocks of the first count regions. */
uint64_t vmft_marks_bytes(const struct vmft_agent_link *link, uint32_t count);

#endif
