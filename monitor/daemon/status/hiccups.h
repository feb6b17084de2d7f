/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How late this monitor's own ticks came. silence-ms must be well above that. Pure bookkeeping. */
#ifndef VMFT_HICCUPS_H
#define VMFT_HICCUPS_H

#include <stddef.h>
#include <stdint.h>

#define VMFT_HICCUP_SAMPLES 3000u /* a minute of ticks */

struct vmft_hiccups {
	uint64_t ticks;
	uint64_t worst_ns; /* since the monitor started */
	uint32_t late_us[VMFT_HICCUP_SAMPLES];
};

void vmft_hiccup_note(struct vmft_hiccups *hiccups, uint64_t late_ns);
/* Of the last VMFT_HICCUP_SAMPLES, in ns; permille 500 is the median. 0 if there are none. */
uint64_t vmft_hiccup_quantile(const struct vmft_hiccups *hiccups, unsigned permille);

#endif
