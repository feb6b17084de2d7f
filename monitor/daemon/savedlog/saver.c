/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "saver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "monitor/daemon/hub/monitor.h"

static void on_failed(void *user, const char *why)
{
	struct vmft_monitor *m = user;

	(void)snprintf(m->saver.error, sizeof(m->saver.error), "%.255s", why);
	vmft_journal_say(&m->journal, "the log is not saved any more: %.150s", m->saver.error);
}

/* 0 or a negative errno; *saver untouched then. */
static int read_words(struct vmft_saver *s, int fd)
{
	struct stat st;
	char *words;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -EBADF;
	if (st.st_size > VMFT_SAVEDLOG_CMDLINE_MAX)
		return -E2BIG;
	words = malloc((size_t)st.st_size + 1);
	if (!words)
		return -ENOMEM;
	if (pread(fd, words, (size_t)st.st_size, 0) != st.st_size) {
		free(words);
		return -EIO;
	}
	s->words = words;
	s->words_bytes = (size_t)st.st_size;
	return 0;
}

void vmft_saver_init(struct vmft_monitor *m)
{
	struct vmft_saver *s = &m->saver;
	const char *directory = m->config.save_log;

	s->on = directory[0] && m->options.role == VMFT_ROLE_BACKUP;
	vmft_savedlog_writer_init(&s->writer, m->loop, directory, on_failed, m);
}

void vmft_saver_start(struct vmft_monitor *m)
{
	struct vmft_saver *s = &m->saver;
	const char *directory = m->config.save_log;
	char why[256];
	int rc;

	if (!s->on)
		return;
	rc = vmft_savedlog_prune(directory, m->config.name, VMFT_SAVER_KEEP - 1);
	if (rc == 0)
		rc = read_words(s, m->options.words_fd);
	if (rc == 0)
		return;
	(void)snprintf(why, sizeof(why), "%.200s: %s", directory,
		       rc == -E2BIG ? "the command line is too long" : strerror(-rc));
	s->on = false;
	on_failed(m, why);
}

void vmft_saver_fini(struct vmft_saver *s)
{
	vmft_savedlog_writer_fini(&s->writer);
	free(s->words);
	s->words = NULL;
}

/* A kilobyte or two of paths: not on the stack of a loop that is deep in callbacks. */
static struct vmft_savedlog_header *header_new(const struct vmft_monitor *m, uint64_t position,
					       bool attached)
{
	struct vmft_savedlog_header *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->kind = m->strategy_ops->moves_state ? VMFT_SAVEDLOG_CHECKPOINT : VMFT_SAVEDLOG_LOCKSTEP;
	h->attached = attached;
	h->disks_by_size = m->config.disk_check == VMFT_DISK_CHECK_SIZE;
	h->generation = m->core.generation;
	h->start = position;
	h->id = m->options.identity;
	(void)snprintf(h->qemu, sizeof(h->qemu), "%s", m->config.qemu);
	if (!getcwd(h->directory, sizeof(h->directory)) || !vmft_savedlog_path_fits(h->directory))
		h->directory[0] = '\0';
	h->cmdline = m->saver.words;
	h->cmdline_bytes = (uint32_t)m->saver.words_bytes;
	return h;
}

void vmft_saver_begin(struct vmft_monitor *m, uint64_t position, bool attached)
{
	struct vmft_saver *s = &m->saver;
	struct vmft_savedlog_header *header;

	if (!s->on)
		return;
	vmft_saver_end(s);
	header = header_new(m, position, attached);
	if (!header) {
		on_failed(m, strerror(ENOMEM));
		return;
	}
	s->error[0] = '\0';
	s->epoch = position;
	(void)vmft_savedlog_writer_begin(&s->writer, header);
	free(header);
}

static int64_t now_realtime(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void vmft_saver_held(struct vmft_monitor *m, const struct vmft_frame_info *frame, uint64_t held)
{
	struct vmft_saver *s = &m->saver;
	struct vmft_savedlog_record record = {.position = frame->position};

	if (!vmft_savedlog_writer_is_open(&s->writer))
		return;
	record.held_ns = now_realtime();
	if (!m->strategy_ops->moves_state) {
		record.length = frame->length;
		record.bytes = frame->payload;
	} else if (held > s->epoch) {
		record.position = s->epoch = held;
	} else {
		return;
	}
	if (record.length > 0 || m->strategy_ops->moves_state)
		vmft_savedlog_writer_append(&s->writer, &record);
}

void vmft_saver_end(struct vmft_saver *s)
{
	if (!s->on || !vmft_savedlog_writer_is_open(&s->writer))
		return;
	(void)snprintf(s->path, sizeof(s->path), "%s", s->writer.path);
	vmft_savedlog_writer_end(&s->writer);
}

void vmft_saver_tick(struct vmft_saver *s)
{
	if (s->on)
		vmft_savedlog_writer_flush(&s->writer);
}

bool vmft_saver_is_quiet(const struct vmft_saver *s)
{
	return !s->on || (!vmft_savedlog_writer_is_open(&s->writer) &&
			  vmft_savedlog_writer_is_idle(&s->writer));
}

const char *vmft_saver_path(const struct vmft_saver *s)
{
	return s->writer.path[0] ? s->writer.path : s->path;
}
