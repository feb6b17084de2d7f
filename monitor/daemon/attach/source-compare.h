/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-source.h, COMPARING: digests of the images' blocks go out, the backup answers which of
 * them differ from its own. */
#ifndef VMFT_SOURCE_COMPARE_H
#define VMFT_SOURCE_COMPARE_H

#include "attach-source.h"

/* 0 or -ENOMEM. */
int vmft_source_compare_init(struct vmft_attach_source *source);
void vmft_source_compare_fini(struct vmft_attach_source *source);

void vmft_source_compare_begin(struct vmft_attach_source *source);
/* Sends digests as far as there is room. After the last answer the first round begins. */
void vmft_source_compare_pump(struct vmft_attach_source *source);
/* A WANT frame: 0 or -EBADMSG. */
int vmft_source_compare_got_want(struct vmft_attach_source *source,
				 const struct vmft_frame_info *frame);

#endif
