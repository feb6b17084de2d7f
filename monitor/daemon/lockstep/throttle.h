/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lag control: a primary whose backup does not keep up is slowed down until it does, and
 * given its speed back (VM-FT: the execution lag is part of the outage); one that does not keep
 * up for too long is given up. Pure: times are handed in, CLOCK_MONOTONIC ns.
 */
#ifndef VMFT_THROTTLE_H
#define VMFT_THROTTLE_H

#include <stdbool.h>
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

/*
 * A pair lags from half as much again as the bound on, where the guest is left less than half of
 * its speed, and no more once the lag is within the bound. Each must have been so for this long:
 * that either host was busy for a moment is not worth a word.
 */
#define VMFT_LAG_STEADY_NS 1000000000u

struct vmft_lag_watch {
	bool lagging;
	uint64_t since_ns;  /* it lags */
	uint64_t turned_ns; /* since when the lag asks for the other state; 0: it does not */
	uint64_t worst_ms;  /* the lag since then */
};

enum vmft_lag_news {
	VMFT_LAG_NO_NEWS,
	VMFT_LAG_LAGS,
	VMFT_LAG_KEEPS_UP,
	VMFT_LAG_TOO_LONG, /* for drop_ms without a break: the backup is to be given up */
};

/* All zeroes begins a watch. drop_ms 0: never. slept_ns: how long the caller did not run itself
 * just before, which is no lag of the backup's. */
enum vmft_lag_news vmft_lag_look(struct vmft_lag_watch *watch, uint64_t lag_ms, uint32_t bound_ms,
				 uint32_t drop_ms, uint64_t now_ns, uint64_t slept_ns);

/* How long not to attach a backup again after the given number (> 0) were given up in a row: at
 * first as long as the last one was waited for, so that the guest is slowed half of the time at
 * most, then twice as long each time, up to an hour. */
uint64_t vmft_lag_retry_ns(uint32_t drop_ms, uint32_t dropped);
/* A pair that held for this long without lagging: what was before does not count any more. */
#define VMFT_LAG_FORGIVEN_NS (600u * UINT64_C(1000000000))

#endif
