/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-source.h: frames that carry blocks, and what they count for. */
#ifndef VMFT_SOURCE_FRAMES_H
#define VMFT_SOURCE_FRAMES_H

#include "attach-source.h"

/* Room for a frame's payload of n bytes; NULL: none now. */
uint8_t *vmft_source_frames_room(struct vmft_attach_source *source, size_t n);
void vmft_source_frames_send(struct vmft_attach_source *source, enum vmft_frame_type type,
			     uint64_t position, uint8_t *payload, size_t n);

/* Sends n (> 0) bytes of a region, which stand VMFT_CHUNK_HEAD bytes after the begin of payload;
 * payload is room for both. */
void vmft_source_frames_block(struct vmft_attach_source *source, uint32_t region, uint64_t offset,
			      uint8_t *payload, size_t n);
/* The cap of the pair file allows a block now. */
bool vmft_source_frames_may_send(const struct vmft_attach_source *source);
bool vmft_source_is_disk(const struct vmft_attach_source *source, uint32_t region);

#endif
