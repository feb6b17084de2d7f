/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one place that reads the monitor's parts for what is shown of them. */
#ifndef VMFT_SNAPSHOT_H
#define VMFT_SNAPSHOT_H

#include <stdint.h>

#include "monitor/common/status-fields.h"
#include "monitor/daemon/status/advice.h"

struct vmft_monitor;

/* Fills *ret completely. now: CLOCK_MONOTONIC ns. */
void vmft_status_fill(struct vmft_monitor *m, uint64_t now, struct vmft_status *ret);

/* What the advice depends on. Its texts are the monitor's, but for the connect error, which is
 * written to connect_error. */
void vmft_status_situation(const struct vmft_monitor *m, uint64_t now, char *connect_error,
			   size_t size, struct vmft_situation *ret);

#endif
