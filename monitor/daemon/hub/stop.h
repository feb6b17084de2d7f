/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This side is told to stop: SIGTERM, SIGINT or SIGHUP came to its QEMU, whose agent says so, or
 * to its monitor, or to both in any order, as a service manager does it that stops a VM or shuts
 * its host down. What becomes of the guest depends on what this side is to the pair.
 */
#ifndef VMFT_STOP_H
#define VMFT_STOP_H

#include <stdbool.h>
#include <stdint.h>

#include "logging-channel/loop.h"
#include "monitor/core/core.h"

struct vmft_monitor;

/* A backup that is told to stop waits this long for the primary's guest to end, too: if both
 * hosts are shut down, it ends with it instead of leaving it alone a moment before. */
#define VMFT_STOP_TOGETHER_NS UINT64_C(1000000000)

struct vmft_stop {
	int fd;		/* a signalfd */
	uint32_t seen;	/* of the agent's count, those looked at */
	bool asked;	/* this side is to stop */
	bool ordered;	/* its guest was told to end */
	bool tried;	/* a hand-over was begun, or there was none to be had */
	uint64_t since; /* when it was asked first */
	struct vmft_op op;
};

enum vmft_stop_step {
	VMFT_STOP_WAIT,	     /* what is under way comes to its end first */
	VMFT_STOP_LEAVE,     /* no guest lives here: this side goes */
	VMFT_STOP_END_GUEST, /* the guest ends in order, on both sides if there are two */
	VMFT_STOP_HAND_OVER, /* the backup takes over first */
};

/* What a side does that was told to stop so long ago. may_hand_over: the pair file says so, and it
 * was not tried yet. */
enum vmft_stop_step vmft_stop_step(const struct vmft_core *core, uint64_t asked_ns,
				   bool may_hand_over);

/* From here on the signals are this side's to decide on; before the first thread is started.
 * 0 or a negative errno. */
int vmft_stop_open(struct vmft_monitor *m);
/* The loop is about to run. */
void vmft_stop_watch(struct vmft_monitor *m);
/* The agent may have been told, or the time for the next step may have come. */
void vmft_stop_look(struct vmft_monitor *m);

#endif
