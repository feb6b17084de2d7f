/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The writer of saved logs: a slow disk, a full disk, and old files. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "logging-channel/savedlog-writer.h"
#include "logging-channel/savedlog.h"
#include "savedlog_sample.h"
#include "suites.h"

struct world {
	char dir[64];
	struct vmft_loop *loop;
	struct vmft_savedlog_writer writer;
	struct vmft_op timer;
	unsigned failures;
	char why[256];
};

static void on_failed(void *user, const char *why)
{
	struct world *w = user;

	w->failures++;
	(void)snprintf(w->why, sizeof(w->why), "%s", why);
}

static void on_timer(struct vmft_op *op, int result)
{
	struct world *w = op->owner;

	(void)result;
	vmft_savedlog_writer_flush(&w->writer);
	if (vmft_savedlog_writer_is_idle(&w->writer))
		vmft_loop_stop(w->loop);
	else
		vmft_loop_timer(w->loop, op, 1000000);
}

/* Runs the loop until nothing is under way. */
static void settle(struct world *w)
{
	vmft_loop_timer(w->loop, &w->timer, 0);
	CU_ASSERT_EQUAL(vmft_loop_run(w->loop), 0);
}

static void world_init(struct world *w, const char *directory)
{
	memset(w, 0, sizeof(*w));
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/vmft-unit-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(w->dir));
	CU_ASSERT_EQUAL_FATAL(vmft_loop_create(&w->loop), 0);
	w->timer = (struct vmft_op){.done = on_timer, .owner = w};
	vmft_savedlog_writer_init(&w->writer, w->loop, directory ? directory : w->dir, on_failed,
				  w);
}

static void remove_file(const struct world *w, const char *name)
{
	char path[400];

	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	CU_ASSERT_EQUAL(unlink(path), 0);
}

static void world_fini(struct world *w)
{
	vmft_loop_destroy(w->loop);
	vmft_savedlog_writer_fini(&w->writer);
	CU_ASSERT_EQUAL(rmdir(w->dir), 0);
}

static void begin(struct world *w)
{
	static struct vmft_savedlog_header h;

	h = savedlog_sample(VMFT_SAVEDLOG_LOCKSTEP);
	CU_ASSERT_EQUAL(vmft_savedlog_writer_begin(&w->writer, &h), 0);
}

static void append(struct world *w, uint64_t position, const uint8_t *bytes, uint32_t n)
{
	const struct vmft_savedlog_record record = {
	    .position = position, .held_ns = 1, .length = n, .bytes = bytes};

	vmft_savedlog_writer_append(&w->writer, &record);
}

static uint64_t records_in(const struct world *w, const char *name)
{
	uint64_t records = 0, torn = 1;
	char path[400];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(savedlog_read_all(fd, &records, &torn), 0);
	CU_ASSERT_EQUAL(torn, 0);
	close(fd);
	return records;
}

/* More than both buffers, as the loop gets on; then the same name once more. */
static void test_writer(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_BYTES_MAX];
	struct world w;

	world_init(&w, NULL);
	begin(&w);
	for (unsigned i = 0; i < 200; i++) {
		append(&w, 100 + i * sizeof(bytes), bytes, sizeof(bytes));
		if (i % 40 == 39)
			settle(&w);
	}
	vmft_savedlog_writer_end(&w.writer);
	settle(&w);
	CU_ASSERT(!vmft_savedlog_writer_is_open(&w.writer));
	begin(&w);
	append(&w, 100, bytes, 7);
	vmft_savedlog_writer_end(&w.writer);
	settle(&w);
	CU_ASSERT_EQUAL(w.failures, 0);
	CU_ASSERT_EQUAL(records_in(&w, "vm1-g7-p100.vmftlog"), 200);
	CU_ASSERT_EQUAL(records_in(&w, "vm1-g7-p100.1.vmftlog"), 1);
	remove_file(&w, "vm1-g7-p100.vmftlog");
	remove_file(&w, "vm1-g7-p100.1.vmftlog");
	world_fini(&w);
}

/* The loop does not run, as if the disk never answered: the buffers are the bound. */
static void test_writer_slow_disk(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_BYTES_MAX];
	struct world w;
	unsigned i;

	world_init(&w, NULL);
	begin(&w);
	for (i = 0; i < 1000 && w.failures == 0; i++)
		append(&w, 100 + i * sizeof(bytes), bytes, sizeof(bytes));
	CU_ASSERT(i * sizeof(bytes) <= 2 * VMFT_SAVEDLOG_BUFFER);
	CU_ASSERT_PTR_NOT_NULL(strstr(w.why, "does not keep up"));
	CU_ASSERT(!vmft_savedlog_writer_is_open(&w.writer));
	append(&w, 0, bytes, 1);
	CU_ASSERT_EQUAL(w.failures, 1);
	settle(&w);
	world_fini(&w); /* given up before it was opened, so there is no file */
}

static void test_writer_no_directory(void)
{
	struct world w;

	world_init(&w, "/nonexistent");
	begin(&w);
	settle(&w);
	CU_ASSERT_EQUAL(w.failures, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(w.why, "/nonexistent/vm1-g7-p100.vmftlog: No such file"));
	CU_ASSERT(!vmft_savedlog_writer_is_open(&w.writer));
	world_fini(&w);
}

/* A write that fails half-way: EFBIG here, as it would be ENOSPC. */
static void test_writer_full_disk(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_BYTES_MAX];
	void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
	struct rlimit limit, small;
	uint64_t records, torn;
	char path[400];
	struct world w;
	int fd;

	CU_ASSERT_EQUAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = 200000;
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &small), 0);
	world_init(&w, NULL);
	begin(&w);
	for (unsigned i = 0; i < 10; i++)
		append(&w, 100 + i * sizeof(bytes), bytes, sizeof(bytes));
	settle(&w);
	CU_ASSERT_EQUAL(w.failures, 1);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
	(void)signal(SIGXFSZ, before);
	(void)snprintf(path, sizeof(path), "%s/vm1-g7-p100.vmftlog", w.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CU_ASSERT_EQUAL(savedlog_read_all(fd, &records, &torn), 0);
	CU_ASSERT_EQUAL(records, 3);
	CU_ASSERT(torn > 0);
	close(fd);
	remove_file(&w, "vm1-g7-p100.vmftlog");
	world_fini(&w);
}

static void touch(const struct world *w, const char *name, time_t when)
{
	const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
	char path[400];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(futimens(fd, times), 0);
	close(fd);
}

static void test_prune(void)
{
	static const char *const kept[] = {
	    "a-g2-p0.vmftlog",	 "a-g1-p0.1.vmftlog", "a-g1-g1-p0.vmftlog", "a-g1-p.vmftlog",
	    "a-g1-p0.x.vmftlog", "ab-g1-p0.vmftlog",  "a-g1-p0.vmftlog.gz"};
	struct world w;

	world_init(&w, NULL);
	touch(&w, "a-g1-p0.vmftlog", 100);
	touch(&w, "a-g9-p9.vmftlog", 200);
	touch(&w, kept[0], 400);
	touch(&w, kept[1], 300);
	for (size_t i = 2; i < sizeof(kept) / sizeof(kept[0]); i++)
		touch(&w, kept[i], 1);
	CU_ASSERT_EQUAL(vmft_savedlog_prune(w.dir, "a", 2), 0);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		remove_file(&w, kept[i]);
	world_fini(&w); /* the directory is empty: the two oldest are gone */
	CU_ASSERT_EQUAL(vmft_savedlog_prune("/nonexistent", "a", 2), -ENOENT);
}

int vmft_suite_savedlog_writer(void)
{
	static CU_TestInfo tests[] = {
	    {"writer", test_writer},
	    {"writer, slow disk", test_writer_slow_disk},
	    {"writer, no directory", test_writer_no_directory},
	    {"writer, full disk", test_writer_full_disk},
	    {"old files", test_prune},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"saved log: writer", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
