/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-savedlog-edit FROM TO POSITION BYTE: a copy of a saved log in which one byte of the log is
 * another, and nothing else tells: what a test of "vmft replay" needs.
 * vmft-savedlog-edit --forge TO QEMU: a log that a stranger made, whose header names QEMU for the
 * program. Exits 0 or 1.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logging-channel/savedlog.h"

static int put(FILE *to, const struct vmft_savedlog_record *record, uint64_t position, uint8_t byte)
{
	static uint8_t bytes[VMFT_SAVEDLOG_RECORD_MAX];
	size_t n;

	memcpy(bytes + VMFT_SAVEDLOG_RECORD_HEAD, record->bytes, record->length);
	if (position >= record->position && position - record->position < record->length)
		bytes[VMFT_SAVEDLOG_RECORD_HEAD + (position - record->position)] = byte;
	n = vmft_savedlog_record_seal(bytes, record);
	return fwrite(bytes, n, 1, to) == 1 ? 0 : -1;
}

static int edit(struct vmft_savedlog_reader *reader, FILE *to, uint64_t position, uint8_t byte)
{
	static uint8_t header[VMFT_SAVEDLOG_HEADER_MAX];
	struct vmft_savedlog_record record;
	ssize_t n = vmft_savedlog_header_encode(&reader->header, header);
	int rc;

	if (n < 0 || fwrite(header, (size_t)n, 1, to) != 1)
		return -1;
	while ((rc = vmft_savedlog_next(reader, &record)) > 0)
		if (put(to, &record, position, byte) < 0)
			return -1;
	return rc;
}

static int forge(const char *path, const char *qemu)
{
	static char words[] = "-nodefaults\0-display\0none\0-accel\0tcg\0-m\0"
			      "64";
	static struct vmft_savedlog_header header = {
	    .kind = VMFT_SAVEDLOG_LOCKSTEP,
	    .generation = 1,
	    .id = {.log_version = VMFT_LOG_VERSION_QEMU_7_2,
		   .build_id_bytes = 2,
		   .build_id = {1, 2},
		   .name = "forged"},
	    .directory = "/",
	    .cmdline = words,
	    .cmdline_bytes = sizeof(words),
	};
	static uint8_t bytes[VMFT_SAVEDLOG_HEADER_MAX];
	const uint8_t end = 39; /* VMFT_EVENT_END */
	const struct vmft_savedlog_record record = {.length = 1, .bytes = &end};
	FILE *to = fopen(path, "we");
	ssize_t n;

	(void)snprintf(header.qemu, sizeof(header.qemu), "%s", qemu);
	n = vmft_savedlog_header_encode(&header, bytes);
	if (!to || n < 0 || fwrite(bytes, (size_t)n, 1, to) != 1 || put(to, &record, 1, 0) < 0)
		return EXIT_FAILURE;
	return fclose(to) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char *argv[])
{
	static struct vmft_savedlog_reader reader;
	FILE *to;
	int fd, rc;

	if (argc == 4 && strcmp(argv[1], "--forge") == 0)
		return forge(argv[2], argv[3]);
	if (argc != 5)
		return EXIT_FAILURE;
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	to = fopen(argv[2], "we");
	if (fd < 0 || !to || vmft_savedlog_open(&reader, fd) < 0)
		return EXIT_FAILURE;
	rc = edit(&reader, to, strtoull(argv[3], NULL, 10), (uint8_t)strtoul(argv[4], NULL, 10));
	vmft_savedlog_close(&reader);
	close(fd);
	return fclose(to) == 0 && rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
