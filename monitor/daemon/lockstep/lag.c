/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "lag.h"

static unsigned slot(const struct vmft_lag *lag, unsigned i)
{
	return (lag->first + i) % VMFT_LAG_SAMPLES;
}

static void thin_out(struct vmft_lag *lag)
{
	for (unsigned i = 0; i < VMFT_LAG_SAMPLES / 2; i++)
		lag->sample[slot(lag, i)] = lag->sample[slot(lag, 2 * i)];
	lag->count = VMFT_LAG_SAMPLES / 2;
	lag->step_ns *= 2;
}

void vmft_lag_rate(struct vmft_lag *lag, uint64_t bytes, uint64_t now_ns)
{
	uint64_t passed = now_ns - lag->window_ns;

	if (passed < 1000000000u)
		return;
	lag->bytes_per_s = (uint64_t)((double)(bytes - lag->window_bytes) * 1e9 / (double)passed);
	lag->window_bytes = bytes;
	lag->window_ns = now_ns;
}

void vmft_lag_sent(struct vmft_lag *lag, uint64_t position, uint64_t now_ns)
{
	unsigned last = slot(lag, lag->count + VMFT_LAG_SAMPLES - 1);

	if (lag->count == 0)
		lag->step_ns = VMFT_LAG_STEP_NS;
	if (lag->count > 0 && (now_ns - lag->sample[last].at_ns < lag->step_ns ||
			       lag->sample[last].position == position))
		return;
	if (lag->count == VMFT_LAG_SAMPLES)
		thin_out(lag);
	lag->sample[slot(lag, lag->count)].position = position;
	lag->sample[slot(lag, lag->count)].at_ns = now_ns;
	lag->count++;
}

uint64_t vmft_lag_ms(struct vmft_lag *lag, uint64_t replayed, uint64_t sent, uint64_t now_ns)
{
	while (lag->count > 0 && lag->sample[lag->first].position <= replayed) {
		lag->replayed_ns = lag->sample[lag->first].at_ns;
		lag->first = slot(lag, 1);
		lag->count--;
	}
	/* A sample may be younger than the caller's reading of the clock. */
	if (replayed >= sent || lag->count == 0 || lag->sample[lag->first].at_ns >= now_ns)
		return 0;
	return (now_ns - lag->sample[lag->first].at_ns) / 1000000u;
}

uint64_t vmft_lag_logged_ns(const struct vmft_lag *lag)
{
	if (lag->count == 0 || lag->replayed_ns == 0 ||
	    lag->sample[lag->first].at_ns <= lag->replayed_ns)
		return 0;
	return lag->sample[lag->first].at_ns - lag->replayed_ns;
}
