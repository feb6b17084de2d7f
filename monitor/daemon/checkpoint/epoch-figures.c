/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "epoch-figures.h"

#include <stdbool.h>
#include <stdlib.h>

struct vmft_epoch_sample *vmft_epoch_sample(struct vmft_epoch_figures *figures, uint64_t epoch)
{
	return &figures->sample[epoch % VMFT_EPOCH_SAMPLES];
}

static void release(struct vmft_epoch_sample *sample, uint64_t now)
{
	if (now > sample->asked_ns)
		sample->value[VMFT_FIGURE_COMMIT] = now - sample->asked_ns;
	if (sample->output_ns != 0 && now > sample->output_ns)
		sample->value[VMFT_FIGURE_OUTPUT] = now - sample->output_ns;
}

void vmft_epoch_released(struct vmft_epoch_figures *figures, uint64_t epoch, uint64_t now)
{
	uint64_t e = figures->released + 1;

	if (epoch <= figures->released)
		return;
	if (epoch - figures->released > VMFT_EPOCH_SAMPLES)
		e = epoch - VMFT_EPOCH_SAMPLES + 1;
	for (; e <= epoch; e++)
		if (vmft_epoch_sample(figures, e)->epoch == e)
			release(vmft_epoch_sample(figures, e), now);
	figures->released = epoch;
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t vmft_epoch_quantile(const struct vmft_epoch_figures *figures, enum vmft_epoch_figure which,
			     unsigned permille)
{
	const bool waits = which == VMFT_FIGURE_COMMIT || which == VMFT_FIGURE_OUTPUT;
	uint64_t values[VMFT_EPOCH_SAMPLES];
	size_t n = 0;

	for (size_t i = 0; i < VMFT_EPOCH_SAMPLES; i++) {
		const struct vmft_epoch_sample *sample = &figures->sample[i];

		if (sample->epoch != 0 && !(waits && sample->value[which] == 0))
			values[n++] = sample->value[which];
	}
	if (n == 0)
		return 0;
	qsort(values, n, sizeof(values[0]), compare);
	return values[(n - 1) * permille / 1000];
}
