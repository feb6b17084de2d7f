/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files whose contents must be equal on both hosts: disk images, kernel, initrd. */
#ifndef VMFT_IMAGES_H
#define VMFT_IMAGES_H

#include <stddef.h>

#include "cmdline.h"
#include "error.h"
#include "pair-config.h"

/*
 * Opens every image the way QEMU will, checks that it stands by itself (no backing or data
 * file elsewhere), and digests sizes or, for VMFT_DISK_CHECK_FULL, sizes and contents of all.
 * How an image is spread over its file system, holes or zeroes, makes no difference. Tells
 * on stderr how far it is when that takes long. Negative errno with *err filled.
 */
int vmft_images_check(const struct vmft_disk *disks, size_t count, enum vmft_disk_check how,
		      char ret_hex[static VMFT_DIGEST_HEX], struct vmft_error *err);

/* A file_digest of struct vmft_rewrite_options; ctx is not used. */
int vmft_file_digest(void *ctx, const char *path, char ret_hex[static VMFT_DIGEST_HEX],
		     struct vmft_error *err);

#endif
