/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event tap: QEMU's log stream while it records goes into the ring. */
#ifndef VMFT_AGENT_TAP_H
#define VMFT_AGENT_TAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "logging-channel/event.h"

/* Changed under QEMU's replay mutex, but for busy. */
struct vmft_tap {
	FILE *stream; /* what QEMU believes is its log file; only compared, never read */
	struct vmft_log_cursor cursor;
	bool adding;	   /* an entry of ours is written: QEMU is not at an event */
	uint64_t requests; /* block requests QEMU had made when the cursor began */
	uint64_t room_end; /* ring positions below this are known to be free */
	uint64_t published;
	uint64_t run_until; /* CLOCK_MONOTONIC ns until which a throttled guest runs */
	atomic_bool busy;   /* the attach point is being taken: the guest cannot be frozen now */
};

extern struct vmft_tap vmft_tap;

/*
 * A stream whose first byte has this log position. If QEMU has just been started it waits for the
 * order to run first. NULL: no memory.
 */
FILE *vmft_tap_open(uint64_t position);
/* QEMU writes to its log. The caller holds the replay mutex. May sleep until the ring has room. */
void vmft_tap_write(const uint8_t *bytes, size_t n);
/* Adds an entry of ours, if the log is kept. The caller holds the replay mutex; QEMU is not in the
 * middle of an event. */
void vmft_tap_add(const uint8_t *bytes, size_t n);
/* QEMU records, and the log is kept for a backup. */
bool vmft_tap_is_kept(void);
/* The attach point: the log is kept from its present position on. Main loop, the guest stopped. */
void vmft_tap_keep_from_here(void);
/* The main loop is about to wait, without any of QEMU's locks. */
void vmft_tap_before_wait(void);

#endif
