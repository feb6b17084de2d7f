/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checkpoints: the strategy for guests that cannot be replayed. */
#ifndef VMFT_AGENT_CHECKPOINT_H
#define VMFT_AGENT_CHECKPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "monitor/interface.h"

struct vmft_checkpoint {
	_Atomic uint64_t epoch; /* taken so far */

	/* main loop */
	unsigned stopped_by; /* a guest that could run: why it does not */
	bool was_running;
	bool leaves; /* QEMU was told to end; its guest does not run again */
	bool was_asleep;
	uint64_t drain_ns; /* of the last stop: it waited for disk requests */

	atomic_bool frozen, gate_full, ending;
	atomic_uint flushing;	   /* images are being made durable */
	atomic_bool waits;	   /* an epoch waits for that */
	uint64_t waits_since_ns;   /* service thread */
	_Atomic uint32_t throttle; /* permille, as last obeyed */
};

extern struct vmft_checkpoint vmft_checkpoint;

/* Requests, in the main loop. */
int vmft_checkpoint_point(struct vmft_area *area);
int vmft_checkpoint_epoch(struct vmft_area *area);
int vmft_checkpoint_load(struct vmft_area *area);
void vmft_checkpoint_drop(struct vmft_area *area);
/* The epoch that output sent now is part of. */
uint64_t vmft_checkpoint_output_depends_on(void);
void vmft_checkpoint_gate_full(bool full);
void vmft_checkpoint_start(bool open); /* the guest may run */
void vmft_checkpoint_end(void);	       /* QEMU is to end, in order */
/* A guest that is alone, and whose monitor is gone, is stopped and slowed for nobody. */
void vmft_checkpoint_orphaned(void);
void vmft_checkpoint_service(void);
/* Service thread: whether an epoch that is asked for had better end a little later. */
bool vmft_checkpoint_postpones(enum vmft_area_op op);
void vmft_checkpoint_flush_begins(void); /* any thread */
void vmft_checkpoint_flush_ends(void);
void vmft_checkpoint_before_wait(void);

#endif
