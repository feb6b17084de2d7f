/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal.h"

#include <stdarg.h>
#include <stdio.h>

#include "logging-channel/loop.h"

void vmft_journal_say(struct vmft_journal *journal, const char *format, ...)
{
	unsigned slot = (unsigned)(journal->written++ % VMFT_JOURNAL_LINES);
	char *text = journal->line[slot].text;
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(journal->line[slot].text), format, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	journal->line[slot].at_ns = vmft_loop_now();
	(void)fprintf(stderr, "vmft-monitor[%s]: %s\n", journal->who, text);
}
