/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attach-sink.h: the primary's digests of its images' blocks are compared with this side's. */
#ifndef VMFT_SINK_COMPARE_H
#define VMFT_SINK_COMPARE_H

#include "attach-sink.h"

/* 0 or -ENOMEM; what was made is freed by fini. */
int vmft_sink_compare_init(struct vmft_attach_sink *sink);
void vmft_sink_compare_fini(struct vmft_attach_sink *sink);

/* A SUMS frame; a WANT frame is the answer. 0, -ENOSPC or -EBADMSG. */
int vmft_sink_compare_got_sums(struct vmft_attach_sink *sink, const struct vmft_frame_info *frame);

#endif
