/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft: asks the monitor of one side of a protected VM, or tells it to do something. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "monitor/common/exit-codes.h"

#define DETAILS(text) "\v" text

/* NAME is that of a VM, of which one side runs on this host, or the path of a control socket. */
static const struct command {
	const char *name; /* "vmft NAME": what messages begin with */
	const char *args;
	const char *summary; /* one line of vmft --help */
	const char *details; /* more of vmft COMMAND --help, begins with \v; NULL: nothing */
	int (*run)(int argc, char *argv[], const char *help);
} commands[] = {
    {"vmft status", "[NAME]", "the state of a side, or of each side on this host in a line",
     DETAILS(
	 "With --json the monitor's answer, an object a line; its fields: vmft-status(5).\n\n"
	 "Exit status: 0 protected (also lagging, handing-over), 14 alone, 15 a backup is being "
	 "attached, 16 no guest runs here yet or which side goes on is undecided, 9 fenced, 12 "
	 "diverged, 13 handed over, 17 ended, 6 nobody answers there, 1 the answer cannot be "
	 "understood, 2 wrong usage. Of several sides the worst."),
     vmft_cli_show_status},
    {"vmft events", "[NAME]",
     "what happens to a side, or to each side on this host, when it happens",
     DETAILS(
	 "State changes with their reasons, and the lines of the monitor's journal. With --json "
	 "an object a line. It runs until it is interrupted.\n\n"
	 "Exit status: 6 nobody answers there, or not any more; 2 wrong usage."),
     vmft_cli_events},
    {"vmft watch", "NAME", "follow an attach with a progress bar until it is done",
     DETAILS("Exit status: 0 protected, 1 the guest ended, 2 wrong usage, 6 nobody answers there."),
     vmft_cli_watch},
    {"vmft attach", "NAME", "a guest that is alone: attach a backup now", NULL, vmft_cli_tell},
    {"vmft start", "NAME", "a primary that waits for its backup: start without it", NULL,
     vmft_cli_tell},
    {"vmft switchover", "NAME", "a protected primary: its backup takes over, nothing is lost",
     DETAILS(
	 "It returns when the guest is live there.\n\n"
	 "Exit status: 0 done, 1 refused or called off, 2 wrong usage, 6 nobody answers there."),
     vmft_cli_switchover},
    {"vmft drill", "NAME", "do a fault on purpose, report what a client of the guest saw", NULL,
     vmft_cli_drill},
    {"vmft declare-dead", "NAME", "after a crash of both hosts: say that the VM runs nowhere", NULL,
     vmft_cli_declare_dead},
    {"vmft check", "DOMAIN", "whether a domain of libvirt can be protected by two hosts", NULL,
     vmft_cli_check},
    {"vmft protect", "DOMAIN", "protect a domain of libvirt by a backup on another host", NULL,
     vmft_cli_protect},
    {"vmft unprotect", "DOMAIN", "end the protection of a domain", NULL, vmft_cli_unprotect},
    {"vmft host", "", "what vmft on another host runs here, through ssh", NULL, vmft_cli_host},
    {"vmft replay", "LOG", "run a saved log again, offline", NULL, vmft_cli_replay},
    {"vmft freeze", "NAME", "for drills, primary: stop the guest at an event boundary", NULL,
     vmft_cli_tell},
    {"vmft thaw", "NAME", "for drills, primary: let it go on", NULL, vmft_cli_tell},
    {"vmft digest", "NAME", "for drills: hash of the guest's memory",
     DETAILS("Both sides have the same when the primary is frozen and the backup has replayed that "
	     "far."),
     vmft_cli_tell},
    {"vmft hold-acks", "NAME", "for drills, backup: keep acknowledgements back", NULL,
     vmft_cli_tell},
    {"vmft release-acks", "NAME", "for drills, backup: send them", NULL, vmft_cli_tell},
    {"vmft hold-attach", "NAME", "for drills, primary: an attach stays in its phase", NULL,
     vmft_cli_tell},
    {"vmft step-attach", "NAME", "for drills, primary: it goes on into the next phase", NULL,
     vmft_cli_tell},
    {"vmft release-attach", "NAME", "for drills, primary: it goes on", NULL, vmft_cli_tell},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char *short_name(const struct command *command)
{
	return strchr(command->name, ' ') + 1;
}

static void print_help(FILE *to)
{
	char words[64];

	(void)fprintf(to,
		      "Usage: vmft [--json] [--timeout SECONDS] COMMAND [OPTION...] [NAME]\n"
		      "Ask or tell one side of a VM protected by vmft. NAME is the VM's name, "
		      "of which one\nside runs on this host, NAME.HOST if more than one does, or "
		      "the path of a control\nsocket.\n\n");
	for (size_t i = 0; i < COMMANDS; i++) {
		(void)snprintf(words, sizeof(words), "%s %s", short_name(&commands[i]),
			       commands[i].args);
		(void)fprintf(to, "  %-21s %s\n", words, commands[i].summary);
	}
	(void)fprintf(to,
		      "\nEach has its options and exit codes in vmft COMMAND --help; in general: "
		      "0 done,\n1 refused by the monitor, 2 wrong usage, 6 nobody answers "
		      "there. vmft --version prints the version.\n");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(short_name(&commands[i]), name) == 0)
			return &commands[i];
	return NULL;
}

/* The first word that is no option, nor an option's argument. 0: there is none. */
static int command_at(int argc, char *argv[])
{
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-')
			return i;
		if (strcmp(argv[i], "-t") == 0 || strcmp(argv[i], "--timeout") == 0)
			i++;
	}
	return 0;
}

static bool has_word(int argc, char *argv[], const char *word)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], word) == 0)
			return true;
	return false;
}

static int run(const struct command *command, int argc, char *argv[], int at)
{
	char *help = NULL;
	int code;

	if (asprintf(&help, "%c%s.%s", command->summary[0] & ~0x20, command->summary + 1,
		     command->details ? command->details : "") < 0)
		return VMFT_EXIT_INTERNAL;
	/* A person may write options before the command's name: they are moved after it. */
	memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof(*argv));
	argv[1] = (char *)command->name;
	code = command->run(argc - 1, argv + 1, help);
	free(help);
	return code;
}

int main(int argc, char *argv[])
{
	const int at = command_at(argc, argv);
	const struct command *command = at > 0 ? find_command(argv[at]) : NULL;

	if (command)
		return run(command, argc, argv, at);
	if (at == 0 && (has_word(argc, argv, "--help") || has_word(argc, argv, "-?"))) {
		print_help(stdout);
		return VMFT_EXIT_OK;
	}
	if (at == 0 && has_word(argc, argv, "--version")) {
		(void)printf("vmft %s\n", VMFT_VERSION);
		return VMFT_EXIT_OK;
	}
	(void)fprintf(stderr, "vmft: %s%s; see vmft --help\n",
		      at > 0 ? "no such command: " : "needs a command", at > 0 ? argv[at] : "");
	return VMFT_EXIT_CONFIG;
}
