/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hiccups.h"

#include <stdlib.h>
#include <string.h>

void vmft_hiccup_note(struct vmft_hiccups *hiccups, uint64_t late_ns)
{
	const uint64_t us = late_ns / 1000;

	hiccups->late_us[hiccups->ticks++ % VMFT_HICCUP_SAMPLES] =
	    us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
	if (late_ns > hiccups->worst_ns)
		hiccups->worst_ns = late_ns;
}

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t vmft_hiccup_quantile(const struct vmft_hiccups *hiccups, unsigned permille)
{
	const size_t n =
	    hiccups->ticks < VMFT_HICCUP_SAMPLES ? (size_t)hiccups->ticks : VMFT_HICCUP_SAMPLES;
	uint32_t sorted[VMFT_HICCUP_SAMPLES];

	if (n == 0)
		return 0;
	memcpy(sorted, hiccups->late_us, n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), compare);
	return (uint64_t)sorted[(n - 1) * permille / 1000] * 1000;
}
