/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads the command line before it is checked, to choose the strategy whose rules it is checked by.
 * What cannot be read counts as absent: the check reports it later.
 */
#ifndef VMFT_SCAN_H
#define VMFT_SCAN_H

#include <stdbool.h>

#include "arena.h"
#include "monitor/common/pair-config.h"
#include "optset.h"

/* What one -smp asks for, counted as QEMU does. */
struct vmft_smp {
	unsigned cpus;
	unsigned maxcpus; /* more than cpus: the rest may be plugged in later */
	bool fits;	  /* sockets, dies, clusters, cores and threads can make maxcpus */
};

struct vmft_scan {
	bool kvm;     /* asked for, or the choice of several on this host */
	bool has_kvm; /* this host has it */
	bool microvm, q35;
	unsigned processors; /* that the guest has or may get; 1 if nothing is said */
};

/* False if something is no plain number from 1 to 999. */
bool vmft_smp_read(const struct vmft_optset *set, struct vmft_smp *ret);

/* has_kvm: what "kvm:tcg" comes to on this host. */
void vmft_scan(struct vmft_arena *arena, int argc, char *const argv[], bool has_kvm,
	       struct vmft_scan *ret);

/*
 * Lockstep or checkpoint. *ret_reason says why in a few words for people; it is a constant or
 * in the arena.
 */
enum vmft_strategy_kind vmft_strategy_choose(struct vmft_arena *arena, const struct vmft_scan *scan,
					     enum vmft_strategy_kind asked,
					     const char **ret_reason);

#endif
