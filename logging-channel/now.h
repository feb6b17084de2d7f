/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's clocks in nanoseconds, for code that has no loop: there it is vmft_loop_now(). */
#ifndef VMFT_NOW_H
#define VMFT_NOW_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC: never goes back, stands still while the host is suspended. */
static inline uint64_t vmft_monotonic_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* CLOCK_REALTIME: since 1970, and may be set. */
static inline int64_t vmft_realtime_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

#endif
