/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's serial consoles: the agent counts the output that nobody reads and that is dropped.
 */
#ifndef VMFT_CONSOLE_H
#define VMFT_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/daemon/status/journal.h"
#include "monitor/interface.h"

struct vmft_console_watch {
	uint64_t seen;	     /* dropped bytes, of the agent's count */
	uint64_t dropped_ns; /* when it was seen to have risen last; 0: never */
};

/*
 * The count as it is at now; whether that is worth a line: it has begun to rise, after at least a
 * minute in which it did not. A console that is read too slowly all day is one line, not thousands.
 */
bool vmft_console_begins(struct vmft_console_watch *watch, uint64_t dropped, uint64_t now);

/* Looks at the agent's count; the journal says when output begins to be dropped. */
void vmft_console_look(struct vmft_console_watch *watch, const struct vmft_iface *iface,
		       struct vmft_journal *journal);

#endif
