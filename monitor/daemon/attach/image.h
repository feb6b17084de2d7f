/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk image as a file: opened for an attach, its blocks read and compared. */
#ifndef VMFT_IMAGE_H
#define VMFT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logging-channel/frame.h"
#include "logging-channel/loop.h"
#include "monitor/common/error.h"
#include "monitor/interface.h"

struct vmft_image {
	const char *path; /* the command line's */
	enum vmft_image_format format;
	uint64_t guest_bytes;
	int fd; /* -1: not open */
	bool is_device;
	bool read_only; /* to the guest; never written here either */
};

/*
 * Opens it to be read, or to become a copy: then nobody else may have it in use for writing,
 * by the locks that QEMU's programs take (block/file-posix.c). -EBUSY if so. A copy of a
 * read-only image is opened for reading, and others may read it too: it is compared and not
 * written.
 */
int vmft_image_open(struct vmft_image *image, bool copy, struct vmft_error *err);
void vmft_image_close(struct vmft_image *image); /* also one that is not open */

/* Of its file or device now; a negative errno if that cannot be found out. */
int64_t vmft_image_file_bytes(const struct vmft_image *image);

/* Makes a range read as zeroes, giving its space back where the file system can. */
int vmft_image_zero(const struct vmft_image *image, uint64_t offset, uint64_t n);

/* One line, short enough for a refusal: which image, what could not be done, why. error is a
 * positive errno. */
void vmft_image_fault(const struct vmft_image *image, const char *what, int error, char *ret,
		      size_t size);

/*
 * The digests of up to VMFT_SUMS_MAX blocks, read a few at a time without waiting. A block of
 * zeroes, or beyond the end, has the digest 0; holes are not read.
 */
struct vmft_summer {
	struct vmft_loop *loop;
	void (*done)(struct vmft_summer *summer, int result); /* 0 or a negative errno */
	void *owner;
	const struct vmft_image *image;
	uint64_t first; /* block */
	struct vmft_sums sums;
	bool busy;
	int result;
	unsigned next, reading;
	struct vmft_summer_slot {
		struct vmft_summer *summer;
		struct vmft_op op;
		unsigned index;
		uint8_t *bytes;
	} slot[4];
};

/* 0 or -ENOMEM. */
int vmft_summer_init(struct vmft_summer *summer, struct vmft_loop *loop, void *owner,
		     void (*done)(struct vmft_summer *summer, int result));
/* sums.region, .count and .seed, first and image are the caller's to set; not while busy.
 * done may be called before this returns. */
void vmft_summer_start(struct vmft_summer *summer);
void vmft_summer_fini(struct vmft_summer *summer); /* not while busy */

#endif
