/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-source.h, COPYING and SCANNING: all that is marked is sent, round after round. */
#ifndef VMFT_SOURCE_ROUNDS_H
#define VMFT_SOURCE_ROUNDS_H

#include "attach-source.h"

/* COPYING: the next round begins. */
void vmft_source_rounds_begin(struct vmft_attach_source *source);
/* COPYING: sends marked blocks as far as there is room. After the last one the agent is asked what
 * the guest has written meanwhile. */
void vmft_source_rounds_pump(struct vmft_attach_source *source);
/* SCANNING: the agent has marked that. Another round, the attach point, or the end. */
void vmft_source_rounds_scanned(struct vmft_attach_source *source);

#endif
