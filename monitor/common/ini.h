/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lines of an INI file that is in memory: [SECTION], KEY = VALUE (or KEY: VALUE), comments.
 *
 * A line that begins with ; or # is a comment, and so is what follows a blank and a ; in any
 * line. Blanks at the beginning of a line mean nothing. A byte order mark at the beginning of
 * the file, which editors of other systems write, is skipped.
 */
#ifndef VMFT_INI_H
#define VMFT_INI_H

#include <stddef.h>

#define VMFT_INI_LINE_MAX 8192u /* bytes of a line and the terminating zero */

enum vmft_ini_kind {
	VMFT_INI_END,	  /* of the file */
	VMFT_INI_SECTION, /* name */
	VMFT_INI_KEY,	  /* name and value, which may be "" */
	VMFT_INI_BAD,	  /* neither of the two */
	VMFT_INI_LONG,	  /* a line of VMFT_INI_LINE_MAX bytes or more */
};

struct vmft_ini {
	const char *at, *end; /* what is still to be read */
	int line;	      /* of the last item, counted from 1 */
	/* Of the last item, in text: good until the next is asked for. */
	const char *name, *value;
	char text[VMFT_INI_LINE_MAX];
};

/* bytes must stay where they are as long as items are asked for. */
void vmft_ini_open(struct vmft_ini *ini, const char *bytes, size_t n);

/* The next item; comments and empty lines are skipped. */
enum vmft_ini_kind vmft_ini_next(struct vmft_ini *ini);

#endif
