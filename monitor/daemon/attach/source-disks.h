/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-source.h: blocks of the images, read by io_uring and sent when there is room. */
#ifndef VMFT_SOURCE_DISKS_H
#define VMFT_SOURCE_DISKS_H

#include "attach-source.h"

/* 0 or -ENOMEM; what was made is freed by fini. */
int vmft_source_disks_init(struct vmft_attach_source *source);
void vmft_source_disks_fini(struct vmft_attach_source *source);

/* Opens all images for reading. A negative errno: the attempt has been given up. */
int vmft_source_disks_open(struct vmft_attach_source *source);
void vmft_source_disks_close(struct vmft_attach_source *source);
/* The length of an image's file, or a negative errno: the attempt has been given up. */
int64_t vmft_source_disks_bytes(struct vmft_attach_source *source, uint32_t disk);

/* Begins to read a block of the cursor's image and clears its mark. False: all slots are busy. */
bool vmft_source_disks_read(struct vmft_attach_source *source, uint64_t block);
/* Sends what was read, as far as there is room. */
void vmft_source_disks_send(struct vmft_attach_source *source);
/* Nothing is being read, or waits to be sent. */
bool vmft_source_disks_are_idle(const struct vmft_attach_source *source);
/* What was read is not sent; what is being read goes on. */
void vmft_source_disks_forget(struct vmft_attach_source *source);

#endif
