/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image that this side's QEMU cannot read or write: a fail-stop fault of this side, if
 * there is another to go on. The agent keeps the failed call from returning (agent/disk.c) until
 * what is decided here has come true.
 */
#ifndef VMFT_DISK_FAULT_H
#define VMFT_DISK_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct vmft_monitor;

struct vmft_disk_fault {
	uint32_t failures; /* of the agent's count, those looked at */
	bool undecided;	   /* what becomes of the last one depends on a claim under way */
	uint64_t said_ns;  /* when it was said last, of a guest that is alone */
	uint64_t counted;  /* those of the monitor's own writes included */
	char text[161];	   /* the last: which image, what, errno; "": none yet */
};

/* The agent may have counted a failure. Before anything else it says is looked at. */
void vmft_disk_fault_look(struct vmft_monitor *m);

/*
 * Backup: the monitor's own writes to the images fail, as text says. True: they are to be tried
 * again in a while, nobody else has this guest any more; false: this backup is given up.
 */
bool vmft_disk_fault_waits(struct vmft_monitor *m, const char *text);

#endif
