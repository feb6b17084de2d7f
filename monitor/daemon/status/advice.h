/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a person should do about the state a side is in: "next" in vmft status. */
#ifndef VMFT_ADVICE_H
#define VMFT_ADVICE_H

#include <stddef.h>

#include "monitor/daemon/hub/monitor.h"

#define VMFT_ADVICE_MAX 512u

/* One sentence; false: there is nothing to be done, text is empty. */
bool vmft_advice(const struct vmft_monitor *m, uint64_t now, char *text, size_t size);

#endif
