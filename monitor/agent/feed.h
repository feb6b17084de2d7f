/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replay feed: QEMU's log stream while it replays, and going live at the log's end. */
#ifndef VMFT_AGENT_FEED_H
#define VMFT_AGENT_FEED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "logging-channel/event.h"

enum vmft_feed_phase {
	VMFT_FEED_HEADER,    /* QEMU reads the file's header */
	VMFT_FEED_UNDECIDED, /* it has skipped it; whether the guest boots is not known yet */
	VMFT_FEED_STUB,	     /* the guest's state will be loaded: no event until then */
	VMFT_FEED_STREAM,    /* events */
	VMFT_FEED_LEFT,	     /* the guest is live */
};

/* Changed under QEMU's replay mutex, but for the last two. */
struct vmft_feed {
	FILE *stream;
	struct vmft_log_cursor cursor;
	uint8_t header[4]; /* log version, big-endian, which QEMU checks first */
	unsigned header_read;
	_Atomic uint32_t phase; /* enum vmft_feed_phase */
	uint8_t stage[4096];
	size_t staged; /* of QEMU's own entries only */
	size_t handed;
	bool diverged; /* no more events are handed to QEMU */
	_Atomic uint64_t bytes_handed;
	uint64_t waited_at; /* main loop only: bytes handed out when it last waited */
	unsigned waits;	    /* main loop only: waits in a row without an event between them */
};

extern struct vmft_feed vmft_feed;

FILE *vmft_feed_open(void); /* NULL: no memory */
/* The next byte of QEMU's log. The caller holds the replay mutex. Sleeps while there is none. */
int vmft_feed_byte(void);
/* QEMU is given events: not before the first one, and not after going live. Any thread. */
bool vmft_feed_is_replaying(void);
/* Whether the main loop, about to wait for timeout (NULL: without end), is to wait for *ret_slice
 * only. Called by the main loop, without any of QEMU's locks. */
bool vmft_feed_shortens_wait(const struct timespec *timeout, struct timespec *ret_slice);
/* Called by the main loop after its wait, again without locks; may keep it for a millisecond. */
void vmft_feed_hold_main_loop(void);

#endif
