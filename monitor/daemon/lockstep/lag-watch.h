/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decides from the execution lag (lag.h) whether a pair lags, keeps up again, or has lagged for so
 * long that the primary gives its backup up. Pure: times are handed in, CLOCK_MONOTONIC ns.
 */
#ifndef VMFT_LAG_WATCH_H
#define VMFT_LAG_WATCH_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A pair begins to lag at 1.5 times the bound, where the throttle leaves the guest less than half
 * of its speed. It stops to lag when the lag is within the bound. Either must have been true for
 * this long: a host that was busy for a moment is not reported.
 */
#define VMFT_LAG_STEADY_NS 1000000000u

struct vmft_lag_watch {
	bool lagging;
	uint64_t since_ns;  /* when it began to lag, or to keep up */
	uint64_t turned_ns; /* since when the lag asks for the other state; 0: it does not */
	uint64_t worst_ms;  /* the longest lag since then */
};

enum vmft_lag_news {
	VMFT_LAG_NO_NEWS,
	VMFT_LAG_LAGS,
	VMFT_LAG_KEEPS_UP,
	VMFT_LAG_TOO_LONG, /* for drop_ms without a break: the backup is to be given up */
};

/* A watch of zeroes is a new one. drop_ms 0: never too long. slept_ns: how long the caller itself
 * did not run just before; that time is not counted as lag. */
enum vmft_lag_news vmft_lag_watch_look(struct vmft_lag_watch *watch, uint64_t lag_ms,
				       uint32_t bound_ms, uint32_t drop_ms, uint64_t now_ns,
				       uint64_t slept_ns);

/*
 * How long no backup is to be attached after dropped (> 0) of them were given up in a row, ns. The
 * first wait is drop_ms, the time for which the last one was waited for, so that the guest is
 * slowed for half of the time at most; it doubles each time, up to an hour.
 */
uint64_t vmft_lag_watch_retry_ns(uint32_t drop_ms, uint32_t dropped);
/* After a pair has held for this long without lagging, the earlier ones do not count any more. */
#define VMFT_LAG_FORGIVEN_NS (600u * UINT64_C(1000000000))

#endif
