/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "journal.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "logging-channel/loop.h"

uint64_t vmft_journal_wall_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void add_event(struct vmft_journal *journal, const char *was, const char *text)
{
	struct vmft_journal_event *event =
	    &journal->event[journal->happened++ % VMFT_JOURNAL_EVENTS];

	event->at_ns = vmft_loop_now();
	event->wall_ms = vmft_journal_wall_ms();
	event->state = journal->state;
	event->reason = journal->reason;
	event->generation = journal->generation;
	event->was = was;
	(void)snprintf(event->text, sizeof(event->text), "%s", text);
}

/* Prints and keeps a line. Texts of the other side and of files stand in it. */
__attribute__((format(printf, 2, 0))) static const char *write_line(struct vmft_journal *journal,
								    const char *format, va_list ap)
{
	unsigned slot = (unsigned)(journal->written++ % VMFT_JOURNAL_LINES);
	char *text = journal->line[slot].text;

	(void)vsnprintf(text, sizeof(journal->line[slot].text), format, ap);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	journal->line[slot].at_ns = vmft_loop_now();
	(void)fprintf(stderr, "vmft-monitor[%s@%s%s%s]: %s\n", journal->vm ? journal->vm : "",
		      journal->host ? journal->host : "", journal->role ? " " : "",
		      journal->role ? journal->role : "", text);
	return text;
}

void vmft_journal_say(struct vmft_journal *journal, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add_event(journal, NULL, write_line(journal, format, ap));
	va_end(ap);
}

/* The line of a change, which is the event's text: it is no event of its own. */
static const char *change_line(struct vmft_journal *journal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static const char *change_line(struct vmft_journal *journal, const char *format, ...)
{
	const char *text;
	va_list ap;

	va_start(ap, format);
	text = write_line(journal, format, ap);
	va_end(ap);
	return text;
}

void vmft_journal_state(struct vmft_journal *journal, const struct vmft_core *before,
			const struct vmft_core *now, bool quiet)
{
	const char *text = "";

	journal->state = vmft_state_name(now->state);
	journal->reason = now->why == VMFT_WHY_NONE ? "" : vmft_why_text(now->why);
	journal->generation = now->generation;
	if (!before)
		return;
	if (!quiet)
		text = change_line(journal, "%s, generation %llu%s%s", journal->state,
				   (unsigned long long)now->generation,
				   journal->reason[0] ? ": " : "", journal->reason);
	add_event(journal, vmft_state_name(before->state), text);
}
