/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ini.h"

#include <stdbool.h>
#include <string.h>

static const char byte_order_mark[] = "\xef\xbb\xbf";

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The text without blanks at either end, which are cut off where it stands. */
static char *trim(char *text)
{
	size_t n = strlen(text);

	while (n > 0 && is_blank(text[n - 1]))
		text[--n] = '\0';
	while (is_blank(*text))
		text++;
	return text;
}

static void cut_comment(char *text)
{
	for (char *p = text; *p; p++) {
		if (*p != ';' || p == text || !is_blank(p[-1]))
			continue;
		*p = '\0';
		return;
	}
}

static enum vmft_ini_kind take_section(struct vmft_ini *ini, char *text)
{
	char *end = strchr(text, ']');

	if (!end || *trim(end + 1))
		return VMFT_INI_BAD;
	*end = '\0';
	ini->name = text + 1;
	ini->value = "";
	return VMFT_INI_SECTION;
}

static enum vmft_ini_kind take_key(struct vmft_ini *ini, char *text)
{
	char *sign = text + strcspn(text, "=:");

	if (*sign == '\0')
		return VMFT_INI_BAD;
	*sign = '\0';
	ini->name = trim(text);
	ini->value = trim(sign + 1);
	return VMFT_INI_KEY;
}

void vmft_ini_open(struct vmft_ini *ini, const char *bytes, size_t n)
{
	const size_t mark = sizeof(byte_order_mark) - 1;
	const bool marked = n >= mark && memcmp(bytes, byte_order_mark, mark) == 0;

	ini->at = marked ? bytes + mark : bytes;
	ini->end = bytes + n;
	ini->line = 0;
	ini->name = ini->value = "";
}

enum vmft_ini_kind vmft_ini_next(struct vmft_ini *ini)
{
	while (ini->at < ini->end) {
		const size_t left = (size_t)(ini->end - ini->at);
		const char *newline = memchr(ini->at, '\n', left);
		const size_t n = newline ? (size_t)(newline - ini->at) : left;
		char *text;

		ini->line++;
		if (n >= sizeof(ini->text))
			return VMFT_INI_LONG;
		memcpy(ini->text, ini->at, n);
		ini->text[n] = '\0';
		ini->at += newline ? n + 1 : n;
		cut_comment(ini->text);
		text = trim(ini->text);
		if (*text == '\0' || *text == ';' || *text == '#')
			continue;
		return *text == '[' ? take_section(ini, text) : take_key(ini, text);
	}
	return VMFT_INI_END;
}
