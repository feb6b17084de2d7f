/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a person should do about the state a side is in: "next" in vmft status. Pure. */
#ifndef VMFT_ADVICE_H
#define VMFT_ADVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/core/core.h"

#define VMFT_ADVICE_MAX 640u

/* What keeps the live side from reaching another host, by what a person can do about it. */
enum vmft_reach_fault {
	VMFT_REACH_OK, /* or nobody listens there: no backup was started yet */
	VMFT_REACH_MTU,
	VMFT_REACH_ADDRESS, /* this host has not the address of its section */
	VMFT_REACH_FILES,   /* no descriptor is to be had */
	VMFT_REACH_NETWORK,
	VMFT_REACH_FAULTS,
};

/* All that the advice depends on. Texts are borrowed. */
struct vmft_situation {
	enum vmft_side side;
	enum vmft_state state;
	uint64_t generation;
	int guest_pid;
	const char *arbiter;	   /* as in the pair file */
	const char *address;	   /* this host's channel */
	const char *refusal;	   /* how the last hello was refused; "": none was */
	const char *connect_error; /* of vmft_reach_describe() */
	enum vmft_reach_fault reach;
	bool manual;	   /* reprotect = manual */
	bool retry_later;  /* primary: its last backup lagged, no other is attached for a while */
	uint64_t retry_ns; /* how long */
	bool drops;	   /* a backup that lags is given up in the end */
	uint64_t drop_ns;  /* lagging: in how long */
	bool stands;	   /* primary: the backup's replay stands still */
	uint64_t stands_at;
	uint64_t stands_drop_ns; /* in how long it is given up */
	bool stuck;		 /* backup: its own stands still, and its primary is gone */
	uint64_t replayed, held; /* backup */
};

/* One sentence; false: there is nothing to be done, text is empty. */
bool vmft_advice(const struct vmft_situation *situation, char *text, size_t size);

#endif
