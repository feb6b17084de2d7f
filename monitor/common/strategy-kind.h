/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The strategies by name: what the pair file asks for, and what a started pair has. */
#ifndef VMFT_STRATEGY_KIND_H
#define VMFT_STRATEGY_KIND_H

/* How the backup comes to have what the primary has. */
enum vmft_strategy_kind {
	VMFT_STRATEGY_AUTO,	  /* whichever the command line allows */
	VMFT_STRATEGY_LOCKSTEP,	  /* it replays what the primary does */
	VMFT_STRATEGY_CHECKPOINT, /* it is sent the guest's state, an epoch at a time */
	VMFT_STRATEGY_COUNT,
};

/* "auto", "lockstep" or "checkpoint", a string constant. */
const char *vmft_strategy_kind_name(enum vmft_strategy_kind kind);

#endif
