/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a check of a command line has found: each condition that refuses the line, and each part
 * that is replaced by something else. The check goes on after a refusal, so a user sees all of them
 * at once.
 */
#ifndef VMFT_REPORT_H
#define VMFT_REPORT_H

#include <stddef.h>

#include "arena.h"
#include "monitor/common/error.h"
#include "monitor/common/strategy-kind.h"

enum vmft_finding_kind {
	VMFT_FINDING_REFUSED,  /* the guest cannot be protected with this */
	VMFT_FINDING_REPLACED, /* QEMU is given something else, or it is left out */
};

struct vmft_finding {
	enum vmft_finding_kind kind;
	int exit_code;	  /* enum vmft_exit, of a refusal */
	const char *text; /* one line without newline; in the report's arena */
};

/* All zeroes but for the arena, which is the caller's, is an empty report. */
struct vmft_report {
	struct vmft_arena *arena;
	struct vmft_finding *items; /* refusals of one option stand together */
	size_t count;
	size_t capacity;
	/* That the line was checked for, never auto, and why in a few words; in the arena, or a
	 * constant. */
	enum vmft_strategy_kind strategy;
	const char *strategy_reason;
};

/* Adds what *err says as a refusal. The text is copied. Returns -EINVAL. */
int vmft_report_refuse(struct vmft_report *report, const struct vmft_error *err);

/* Adds a part that is replaced. The text is copied, its control bytes are shown as '?'. */
void vmft_report_replaced(struct vmft_report *report, const char *text);

size_t vmft_report_count(const struct vmft_report *report, enum vmft_finding_kind kind);

/*
 * What a program that ends because of the refusals exits with: VMFT_EXIT_UNPROTECTED if one of them
 * says so, the first one's code otherwise, 0 if there is none.
 */
int vmft_report_exit_code(const struct vmft_report *report);

/*
 * For a caller that shows one line: fills *err with the first refusal, and says how many more there
 * are. Returns -EINVAL. There is one.
 */
int vmft_report_to_error(const struct vmft_report *report, struct vmft_error *err);

/* The first refusal; NULL if there is none. */
const struct vmft_finding *vmft_report_first(const struct vmft_report *report);

#endif
