/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lockstep: the machine's power button and reset button, which somebody presses by a command to
 * QEMU (system_powerdown, system_reset). */
#ifndef VMFT_AGENT_BUTTONS_H
#define VMFT_AGENT_BUTTONS_H

#include <stdbool.h>
#include <stdint.h>

#include "logging-channel/event.h"

/* The main loop's. */
struct vmft_buttons {
	bool pressed[VMFT_BUTTONS]; /* and not in the log yet */
};

extern struct vmft_buttons vmft_buttons;

/* Main loop, QEMU records. The guest notices it soon; if it is paused, when it goes on. */
void vmft_buttons_press(enum vmft_button button);
/* The main loop is at a point of the log that a replaying main loop is at, too (tap.c). It holds
 * both locks. */
void vmft_buttons_point(void);
/* The entry, when QEMU replays. The calling thread reads the log. */
void vmft_buttons_replay(const uint8_t *entry);

#endif
