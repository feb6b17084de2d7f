/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-source.h: blocks of the guest's memory, read from its memfds. */
#ifndef VMFT_SOURCE_MEMORY_H
#define VMFT_SOURCE_MEMORY_H

#include "attach-source.h"

/* The most blocks of memory in one frame. */
#define VMFT_SOURCE_MEMORY_RUN 15u

/* Marks all blocks of a memory region that the guest has ever touched. */
void vmft_source_memory_mark(struct vmft_attach_source *source, uint32_t region);
/* Sends count blocks of the cursor's region, at most VMFT_SOURCE_MEMORY_RUN, and clears their
 * marks. False: there is no room, or the attempt has been given up. */
bool vmft_source_memory_send(struct vmft_attach_source *source, uint64_t block, unsigned count);

#endif
