/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "throttle.h"

uint32_t vmft_throttle_permille(uint64_t lag_ms, uint32_t bound_ms)
{
	const uint64_t from = bound_ms / 2;
	const uint64_t to = 2 * (uint64_t)bound_ms;

	if (lag_ms <= from)
		return 0;
	if (lag_ms >= to)
		return VMFT_THROTTLE_MAX_PERMILLE;
	return (uint32_t)(VMFT_THROTTLE_MAX_PERMILLE * (lag_ms - from) / (to - from));
}
