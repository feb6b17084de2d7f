/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checkpoints: the strategy for guests that cannot be replayed. */
#ifndef VMFT_AGENT_CHECKPOINT_H
#define VMFT_AGENT_CHECKPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

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
	bool monitors_guarded;	   /* main thread */
	bool cont_asked;	   /* "cont" came while the guest was stopped; main loop */
	uint64_t waits_since_ns;   /* service thread */
	_Atomic uint32_t throttle; /* permille, as last obeyed */
};

extern struct vmft_checkpoint vmft_checkpoint;

/* The number of the epoch that frames sent, or received, now are part of. Any thread. */
uint64_t vmft_checkpoint_output_position(void);

#endif
