/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "marks.h"

#include "monitor/common/area-setup.h"

static _Atomic uint64_t *words_of(const struct vmft_agent_link *link, uint32_t region)
{
	return vmft_region_bitmap(link->area, &link->region[region]);
}

uint64_t vmft_marks_words(const struct vmft_agent_link *link, uint32_t region)
{
	return vmft_region_bitmap_bytes(&link->region[region]) / 8;
}

unsigned vmft_marks_run(const struct vmft_agent_link *link, uint32_t region, uint64_t word,
			unsigned most, uint64_t *ret_block)
{
	const uint64_t bits = atomic_load(&words_of(link, region)[word]);
	unsigned first, count = 0;

	if (bits == 0)
		return 0;
	first = (unsigned)__builtin_ctzll(bits);
	while (first + count < 64 && count < most && bits >> (first + count) & 1)
		count++;
	*ret_block = word * 64 + first;
	return count;
}

void vmft_marks_clear(const struct vmft_agent_link *link, uint32_t region, uint64_t block,
		      unsigned count)
{
	const uint64_t run = count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX;

	atomic_fetch_and(&words_of(link, region)[block / 64], ~(run << (block % 64)));
}

void vmft_marks_set(const struct vmft_agent_link *link, uint32_t region, uint64_t word,
		    uint64_t bits)
{
	atomic_fetch_or(&words_of(link, region)[word], bits);
}

static uint64_t count(const struct vmft_agent_link *link, uint32_t region)
{
	_Atomic uint64_t *words = words_of(link, region);
	uint64_t marks = 0;

	for (uint64_t w = 0; w < vmft_marks_words(link, region); w++)
		marks += (uint64_t)__builtin_popcountll(
		    atomic_load_explicit(&words[w], memory_order_relaxed));
	return marks;
}

uint64_t vmft_marks_bytes(const struct vmft_agent_link *link, uint32_t regions)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < regions; i++)
		bytes += count(link, i) * vmft_region_block(&link->region[i]);
	return bytes;
}
