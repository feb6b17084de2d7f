/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-sink.h: the device state and the attach point. */
#ifndef VMFT_SINK_POINT_H
#define VMFT_SINK_POINT_H

#include "attach-sink.h"

/* A STATE and a POINT frame: 0, -ENOSPC or -EBADMSG. After the point the log of this side begins,
 * and the state is loaded or kept to be loaded. */
int vmft_sink_point_got_state(struct vmft_attach_sink *sink, const struct vmft_frame_info *frame);
int vmft_sink_point_got(struct vmft_attach_sink *sink, const struct vmft_frame_info *frame);
/* The agent may have proven the state. */
void vmft_sink_point_look(struct vmft_attach_sink *sink);

#endif
