/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An error as one line for a person: what is wrong, where, what to do.
 *
 * A function that can refuse input takes a struct vmft_error last, fills it on
 * failure only, and returns a negative errno; the caller decides where to print.
 */
#ifndef VMFT_ERROR_H
#define VMFT_ERROR_H

struct vmft_error {
	int exit_code;	/* enum vmft_exit to leave the program with */
	char text[512]; /* one line, no newline, always terminated */
};

/*
 * Fills *err (which may be NULL) and returns err_no unchanged, so that a refusal is
 * one statement: return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG, "...").
 * Newlines and other control bytes that came in through an argument are shown as '?'.
 */
int vmft_error_set(struct vmft_error *err, int err_no, int exit_code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
