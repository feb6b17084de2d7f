/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A saved log from anywhere: each decoder on the bytes, then the bytes as a file, read to its end
 * as records and as entries that are put into words. What is taken keeps within its limits and,
 * encoded again, is the same bytes.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver.h"
#include "logging-channel/event-text.h"
#include "logging-channel/savedlog.h"

static uint8_t again[VMFT_SAVEDLOG_HEADER_MAX];

static void must(bool good)
{
	if (!good)
		abort();
}

static void try_header(const uint8_t *data, size_t size)
{
	static struct vmft_savedlog_header header;
	ssize_t n = vmft_savedlog_header_decode(data, size, &header);

	if (n <= 0)
		return;
	must((size_t)n <= size && vmft_savedlog_header_encode(&header, again) == n);
	must(memcmp(again, data, (size_t)n) == 0);
	vmft_savedlog_header_free(&header);
}

static void try_record(const uint8_t *data, size_t size)
{
	struct vmft_savedlog_record record;
	ssize_t n = vmft_savedlog_record_decode(data, size, &record);

	if (n <= 0)
		return;
	must((size_t)n <= size && record.bytes + record.length == data + n);
	memcpy(again + VMFT_SAVEDLOG_RECORD_HEAD, record.bytes, record.length);
	must(vmft_savedlog_record_seal(again, &record) == (size_t)n);
	must(memcmp(again, data, (size_t)n) == 0);
}

static void read_records(int fd)
{
	struct vmft_savedlog_reader reader;
	struct vmft_savedlog_record record;
	uint64_t next;

	must(vmft_savedlog_open(&reader, fd) == 0);
	next = reader.header.start;
	while (vmft_savedlog_next(&reader, &record) > 0) {
		must(record.position >= next && record.length <= VMFT_SAVEDLOG_BYTES_MAX);
		next = record.position + record.length;
	}
	vmft_savedlog_close(&reader);
}

static void read_entries(int fd)
{
	struct vmft_savedlog_reader reader;
	struct vmft_savedlog_entries entries;
	struct vmft_savedlog_entry entry;
	char line[256];

	must(vmft_savedlog_open(&reader, fd) == 0);
	must(vmft_savedlog_entries_init(&entries, &reader) == 0);
	while (vmft_savedlog_entries_next(&entries, &entry) > 0)
		vmft_event_line(reader.format, entry.bytes, entry.length, line, sizeof(line));
	vmft_savedlog_entries_fini(&entries);
	vmft_savedlog_close(&reader);
}

/* Behind a good header, and as good records, else checksums would keep the fuzzer out. */
static int make_file(const uint8_t *data, size_t size)
{
	static struct vmft_savedlog_header header = {
	    .kind = VMFT_SAVEDLOG_LOCKSTEP,
	    .id = {.log_version = VMFT_LOG_VERSION_QEMU_7_2, .name = "vm"},
	    .qemu = "/qemu",
	};
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	ssize_t n = vmft_savedlog_header_encode(&header, again);

	must(fd >= 0 && n > 0 && write(fd, again, (size_t)n) == n);
	for (size_t at = 0; at < size; at += 50) {
		struct vmft_savedlog_record record = {.position = at};

		record.length = size - at < 50 ? (uint32_t)(size - at) : 50;
		memcpy(again + VMFT_SAVEDLOG_RECORD_HEAD, data + at, record.length);
		n = (ssize_t)vmft_savedlog_record_seal(again, &record);
		must(write(fd, again, (size_t)n) == n);
	}
	/* And as they are: damaged, or torn. */
	must(size == 0 || write(fd, data, size) == (ssize_t)size);
	return fd;
}

/* What vmft_event_length() calls whole is put into words whatever stands in it. */
static void try_line(const uint8_t *data, size_t size)
{
	char line[40];
	const struct vmft_log_format *format = vmft_log_format_find(VMFT_LOG_VERSION_QEMU_7_2);
	ssize_t n = vmft_event_length(format, data, size);

	if (n > 0 && (size_t)n <= size)
		vmft_event_line(format, data, (size_t)n, line, sizeof(line));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd;

	try_header(data, size);
	try_record(data, size);
	try_line(data, size);
	fd = make_file(data, size);
	read_records(fd);
	read_entries(fd);
	close(fd);
	return 0;
}

static const uint8_t log_bytes[] = {
    30, 29, 0,	0, 0, 0, 0, 0,	0,  5, 0, 0, 0, 1, 0, 31, 8, 0, 0, 0,  0,  0, 0,
    0,	1,  22, 0, 0, 0, 1, 0,	0,  0, 1, 9, 0, 0, 0, 0,  0, 0, 0, 0,  14, 1, 2,
    3,	4,  5,	6, 1, 2, 3, 4,	5,  6, 8, 0, 5, 0, 0, 0,  0, 0, 0, 0,  0,  1, 30,
    1,	7,  0,	0, 0, 0, 1, 65, 27, 0, 0, 0, 0, 0, 0, 0,  2, 9, 9, 16, 39,
};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {log_bytes, sizeof(log_bytes)},
    {0},
};
