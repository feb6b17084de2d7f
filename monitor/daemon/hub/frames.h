/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frames of a pair: what each means to the core, and how the log is sent. */
#ifndef VMFT_FRAMES_H
#define VMFT_FRAMES_H

#include "logging-channel/frame.h"
#include "monitor/core/core.h"

struct vmft_monitor;

enum vmft_frame_age {
	VMFT_FRAME_IS_NEW,   /* of the generation of this pair */
	VMFT_FRAME_IS_LATE,  /* from the primary that has handed over, which did nothing wrong */
	VMFT_FRAME_IS_ALIEN, /* of any other generation */
};

/* By the frame's type and generation, and the state of this side. */
enum vmft_frame_age vmft_frames_age(const struct vmft_core *core,
				    const struct vmft_frame_info *frame);
/*
 * A frame other than a hello came on the connection of the pair. Returns 0; -ENOSPC: there is no
 * room for it now, give it again later; -EBADMSG: it must not come here; -ECONNREFUSED: the peer
 * refuses this side.
 */
int vmft_frames_got(struct vmft_monitor *m, const struct vmft_frame_info *frame);
/* Primary: sends what the agent has logged, as much as the channel has room for. */
void vmft_frames_pump(struct vmft_monitor *m);

#endif
