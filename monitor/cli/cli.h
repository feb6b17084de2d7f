/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft's subcommands and what they share. */
#ifndef VMFT_CLI_H
#define VMFT_CLI_H

#include <json-c/json.h>
#include <stddef.h>

#define VMFT_CLI_ANSWER_MAX (256u * 1024)

/* How long a monitor has for an answer that it gives at once. */
#define VMFT_CLI_PATIENCE_S 10u

/* Connects to a monitor's control socket. A descriptor, or a negative errno. No call on it waits
 * longer than that many seconds. */
int vmft_cli_connect(const char *path, unsigned seconds);

/* One line out, one line back, without its newline. 0; -EIO when the monitor hung up; -EMSGSIZE
 * when the answer is longer than size; -ETIMEDOUT. */
int vmft_cli_ask(int fd, const char *verb, char *answer, size_t size);

/* Says on stderr, in one line, why connect (fd is negative) or ask failed, and what to do. */
void vmft_cli_explain(const char *path, int fd, int rc, unsigned seconds);

/* The answer as an object, owned by the caller; NULL: it is none. */
struct json_object *vmft_cli_parse(const char *answer);

/* A field of an answer, into which the text points; missing, 0 if it is not there or null. A
 * number is from 0 to VMFT_CLI_NUMBER_MAX, whatever it says: it fits into 64 bits. */
#define VMFT_CLI_NUMBER_MAX 9e18
const char *vmft_cli_text(struct json_object *answer, const char *key, const char *missing);
double vmft_cli_number(struct json_object *answer, const char *key);

/* The larger commands, a file each, with options of their own. argv[0] is what the command is
 * called in messages, "vmft replay". They return the exit code. */
int vmft_cli_declare_dead(int argc, char *argv[]);
int vmft_cli_drill(int argc, char *argv[]);
int vmft_cli_replay(int argc, char *argv[]);

#endif
