/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "saver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "logging-channel/now.h"
static void on_failed(void *user, const char *why)
{
	struct vmft_saver *s = user;

	(void)snprintf(s->error, sizeof(s->error), "%.255s", why);
	vmft_journal_say(s->settings.journal, "the log is not saved any more: %.150s", s->error);
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

void vmft_saver_init(struct vmft_saver *s, const struct vmft_saver_settings *settings)
{
	const char *directory = settings->config->save_log;

	s->settings = *settings;
	s->on = directory[0] && settings->wanted;
	vmft_savedlog_writer_init(&s->writer, settings->loop, directory, on_failed, s);
}

void vmft_saver_start(struct vmft_saver *s)
{
	const struct vmft_pair_config *config = s->settings.config;
	char why[256];
	int rc;

	if (!s->on)
		return;
	rc = vmft_savedlog_prune(config->save_log, config->name, VMFT_SAVER_KEEP - 1);
	if (rc == 0)
		rc = read_words(s, s->settings.words_fd);
	if (rc == 0)
		return;
	(void)snprintf(why, sizeof(why), "%.200s: %s", config->save_log,
		       rc == -E2BIG ? "the command line is too long" : strerror(-rc));
	s->on = false;
	on_failed(s, why);
}

void vmft_saver_fini(struct vmft_saver *s)
{
	vmft_savedlog_writer_fini(&s->writer);
	free(s->words);
	s->words = NULL;
}

/* Several kilobytes of paths: not for the stack of a loop that is deep in callbacks. */
static struct vmft_savedlog_header *header_new(const struct vmft_saver *s, uint64_t generation,
					       uint64_t position, bool attached)
{
	const struct vmft_saver_settings *from = &s->settings;
	struct vmft_savedlog_header *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->kind = (uint8_t)from->kind;
	h->attached = attached;
	h->disks_by_size = from->config->disk_check == VMFT_DISK_CHECK_SIZE;
	h->generation = generation;
	h->start = position;
	h->id = *from->identity;
	(void)snprintf(h->qemu, sizeof(h->qemu), "%s", from->config->qemu);
	if (!getcwd(h->directory, sizeof(h->directory)) || !vmft_savedlog_path_fits(h->directory))
		h->directory[0] = '\0';
	h->cmdline = s->words;
	h->cmdline_bytes = (uint32_t)s->words_bytes;
	return h;
}

void vmft_saver_begin(struct vmft_saver *s, uint64_t generation, uint64_t position, bool attached)
{
	struct vmft_savedlog_header *header;

	if (!s->on)
		return;
	vmft_saver_end(s);
	header = header_new(s, generation, position, attached);
	if (!header) {
		on_failed(s, strerror(ENOMEM));
		return;
	}
	s->error[0] = '\0';
	(void)vmft_savedlog_writer_begin(&s->writer, header);
	free(header);
}

void vmft_saver_held(struct vmft_saver *s, uint64_t position, const uint8_t *bytes, size_t n)
{
	const struct vmft_savedlog_record record = {
	    .position = position,
	    .length = (uint32_t)n,
	    .bytes = bytes,
	    .held_ns = vmft_realtime_ns(),
	};

	if (vmft_savedlog_writer_is_open(&s->writer))
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
