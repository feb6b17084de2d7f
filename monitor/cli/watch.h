/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One look of vmft watch at an answer. */
#ifndef VMFT_WATCH_H
#define VMFT_WATCH_H

#include <stdbool.h>
#include <stdio.h>

enum vmft_watch_how {
	VMFT_WATCH_LINES,
	VMFT_WATCH_TTY, /* one line, printed over the one before */
	VMFT_WATCH_JSON,
};

/* Prints a line. *ret_over: there is nothing more to wait for; then the result is the exit code. */
int vmft_watch_once(const char *answer, enum vmft_watch_how how, FILE *to, bool *ret_over);

#endif
