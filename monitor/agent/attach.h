/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: the attach point of a pair, on either side. Main loop; 0 or a negative errno, the
 * reason in area->error.
 */
#ifndef VMFT_AGENT_ATTACH_H
#define VMFT_AGENT_ATTACH_H

#include "monitor/interface.h"

/* Primary: takes what is marked and the device state, and keeps the log from here on. -EINPROGRESS:
 * the main loop has something to do first, call again. */
int vmft_attach_point(struct vmft_area *area);
/* Backup: loads the device state; replay begins. */
int vmft_attach_load(struct vmft_area *area);

#endif
