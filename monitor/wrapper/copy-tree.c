/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "copy-tree.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor/common/pair-config.h"

#define FILE_MODE 0644

static int copy_bytes(int from, int to)
{
	for (;;) {
		const ssize_t n = sendfile(to, from, NULL, INT_MAX);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return 0;
	}
}

int vmft_file_copy(const char *from, const char *to, mode_t mode)
{
	const int in = open(from, O_RDONLY | O_CLOEXEC);
	int out, r;

	if (in < 0)
		return -errno;
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (out < 0) {
		r = -errno;
		goto close_in;
	}
	r = copy_bytes(in, out);
	if (close(out) < 0 && r == 0)
		r = -errno;
close_in:
	(void)close(in);
	return r;
}

int vmft_directories_make(const char *path)
{
	char part[VMFT_PATH_MAX];

	(void)snprintf(part, sizeof(part), "%s", path);
	for (char *end = part + 1;; end++) {
		const char was = *end;

		if (was && was != '/')
			continue;
		*end = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		if (!was)
			return 0;
		*end = was;
	}
}

/* One entry of a walk through from. Links are followed: a distribution's firmware is full of them,
 * and what one leads to may be upgraded. */
static int copy_entry(const FTSENT *entry, size_t from_bytes, const char *to, uint64_t max_bytes,
		      uint64_t *bytes)
{
	char target[VMFT_PATH_MAX];
	const int n = snprintf(target, sizeof(target), "%s/%s", to, entry->fts_path + from_bytes);

	if (n < 0 || (size_t)n >= sizeof(target))
		return -ENAMETOOLONG;
	switch (entry->fts_info) {
	case FTS_D:
		return vmft_directories_make(target);
	case FTS_F:
		*bytes += (uint64_t)entry->fts_statp->st_size;
		if (*bytes > max_bytes)
			return -EFBIG;
		return vmft_file_copy(entry->fts_path, target, FILE_MODE);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return -entry->fts_errno;
	default:
		/* The second visit of a directory; links to nowhere and in circles. */
		return 0;
	}
}

int vmft_tree_copy(const char *from, const char *to, uint64_t max_bytes, uint64_t *bytes)
{
	char root[VMFT_PATH_MAX];
	char *const roots[] = {root, NULL};
	FTSENT *entry;
	FTS *walk;
	int r = 0;

	(void)snprintf(root, sizeof(root), "%s", from);
	walk = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
	if (!walk)
		return -errno;
	errno = 0;
	while (r == 0 && (entry = fts_read(walk)))
		r = copy_entry(entry, strlen(from), to, max_bytes, bytes);
	if (r == 0 && errno)
		r = -errno;
	(void)fts_close(walk);
	return r;
}

int vmft_tree_remove(const char *path)
{
	char root[VMFT_PATH_MAX];
	char *const roots[] = {root, NULL};
	FTSENT *entry;
	FTS *walk;
	int r = 0;

	(void)snprintf(root, sizeof(root), "%s", path);
	walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	if (!walk)
		return -errno;
	while ((entry = fts_read(walk)))
		/* A directory at its second visit, when it is empty. */
		if (entry->fts_info != FTS_D && remove(entry->fts_path) < 0 && errno != ENOENT)
			r = -errno;
	(void)fts_close(walk);
	return r;
}
