/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of vmft drill, and the faults that it can do. */
#ifndef VMFT_DRILL_OPTIONS_H
#define VMFT_DRILL_OPTIONS_H

#include <stdbool.h>

#include "sides.h"

enum vmft_drill_fault {
	VMFT_DRILL_KILL_QEMU,
	VMFT_DRILL_KILL_MONITOR,
	VMFT_DRILL_STOP_QEMU,
	VMFT_DRILL_STOP_HOST,
	VMFT_DRILL_FAULTS,
};

struct vmft_drill_fault_kind {
	const char *name; /* as on the command line */
	const char *text; /* for the report */
	bool stops;	  /* by SIGSTOP; after SIGCONT its processes must be fenced */
};

extern const struct vmft_drill_fault_kind vmft_drill_faults[VMFT_DRILL_FAULTS];

struct vmft_drill_options {
	const char *side;  /* a VM's name or a socket, as given */
	const char *probe; /* ADDRESS:PORT */
	const char *peer;  /* a command that prints the backup's status; NULL: none */
	const char *json;  /* a file for the result; NULL: none */
	char socket[VMFT_SOCKET_PATH_MAX]; /* filled in by the drill */
	enum vmft_drill_fault fault;
	unsigned seed;
	int seconds, timeout, wait; /* each in s, 1 to 3600 */
	bool yes, random;
};

/* Ends the program if the command line is wrong, and after --help. The strings are argv's. */
void vmft_drill_options_parse(int argc, char *argv[], struct vmft_drill_options *ret);

#endif
