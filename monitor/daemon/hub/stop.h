/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This side is told to stop: SIGTERM, SIGINT or SIGHUP came to its QEMU (its agent reports it), to
 * its monitor, or to both in any order. A service manager does so when it stops a VM or shuts down
 * the host. What happens to the guest depends on the side's part in the pair.
 */
#ifndef VMFT_STOP_H
#define VMFT_STOP_H

#include <stdbool.h>
#include <stdint.h>

#include "logging-channel/loop.h"
#include "monitor/core/core.h"

struct vmft_monitor;

/* For this long a backup that is told to stop waits for the primary's guest to end. If both hosts
 * are shut down, both sides then end together, and the primary is not left alone for a moment. */
#define VMFT_STOP_TOGETHER_NS UINT64_C(1000000000)

struct vmft_stop {
	int fd;		/* a signalfd */
	uint32_t seen;	/* the agent's count of requests, as last read */
	bool asked;	/* this side is to stop */
	bool ordered;	/* its guest was told to end */
	bool tried;	/* a hand-over was begun, or could not be begun */
	uint64_t since; /* when this side was first told to stop, ns */
	struct vmft_op op;
};

enum vmft_stop_step {
	VMFT_STOP_WAIT,	     /* something is under way and must end first */
	VMFT_STOP_LEAVE,     /* no guest is live here: this side ends */
	VMFT_STOP_END_GUEST, /* the guest ends in order, on both sides if there are two */
	VMFT_STOP_HAND_OVER, /* the backup takes over first */
};

/* What a side must do that was told to stop asked_ns ago. may_hand_over: the pair file says
 * on-stop = hand-over, and no hand-over was tried yet. */
enum vmft_stop_step vmft_stop_step(const struct vmft_core *core, uint64_t asked_ns,
				   bool may_hand_over);

/* Blocks the signals and opens a signalfd for them. Call it before the first thread is started. 0
 * or a negative errno. */
int vmft_stop_open(struct vmft_monitor *m);
/* The loop is about to run. */
void vmft_stop_watch(struct vmft_monitor *m);
/* Call it when the agent may have been told to stop, and regularly. */
void vmft_stop_look(struct vmft_monitor *m);

#endif
