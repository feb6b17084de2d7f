/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's serial consoles: what was written there and nobody took, counted by the agent. */
#ifndef VMFT_CONSOLE_H
#define VMFT_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

struct vmft_monitor;

struct vmft_console_watch {
	uint64_t seen;	     /* dropped bytes, of the agent's count */
	uint64_t dropped_ns; /* when it was seen to have risen last; 0: never */
};

/*
 * The count as it is at now; whether that is worth a line: it has begun to rise, after at least a
 * minute in which it did not. A console that is read too slowly all day is one line, not thousands.
 */
bool vmft_console_begins(struct vmft_console_watch *watch, uint64_t dropped, uint64_t now);

void vmft_console_look(struct vmft_monitor *m);

#endif
