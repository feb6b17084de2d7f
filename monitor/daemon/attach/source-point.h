/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-source.h, STOPPING and SENDING: what the agent has taken at the attach point. */
#ifndef VMFT_SOURCE_POINT_H
#define VMFT_SOURCE_POINT_H

#include "attach-source.h"

/* STOPPING: the agent has taken it and the guest runs again. */
void vmft_source_point_taken(struct vmft_attach_source *source);
/* SENDING: sends the pieces that were staged, the device state, and the point, as far as there is
 * room. The log follows. */
void vmft_source_point_pump(struct vmft_attach_source *source);

#endif
