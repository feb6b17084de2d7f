/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happened, one line each: printed as it happens, the last lines kept for status. */
#ifndef VMFT_JOURNAL_H
#define VMFT_JOURNAL_H

#include <stdint.h>

#define VMFT_JOURNAL_LINES 32u

struct vmft_journal {
	char who[96]; /* "NAME ROLE", leads each printed line */
	uint64_t written;
	struct {
		uint64_t at_ns; /* CLOCK_MONOTONIC */
		char text[200];
	} line[VMFT_JOURNAL_LINES]; /* line[i % VMFT_JOURNAL_LINES] is the i-th written */
};

void vmft_journal_say(struct vmft_journal *journal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
