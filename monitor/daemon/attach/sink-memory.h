/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-sink.h: the guest's memory, in its memfd or in the attach area. */
#ifndef VMFT_SINK_MEMORY_H
#define VMFT_SINK_MEMORY_H

#include "attach-sink.h"

/* Gives all of it back to the kernel: it reads as zeroes. 0 or a negative errno. */
int vmft_sink_memory_empty(struct vmft_attach_sink *sink);
/* Bytes that fit into a memory region; each may give the attempt up. */
void vmft_sink_memory_write(struct vmft_attach_sink *sink, uint32_t region, uint64_t offset,
			    const uint8_t *bytes, size_t n);
void vmft_sink_memory_zero(struct vmft_attach_sink *sink, uint32_t region, uint64_t offset,
			   uint64_t n);

#endif
