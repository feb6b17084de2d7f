/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft's subcommands and what they share. */
#ifndef VMFT_CLI_H
#define VMFT_CLI_H

#include <stddef.h>

#define VMFT_CLI_ANSWER_MAX (256u * 1024)

/* Connects to a monitor's control socket. A descriptor, or a negative errno. */
int vmft_cli_connect(const char *path);

/* One line out, one line back, without its newline. 0; -EIO when the monitor hung up; -EMSGSIZE
 * when the answer is longer than size. */
int vmft_cli_ask(int fd, const char *verb, char *answer, size_t size);

/* Subcommands; argv[0] is the subcommand's name. They return the exit status. */
int vmft_cli_drill(int argc, char *argv[]);

#endif
