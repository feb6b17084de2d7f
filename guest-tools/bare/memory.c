/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory that knows what it should hold: pages the processors write to, and pages that
 * only DMA writes to. A page that is lost or older than the rest is seen at its next visit.
 */
#include "bare.h"

#define FIRST_PAGE    (16 * (uint64_t)MIB)
#define END_MAX	      0xc0000000u /* devices may begin there */
#define DMA_PAGES_MAX 8192u
#define DMA_PAGES_MIN 64u

#define FW_CFG_DMA_HIGH 0x514
#define FW_CFG_DMA_LOW	0x518
#define FW_CFG_SELECT	8u
#define FW_CFG_READ	2u
#define FW_CFG_ERROR	1u
#define FW_CFG_BYTES	4

static struct {
	uint64_t base;
	uint32_t pages;
	uint32_t at;
	uint32_t lap;
	uint64_t seed;
	uint32_t value[2]; /* of even and odd laps */
} dma;

/* As QEMU reads it: big-endian. */
static volatile struct {
	uint32_t control;
	uint32_t length;
	uint32_t address_high;
	uint32_t address_low;
} fw_cfg __attribute__((aligned(16)));

static uint64_t page_value(uint64_t address, uint32_t lap)
{
	return address / PAGE_BYTES << 32 | lap;
}

static volatile uint64_t *word_of(uint64_t address)
{
	return (volatile uint64_t *)address;
}

/* Even laps fetch the signature item, odd ones the size of memory. */
static uint16_t dma_item(uint32_t lap)
{
	return lap & 1 ? 3 : 0;
}

static bool dma_fetch(uint32_t lap, uint64_t to)
{
	uint32_t item = dma_item(lap);

	fw_cfg.control = __builtin_bswap32(item << 16 | FW_CFG_SELECT | FW_CFG_READ);
	fw_cfg.length = __builtin_bswap32(FW_CFG_BYTES);
	fw_cfg.address_high = 0;
	fw_cfg.address_low = __builtin_bswap32((uint32_t)to);
	out32(FW_CFG_DMA_HIGH, 0);
	out32(FW_CFG_DMA_LOW, __builtin_bswap32((uint32_t)(uintptr_t)&fw_cfg));
	while (__builtin_bswap32(fw_cfg.control) & ~FW_CFG_ERROR)
		relax();
	return !fw_cfg.control;
}

static bool dma_start(uint64_t from, uint64_t to)
{
	dma.base = from;
	dma.pages = to - from < DMA_PAGES_MAX * PAGE_BYTES ? (uint32_t)((to - from) / PAGE_BYTES)
							   : DMA_PAGES_MAX;
	if (!options.dma)
		return true;
	if (dma.pages < DMA_PAGES_MIN)
		return false;
	for (uint32_t lap = 0; lap < 2; lap++) {
		static volatile uint32_t word;

		if (!dma_fetch(lap, (uintptr_t)&word))
			return false;
		dma.value[lap] = word;
	}
	return dma.value[0] != dma.value[1];
}

bool memory_start(uint64_t bytes)
{
	uint64_t at = FIRST_PAGE, end = bytes < END_MAX ? bytes : END_MAX;

	if (!options.np || !options.apnp)
		return false;
	for (uint32_t i = 0; i <= options.aps; i++) {
		uint32_t pages = i ? options.apnp : options.np;

		cpus[i].window = (struct window){.base = at, .pages = pages};
		at += (uint64_t)pages * PAGE_BYTES;
	}
	return at <= end && dma_start(at, end);
}

void memory_visit(struct cpu *cpu)
{
	struct window *window = &cpu->window;
	uint64_t address = window->base + (uint64_t)window->at * PAGE_BYTES;
	uint64_t wanted = page_value(address, window->lap), found = *word_of(address);

	if (window->lap && found != wanted)
		cpu_fault(cpu, "page", address, found, wanted);
	*word_of(address) = wanted + 1;
	barrier();
	*(volatile uint64_t *)&cpu->published = wanted + 1;
	if (++window->at == window->pages) {
		window->at = 0;
		window->lap++;
	}
}

void memory_cross_check(struct cpu *cpu, const struct cpu *other)
{
	uint64_t published = *(const volatile uint64_t *)&other->published, found;

	if (!published)
		return;
	found = *word_of((published >> 32) * PAGE_BYTES);
	if (found >> 32 != published >> 32 || found < published)
		cpu_fault(cpu, "another's page", (published >> 32) * PAGE_BYTES, found, published);
}

static void dma_check(struct cpu *cpu, uint32_t page)
{
	uint32_t lap = page < dma.at ? dma.lap + 1 : dma.lap;
	uint64_t address = dma.base + (uint64_t)page * PAGE_BYTES;
	uint32_t found = *(volatile uint32_t *)address, wanted = dma.value[(lap - 1) & 1];

	if (lap && found != wanted)
		cpu_fault(cpu, "DMA page", address, found, wanted);
}

void memory_dma(struct cpu *cpu)
{
	for (uint32_t i = 0; i < options.dma; i++) {
		dma_check(cpu, dma.at);
		if (!dma_fetch(dma.lap, dma.base + (uint64_t)dma.at * PAGE_BYTES))
			cpu_fault(cpu, "DMA transfer", dma.at, 1, 0);
		if (++dma.at == dma.pages) {
			dma.at = 0;
			dma.lap++;
		}
		/* Any other, so that a loss is seen before the lap is done. */
		dma.seed = dma.seed * 6364136223846793005u + 1442695040888963407u;
		dma_check(cpu, (uint32_t)((dma.seed >> 33) % dma.pages));
	}
}
