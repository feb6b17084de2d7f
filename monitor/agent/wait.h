/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's waits until a time of CLOCK_REALTIME, which somebody may set. Pure. */
#ifndef VMFT_AGENT_WAIT_H
#define VMFT_AGENT_WAIT_H

#include <time.h>

/* No wait of QEMU's is longer than ten seconds (util/thread-pool.c). */
#define VMFT_WAIT_MAX_S 3600

/*
 * The time of CLOCK_MONOTONIC at which a wait ends that is to end at `until`. `real` and
 * `monotonic` are what the two clocks show now.
 *
 * `until` is of the clock that its condition variable was made for, and the variable does not tell
 * which: the clock to which it is nearer is taken. The two are half a century apart, waits take
 * seconds. A wait is cut to VMFT_WAIT_MAX_S; who waits for longer has to look whether it is over,
 * as pthread_cond_timedwait() may return early at any time.
 */
struct timespec vmft_wait_as_monotonic(const struct timespec *until, const struct timespec *real,
				       const struct timespec *monotonic);

#endif
