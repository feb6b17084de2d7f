/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lag-watch.h"

#define MS	      UINT64_C(1000000)
#define RETRY_LAST_NS (3600000 * MS)

/* The lag must have asked for the other state without a break. */
static bool is_steady(struct vmft_lag_watch *watch, bool turned, uint64_t now_ns, uint64_t slept_ns)
{
	if (!turned) {
		watch->turned_ns = 0;
		return false;
	}
	if (watch->turned_ns == 0)
		watch->turned_ns = now_ns;
	else
		watch->turned_ns += slept_ns;
	return watch->turned_ns + VMFT_LAG_STEADY_NS <= now_ns;
}

enum vmft_lag_news vmft_lag_watch_look(struct vmft_lag_watch *watch, uint64_t lag_ms,
				       uint32_t bound_ms, uint32_t drop_ms, uint64_t now_ns,
				       uint64_t slept_ns)
{
	const bool turned =
	    watch->lagging ? lag_ms <= bound_ms : lag_ms > bound_ms + (uint64_t)bound_ms / 2;

	if (is_steady(watch, turned, now_ns, slept_ns)) {
		watch->lagging = !watch->lagging;
		watch->since_ns = watch->turned_ns;
		watch->turned_ns = 0;
		watch->worst_ms = watch->lagging ? lag_ms : watch->worst_ms;
		return watch->lagging ? VMFT_LAG_LAGS : VMFT_LAG_KEEPS_UP;
	}
	if (!watch->lagging)
		return VMFT_LAG_NO_NEWS;
	watch->since_ns += slept_ns;
	if (lag_ms > watch->worst_ms)
		watch->worst_ms = lag_ms;
	return drop_ms > 0 && watch->since_ns + drop_ms * MS <= now_ns ? VMFT_LAG_TOO_LONG
								       : VMFT_LAG_NO_NEWS;
}

uint64_t vmft_lag_watch_retry_ns(uint32_t drop_ms, uint32_t dropped)
{
	uint64_t wait = drop_ms * MS;

	for (uint32_t i = 1; i < dropped && wait < RETRY_LAST_NS; i++)
		wait *= 2;
	return wait < RETRY_LAST_NS ? wait : RETRY_LAST_NS;
}
