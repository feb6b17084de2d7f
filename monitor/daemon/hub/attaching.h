/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the hub does for an attach: the world of its two sides (monitor/daemon/attach). */
#ifndef VMFT_ATTACHING_H
#define VMFT_ATTACHING_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/core/core.h"

struct vmft_monitor;

/* Initialises m->source and m->sink. 0 or a negative errno. */
int vmft_attaching_init(struct vmft_monitor *m);
/* Primary: a backup may be looked for now. */
bool vmft_attaching_wants_backup(const struct vmft_monitor *m, uint64_t now);
/* Primary: the hellos are exchanged, a backup is to be attached on this connection. */
void vmft_attaching_begin(struct vmft_monitor *m);
/* The core's state is no longer before: what that means for the attach under way. */
void vmft_attaching_state(struct vmft_monitor *m, enum vmft_state before);

#endif
