/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of the machine's devices and processors, between QEMU and area->state_at. Main loop.
 * Where an int is returned: 0 or a negative errno, the reason in area->error.
 */
#ifndef VMFT_AGENT_STATE_H
#define VMFT_AGENT_STATE_H

#include <stdbool.h>

#include "monitor/interface.h"

struct vmft_device_state {
	int fd; /* a memfd the state passes through; -1: none yet */
};

extern struct vmft_device_state vmft_device_state;

/*
 * A vCPU has asked for a reset, a power-off or sleep, and the main loop has not carried it out. The
 * request is in no device's state: a backup that went on from here would not know of it, and QEMU
 * drops a power-off while its guest is stopped (main_loop_should_exit()).
 */
bool vmft_state_wish_pending(void);
int vmft_state_save(struct vmft_area *area);
int vmft_state_load(void); /* what was saved or put last */
/* Backup: the state from the area into the memfd, the shadows into their regions. */
int vmft_state_put(struct vmft_area *area);
/* Backup: all that has arrived becomes this QEMU's; the guest does not run yet. */
int vmft_state_take_over(struct vmft_area *area);

#endif
