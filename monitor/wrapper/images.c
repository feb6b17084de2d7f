/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "images.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "logging-channel/now.h"
#include "logging-channel/read-whole.h"
#include "monitor/common/exit-codes.h"

#define BLOCK_BYTES (64u * 1024)
#define PROGRESS_NS UINT64_C(2000000000)

struct reader {
	const char *path;
	int fd;
	off_t size;
	unsigned char *block; /* BLOCK_BYTES */
	uint64_t told_ns;     /* when progress was last shown, or reading began */
	bool progress;
	XXH3_state_t *hash;
	struct vmft_error *err;
};

static int image_error(struct vmft_error *err, const char *path, const char *what, int err_no)
{
	return vmft_error_set(err, -err_no, VMFT_EXIT_IMAGE,
			      "%s: cannot %s: %s; correct the path or its permissions", path, what,
			      strerror(err_no));
}

static int image_refuse(struct vmft_error *err, const char *path, const char *why)
{
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_IMAGE, "%s: %s", path, why);
}

static void show_progress(struct reader *r, off_t offset)
{
	uint64_t now;

	if (!r->progress)
		return;
	now = vmft_monotonic_ns();
	if (now - r->told_ns < PROGRESS_NS)
		return;
	r->told_ns = now;
	(void)fprintf(stderr, "vmft-qemu: reading %s to compare it with the other side's: %d%%\n",
		      r->path, (int)(offset * 100 / r->size));
}

static int read_block(struct reader *r, off_t offset, size_t *ret)
{
	const ssize_t n = vmft_pread_whole(r->fd, r->block, BLOCK_BYTES, (uint64_t)offset);

	if (n < 0)
		return image_error(r->err, r->path, "read", (int)-n);
	*ret = (size_t)n;
	return 0;
}

static bool all_zero(const unsigned char *bytes, size_t size)
{
	return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* Adds position and hash of one block. A block of zeroes adds nothing, like a hole. */
static int hash_block(struct reader *r, off_t offset, size_t *ret)
{
	uint64_t words[2];
	int e = read_block(r, offset, ret);

	if (e < 0 || all_zero(r->block, *ret))
		return e;
	words[0] = htole64((uint64_t)offset);
	words[1] = htole64(XXH3_64bits(r->block, *ret));
	(void)XXH3_128bits_update(r->hash, words, sizeof(words));
	return 0;
}

/* The next block that may hold data, or the size when there is none. */
static off_t next_data(const struct reader *r, off_t offset)
{
	off_t data = lseek(r->fd, offset, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? r->size : offset; /* EINVAL: it has no notion of holes */
	return data - data % (off_t)BLOCK_BYTES;
}

static int hash_contents(struct reader *r)
{
	off_t offset = 0;

	while (offset < r->size) {
		off_t data = next_data(r, offset);
		size_t got = 0;
		int e;

		if (data > offset)
			offset = data;
		if (offset >= r->size)
			break;
		e = hash_block(r, offset, &got);
		if (e < 0)
			return e;
		if (got == 0)
			break;
		offset += (off_t)got;
		show_progress(r, offset);
	}
	return 0;
}

static void hash_hex(XXH3_state_t *state, char ret_hex[static VMFT_DIGEST_HEX])
{
	XXH128_hash_t hash = XXH3_128bits_digest(state);

	(void)snprintf(ret_hex, VMFT_DIGEST_HEX, "%016llx%016llx", (unsigned long long)hash.high64,
		       (unsigned long long)hash.low64);
}

static int hash_fd(const char *path, int fd, off_t size, bool progress,
		   char ret_hex[static VMFT_DIGEST_HEX], struct vmft_error *err)
{
	struct reader r = {.path = path, .fd = fd, .size = size, .progress = progress, .err = err};
	uint64_t size_word;
	int e;

	r.told_ns = vmft_monotonic_ns();
	r.block = malloc(BLOCK_BYTES);
	r.hash = XXH3_createState();
	if (!r.block || !r.hash) {
		e = image_error(err, path, "read", ENOMEM);
		goto out;
	}
	(void)XXH3_128bits_reset(r.hash);
	/* Zeroes at the end add nothing, so the size is part of the digest. */
	size_word = htole64((uint64_t)size);
	(void)XXH3_128bits_update(r.hash, &size_word, sizeof(size_word));
	e = hash_contents(&r);
	if (e == 0)
		hash_hex(r.hash, ret_hex);
out:
	(void)XXH3_freeState(r.hash);
	free(r.block);
	return e;
}

static uint64_t be_at(const unsigned char *bytes, size_t count)
{
	uint64_t value = 0;

	while (count--)
		value = value << 8 | *bytes++;
	return value;
}

/* Reads the fields of the qcow2 header (docs/interop/qcow2.txt in QEMU) that matter here. */
static int check_qcow2(const char *path, int fd, off_t *ret_size, struct vmft_error *err)
{
	unsigned char header[104] = {0};
	ssize_t got = pread(fd, header, sizeof(header), 0);

	if (got < 0)
		return image_error(err, path, "read", errno);
	if (got < 72 || memcmp(header, "QFI\xfb", 4) != 0)
		return image_refuse(err, path, "not a qcow2 image; correct its format= or driver=");
	if (be_at(header + 8, 8) != 0)
		return image_refuse(err, path,
				    "has a backing file, which is not compared; "
				    "flatten it with qemu-img convert");
	/* Version 3, incompatible feature bit 2: external data file. */
	if (be_at(header + 4, 4) >= 3 && (be_at(header + 72, 8) & 4) != 0)
		return image_refuse(err, path,
				    "has its data in another file, which is not "
				    "compared; flatten it with qemu-img convert");
	/* And what the file may grow to is still a length. */
	if (be_at(header + 24, 8) > INT64_MAX / 2)
		return image_refuse(err, path, "damaged: its virtual size is no length of a disk");
	*ret_size = (off_t)be_at(header + 24, 8);
	return 0;
}

/* A qcow2 file holds the guest's data and, for each cluster, an entry of a table and a
 * reference count; both are well below an eighth (docs/interop/qcow2.txt). */
static void describe(const struct vmft_disk *disk, const struct stat *st, off_t shown,
		     struct vmft_image_facts *ret)
{
	const uint64_t bytes = (uint64_t)shown;

	ret->guest_bytes = bytes;
	ret->max_bytes =
	    disk->format == VMFT_IMAGE_QCOW2 ? bytes + bytes / 8 + (UINT64_C(64) << 20) : bytes;
	ret->device = S_ISBLK(st->st_mode) ? st->st_rdev : st->st_dev;
	ret->inode = S_ISBLK(st->st_mode) ? 0 : st->st_ino;
}

static int digest_open(const struct vmft_disk *disk, int fd, const struct stat *st,
		       enum vmft_disk_check how, XXH3_state_t *all, struct vmft_image_facts *ret,
		       struct vmft_error *err)
{
	char contents[VMFT_DIGEST_HEX] = "-", line[128];
	off_t size = lseek(fd, 0, SEEK_END), shown = size;
	int len, r = 0;

	if (size < 0)
		return image_error(err, disk->path, "seek in", errno);
	if (disk->format == VMFT_IMAGE_QCOW2)
		r = check_qcow2(disk->path, fd, &shown, err);
	if (r == 0 && how == VMFT_DISK_CHECK_FULL)
		r = hash_fd(disk->path, fd, size, true, contents, err);
	if (r < 0)
		return r;
	describe(disk, st, shown, ret);
	len = snprintf(line, sizeof(line), "disk %lld %s\n", (long long)shown, contents);
	(void)XXH3_128bits_update(all, line, (size_t)len);
	ret->sum = XXH3_64bits(line, (size_t)len);
	return 0;
}

static int digest_disk(const struct vmft_disk *disk, enum vmft_disk_check how, XXH3_state_t *all,
		       struct vmft_image_facts *ret, struct vmft_error *err)
{
	int fd = open(disk->path, (disk->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0)
		return image_error(err, disk->path,
				   disk->read_only ? "open for reading" : "open for writing",
				   errno);
	if (fstat(fd, &st) < 0)
		r = image_error(err, disk->path, "examine", errno);
	else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		r = image_refuse(err, disk->path, "neither a file nor a block device; correct it");
	else
		r = digest_open(disk, fd, &st, how, all, ret, err);
	(void)close(fd);
	return r;
}

int vmft_images_check(const struct vmft_disk *disks, size_t count, enum vmft_disk_check how,
		      char ret_hex[static VMFT_DIGEST_HEX], struct vmft_image_facts *ret_images,
		      struct vmft_error *err)
{
	XXH3_state_t *all = XXH3_createState();
	int r = 0;

	if (!all)
		return vmft_error_set(err, -ENOMEM, VMFT_EXIT_INTERNAL, "out of memory");
	(void)XXH3_128bits_reset(all);
	for (size_t i = 0; i < count && r == 0; i++)
		r = digest_disk(&disks[i], how, all, &ret_images[i], err);
	if (r == 0)
		hash_hex(all, ret_hex);
	(void)XXH3_freeState(all);
	return r;
}

int vmft_file_digest(void *ctx, const char *path, char ret_hex[static VMFT_DIGEST_HEX],
		     struct vmft_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	(void)ctx;
	if (fd < 0)
		return image_error(err, path, "open for reading", errno);
	if (fstat(fd, &st) < 0)
		r = image_error(err, path, "examine", errno);
	else if (!S_ISREG(st.st_mode))
		r = image_refuse(err, path, "not a file; correct it");
	else
		r = hash_fd(path, fd, st.st_size, false, ret_hex, err);
	(void)close(fd);
	return r;
}
