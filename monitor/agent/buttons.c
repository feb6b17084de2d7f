/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's log has nothing of a button that somebody presses from outside: the guest of a replayer
 * would not notice it, and the replay would stand still. So the agent logs it, as an entry of
 * vmft's own, and presses the button on both sides at the same point.
 *
 * Such a point is where samples are taken (digest.c): right after an event that only the main loop
 * writes and only the main loop replays. The main loop holds both locks there and keeps them until
 * it has acted on requests (main_loop_should_exit()), so no vCPU executes in between on either
 * side.
 *
 * Power: the main loop acts on the request right after the point, and the interrupt that follows
 * comes at the same instruction on both sides.
 *
 * Reset: QEMU logs CHECKPOINT_RESET when it acts on the request. The entry only makes a replayer
 * request the reset as well, and its main loop then acts on it at that event. On the recorder the
 * vCPU thread makes the request, as for a guest that resets itself. So its vCPU stops first, and
 * turns.c keeps it from logging while the machine is reset. A replayer's vCPU must not stop before
 * it has executed what is in the log up to that event.
 */
#define _GNU_SOURCE
#include "buttons.h"

#include <unistd.h>

#include "agent.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "tap.h"

struct vmft_buttons vmft_buttons;

void vmft_buttons_press(enum vmft_button button)
{
	vmft_buttons.pressed[button] = true;
	/* The next round of the main loop has such a point. */
	vmft_qemu_main_loop_wake();
}

static void press(enum vmft_button button, bool replays)
{
	if (button == VMFT_BUTTON_POWER)
		vmft_qemu_power_button();
	else
		vmft_qemu_reset_button(!replays);
}

void vmft_buttons_point(void)
{
	for (enum vmft_button button = 0; button < VMFT_BUTTONS; button++) {
		const uint8_t entry[VMFT_BUTTON_ENTRY_BYTES] = {VMFT_ENTRY_BUTTON, (uint8_t)button};

		if (!vmft_buttons.pressed[button])
			continue;
		vmft_buttons.pressed[button] = false;
		vmft_tap_add(entry, sizeof(entry));
		press(button, false);
	}
}

void vmft_buttons_replay(const uint8_t *entry)
{
	if (entry[1] >= VMFT_BUTTONS)
		vmft_agent_broken("the log has a button that this version does not know");
	else if (gettid() != getpid())
		vmft_agent_broken("the log has a button at a point that is not the main loop's");
	else
		press((enum vmft_button)entry[1], true);
}
