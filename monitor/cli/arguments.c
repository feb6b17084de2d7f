/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "arguments.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/exit-codes.h"

static _Noreturn void see_help(const char *name)
{
	(void)fprintf(stderr, "; see %s --help\n", name);
	exit(VMFT_EXIT_CONFIG);
}

void vmft_arguments_wrong(const struct argp_state *state, const char *format, ...)
{
	va_list ap;

	(void)fprintf(stderr, "%s: ", state->name);
	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	see_help(state->name);
}

/* Without ARGP_NO_ERRS argp says more than one line, with it it prints no help. */
static void answer_help(const struct argp *argp, int argc, char *argv[])
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const bool usage = strcmp(argv[i], "--usage") == 0;

		if (!usage && strcmp(argv[i], "--help") != 0 && strcmp(argv[i], "-?") != 0)
			continue;
		argp_help(argp, stdout, usage ? ARGP_HELP_USAGE : ARGP_HELP_STD_HELP, argv[0]);
		exit(VMFT_EXIT_OK);
	}
}

void vmft_arguments_parse(const struct argp *argp, int argc, char *argv[], void *input)
{
	const char *name = argv[0];
	int at = argc;

	answer_help(argp, argc, argv);
	/* Parsers end the program themselves: what comes back is an option that argp does not
	 * know, or that lacks its argument. */
	if (argp_parse(argp, argc, argv, ARGP_NO_ERRS | ARGP_NO_EXIT, &at, input) == 0)
		return;
	(void)fprintf(stderr, "%s: %s: no such option, or its argument is missing", name,
		      at > 1 && at <= argc ? argv[at - 1] : "?");
	see_help(name);
}

unsigned vmft_arguments_seconds(const struct argp_state *state, const char *text)
{
	const size_t n = strlen(text);

	if (n == 0 || n > 5 || strspn(text, "0123456789") != n || atoi(text) == 0)
		vmft_arguments_wrong(state, "--timeout=%s: write a number from 1 to 99999", text);
	return (unsigned)atoi(text);
}
