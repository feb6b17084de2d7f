/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "savedlog-writer.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A write is not begun for less before the next flush. */
#define WORTHWHILE  (256u * 1024)
#define NUMBERS_MAX 100u /* files of one name */

static void on_opened(struct vmft_op *op, int result);
static void on_written(struct vmft_op *op, int result);

void vmft_savedlog_writer_init(struct vmft_savedlog_writer *w, struct vmft_loop *loop,
			       const char *directory, void (*failed)(void *user, const char *why),
			       void *user)
{
	*w = (struct vmft_savedlog_writer){
	    .loop = loop, .failed = failed, .user = user, .fd = -1, .op = {.owner = w}};
	(void)snprintf(w->directory, sizeof(w->directory), "%s", directory);
}

static void drop(struct vmft_savedlog_writer *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	w->path[0] = '\0';
	w->filled = w->flying = 0;
}

static void fail(struct vmft_savedlog_writer *w, const char *why)
{
	char text[VMFT_SAVEDLOG_PATH_MAX + 128];

	(void)snprintf(text, sizeof(text), "%s: %s", w->path, why);
	/*
	 * An operation under way finds no file when it completes. An open that was not submitted
	 * yet finds no path.
	 */
	drop(w);
	w->failed(w->user, text);
}

static void open_next(struct vmft_savedlog_writer *w)
{
	char number[16] = "";

	if (w->number > 0)
		(void)snprintf(number, sizeof(number), ".%u", w->number);
	if (snprintf(w->path, sizeof(w->path), "%s/%s%s" VMFT_SAVEDLOG_SUFFIX, w->directory,
		     w->stem, number) >= (int)sizeof(w->path)) {
		fail(w, strerror(ENAMETOOLONG));
		return;
	}
	w->op.done = on_opened;
	/* The log has what the guest was sent: nobody else's business. */
	vmft_loop_open(w->loop, &w->op, w->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

int vmft_savedlog_writer_begin(struct vmft_savedlog_writer *w,
			       const struct vmft_savedlog_header *header)
{
	ssize_t n = -ENOMEM;

	assert(!vmft_savedlog_writer_is_open(w));
	(void)snprintf(w->stem, sizeof(w->stem), "%.64s-g%llu-p%llu", header->id.name,
		       (unsigned long long)header->generation, (unsigned long long)header->start);
	if (!vmft_savedlog_writer_is_idle(w)) {
		/* A disk that hangs: its operation still owns our buffers. */
		w->failed(w->user, "the file before this one is not written yet");
		return -EBUSY;
	}
	(void)snprintf(w->path, sizeof(w->path), "%.3900s/%s", w->directory, w->stem);
	for (unsigned i = 0; i < 2; i++)
		if (!w->buffer[i])
			w->buffer[i] = malloc(VMFT_SAVEDLOG_BUFFER);
	if (w->buffer[0] && w->buffer[1])
		n = vmft_savedlog_header_encode(header, w->buffer[0]);
	if (n < 0) {
		fail(w,
		     n == -E2BIG ? "the command line is too long to be saved" : strerror((int)-n));
		return (int)n;
	}
	w->filling = 0;
	w->filled = (size_t)n;
	w->flying = 0;
	w->offset = 0;
	w->number = 0;
	w->closing = false;
	open_next(w);
	return 0;
}

bool vmft_savedlog_writer_is_open(const struct vmft_savedlog_writer *w)
{
	return w->path[0] != '\0' && !w->closing;
}

bool vmft_savedlog_writer_is_idle(const struct vmft_savedlog_writer *w)
{
	return !w->op.pending && (w->path[0] == '\0' || (w->filled == 0 && !w->closing));
}

static void write_on(struct vmft_savedlog_writer *w)
{
	w->op.done = on_written;
	vmft_loop_write(w->loop, &w->op, w->fd, w->buffer[w->filling ^ 1] + w->flown, w->flying,
			w->offset);
}

void vmft_savedlog_writer_flush(struct vmft_savedlog_writer *w)
{
	if (w->fd < 0 || w->op.pending)
		return;
	if (w->filled == 0) {
		if (w->closing)
			drop(w);
		return;
	}
	w->flying = w->filled;
	w->flown = 0;
	w->filling ^= 1;
	w->filled = 0;
	write_on(w);
}

static void on_opened(struct vmft_op *op, int result)
{
	struct vmft_savedlog_writer *w = op->owner;

	if (w->path[0] == '\0') {
		if (result >= 0)
			close(result);
		return;
	}
	if (result == -EEXIST && ++w->number < NUMBERS_MAX) {
		open_next(w);
		return;
	}
	if (result < 0) {
		fail(w, strerror(-result));
		return;
	}
	w->fd = result;
	vmft_savedlog_writer_flush(w);
}

static void on_written(struct vmft_op *op, int result)
{
	struct vmft_savedlog_writer *w = op->owner;

	if (w->path[0] == '\0')
		return;
	if (result <= 0) {
		fail(w, strerror(result < 0 ? -result : ENOSPC));
		return;
	}
	w->offset += (size_t)result;
	w->flown += (size_t)result;
	w->flying -= (size_t)result;
	if (w->flying > 0)
		write_on(w);
	else if (w->filled >= WORTHWHILE || w->closing)
		vmft_savedlog_writer_flush(w);
}

void vmft_savedlog_writer_append(struct vmft_savedlog_writer *w,
				 const struct vmft_savedlog_record *record)
{
	uint8_t *at;

	if (!vmft_savedlog_writer_is_open(w))
		return;
	if (w->filled + VMFT_SAVEDLOG_RECORD_HEAD + record->length > VMFT_SAVEDLOG_BUFFER) {
		fail(w, "the disk does not keep up");
		return;
	}
	at = w->buffer[w->filling] + w->filled;
	if (record->length > 0)
		memcpy(at + VMFT_SAVEDLOG_RECORD_HEAD, record->bytes, record->length);
	w->filled += vmft_savedlog_record_seal(at, record);
	if (w->filled >= WORTHWHILE)
		vmft_savedlog_writer_flush(w);
}

void vmft_savedlog_writer_end(struct vmft_savedlog_writer *w)
{
	if (!vmft_savedlog_writer_is_open(w))
		return;
	w->closing = true;
	vmft_savedlog_writer_flush(w);
}

void vmft_savedlog_writer_fini(struct vmft_savedlog_writer *w)
{
	drop(w);
	for (unsigned i = 0; i < 2; i++) {
		free(w->buffer[i]);
		w->buffer[i] = NULL;
	}
}

/* --- old files ------------------------------------------------------------- */

struct old {
	char name[NAME_MAX + 1];
	struct timespec written;
};

static const char *skip_number(const char *text)
{
	const size_t digits = strspn(text, "0123456789");

	return digits > 0 ? text + digits : NULL;
}

/* "NAME-gN-pN.vmftlog" or "NAME-gN-pN.N.vmftlog", nothing else. */
static bool is_saved_log(const char *file, const char *name)
{
	const size_t n = strlen(name);

	if (strncmp(file, name, n) != 0 || strncmp(file + n, "-g", 2) != 0)
		return false;
	file = skip_number(file + n + 2);
	if (!file || strncmp(file, "-p", 2) != 0)
		return false;
	file = skip_number(file + 2);
	if (file && strcmp(file, VMFT_SAVEDLOG_SUFFIX) != 0 && *file == '.')
		file = skip_number(file + 1);
	return file && strcmp(file, VMFT_SAVEDLOG_SUFFIX) == 0;
}

static int newest_first(const void *a, const void *b)
{
	const struct timespec *x = &((const struct old *)a)->written;
	const struct timespec *y = &((const struct old *)b)->written;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? 1 : -1;
	return (x->tv_nsec < y->tv_nsec) - (x->tv_nsec > y->tv_nsec);
}

static int list_old(DIR *dir, const char *name, struct old **ret, size_t *ret_count)
{
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		struct stat st;
		struct old *more;

		if (!is_saved_log(entry->d_name, name) ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		more = reallocarray(*ret, *ret_count + 1, sizeof(**ret));
		if (!more)
			return -ENOMEM;
		*ret = more;
		more += (*ret_count)++;
		(void)snprintf(more->name, sizeof(more->name), "%s", entry->d_name);
		more->written = st.st_mtim;
	}
	return 0;
}

int vmft_savedlog_prune(const char *directory, const char *name, unsigned keep)
{
	DIR *dir = opendir(directory);
	struct old *old = NULL;
	size_t count = 0;
	int rc;

	if (!dir)
		return -errno;
	rc = list_old(dir, name, &old, &count);
	if (rc == 0 && count > keep) {
		qsort(old, count, sizeof(*old), newest_first);
		for (size_t i = keep; i < count && rc == 0; i++)
			rc = unlinkat(dirfd(dir), old[i].name, 0) < 0 ? -errno : 0;
	}
	free(old);
	closedir(dir);
	return rc;
}
