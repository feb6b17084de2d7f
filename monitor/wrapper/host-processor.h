/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this host's processor is, for guests that are shown it. */
#ifndef VMFT_HOST_PROCESSOR_H
#define VMFT_HOST_PROCESSOR_H

#include "cmdline.h"
#include "monitor/common/error.h"

/* A host_processor of struct vmft_rewrite_options: the model name that /proc/cpuinfo has. */
int vmft_host_processor(char ret[static VMFT_PROCESSOR_MAX], struct vmft_error *err);

#endif
