/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest without an operating system, for what no Linux boots on in time: it checks its own
 * memory, clocks and disk, and serves a key-value store over UDP. Everything is polled.
 */
#include "bare.h"

#define MULTIBOOT_HAS_MEMORY  1
#define MULTIBOOT_HAS_CMDLINE 4

#define APIC_ICR_LOW   0xfee00300u
#define APIC_ICR_HIGH  0xfee00310u
#define ICR_INIT       0x4500
#define ICR_START      (0x4600 | BARE_TRAMPOLINE / PAGE_BYTES)
#define AP_PATIENCE_NS (2 * NS_PER_S)
#define VISITS_A_TIME  256 /* pages between two looks at the network */
#define KIB	       1024u
#define PER_S_US       1000000u

struct multiboot {
	uint32_t flags;
	uint32_t low_kib;
	uint32_t high_kib; /* from 1 MiB on */
	uint32_t boot_device;
	uint32_t cmdline;
};

extern uint32_t multiboot_info;
extern volatile uint32_t cpus_started;
extern const uint8_t ap_start[];
extern const uint32_t ap_bytes;

void cpu_main(unsigned number);

struct options options = {
    .dirty = 16, .np = 5000, .apnp = 1000, .delay = 1000, .ip = {10, 7, 0, 2}};
struct cpu cpus[BARE_CPUS];
static uint64_t delay_tsc;
static volatile bool go;
static const char *reported[BARE_CPUS];

void *memcpy(void *to, const void *from, size_t bytes)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes) : : "memory");
	return to;
}

void *memset(void *to, int byte, size_t bytes)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(byte) : "memory");
	return to;
}

void cpu_fault(struct cpu *cpu, const char *what, uint64_t where, uint64_t found, uint64_t wanted)
{
	cpu->mismatches++;
	if (!cpu->first.what)
		cpu->first = (struct fault){what, where, found, wanted};
}

/* ---- options ---- */

/* What follows NAME= where it begins a word, or NULL. */
static const char *option(const char *line, const char *name)
{
	for (const char *at = line; *at; at++) {
		size_t n = 0;

		if (at != line && at[-1] != ' ')
			continue;
		while (name[n] && at[n] == name[n])
			n++;
		if (!name[n] && at[n] == '=')
			return at + n + 1;
	}
	return NULL;
}

static uint32_t number(const char **at)
{
	uint32_t value = 0;

	while (**at >= '0' && **at <= '9')
		value = value * 10 + (uint32_t)(*(*at)++ - '0');
	return value;
}

static void number_option(const char *line, const char *name, uint32_t *to)
{
	const char *at = option(line, name);

	if (at)
		*to = number(&at);
}

static void options_read(const char *line)
{
	const char *ip = option(line, "ip");

	number_option(line, "dirty", &options.dirty);
	number_option(line, "np", &options.np);
	number_option(line, "apnp", &options.apnp);
	number_option(line, "aps", &options.aps);
	number_option(line, "dma", &options.dma);
	number_option(line, "delay", &options.delay);
	number_option(line, "blk", &options.blk);
	for (int i = 0; ip && i < 4; i++) {
		options.ip[i] = (uint8_t)number(&ip);
		ip += *ip == '.';
	}
}

/* ---- the other processors ---- */

static void interrupt_command(uint32_t apic, uint32_t command)
{
	mmio_write(APIC_ICR_HIGH, apic << 24);
	mmio_write(APIC_ICR_LOW, command);
}

/* One after the other: they number themselves as they come. */
static bool cpus_start(void)
{
	memcpy((void *)BARE_TRAMPOLINE, ap_start, ap_bytes);
	for (uint32_t apic = 1; apic <= options.aps; apic++) {
		uint64_t begin = clock_apic_ns();

		interrupt_command(apic, ICR_INIT);
		interrupt_command(apic, ICR_START);
		while (cpus_started <= apic) {
			if (clock_apic_ns() - begin > AP_PATIENCE_NS)
				return false;
			relax();
		}
	}
	return true;
}

static void visit_all(struct cpu *cpu, void (*poll)(void))
{
	for (uint32_t i = 0; i < options.dirty; i++) {
		memory_visit(cpu);
		if (poll && i % VISITS_A_TIME == VISITS_A_TIME - 1)
			poll();
	}
}

static void other_cpu(struct cpu *cpu, unsigned number_)
{
	while (!go)
		relax();
	for (;;) {
		uint64_t begin = rdtsc();

		visit_all(cpu, NULL);
		clock_check(cpu, number_);
		cpu->ticks++;
		do
			relax();
		while (rdtsc() - begin < delay_tsc);
	}
}

/* ---- processor 0 ---- */

static void report_fault(unsigned cpu)
{
	const struct fault *fault = &cpus[cpu].first;

	if (!fault->what || reported[cpu])
		return;
	reported[cpu] = fault->what;
	console_text("vmft-guest: MISMATCH cpu ");
	console_number(cpu);
	console_text(" ");
	console_text(fault->what);
	console_text(" ");
	console_hex(fault->where);
	console_text(" is ");
	console_hex(fault->found);
	console_text(", should be ");
	console_hex(fault->wanted);
	console_text("\n");
}

static void report(const struct cpu *cpu)
{
	uint64_t bad = disk_stats.mismatches;

	for (unsigned i = 0; i <= options.aps; i++) {
		bad += cpus[i].mismatches + cpus[i].backwards;
		report_fault(i);
	}
	console_text("tick ");
	console_number(cpu->ticks);
	console_text(" up=");
	console_number(clock_up_ns() / NS_PER_S);
	console_text(" bad=");
	console_number(bad);
	console_text("\n");
}

static void poll(void)
{
	net_poll();
	console_poll();
}

static void serve(struct cpu *cpu)
{
	uint64_t said = rdtsc();

	for (;;) {
		uint64_t begin = rdtsc();

		cpu->ticks++;
		visit_all(cpu, poll);
		memory_dma(cpu);
		for (unsigned i = 1; i <= options.aps; i++)
			memory_cross_check(cpu, &cpus[i]);
		clock_check(cpu, 0);
		disk_tick(cpu);
		if (rdtsc() - said > clock_tsc_hz()) {
			said = rdtsc();
			report(cpu);
		}
		/* A TSC that went back ends the wait, too. */
		do {
			poll();
			relax();
		} while (rdtsc() - begin < delay_tsc);
	}
}

static void give_up(const char *why)
{
	console_text("vmft-guest: ");
	console_text(why);
	console_text("\n");
	for (;;)
		console_poll();
}

static void boot_cpu(void)
{
	const struct multiboot *info = (const struct multiboot *)(uintptr_t)multiboot_info;
	uint64_t memory = 64 * (uint64_t)MIB;
	bool net, disk;

	console_start();
	if (info->flags & MULTIBOOT_HAS_CMDLINE)
		options_read((const char *)(uintptr_t)info->cmdline);
	if (info->flags & MULTIBOOT_HAS_MEMORY)
		memory = (uint64_t)info->high_kib * KIB + MIB;
	if (options.aps >= BARE_CPUS)
		give_up("aps= is 15 at most");
	if (!memory_start(memory))
		give_up("np=, apnp= and dma= do not fit into memory");
	clock_start();
	delay_tsc = clock_tsc_hz() / PER_S_US * options.delay;
	net = net_start();
	disk = disk_start();
	if (options.blk && !disk)
		give_up("blk=, but no disk");
	if (!cpus_start())
		give_up("aps=, but not so many processors");
	console_text(net ? "vmft-guest: ready\n" : "vmft-guest: ready, without a network\n");
	go = true;
	serve(&cpus[0]);
}

void cpu_main(unsigned cpu)
{
	if (cpu)
		other_cpu(&cpus[cpu], cpu);
	else
		boot_cpu();
}
