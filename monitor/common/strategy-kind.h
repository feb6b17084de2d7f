/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The strategies by name: what the pair file asks for, and what a started pair has. */
#ifndef VMFT_STRATEGY_KIND_H
#define VMFT_STRATEGY_KIND_H

#include <stdbool.h>

/* How the backup comes to have what the primary has. */
enum vmft_strategy_kind {
	VMFT_STRATEGY_AUTO,	  /* whichever the command line allows */
	VMFT_STRATEGY_LOCKSTEP,	  /* it replays what the primary does */
	VMFT_STRATEGY_CHECKPOINT, /* it is sent the guest's state, an epoch at a time */
	VMFT_STRATEGY_COUNT,
};

/* "auto", "lockstep" or "checkpoint", a string constant. */
const char *vmft_strategy_kind_name(enum vmft_strategy_kind kind);

/* The kind of that name. -EINVAL, and *ret is left alone: there is none. */
int vmft_strategy_kind_parse(const char *name, enum vmft_strategy_kind *ret);

/* Whether the backup's QEMU may be another build or series than the primary's, if the machine is
 * the same in both: with checkpoints it only loads states, and the agent has shown before there is
 * a pair that it can. In lockstep it executes what the other logs, instruction for instruction. */
bool vmft_strategy_kind_moves_to_builds(enum vmft_strategy_kind kind);

#endif
