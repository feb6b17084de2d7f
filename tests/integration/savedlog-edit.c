/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-savedlog-edit FROM TO POSITION BYTE: a copy of a saved log in which one byte of the log is
 * another, and nothing else tells: what a test of "vmft replay" needs. Exits 0 or 1.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../logging-channel/savedlog.h"

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

int main(int argc, char *argv[])
{
	static struct vmft_savedlog_reader reader;
	FILE *to;
	int fd, rc;

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
