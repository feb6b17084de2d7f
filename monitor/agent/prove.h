/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checkpoint, backup: finds out early whether a state can be loaded. */
#ifndef VMFT_AGENT_PROVE_H
#define VMFT_AGENT_PROVE_H

#include "monitor/interface.h"

/* Loads the area's state and resets the machine again; guest memory is not changed. Main loop. 0 or
 * a negative errno, the reason in area->error. */
int vmft_prove_load(struct vmft_area *area);

#endif
