/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lockstep: the vCPU thread of a recorded guest that sleeps logs nothing until the guest is awake.
 */
#ifndef VMFT_AGENT_SLEEPER_H
#define VMFT_AGENT_SLEEPER_H

#include <stdatomic.h>
#include <stdbool.h>

enum vmft_sleeper_vcpu {
	VMFT_SLEEPER_FREE,   /* the vCPU thread is QEMU's */
	VMFT_SLEEPER_CALLED, /* the main loop waits until the vCPU thread has come */
	VMFT_SLEEPER_WAITS,  /* the vCPU thread waits in sleeper.c */
};

struct vmft_sleeper {
	atomic_uint vcpu; /* enum vmft_sleeper_vcpu; both threads wait for a change of it */
};

extern struct vmft_sleeper vmft_sleeper;

/* A thread of QEMU is about to wait in ppoll(); only for the main loop this does something. Returns
 * whether the vCPU thread waits, so that work which is queued for it stays in its queue. */
bool vmft_sleeper_before_wait(void);

#endif
