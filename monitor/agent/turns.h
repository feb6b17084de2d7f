/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lockstep: the vCPU thread of a recorded guest logs nothing while QEMU resets the machine, or lets
 * it fall asleep, sleep and wake up. */
#ifndef VMFT_AGENT_TURNS_H
#define VMFT_AGENT_TURNS_H

#include <stdatomic.h>
#include <stdbool.h>

enum vmft_turns_vcpu {
	VMFT_TURNS_FREE,   /* the vCPU thread is QEMU's */
	VMFT_TURNS_CALLED, /* the main loop waits until the vCPU thread has come */
	VMFT_TURNS_WAITS,  /* the vCPU thread waits in turns.c */
};

struct vmft_turns {
	atomic_uint vcpu; /* enum vmft_turns_vcpu; both threads wait for a change of it */
};

extern struct vmft_turns vmft_turns;

/* A thread of QEMU is about to wait in ppoll(); only for the main loop this does something. Returns
 * whether the vCPU thread waits, so that work which is queued for it stays in its queue. */
bool vmft_turns_before_wait(void);
/* QEMU's main loop is about to log CHECKPOINT_PAUSE, after which it pauses the vCPUs. It holds both
 * locks, and releases them here for a moment. The vCPU thread may log events meanwhile. */
void vmft_turns_before_pause(void);

#endif
