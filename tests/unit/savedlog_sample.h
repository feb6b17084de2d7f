/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A header and the bytes of a saved log, for its tests. */
#ifndef VMFT_TEST_SAVEDLOG_SAMPLE_H
#define VMFT_TEST_SAVEDLOG_SAMPLE_H

#include <stdint.h>

#include "logging-channel/savedlog.h"

/* The command line in the header. */
extern char savedlog_words[21];

#define WORDS_BYTES (sizeof(savedlog_words) - 1)

/* A header with all its fields set. */
struct vmft_savedlog_header savedlog_sample(uint8_t kind);

/* Reads on to the end. Returns what the last call said, and how many records came before. */
int savedlog_read_all(int fd, uint64_t *ret_records, uint64_t *ret_torn);

#endif
