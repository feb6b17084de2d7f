/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One event of a side, as vmft events prints it. */
#ifndef VMFT_EVENTS_H
#define VMFT_EVENTS_H

#include <stdbool.h>
#include <stdio.h>

/* line: what a monitor sent, without its newline. json: it is printed as it is. first: it says what
 * the side is now. 0, or -EBADMSG: it is no event, nothing was printed. */
int vmft_event_print(const char *line, bool json, bool first, FILE *to);

#endif
