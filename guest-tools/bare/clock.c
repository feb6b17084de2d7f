/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What tells the time: the TSC, KVM's clock page, and the local APIC's timer. */
#include "bare.h"

#define APIC	       0xfee00000u
#define APIC_SVR       (APIC + 0xf0)
#define APIC_LVT_TIMER (APIC + 0x320)
#define APIC_INITIAL   (APIC + 0x380)
#define APIC_CURRENT   (APIC + 0x390)
#define APIC_DIVIDE    (APIC + 0x3e0)
#define SVR_ENABLE     0x100
#define LVT_MASKED     0x10000
#define LVT_PERIODIC   0x20000
#define DIVIDE_BY_128  0xa
#define APIC_NS	       128 /* QEMU and KVM run it at 1 GHz */
#define MEASURE_NS     10000000u

/* struct pvclock_vcpu_time_info of the KVM ABI. */
struct pvclock {
	uint32_t version; /* odd while it is written */
	uint32_t pad;
	uint64_t tsc;
	uint64_t ns;
	uint32_t multiplier; /* of (TSC << shift), as a fraction of 2^32 */
	int8_t shift;
	uint8_t flags;
	uint8_t pad2[2];
	uint8_t fill[32]; /* start.S keeps them 64 bytes apart */
};

_Static_assert(sizeof(struct pvclock) == 64, "start.S");

extern const volatile struct pvclock pvclock[BARE_CPUS];

static uint64_t tsc_hz;
static uint64_t apic_ns;
static uint32_t apic_last;
static uint64_t kvm_start;

void clock_start(void)
{
	uint64_t tsc, ns;

	mmio_write(APIC_SVR, mmio_read(APIC_SVR) | SVR_ENABLE);
	mmio_write(APIC_LVT_TIMER, LVT_MASKED | LVT_PERIODIC);
	mmio_write(APIC_DIVIDE, DIVIDE_BY_128);
	mmio_write(APIC_INITIAL, UINT32_MAX);
	apic_last = mmio_read(APIC_CURRENT);

	kvm_start = clock_kvm_ns(0);

	tsc = rdtsc();
	while (ns = clock_apic_ns(), ns < MEASURE_NS)
		;
	tsc_hz = (rdtsc() - tsc) * NS_PER_S / ns;
}

uint64_t clock_tsc_hz(void)
{
	return tsc_hz;
}

/*
 * It counts down and around in nine minutes, and is asked each second. More than half of
 * that at once is KVM's timer which began anew: QEMU does not give it back its count.
 */
uint64_t clock_apic_ns(void)
{
	uint32_t now = mmio_read(APIC_CURRENT), passed = apic_last - now;

	if (passed > UINT32_MAX / 2)
		passed = UINT32_MAX - now;
	apic_ns += (uint64_t)passed * APIC_NS;
	apic_last = now;
	return apic_ns;
}

uint64_t clock_kvm_ns(unsigned cpu)
{
	const volatile struct pvclock *from = &pvclock[cpu];
	uint64_t delta, ns;
	uint32_t version;

	if (!from->version)
		return 0;
	do {
		version = from->version & ~1u;
		barrier();
		delta = rdtsc() - from->tsc;
		delta = from->shift < 0 ? delta >> -from->shift : delta << from->shift;
		ns = from->ns + (uint64_t)((unsigned __int128)delta * from->multiplier >> 32);
		barrier();
	} while (from->version != version);
	return ns;
}

uint64_t clock_up_ns(void)
{
	uint64_t now = clock_kvm_ns(0), apic = clock_apic_ns();

	return now ? now - kvm_start : apic;
}

static void check(struct cpu *cpu, const char *what, uint64_t *last, uint64_t now)
{
	if (now < *last) {
		cpu->backwards++;
		if (!cpu->first.what)
			cpu->first = (struct fault){.what = what, .found = now, .wanted = *last};
	}
	*last = now;
}

void clock_check(struct cpu *cpu, unsigned number)
{
	check(cpu, "TSC", &cpu->last_tsc, rdtsc());
	check(cpu, "kvmclock", &cpu->last_kvmclock, clock_kvm_ns(number));
}
