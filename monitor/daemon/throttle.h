/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lag control: a primary whose backup does not keep up is slowed down until it does, and
 * given its speed back (VM-FT: the execution lag is part of the outage).
 */
#ifndef VMFT_THROTTLE_H
#define VMFT_THROTTLE_H

#include <stdint.h>

/* The guest is never stopped altogether: a backup that falls behind even so runs into its
 * full ring, and then output waits. */
#define VMFT_THROTTLE_MAX_PERMILLE 900u

/*
 * The share of time, in permille, the guest is to be paused at this lag: none up to half the
 * bound (> 0), the most from twice the bound on, in proportion between. Proportional only:
 * the lag itself adds up what was not replayed, and a loop that added it up once more
 * overshot by seconds when tried.
 */
uint32_t vmft_throttle_permille(uint64_t lag_ms, uint32_t bound_ms);

#endif
