/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frames of a pair: what each means to the core, and the log that is sent. */
#ifndef VMFT_FRAMES_H
#define VMFT_FRAMES_H

#include "logging-channel/frame.h"

struct vmft_monitor;

/*
 * A frame came on the connection of the pair that is no hello. 0; -ENOSPC: there is no room for it
 * now, it is to come again; -EBADMSG: it cannot come here; -ECONNREFUSED: the peer refuses this
 * side.
 */
int vmft_frames_got(struct vmft_monitor *m, const struct vmft_frame_info *frame);
/* Primary: sends what the agent has logged, as much as there is room for. */
void vmft_frames_pump(struct vmft_monitor *m);

#endif
