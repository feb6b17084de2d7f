/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pacer.h"

#define MS UINT64_C(1000000)

#define STOPS_SHARE 10u	       /* of the guest's time, at most, is spent on ends of epochs */
#define MUCH_BYTES  (8u << 20) /* changed in an epoch: a longer one would stop for longer */
#define SMOOTHING   4u	       /* weight of what was before, to 1 for what is new */

void vmft_pacer_init(struct vmft_pacer *pacer, uint32_t min_ms, uint32_t normal_ms, uint32_t max_ms,
		     uint64_t now)
{
	*pacer = (struct vmft_pacer){
	    .min_ns = min_ms * MS,
	    .normal_ns = normal_ms * MS,
	    .max_ns = max_ms * MS,
	    .began_ns = now,
	    .length_ns = normal_ms * MS,
	};
}

static uint64_t next_length(const struct vmft_pacer *pacer, uint64_t bytes)
{
	uint64_t length = pacer->length_ns;

	if (pacer->output)
		return pacer->normal_ns;
	length = bytes > MUCH_BYTES ? length / 2 : length * 2;
	if (length < pacer->normal_ns)
		return pacer->normal_ns;
	return length > pacer->max_ns ? pacer->max_ns : length;
}

void vmft_pacer_began(struct vmft_pacer *pacer, uint64_t now, uint64_t pause_ns, uint64_t bytes)
{
	pacer->length_ns = next_length(pacer, bytes);
	pacer->pause_ns = pacer->pause_ns == 0
			      ? pause_ns
			      : (pacer->pause_ns * SMOOTHING + pause_ns) / (SMOOTHING + 1);
	pacer->began_ns = now;
	pacer->output = false;
}

uint64_t vmft_pacer_due(const struct vmft_pacer *pacer)
{
	uint64_t length = pacer->pause_ns * (STOPS_SHARE - 1);

	if (!pacer->output)
		return pacer->began_ns + pacer->length_ns;
	if (length < pacer->min_ns)
		length = pacer->min_ns;
	if (length > pacer->normal_ns)
		length = pacer->normal_ns;
	return pacer->began_ns + length;
}
