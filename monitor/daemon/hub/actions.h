/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The actions of the core, carried out. */
#ifndef VMFT_ACTIONS_H
#define VMFT_ACTIONS_H

#include "monitor/core/core.h"

struct vmft_monitor;

/* In the order of their bits. An event that comes of it waits until all are carried out:
 * vmft_monitor_event(). */
void vmft_actions_carry_out(struct vmft_monitor *m, const struct vmft_actions *todo);

#endif
