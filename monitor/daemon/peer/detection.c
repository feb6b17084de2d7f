/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "detection.h"

static uint64_t share(const struct vmft_detection *d, uint64_t ns)
{
	return d->primary ? ns / 4 * 3 : ns;
}

uint64_t vmft_detection_silence_ns(const struct vmft_detection *d)
{
	return share(d, d->silence_ns);
}

uint64_t vmft_detection_grace_ns(const struct vmft_detection *d)
{
	return share(d, d->grace_ns);
}

uint64_t vmft_detection_fresh_ns(const struct vmft_detection *d)
{
	return vmft_detection_silence_ns(d) / 2;
}

enum vmft_verdict vmft_detection_verdict(const struct vmft_detection *d, uint64_t channel_ns,
					 uint64_t path_ns)
{
	if (channel_ns < vmft_detection_silence_ns(d))
		return VMFT_VERDICT_HEARD;
	if (path_ns >= vmft_detection_fresh_ns(d) || channel_ns >= vmft_detection_grace_ns(d))
		return VMFT_VERDICT_LOST;
	return VMFT_VERDICT_GRACE;
}
