/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The signals that tell QEMU to end. */
#ifndef VMFT_AGENT_SIGNALS_H
#define VMFT_AGENT_SIGNALS_H

#include <stdatomic.h>
#include <stdbool.h>

struct vmft_signals {
	_Atomic int signal, pid; /* the last that came, and who sent it */
	bool taken;		 /* main thread: QEMU's handlers are replaced */
	bool passed;		 /* service thread: QEMU was told */
};

extern struct vmft_signals vmft_signals;

void vmft_signals_arm(void);	     /* main thread */
void vmft_signals_before_wait(void); /* any thread that is about to wait in ppoll() */
void vmft_signals_orphaned(void);    /* service thread: the monitor is gone */
void vmft_signals_service(void);     /* service thread */

#endif
