/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft's subcommands and what they share. */
#ifndef VMFT_CLI_H
#define VMFT_CLI_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "monitor/common/status-fields.h"
#include "sides.h"

#define VMFT_CLI_ANSWER_MAX (256u * 1024)

/* How long a monitor has for an answer that it gives at once. */
#define VMFT_CLI_PATIENCE_S 10u

/* Connects to a monitor's control socket. A descriptor, or a negative errno. No call on it waits
 * longer than that many seconds. */
int vmft_cli_connect(const char *path, unsigned seconds);

/* One line out, one line back, without its newline. 0; -EIO when the monitor hung up; -EMSGSIZE
 * when the answer is longer than size; -ETIMEDOUT. */
int vmft_cli_ask(int fd, const char *verb, char *answer, size_t size);

/* Prints on stderr, in one line, why connect (fd is negative) or ask failed, and what to do. */
void vmft_cli_explain(const char *path, int fd, int rc, unsigned seconds);

/* The answer as an object, owned by the caller; NULL: it is none. */
struct json_object *vmft_cli_parse(const char *answer);
/* Whether it says that what was asked was done. */
bool vmft_cli_is_ok(struct json_object *answer);
/* A field of an answer, into which the text points; missing if it is not there or null. */
const char *vmft_cli_text(struct json_object *answer, const char *key, const char *missing);

/* The status of a side: connects, asks and reads the answer. 0, or why not: as connect and ask;
 * -EBADMSG when the answer is no status. */
int vmft_cli_status(const char *path, unsigned seconds, struct vmft_status *ret);
/* The last part of it, for an answer that is there already. 0 or -EBADMSG. */
int vmft_cli_read_status(const char *answer, struct vmft_status *ret);

/* Prints, as JSON on a line, that a side gave no answer. */
void vmft_cli_print_silent(const char *side, const char *why, FILE *to);

/* Prints an answer for a person, what was refused on err. The exit code of the command. */
int vmft_cli_print_answer(const char *answer, FILE *to, FILE *err);

/* --- commands that talk to the monitor of one side -------------------------------- */

struct vmft_call {
	const char *name;		   /* "vmft freeze", for messages */
	const char *verb;		   /* "freeze" */
	const char *side;		   /* as given: a VM's name or a socket; NULL: none */
	char socket[VMFT_SOCKET_PATH_MAX]; /* of side */
	unsigned seconds;		   /* to wait for an answer */
	bool json;
};

/* Options that these commands share: --json and --timeout. help: what the command does. many: the
 * VM may be left out, which stands for all of this host. Ends the program if they are wrong. */
void vmft_call_parse(int argc, char *argv[], const char *help, bool many, unsigned patience_s,
		     struct vmft_call *ret);
/* Finds the socket. 0, or the exit code, and why is printed. */
int vmft_call_find(struct vmft_call *call);
/* Prints the monitor's answer, as it is with --json. The exit code. */
int vmft_call_print(const struct vmft_call *call, const char *answer);

/* The commands. argv[0] is what the command is called in messages, "vmft replay"; help is its line
 * in the table of commands. They return the exit code. */
int vmft_cli_tell(int argc, char *argv[], const char *help);
int vmft_cli_show_status(int argc, char *argv[], const char *help);
int vmft_cli_events(int argc, char *argv[], const char *help);
int vmft_cli_watch(int argc, char *argv[], const char *help);
int vmft_cli_switchover(int argc, char *argv[], const char *help);
int vmft_cli_declare_dead(int argc, char *argv[], const char *help);
int vmft_cli_check(int argc, char *argv[], const char *help);
int vmft_cli_protect(int argc, char *argv[], const char *help);
int vmft_cli_unprotect(int argc, char *argv[], const char *help);
int vmft_cli_host(int argc, char *argv[], const char *help);
int vmft_cli_drill(int argc, char *argv[], const char *help);
int vmft_cli_replay(int argc, char *argv[], const char *help);

#endif
