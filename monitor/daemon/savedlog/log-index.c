/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log-index.h"

#include <inttypes.h>
#include <stdbool.h>
#include <sys/types.h>

#include "logging-channel/event-text.h"
#include "logging-channel/event.h"

#define BEFORE 48u /* events printed */
#define AFTER  16u
#define SHOWN  64u /* bytes of an entry that are looked at */

/* A mark is so far before the position at least, so that there is something to print. */
#define LEAD 1024u

void vmft_log_index_restart(struct vmft_log_index *index, uint64_t position)
{
	index->mark[0] = position;
	index->marks = 1;
}

void vmft_log_index_note(struct vmft_log_index *index, uint64_t position, uint64_t ring_bytes)
{
	const uint64_t last = index->marks ? index->mark[(index->marks - 1) % VMFT_LOG_MARKS] : 0;

	/* So that they reach over all of the ring. */
	if (index->marks == 0 || position - last >= ring_bytes / (VMFT_LOG_MARKS / 2))
		index->mark[index->marks++ % VMFT_LOG_MARKS] = position;
}

/* The last mark well before the position, or the first there is; false: none is in the ring. */
static bool find_mark(const struct vmft_log_index *index, uint64_t oldest, uint64_t position,
		      uint64_t *ret)
{
	const uint64_t kept = index->marks < VMFT_LOG_MARKS ? index->marks : VMFT_LOG_MARKS;
	bool found = false;

	for (uint64_t i = index->marks; i-- > index->marks - kept;) {
		const uint64_t mark = index->mark[i % VMFT_LOG_MARKS];

		if (mark < oldest)
			break;
		if (mark > position)
			continue;
		*ret = mark;
		found = true;
		if (position - mark >= LEAD)
			break;
	}
	return found;
}

struct line {
	uint64_t position;
	ssize_t length;
	size_t have; /* of head: the whole entry, or what is shown of it */
	uint8_t head[SHOWN];
};

static void print(const struct vmft_log_format *format, const struct line *line, uint64_t position,
		  FILE *to)
{
	char text[160];

	vmft_event_line(format, line->head, line->have, text, sizeof(text));
	(void)fprintf(to, "%c %12" PRIu64 " %8zd  %s\n", line->position == position ? '>' : ' ',
		      line->position, line->length, text);
}

static bool read_line(const struct vmft_log_format *format, const struct vmft_ring *ring,
		      uint64_t at, uint64_t end, struct line *ret)
{
	const uint64_t left = end - at;
	const size_t n = left < sizeof(ret->head) ? (size_t)left : sizeof(ret->head);

	vmft_ring_read(ring, at, ret->head, n);
	ret->position = at;
	ret->length = vmft_event_length(format, ret->head, n);
	ret->have = ret->length > 0 && (size_t)ret->length < n ? (size_t)ret->length : n;
	return ret->length > 0 && (uint64_t)ret->length <= left;
}

void vmft_log_index_print(const struct vmft_log_index *index, const struct vmft_log_format *format,
			  const struct vmft_ring *ring, uint64_t end, uint64_t position, FILE *to)
{
	const uint64_t oldest = end > ring->size ? end - ring->size : 0;
	struct line line[BEFORE] = {0};
	uint64_t at, count = 0;
	unsigned after = 0;

	if (!find_mark(index, oldest, position, &at)) {
		(void)fprintf(to, "  (not in memory any more)\n");
		return;
	}
	for (; at < end && at < position; count++) {
		if (!read_line(format, ring, at, end, &line[count % BEFORE]))
			break;
		at += (uint64_t)line[count % BEFORE].length;
	}
	for (uint64_t i = count > BEFORE ? count - BEFORE : 0; i < count; i++)
		print(format, &line[i % BEFORE], position, to);
	for (; at < end && after < AFTER && read_line(format, ring, at, end, &line[0]); after++) {
		print(format, &line[0], position, to);
		at += (uint64_t)line[0].length;
	}
	if (at < end && after < AFTER)
		(void)fprintf(to, "  %12" PRIu64 "  no event that is known\n", at);
}
