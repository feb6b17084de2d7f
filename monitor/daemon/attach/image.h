/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk image as a file, which the monitor opens for an attach. */
#ifndef VMFT_IMAGE_H
#define VMFT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/common/error.h"
#include "monitor/interface.h"

struct vmft_image {
	const char *path; /* the command line's */
	enum vmft_image_format format;
	uint64_t guest_bytes;
	int fd;		/* -1: not open */
	bool is_device; /* a block device; known once it is open */
	bool read_only; /* the guest only reads it, and so does the monitor */
};

/*
 * Opens an image to read it, or, with copy, to make it a copy of the primary's. 0 or a negative
 * errno; -EBUSY: another program has it in use for writing, by the locks that QEMU's programs take
 * (block/file-posix.c), which a copy does not allow. A read-only image is opened for reading even
 * as a copy, and others may read it too: it is compared and not written.
 */
int vmft_image_open(struct vmft_image *image, bool copy, struct vmft_error *err);
/* Also an image that is not open. */
void vmft_image_close(struct vmft_image *image);

/* How long its file or device is now, or a negative errno. */
int64_t vmft_image_file_bytes(const struct vmft_image *image);

/* Makes a range read as zeroes, and gives its space back where the file system can. 0 or a negative
 * errno. */
int vmft_image_zero(const struct vmft_image *image, uint64_t offset, uint64_t n);

/* Writes one line, short enough for a REFUSE frame: which image, what could not be done, and why.
 * error is a positive errno. */
void vmft_image_fault(const struct vmft_image *image, const char *what, int error, char *ret,
		      size_t size);

#endif
