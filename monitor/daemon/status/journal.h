/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happened: lines for people, and changes of state.
 *
 * A line is printed as it happens and the last ones are kept for status. Lines and changes
 * together are events; the last ones are kept for those who follow them (vmft events).
 */
#ifndef VMFT_JOURNAL_H
#define VMFT_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/core/core.h"

#define VMFT_JOURNAL_LINES  32u
#define VMFT_JOURNAL_EVENTS 64u

struct vmft_journal_event {
	uint64_t at_ns;	  /* CLOCK_MONOTONIC */
	uint64_t wall_ms; /* the time of day, ms since 1970 */
	/* What the side was after it; static texts. */
	const char *state, *reason;
	uint64_t generation;
	const char *was; /* the state before, if this is a change of it; NULL: it is a line */
	char text[200];
};

struct vmft_journal {
	/* These lead each printed line: "vmft-monitor[VM@HOST ROLE]: ". */
	const char *vm, *host; /* the caller's, as long as lines are written; NULL: "" */
	const char *role;      /* "primary" or "backup", at the moment; NULL: neither */
	uint64_t written;      /* lines */
	struct {
		uint64_t at_ns; /* CLOCK_MONOTONIC */
		char text[200];
	} line[VMFT_JOURNAL_LINES]; /* line[i % VMFT_JOURNAL_LINES] is the i-th written */
	uint64_t happened;
	struct vmft_journal_event event[VMFT_JOURNAL_EVENTS]; /* the same of events */
	/* What the side is now: of the last change. */
	const char *state, *reason;
	uint64_t generation;
};

void vmft_journal_say(struct vmft_journal *journal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The core's state is what now says, and was before's. quiet: no line is written, somebody else
 * writes one that says more. Also at the start, with before NULL: then it is no event. */
void vmft_journal_state(struct vmft_journal *journal, const struct vmft_core *before,
			const struct vmft_core *now, bool quiet);

/* The time of day, ms since 1970. */
uint64_t vmft_journal_wall_ms(void);

#endif
