/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Primary: a backup that lags or stands still is said, slows the guest, and is given up. */
#ifndef VMFT_LAG_CONTROL_H
#define VMFT_LAG_CONTROL_H

#include <stdint.h>

struct vmft_monitor;

/* Looks whether the backup replays, then how far it lags; called every tick, before and after the
 * frames of the tick are sent. slept: how long this tick came too late, ns. */
void vmft_lag_control_watch_replay(struct vmft_monitor *m, uint64_t now, uint64_t slept);
void vmft_lag_control_tick(struct vmft_monitor *m, uint64_t now, uint64_t slept);

#endif
