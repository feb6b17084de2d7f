/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-sink.h: the images, which become copies of the primary's. */
#ifndef VMFT_SINK_DISKS_H
#define VMFT_SINK_DISKS_H

#include "attach-sink.h"

/* 0 or -ENOMEM; what was made is freed by fini. */
int vmft_sink_disks_init(struct vmft_attach_sink *sink);
void vmft_sink_disks_fini(struct vmft_attach_sink *sink);

/* Opens all of them, if each can become a copy of the primary's (sink->geometry). A negative errno:
 * the attempt has been given up. */
int vmft_sink_disks_open(struct vmft_attach_sink *sink);
void vmft_sink_disks_close(struct vmft_attach_sink *sink);

/* Begins to write up to VMFT_DISK_BLOCK_BYTES; they are copied. 0 or -ENOSPC. */
int vmft_sink_disks_write(struct vmft_attach_sink *sink, uint32_t disk, uint64_t offset,
			  const uint8_t *bytes, size_t n);
void vmft_sink_disks_zero(struct vmft_attach_sink *sink, uint32_t disk, uint64_t offset,
			  uint64_t n);
/* Makes each as long as the primary's was at the attach point. False: the attempt has been given
 * up. */
bool vmft_sink_disks_cut(struct vmft_attach_sink *sink);
/* Begins to make them durable, if that is not under way. */
void vmft_sink_disks_sync(struct vmft_attach_sink *sink);

#endif
