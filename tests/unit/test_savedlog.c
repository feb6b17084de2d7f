/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The saved log: its header, its records, and reading its files. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "logging-channel/savedlog.h"
#include "savedlog_sample.h"
#include "suites.h"

static void test_header_round_trip(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_HEADER_MAX];
	static struct vmft_savedlog_header in, out;
	ssize_t n;

	in = savedlog_sample(VMFT_SAVEDLOG_LOCKSTEP);
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
	CU_ASSERT_EQUAL(memcmp(out.cmdline, savedlog_words, WORDS_BYTES), 0);
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

	in = savedlog_sample(VMFT_SAVEDLOG_CHECKPOINT);
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

	in = savedlog_sample(VMFT_SAVEDLOG_LOCKSTEP);
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

/* Anybody may have written a file, also one with a right checksum. */
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

	h = savedlog_sample(VMFT_SAVEDLOG_LOCKSTEP);
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

	h = savedlog_sample(VMFT_SAVEDLOG_LOCKSTEP);
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

/* The bytes of a log whose format is not known are not guessed at; a checkpoint's has none. */
static void test_file_of_another_qemu(void)
{
	static uint8_t bytes[VMFT_SAVEDLOG_HEADER_MAX];
	static struct vmft_savedlog_header header;
	uint64_t records, torn;

	for (unsigned i = 0; i < 2; i++) {
		const int fd = memfd_create("log", 0);
		ssize_t n;

		header = savedlog_sample(i ? VMFT_SAVEDLOG_CHECKPOINT : VMFT_SAVEDLOG_LOCKSTEP);
		header.id.log_version++;
		n = vmft_savedlog_header_encode(&header, bytes);
		CU_ASSERT_EQUAL_FATAL(write(fd, bytes, (size_t)n), n);
		CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_SET), 0);
		CU_ASSERT_EQUAL(savedlog_read_all(fd, &records, &torn), i ? 0 : -EPROTONOSUPPORT);
		close(fd);
	}
}

static void test_file(void)
{
	off_t size;
	int fd = make_file(&size);
	uint64_t records, torn;

	CU_ASSERT_EQUAL(savedlog_read_all(fd, &records, &torn), 0);
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
			CU_ASSERT_EQUAL(savedlog_read_all(fd, &records, &torn), 0);
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
	CU_ASSERT_EQUAL(savedlog_read_all(fd, &records, &torn), -EBADMSG);
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
	CU_ASSERT_EQUAL(savedlog_read_all(fd, &records, &torn), -EBADMSG);
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

int vmft_suite_savedlog(void)
{
	static CU_TestInfo tests[] = {
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
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"saved log", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
