/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs from one QEMU version to the next: one row per version that vmft knows, chosen
 * at start by what the emulator is. A version without a row is refused.
 */
#ifndef VMFT_QEMU_VERSIONS_H
#define VMFT_QEMU_VERSIONS_H

#include <stddef.h>
#include <stdint.h>

struct vmft_qemu_symbol {
	const char *name; /* NULL ends the list */
	size_t size;	  /* of the object as compiled, 0: any */
};

struct vmft_qemu_version {
	const char *prefix;   /* "7.2.": of what --version says, so that stable releases match */
	uint32_t log_version; /* first word of QEMU's record/replay log */
	size_t timers_clock_offset;	 /* of cpu_clock_offset in timers_state */
	size_t timers_warp_offset;	 /* of vm_clock_warp_start there */
	size_t timers_warp_timer_offset; /* of icount_warp_timer there */
	size_t timers_shift_offset;	 /* of icount_time_shift there, 16 bits */
	size_t timers_bias_offset;	 /* of qemu_icount_bias there */
	size_t timers_icount_offset;	 /* of qemu_icount there */
	size_t replay_kind_offset;	 /* of data_kind in replay_state */
	/* In structs of devices, which are no symbols: the agent looks whether a timer is there. */
	size_t rng_offset;			/* of conf.max_bytes in VirtIORNG */
	size_t ioapic_offset;			/* of irq_eoi in IOAPICCommonState */
	const struct vmft_qemu_symbol *symbols; /* that the agent needs */
};

/* version is such as "7.2.22"; NULL if there is no row for it. */
const struct vmft_qemu_version *vmft_qemu_version_find(const char *version);

/* "7.2" or "7.2, 8.1": what a refusal should offer. */
const char *vmft_qemu_versions_known(void);

#endif
