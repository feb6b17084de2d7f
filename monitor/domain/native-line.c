/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "native-line.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const char blanks[] = " \t\n";

/* A word from *line on, without its quotes, to word. 1; 0: there was none, only a line that goes
 * on; or -EINVAL: a quote is open. */
static int take_word(const char **line, char *word)
{
	const char *p = *line;
	bool quoted = false, any = false;

	while (*p && (quoted || !strchr(blanks, *p))) {
		if (*p == '\'') {
			quoted = !quoted;
			any = true;
			p++;
			continue;
		}
		/* Between words a backslash before a newline only goes on with the line. */
		if (*p == '\\' && !quoted && p[1])
			p++;
		if (*p != '\n' || quoted) {
			*word++ = *p;
			any = true;
		}
		p++;
	}
	*word = '\0';
	*line = p;
	return quoted ? -EINVAL : any;
}

static bool is_assignment(const char *word)
{
	const size_t n = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789_");

	return n > 0 && word[n] == '=';
}

int vmft_native_line_split(const char *line, struct vmft_arena *arena, char ***ret)
{
	const size_t bytes = strlen(line);
	char *text, **words;
	int count = 0, r;

	if (bytes > VMFT_NATIVE_LINE_MAX)
		return -E2BIG;
	/* Each word needs no more than its part of the line, and the zero in the place of a blank.
	 */
	text = vmft_arena_alloc(arena, bytes + 2, 1);
	words = vmft_arena_alloc(arena, bytes / 2 + 2, sizeof(*words));
	for (line += strspn(line, blanks); *line; line += strspn(line, blanks)) {
		r = take_word(&line, text);
		if (r < 0)
			return r;
		if (r == 0 || (count == 0 && is_assignment(text)))
			continue;
		words[count++] = text;
		text += strlen(text) + 1;
	}
	words[count] = NULL;
	*ret = words;
	return count > 0 ? count : -EINVAL;
}
