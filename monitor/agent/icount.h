/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest time under -icount: a recorded guest's time is kept to the host's, and two faults of
 * QEMU's -icount shift=auto are worked around.
 */
#ifndef VMFT_AGENT_ICOUNT_H
#define VMFT_AGENT_ICOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/time.h>

#include "logging-channel/event.h"
#include "monitor/common/guest-clock.h"

struct vmft_icount {
	bool timers_run; /* the main loop has logged its checkpoint VIRTUAL_RT and runs timers */
	unsigned reads;	 /* of that clock, since then */
	bool bent;	 /* it stands elsewhere for one reading; a thread with the replay mutex */
	int64_t true_offset; /* cpu_clock_offset when it is not */
	bool asked;	     /* the main loop's wait before this one was none */

	/* The guest's clock is kept to the host's; a thread with the replay mutex. */
	struct vmft_clock_steer steer;
	bool rested;	    /* the vCPU had nothing to do since the clock was looked at */
	uint64_t looked_ns; /* CLOCK_MONOTONIC, and the guest's clock then */
	int64_t looked_guest_ns;
	bool anchored;
	int64_t anchor; /* cpu_clock_offset, whatever the guest was stopped for */

	/* The machine's clock */
	bool made;	/* with the machine */
	time_t made_at; /* 0: nobody has asked */

	/* For the thread that ends runs which are too long. */
	atomic_uint turns; /* of the vCPU thread, counted */
	atomic_uint rests; /* 1: the vCPU has nothing to do */
	atomic_bool waits; /* the thread sleeps until it has */
};

extern struct vmft_icount vmft_icount;

/* Before and after QEMU logs something. The caller holds the replay mutex. */
void vmft_icount_before_event(void);
void vmft_icount_logged(const struct vmft_log_cursor *cursor);
/* The main loop is about to wait, without locks. Returns true: it is not to wait. */
bool vmft_icount_ends_wait(void);
/* Starts the thread that ends runs of the vCPU which are too long. */
void vmft_icount_serve(void);
/* Recording: QEMU has read the host's clock; what it read may be changed. */
void vmft_icount_time_of_day(struct timeval *tv);
/* Replaying: an entry of the log that sets the guest's clock, VMFT_CLOCK_ENTRY_BYTES long. */
void vmft_icount_replay(const uint8_t *entry);
/* Going live: guest_ns is the last reading of the guest's clock. Returns where the clock goes on.
 */
int64_t vmft_icount_goes_on(int64_t guest_ns);

#endif
