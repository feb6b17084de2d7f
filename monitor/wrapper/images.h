/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files whose contents must be equal on both hosts: disk images, kernel, initrd. */
#ifndef VMFT_IMAGES_H
#define VMFT_IMAGES_H

#include <stddef.h>
#include <stdint.h>

#include "cmdline.h"
#include "monitor/common/error.h"
#include "monitor/common/pair-config.h"

/* What of an image an attach has to know. */
struct vmft_image_facts {
	uint64_t guest_bytes;	/* the size the guest sees */
	uint64_t max_bytes;	/* the most its file may become */
	uint64_t device, inode; /* of its file; a block device's own number and 0 */
	uint64_t sum;		/* of what went into the digest for it */
};

/*
 * Opens every image as QEMU will, checks that it needs no other file (backing file, external data
 * file), and digests the sizes of all images or, for VMFT_DISK_CHECK_FULL, sizes and contents.
 * Holes and zeroes give the same digest. Prints its progress on stderr if it takes long.
 * ret_images has room for count. Returns a negative errno with *err filled.
 */
int vmft_images_check(const struct vmft_disk *disks, size_t count, enum vmft_disk_check how,
		      char ret_hex[static VMFT_DIGEST_HEX], struct vmft_image_facts *ret_images,
		      struct vmft_error *err);

/* A file_digest of struct vmft_rewrite_options; ctx is not used. */
int vmft_file_digest(void *ctx, const char *path, char ret_hex[static VMFT_DIGEST_HEX],
		     struct vmft_error *err);

#endif
