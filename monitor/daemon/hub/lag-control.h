/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Primary: reports a backup that lags or whose replay stands still, slows the guest for it, and
 * gives it up. */
#ifndef VMFT_LAG_CONTROL_H
#define VMFT_LAG_CONTROL_H

#include <stdint.h>

struct vmft_monitor;

/* The first looks whether the backup replays, the second how far it lags. Call them on every tick:
 * the first before the frames of the tick are sent, the second after. slept: how late the tick is,
 * ns. */
void vmft_lag_control_watch_replay(struct vmft_monitor *m, uint64_t now, uint64_t slept);
void vmft_lag_control_tick(struct vmft_monitor *m, uint64_t now, uint64_t slept);

#endif
