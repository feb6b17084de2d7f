/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"

/* QEMU's image locks: who uses a permission holds byte 100 + its number, who does not share
 * it holds byte 200 + its number (block/file-posix.c, RAW_LOCK_PERM_BASE); 1 is writing. */
#define LOCK_USES_WRITE	  101
#define LOCK_SHARES_WRITE 201

/* Somebody else holds a lock that does not allow a write lock there. */
static bool is_locked(int fd, off_t byte)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* The one lock that a copy holds: who fills it is a writer, who only compares it lets nobody write.
 */
static int lock_copy(const struct vmft_image *image, short type)
{
	struct flock lock = {
	    .l_type = type,
	    .l_whence = SEEK_SET,
	    .l_start = image->read_only ? LOCK_SHARES_WRITE : LOCK_USES_WRITE,
	    .l_len = 1,
	};

	return fcntl(image->fd, F_OFD_SETLK, &lock);
}

static bool is_in_use(const struct vmft_image *image)
{
	return is_locked(image->fd, LOCK_USES_WRITE) ||
	       (!image->read_only && is_locked(image->fd, LOCK_SHARES_WRITE));
}

static int refuse(struct vmft_image *image, int rc, const char *what, struct vmft_error *err)
{
	vmft_image_close(image);
	return vmft_error_set(err, rc, VMFT_EXIT_IMAGE, "%s: %s: %s", image->path, what,
			      strerror(-rc));
}

int vmft_image_open(struct vmft_image *image, bool copy, struct vmft_error *err)
{
	const bool write = copy && !image->read_only;
	struct stat st;

	image->fd = open(image->path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (image->fd < 0)
		return refuse(image, -errno, write ? "cannot be written" : "cannot be read", err);
	if (fstat(image->fd, &st) < 0)
		return refuse(image, -errno, "cannot be examined", err);
	image->is_device = S_ISBLK(st.st_mode);
	/* Held for as long as it is to become a copy, with checkpoints until the backup goes live.
	 * It is locked before it is looked at, as QEMU does it: of two who come at the same time at
	 * least one sees the other. */
	if (copy)
		(void)lock_copy(image, F_RDLCK);
	if (copy && is_in_use(image))
		return refuse(image, -EBUSY,
			      image->read_only ? "another program writes to it"
					       : "in use by another program",
			      err);
	return 0;
}

void vmft_image_close(struct vmft_image *image)
{
	/* Unlocked explicitly: an operation of io_uring that is under way keeps the file open, and
	 * with it the lock, which would keep QEMU from using the image. */
	if (image->fd >= 0)
		(void)lock_copy(image, F_UNLCK);
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
}

int64_t vmft_image_file_bytes(const struct vmft_image *image)
{
	/* fstat() gives no size of a device. */
	off_t end = lseek(image->fd, 0, SEEK_END);

	return end < 0 ? -errno : end;
}

/* For a file system without holes. */
static int write_zeroes(int fd, uint64_t offset, uint64_t n)
{
	static const uint8_t zeroes[VMFT_DISK_BLOCK_BYTES];

	while (n > 0) {
		ssize_t done =
		    pwrite(fd, zeroes, n < sizeof(zeroes) ? n : sizeof(zeroes), (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		offset += (uint64_t)done;
		n -= (uint64_t)done;
	}
	return 0;
}

int vmft_image_zero(const struct vmft_image *image, uint64_t offset, uint64_t n)
{
	/* A discarded block of a device need not read as zeroes; a hole of a file does. */
	const int mode = image->is_device ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;

	if (fallocate(image->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)n) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	return write_zeroes(image->fd, offset, n);
}

/* The end of a long path says more than its beginning. */
void vmft_image_fault(const struct vmft_image *image, const char *what, int error, char *ret,
		      size_t size)
{
	const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
	const size_t most = 80, n = strlen(image->path);

	(void)snprintf(ret, size, "%s: %s%s: cannot be %s: %s", full ? "disk full" : "disk error",
		       n > most ? "..." : "", n > most ? image->path + n - most : image->path, what,
		       strerror(error));
}
