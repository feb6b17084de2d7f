/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-sink.h: what attach-sink.c has for the parts of the sink. */
#ifndef VMFT_SINK_PARTS_H
#define VMFT_SINK_PARTS_H

#include "attach-sink.h"

/* Ends the attempt for a reason of this side. */
void vmft_sink_give_up(struct vmft_attach_sink *sink, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A read, write, sync or proof has ended: a frame may have waited for it, or the end of an attempt
 * that was given up. */
void vmft_sink_settled(struct vmft_attach_sink *sink);

bool vmft_sink_is_disk(const struct vmft_attach_sink *sink, uint32_t region);
/* The guest only reads it, and so does the attach. */
bool vmft_sink_is_read_only(const struct vmft_attach_sink *sink, uint32_t region);
/* n bytes at offset lie within the region. An image counts as long as the agent allows for: a raw
 * one is as long as it was when it was compared, a qcow2 file may grow. */
bool vmft_sink_fits(const struct vmft_attach_sink *sink, uint32_t region, uint64_t offset,
		    uint64_t n);

#endif
