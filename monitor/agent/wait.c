/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wait.h"

#include <stdint.h>

#define NS_PER_S INT64_C(1000000000)
#define FAR_NS	 (VMFT_WAIT_MAX_S * NS_PER_S)

/* b - a, cut to VMFT_WAIT_MAX_S either way: the times come from outside and may be any. */
static int64_t from(const struct timespec *a, const struct timespec *b)
{
	int64_t seconds;

	if (__builtin_sub_overflow((int64_t)b->tv_sec, (int64_t)a->tv_sec, &seconds))
		return b->tv_sec > a->tv_sec ? FAR_NS : -FAR_NS;
	if (seconds > VMFT_WAIT_MAX_S || seconds < -VMFT_WAIT_MAX_S)
		return seconds > 0 ? FAR_NS : -FAR_NS;
	return seconds * NS_PER_S + b->tv_nsec - a->tv_nsec;
}

static uint64_t distance(const struct timespec *a, const struct timespec *b)
{
	const int64_t seconds = (int64_t)((uint64_t)b->tv_sec - (uint64_t)a->tv_sec);

	return seconds < 0 ? -(uint64_t)seconds : (uint64_t)seconds;
}

bool vmft_wait_as_monotonic(const struct timespec *until, const struct timespec *real,
			    const struct timespec *monotonic, struct timespec *ret)
{
	int64_t wait, end;

	*ret = *until;
	if (distance(monotonic, until) < distance(real, until))
		return true;
	wait = from(real, until);
	end = monotonic->tv_sec * NS_PER_S + monotonic->tv_nsec + wait;
	if (end < 0)
		end = 0;
	*ret = (struct timespec){.tv_sec = end / NS_PER_S, .tv_nsec = end % NS_PER_S};
	return wait < FAR_NS;
}
