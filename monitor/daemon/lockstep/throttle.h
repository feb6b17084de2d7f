/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much a primary slows its guest down while its backup does not keep up (VM-FT: the
 * execution lag is part of the outage). Pure.
 */
#ifndef VMFT_THROTTLE_H
#define VMFT_THROTTLE_H

#include <stdint.h>

/* The guest is never stopped completely. A backup that falls behind even then fills its ring,
 * and the primary's output waits. */
#define VMFT_THROTTLE_MAX_PERMILLE 900u

/*
 * Returns the share of time, in permille, for which the guest is to be paused at this lag: 0 up
 * to half the bound (> 0), the maximum from twice the bound on, in proportion between. It is only
 * proportional: the lag itself adds up what was not replayed, and a loop that added it up once
 * more overshot by seconds when it was tried.
 */
uint32_t vmft_throttle_permille(uint64_t lag_ms, uint32_t bound_ms);

#endif
