/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QEMU's waits until a time of CLOCK_REALTIME, which somebody may set. Pure. */
#ifndef VMFT_AGENT_WAIT_H
#define VMFT_AGENT_WAIT_H

#include <stdbool.h>
#include <time.h>

/* No wait of QEMU's is longer than ten seconds (util/thread-pool.c). */
#define VMFT_WAIT_MAX_S 3600

/*
 * *ret: the time of CLOCK_MONOTONIC at which a wait ends that is to end at `until`. `real` and
 * `monotonic` are what the two clocks show now.
 *
 * `until` is of the clock that its condition variable was made for, and the variable does not tell
 * which: the clock to which it is nearer is taken. The two are half a century apart, waits take
 * seconds. Returns false if the wait was cut to VMFT_WAIT_MAX_S: when it ends, `until` has not
 * come.
 */
bool vmft_wait_as_monotonic(const struct timespec *until, const struct timespec *real,
			    const struct timespec *monotonic, struct timespec *ret);

#endif
