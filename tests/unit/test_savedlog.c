/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "logging-channel/event-text.h"
#include "logging-channel/savedlog-writer.h"
#include "logging-channel/savedlog.h"
#include "monitor/wrapper/offline.h"
#include "suites.h"

static char words[] = "-m\0256M\0-append\0a b\0";
#define WORDS_BYTES (sizeof(words) - 1)

static struct vmft_savedlog_header sample(uint8_t kind)
{
	struct vmft_savedlog_header h = {
	    .kind = kind,
	    .disks_by_size = true,
	    .generation = 7,
	    .start = 100,
	    .id = {.log_version = VMFT_LOG_VERSION_QEMU_7_2,
		   .build_id_bytes = 2,
		   .build_id = {1, 2},
		   .machine_bytes = 1,
		   .machine = {3},
		   .name = "vm1"},
	    .directory = "/srv",
	    .qemu = "/usr/bin/qemu",
	    .cmdline = words,
	    .cmdline_bytes = WORDS_BYTES,
	};

	return h;
}

static void test_header_round_trip(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_HEADER_MAX];
	static struct vmft_savedlog_header in, out;
	ssize_t n;

	in = sample(VMFT_SAVEDLOG_LOCKSTEP);
	n = vmft_savedlog_header_encode(&in, bytes);
	CU_ASSERT_FATAL(n > 0);
	CU_ASSERT_EQUAL(vmft_savedlog_header_decode(bytes, sizeof(bytes), &out), n);
	CU_ASSERT_EQUAL(out.kind, VMFT_SAVEDLOG_LOCKSTEP);
	CU_ASSERT(out.disks_by_size && !out.attached);
	CU_ASSERT_EQUAL(out.generation, 7);
	CU_ASSERT_EQUAL(out.start, 100);
	CU_ASSERT_EQUAL(out.id.log_version, VMFT_LOG_VERSION_QEMU_7_2);
	CU_ASSERT_EQUAL(out.id.build_id_bytes, in.id.build_id_bytes);
	CU_ASSERT_EQUAL(memcmp(out.id.build_id, in.id.build_id, sizeof(in.id.build_id)), 0);
	CU_ASSERT_EQUAL(out.id.machine_bytes, in.id.machine_bytes);
	CU_ASSERT_EQUAL(memcmp(out.id.machine, in.id.machine, sizeof(in.id.machine)), 0);
	CU_ASSERT_EQUAL(out.id.disk_bytes, 0);
	CU_ASSERT_STRING_EQUAL(out.id.name, in.id.name);
	CU_ASSERT_STRING_EQUAL(out.directory, "/srv");
	CU_ASSERT_STRING_EQUAL(out.qemu, "/usr/bin/qemu");
	CU_ASSERT_EQUAL_FATAL(out.cmdline_bytes, WORDS_BYTES);
	CU_ASSERT_EQUAL(memcmp(out.cmdline, words, WORDS_BYTES), 0);
	vmft_savedlog_header_free(&out);
	for (size_t cut = 0; cut < (size_t)n; cut++)
		CU_ASSERT_EQUAL(vmft_savedlog_header_decode(bytes, cut, &out), 0);
	for (size_t i = 0; i < (size_t)n; i++) {
		ssize_t rc;

		bytes[i] ^= 0x10;
		rc = vmft_savedlog_header_decode(bytes, (size_t)n, &out);
		/* A longer length asks for more. */
		CU_ASSERT(rc < 0 || (rc == 0 && i >= 12 && i < 16));
		bytes[i] ^= 0x10;
	}
}

static void test_header_other_files(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_HEADER_MAX];
	static struct vmft_savedlog_header in, out;

	in = sample(VMFT_SAVEDLOG_CHECKPOINT);
	CU_ASSERT_FATAL(vmft_savedlog_header_encode(&in, bytes) > 0);
	bytes[11]++;
	CU_ASSERT_EQUAL(vmft_savedlog_header_decode(bytes, sizeof(bytes), &out), -EPROTONOSUPPORT);
	CU_ASSERT_EQUAL(vmft_savedlog_header_decode((const uint8_t *)"[pair]\nname=a", 13, &out),
			-EPROTO);
}

static void header_text_is(const char *name, const char *directory, const char *qemu, bool good)
{
	static uint8_t bytes[VMFT_SAVEDLOG_HEADER_MAX];
	static struct vmft_savedlog_header in, out;
	ssize_t n;

	in = sample(VMFT_SAVEDLOG_LOCKSTEP);
	(void)snprintf(in.id.name, sizeof(in.id.name), "%s", name);
	(void)snprintf(in.directory, sizeof(in.directory), "%s", directory);
	(void)snprintf(in.qemu, sizeof(in.qemu), "%s", qemu);
	n = vmft_savedlog_header_encode(&in, bytes);
	CU_ASSERT_FATAL(n > 0);
	n = vmft_savedlog_header_decode(bytes, sizeof(bytes), &out);
	CU_ASSERT_EQUAL(n > 0, good);
	if (n > 0)
		vmft_savedlog_header_free(&out);
	else
		CU_ASSERT_EQUAL(n, -EBADMSG);
}

/* A file may have been written by anybody; the checksum is no secret. */
static void test_header_texts(void)
{
	header_text_is("a-Z.9_", "", "/q", true);
	header_text_is("vm1", "/a b;c", "/opt/QEMU 7.2/q", true);
	header_text_is("", "/", "/q", false);
	header_text_is(".", "/", "/q", false);
	header_text_is("../x", "/", "/q", false);
	header_text_is("vm1\nqemu = /tmp/x", "/", "/q", false);
	header_text_is("vm1 ; x", "/", "/q", false);
	header_text_is("vm1", "srv", "/q", false);
	header_text_is("vm1", "/srv\n", "/q", false);
	header_text_is("vm1", "/srv\x1b[2J", "/q", false);
	header_text_is("vm1", "/", "", false);
	header_text_is("vm1", "/", "q", false);
	header_text_is("vm1", "/", "/q\n[primary]", false);
}

static void test_header_caps(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_HEADER_MAX];
	static char many[VMFT_SAVEDLOG_CMDLINE_MAX + 1];
	static struct vmft_savedlog_header h;

	h = sample(VMFT_SAVEDLOG_LOCKSTEP);
	memset(many, 'x', sizeof(many));
	h.cmdline = many;
	h.cmdline_bytes = sizeof(many);
	many[sizeof(many) - 1] = '\0';
	CU_ASSERT_EQUAL(vmft_savedlog_header_encode(&h, bytes), -E2BIG);
	many[sizeof(many) - 2] = '\0';
	h.cmdline_bytes = sizeof(many) - 1;
	memset(h.directory, 'd', VMFT_SAVEDLOG_PATH_MAX);
	memset(h.qemu, 'q', VMFT_SAVEDLOG_PATH_MAX);
	CU_ASSERT(vmft_savedlog_header_encode(&h, bytes) > 0);
	memset(many, 0, sizeof(many));
	h.cmdline_bytes = VMFT_SAVEDLOG_WORDS_MAX;
	CU_ASSERT(vmft_savedlog_header_encode(&h, bytes) > 0);
	h.cmdline_bytes++;
	CU_ASSERT_EQUAL(vmft_savedlog_header_encode(&h, bytes), -E2BIG);
	many[0] = 'x';
	h.cmdline_bytes = 1; /* not ended */
	CU_ASSERT_EQUAL(vmft_savedlog_header_encode(&h, bytes), -E2BIG);
}

static size_t seal(uint8_t *at, uint64_t position, const void *bytes, uint32_t n)
{
	const struct vmft_savedlog_record record = {
	    .position = position, .held_ns = 5000 + (int64_t)position, .length = n};

	if (n > 0)
		memcpy(at + VMFT_SAVEDLOG_RECORD_HEAD, bytes, n);
	return vmft_savedlog_record_seal(at, &record);
}

static void test_record(void)
{
	uint8_t bytes[64];
	struct vmft_savedlog_record out;
	const size_t n = seal(bytes, 9, "abc", 3);

	CU_ASSERT_EQUAL(n, VMFT_SAVEDLOG_RECORD_HEAD + 3);
	CU_ASSERT_EQUAL(vmft_savedlog_record_decode(bytes, sizeof(bytes), &out), (ssize_t)n);
	CU_ASSERT_EQUAL(out.position, 9);
	CU_ASSERT_EQUAL(out.held_ns, 5009);
	CU_ASSERT_EQUAL_FATAL(out.length, 3);
	CU_ASSERT_EQUAL(memcmp(out.bytes, "abc", 3), 0);
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_savedlog_record_decode(bytes, cut, &out), 0);
	for (size_t i = 0; i < n; i++) {
		bytes[i] ^= 1;
		CU_ASSERT(vmft_savedlog_record_decode(bytes, n, &out) <= 0);
		bytes[i] ^= 1;
	}
}

static void test_record_cap(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_RECORD_MAX + 1], content[VMFT_SAVEDLOG_BYTES_MAX + 1];
	struct vmft_savedlog_record out;

	CU_ASSERT_EQUAL(seal(bytes, 0, content, VMFT_SAVEDLOG_BYTES_MAX), VMFT_SAVEDLOG_RECORD_MAX);
	CU_ASSERT_EQUAL(vmft_savedlog_record_decode(bytes, sizeof(bytes), &out),
			VMFT_SAVEDLOG_RECORD_MAX);
	(void)seal(bytes, 0, content, VMFT_SAVEDLOG_BYTES_MAX + 1);
	CU_ASSERT_EQUAL(vmft_savedlog_record_decode(bytes, sizeof(bytes), &out), -EBADMSG);
}

/* --- files ----------------------------------------------------------------- */

/* checkpoint, instruction, char write: 1 + 5 + 9 bytes, in records of 4, 4, ...; no record ends
 * with a zero, which a tail of zeroes could stand for. */
static const uint8_t log_bytes[] = {37, 0, 9, 9, 9, 9, 22, 1, 1, 1, 1, 1, 1, 1, 1};

#define PIECE 4u

/* A memfd with a header and log_bytes, its first record at position 100; *ret_size bytes. */
static int make_file(off_t *ret_size)
{
	static uint8_t header[VMFT_SAVEDLOG_HEADER_MAX];
	static struct vmft_savedlog_header h;
	int fd = memfd_create("savedlog", MFD_CLOEXEC);
	uint8_t record[64];
	ssize_t n;

	h = sample(VMFT_SAVEDLOG_LOCKSTEP);
	n = vmft_savedlog_header_encode(&h, header);
	CU_ASSERT_FATAL(fd >= 0 && n > 0 && write(fd, header, (size_t)n) == n);
	for (size_t at = 0; at < sizeof(log_bytes); at += PIECE) {
		size_t piece = sizeof(log_bytes) - at;

		piece = seal(record, 100 + at, log_bytes + at,
			     (uint32_t)(piece < PIECE ? piece : PIECE));
		CU_ASSERT_FATAL(write(fd, record, piece) == (ssize_t)piece);
	}
	*ret_size = lseek(fd, 0, SEEK_CUR);
	return fd;
}

/* Reads on to the end. Returns what the last call said, and how many records came before. */
static int read_all(int fd, uint64_t *ret_records, uint64_t *ret_torn)
{
	struct vmft_savedlog_reader reader;
	struct vmft_savedlog_record record;
	int rc = vmft_savedlog_open(&reader, fd);

	if (rc < 0)
		return rc;
	while ((rc = vmft_savedlog_next(&reader, &record)) > 0)
		;
	*ret_records = reader.records;
	*ret_torn = reader.torn;
	vmft_savedlog_close(&reader);
	return rc;
}

/* The bytes of a log whose format is not known are not guessed at; a checkpoint's has none. */
static void test_file_of_another_qemu(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_HEADER_MAX];
	static struct vmft_savedlog_header header;
	uint64_t records, torn;

	for (unsigned i = 0; i < 2; i++) {
		const int fd = memfd_create("log", 0);
		ssize_t n;

		header = sample(i ? VMFT_SAVEDLOG_CHECKPOINT : VMFT_SAVEDLOG_LOCKSTEP);
		header.id.log_version++;
		n = vmft_savedlog_header_encode(&header, bytes);
		CU_ASSERT_EQUAL_FATAL(write(fd, bytes, (size_t)n), n);
		CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_SET), 0);
		CU_ASSERT_EQUAL(read_all(fd, &records, &torn), i ? 0 : -EPROTONOSUPPORT);
		close(fd);
	}
}

static void test_file(void)
{
	off_t size;
	int fd = make_file(&size);
	uint64_t records, torn;

	CU_ASSERT_EQUAL(read_all(fd, &records, &torn), 0);
	CU_ASSERT_EQUAL(records, 4);
	CU_ASSERT_EQUAL(torn, 0);
	close(fd);
}

/* Cut anywhere, also when zeroes follow: the whole records before are there, nothing else. */
static void test_torn_tail(void)
{
	static const off_t zeroes[] = {0, 1, 31, 100, 600000};
	off_t size;

	close(make_file(&size));
	for (off_t less = 1; less < 60; less++)
		for (size_t i = 0; i < sizeof(zeroes) / sizeof(zeroes[0]); i++) {
			int fd = make_file(&size);
			uint64_t records = 99, torn = 0;

			CU_ASSERT_EQUAL(ftruncate(fd, size - less), 0);
			CU_ASSERT_EQUAL(ftruncate(fd, size - less + zeroes[i]), 0);
			CU_ASSERT_EQUAL(read_all(fd, &records, &torn), 0);
			CU_ASSERT_EQUAL(records, less <= 35 ? 3 : 2);
			if (less != 35)
				CU_ASSERT(torn > 0);
			close(fd);
		}
}

static void test_damage(void)
{
	off_t size;
	int fd = make_file(&size);
	uint64_t records, torn;

	/* A byte of the second of four records. */
	CU_ASSERT_EQUAL(pwrite(fd, "~", 1, size - 35 - 36 - 2), 1);
	CU_ASSERT_EQUAL(read_all(fd, &records, &torn), -EBADMSG);
	CU_ASSERT_EQUAL(records, 1);
	close(fd);
}

static void test_gap(void)
{
	off_t size;
	int fd = make_file(&size);
	uint64_t records, torn;
	uint8_t record[64];
	size_t n = seal(record, 100 + sizeof(log_bytes) + 1, "x", 1);

	CU_ASSERT_EQUAL(write(fd, record, n), (ssize_t)n);
	CU_ASSERT_EQUAL(read_all(fd, &records, &torn), -EBADMSG);
	CU_ASSERT_EQUAL(records, 4);
	close(fd);
}

static void test_entries(void)
{
	static const size_t lengths[] = {1, 5, 9};
	struct vmft_savedlog_reader reader;
	struct vmft_savedlog_entries entries;
	struct vmft_savedlog_entry entry;
	uint64_t at = 100;
	off_t size;
	int fd = make_file(&size);

	CU_ASSERT_EQUAL_FATAL(vmft_savedlog_open(&reader, fd), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_savedlog_entries_init(&entries, &reader), 0);
	for (size_t i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL_FATAL(vmft_savedlog_entries_next(&entries, &entry), 1);
		CU_ASSERT_EQUAL(entry.position, at);
		CU_ASSERT_EQUAL_FATAL(entry.length, lengths[i]);
		CU_ASSERT_EQUAL(memcmp(entry.bytes, log_bytes + (at - 100), lengths[i]), 0);
		at += lengths[i];
		/* Of the record that has its last byte. */
		CU_ASSERT_EQUAL(entry.held_ns, 5100 + (int64_t)((at - 101) / PIECE * PIECE));
	}
	CU_ASSERT_EQUAL(vmft_savedlog_entries_next(&entries, &entry), 0);
	vmft_savedlog_entries_fini(&entries);
	vmft_savedlog_close(&reader);
	close(fd);
}

/* --- the writer ------------------------------------------------------------ */

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

/* Until nothing is under way. */
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

	h = sample(VMFT_SAVEDLOG_LOCKSTEP);
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
	CU_ASSERT_EQUAL(read_all(fd, &records, &torn), 0);
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
	CU_ASSERT_EQUAL(read_all(fd, &records, &torn), 0);
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

/* --- entries as text -------------------------------------------------------- */

static void line_is(const uint8_t *bytes, size_t n, const char *expected)
{
	char line[256];

	vmft_event_line(vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2), bytes, n, line,
			sizeof(line));
	CU_ASSERT_STRING_EQUAL(line, expected);
}

static void test_text(void)
{
	uint8_t net[10 + 12 + 42] = {9, 1, 0, 0, 0, 0, 0, 0, 0, 54};

	net[10 + 12 + 12] = 8;
	net[10 + 12 + 23] = 1;
	line_is(net, sizeof(net),
		"net filter 1 length 54 ICMP 00000000000000000000000000000000...");
	net[10 + 12 + 13] = 6;
	line_is(net, sizeof(net), "net filter 1 length 54 ARP 00000000000000000000000000000000...");
	line_is((const uint8_t[]){0, 0, 0, 1, 0}, 5, "instruction instructions 256");
	line_is((const uint8_t[]){28, 0, 0, 0, 0, 0, 0, 0, 9}, 9, "clock host ns 9");
	line_is((const uint8_t[]){29, 255, 255, 255, 255, 255, 255, 255, 255}, 9,
		"clock virtual-rt ns -1");
	line_is((const uint8_t[]){30}, 1, "checkpoint clock-warp-start");
	line_is((const uint8_t[]){38}, 1, "checkpoint reset");
	line_is((const uint8_t[]){16}, 1, "shutdown guest-shutdown");
	line_is((const uint8_t[]){14}, 1, "shutdown host-signal");
	line_is((const uint8_t[]){8, 0, 0, 0, 0, 0, 0, 1, 0}, 9, "block request 256");
	line_is((const uint8_t[]){22, 0, 0, 0, 1, 0, 0, 0, 1}, 9, "char-write result 1 offset 1");
	line_is((const uint8_t[]){7, 0, 0, 0, 0, 2, 'a', 'b'}, 8,
		"char-read device 0 length 2 6162");
	line_is((const uint8_t[]){39}, 1, "end");
	line_is((const uint8_t[]){0xe0, 0, 0, 0, 60, 1, 2, 3, 4, 5, 6, 7, 8}, 13,
		"output length 60 0102030405060708");
	line_is((const uint8_t[]){0xe1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1,
				  0,	0, 0, 0, 2, 0, 0, 0, 7, 9, 9,  9, 9},
		27, "digest sampled 1 000000000000000a pages 256 first 2 stride 7");
}

static void test_every_kind_has_a_name(void)
{
	const struct vmft_log_format *format = vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2);
	const char *name;

	for (unsigned number = 0; number < 256; number++) {
		name = vmft_event_kind_name(format, (uint8_t)number);
		CU_ASSERT_EQUAL(strcmp(name, "unknown") != 0,
				vmft_event_kind(format, (uint8_t)number) != VMFT_EVENT_NONE);
		CU_ASSERT_EQUAL(vmft_event_is_kind_name(name), strcmp(name, "unknown") != 0);
	}
	CU_ASSERT_STRING_EQUAL(vmft_event_kind_name(format, 0xe2), "clock-set");
	CU_ASSERT(!vmft_event_is_kind_name("nonsense"));
}

/* --- the offline line ------------------------------------------------------- */

static void offline_is(const char *const *in, const char *const *out)
{
	static const char *const from[] = {"/a.img", "/dev/vg/b"}, *const to[] = {"/t/0", "/t/1"};
	const struct vmft_offline offline = {
	    .disk_from = from, .disk_to = to, .disk_count = 2, .console = "/t/con,sole"};
	struct vmft_arena *arena = vmft_arena_new();
	struct vmft_error err = {0};
	char **argv = NULL;
	int argc = 0;

	while (in[argc])
		argc++;
	CU_ASSERT_EQUAL(vmft_offline_rewrite(arena, argc, (char *const *)in, &offline, &argv, &err),
			0);
	for (int i = 0; argv && (out[i] || argv[i]); i++) {
		CU_ASSERT_FATAL(out[i] && argv[i]);
		CU_ASSERT_STRING_EQUAL(argv[i], out[i]);
	}
	vmft_arena_free(arena);
}

static void test_offline(void)
{
	offline_is((const char *const[]){"q", "-m", "1G", "-pidfile", "/run/q.pid", "-serial",
					 "file:/var/log/c", "-serial", "stdio", "--drive",
					 "file=/a.img,if=virtio,format=raw", "-netdev",
					 "tap,id=n0,ifname=tap0", "-no-reboot", NULL},
		   (const char *const[]){"q", "-m", "1G", "-serial", "file:/t/con,sole", "-serial",
					 "null", "-drive", "file=/t/0,if=virtio,format=raw",
					 "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no",
					 "-no-reboot", NULL});
	offline_is((const char *const[]){"q", "-chardev", "pty,id=c1", "-chardev",
					 "file,id=c0,path=/x,append=on,logfile=/y", "-device",
					 "isa-serial,chardev=c0,id=s0", "-blockdev",
					 "{\"driver\":\"host_device\",\"filename\":\"/dev/vg/b\","
					 "\"node-name\":\"n\"}",
					 "-netdev", "tap,id=n0,fd=9,vhost=on,vhostfd=10", NULL},
		   (const char *const[]){
		       "q", "-chardev", "null,id=c1", "-chardev", "file,path=/t/con,,sole,id=c0",
		       "-device", "isa-serial,chardev=c0,id=s0", "-blockdev",
		       "{\"driver\":\"file\",\"filename\":\"/t/1\",\"node-name\":\"n\"}", "-netdev",
		       "tap,id=n0,vhost=on,script=no,downscript=no", NULL});
}

/* QEMU would open it for writing, though the replay has nothing to do with it. */
static void test_offline_no_copy(void)
{
	static const char *const lines[][3] = {
	    {"q", "-drive", "file=/etc/x,if=none,id=d,format=raw"},
	    {"q", "-blockdev", "driver=file,filename=/etc/x,node-name=n"},
	    {"q", "-blockdev", "driver=qcow2,file.driver=file,file.filename=/etc/x,node-name=n"},
	};
	static const char *const from[] = {"/a.img"}, *const to[] = {"/t/0"};
	const struct vmft_offline offline = {.disk_from = from, .disk_to = to, .disk_count = 1};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct vmft_arena *arena = vmft_arena_new();
		struct vmft_error err = {0};
		char **argv;

		CU_ASSERT_EQUAL(
		    vmft_offline_rewrite(arena, 3, (char *const *)lines[i], &offline, &argv, &err),
		    -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/etc/x: an image that no device"));
		vmft_arena_free(arena);
	}
}

int vmft_suite_savedlog(void)
{
	static const CU_TestInfo tests[] = {
	    {"header", test_header_round_trip},
	    {"other files", test_header_other_files},
	    {"header texts", test_header_texts},
	    {"header caps", test_header_caps},
	    {"record", test_record},
	    {"record cap", test_record_cap},
	    {"file", test_file},
	    {"file, QEMU's log of another version", test_file_of_another_qemu},
	    {"torn tail", test_torn_tail},
	    {"damage", test_damage},
	    {"gap", test_gap},
	    {"entries", test_entries},
	    {"writer", test_writer},
	    {"writer, slow disk", test_writer_slow_disk},
	    {"writer, no directory", test_writer_no_directory},
	    {"writer, full disk", test_writer_full_disk},
	    {"old files", test_prune},
	    {"text", test_text},
	    {"names", test_every_kind_has_a_name},
	    {"offline command line", test_offline},
	    {"offline command line, an image without a copy", test_offline_no_copy},
	    CU_TEST_INFO_NULL,
	};
	CU_pSuite suite = CU_add_suite("saved log", NULL, NULL);

	for (size_t i = 0; suite && tests[i].pName; i++)
		if (!CU_add_test(suite, tests[i].pName, tests[i].pTestFunc))
			return -1;
	return suite ? 0 : -1;
}
