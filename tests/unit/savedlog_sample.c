/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "savedlog_sample.h"

char savedlog_words[] = "-m\0"
			"256M\0-append\0a b\0";

struct vmft_savedlog_header savedlog_sample(uint8_t kind)
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
	    .cmdline = savedlog_words,
	    .cmdline_bytes = WORDS_BYTES,
	};

	return h;
}

int savedlog_read_all(int fd, uint64_t *ret_records, uint64_t *ret_torn)
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
