/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of a subcommand, read with argp; what is wrong is said in one line. */
#ifndef VMFT_ARGUMENTS_H
#define VMFT_ARGUMENTS_H

#include <argp.h>

/*
 * As argp_parse(). argv[0] is what the command is called in messages, "vmft drill". --help and
 * --usage are answered and end the program. What cannot be read ends it too, with exit code 2 and
 * one line on stderr.
 */
void vmft_arguments_parse(const struct argp *argp, int argc, char *argv[], void *input);

/* From a parser: the line says this, and where the help is. Does not return. */
_Noreturn void vmft_arguments_wrong(const struct argp_state *state, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "--timeout 30": from 1 to 99999 seconds. Ends the program on anything else. */
unsigned vmft_arguments_seconds(const struct argp_state *state, const char *text);

#endif
