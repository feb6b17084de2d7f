/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the bare guest. Processor 0 runs all but the checks of the others' own pages. */
#ifndef BARE_H
#define BARE_H

#include "machine.h"

#define BARE_CPUS	16     /* as in start.S */
#define BARE_TRAMPOLINE 0x8000 /* as in start.S */

/* What was not as it should have been. */
struct fault {
	const char *what; /* NULL: nothing so far */
	uint64_t where;
	uint64_t found;
	uint64_t wanted;
};

/* Pages written to in turn; each must still hold what the visit before left there. */
struct window {
	uint64_t base;
	uint32_t pages;
	uint32_t at;  /* page to be visited next */
	uint32_t lap; /* 0: what the pages hold is not known yet */
};

/* Written by its processor only. */
struct cpu {
	uint64_t ticks;
	uint64_t mismatches;
	uint64_t backwards; /* times one of its clocks went back */
	uint64_t last_tsc;
	uint64_t last_kvmclock;
	uint64_t published; /* the page value written last, for processor 0 to find in memory */
	struct fault first;
	struct window window;
} __attribute__((aligned(128)));

struct options {
	uint32_t dirty; /* pages a tick, of each processor */
	uint32_t np;	/* pages of processor 0's window */
	uint32_t apnp;	/* pages of each other's */
	uint32_t aps;	/* further processors */
	uint32_t dma;	/* DMA transfers a tick */
	uint32_t delay; /* us from tick to tick */
	uint32_t blk;	/* whether each tick uses the disk */
	uint8_t ip[4];
};

extern struct options options;
extern struct cpu cpus[BARE_CPUS];

void cpu_fault(struct cpu *cpu, const char *what, uint64_t where, uint64_t found, uint64_t wanted);

/* clock.c */
void clock_start(void);
uint64_t clock_tsc_hz(void);
/* The local APIC's timer, which runs on the machine's virtual time. Processor 0 only. */
uint64_t clock_apic_ns(void);
/* Since the start, by the better clock there is. Processor 0 only. */
uint64_t clock_up_ns(void);
/* 0 without one. */
uint64_t clock_kvm_ns(unsigned cpu);
/* Counts what went back since the last call. */
void clock_check(struct cpu *cpu, unsigned number);

/* memory.c */
/* False if the windows do not fit. */
bool memory_start(uint64_t bytes);
void memory_visit(struct cpu *cpu);
void memory_dma(struct cpu *cpu);
/* What another processor says it wrote must be in memory, or something later. */
void memory_cross_check(struct cpu *cpu, const struct cpu *other);

/* console.c: kept until console_poll() has time for it. */
void console_start(void);
void console_text(const char *text);
void console_number(uint64_t number);
void console_hex(uint64_t number);
void console_poll(void);

/* net.c */
bool net_start(void);
void net_poll(void);
/* Until all that was sent has left the guest. */
void net_drain(void);

/* kv.c */
#define KV_PORT	  7777
#define KV_ANSWER 512 /* bytes at most */
/* Returns the bytes of the answer, 0 for none. */
size_t kv_request(const uint8_t *request, size_t bytes, uint8_t answer[static KV_ANSWER]);
/* What a request asked for that must follow its answer. */
void kv_after_answer(void);

/* disk.c */
#define DISK_SECTOR 512u
struct disk_stats {
	uint64_t writes;
	uint64_t mismatches;
	uint64_t errors;
};
extern struct disk_stats disk_stats;
bool disk_start(void);
bool disk_there(void);
/* Sectors that keys may use. */
uint64_t disk_keys(void);
void disk_tick(struct cpu *cpu);
/* Done, and for a write on the medium, when it returns true. */
bool disk_write_durably(uint64_t sector, const uint8_t data[static DISK_SECTOR]);
bool disk_read(uint64_t sector, uint8_t ret_data[static DISK_SECTOR]);

#endif
