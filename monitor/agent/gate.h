/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The output gate: a frame of the guest leaves only after the backup has acknowledged the log
 * position, or the epoch, that led to it.
 */
#ifndef VMFT_AGENT_GATE_H
#define VMFT_AGENT_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct vmft_frame;

/* All fields are protected by lock. */
struct vmft_gate {
	pthread_mutex_t lock;
	pthread_cond_t room;	  /* signalled when frames left or the gate's mode changed */
	struct vmft_frame *first; /* oldest */
	struct vmft_frame **last;
	uint64_t bytes;
	uint64_t frames;
	uint64_t limit;	  /* bytes; beyond it the sending thread, hence the guest, waits */
	uint64_t left_at; /* the highest position that output which has left depends on */
};

extern struct vmft_gate vmft_gate;

/* limit: in bytes. A single frame that is longer is held all the same. */
void vmft_gate_init(struct vmft_gate *gate, uint64_t limit);

/*
 * In the place of writev() to a tap: sends the frame or holds a copy of it. May sleep until there
 * is room, if the strategy says so. Returns the frame's length, or -1 and errno if an open gate
 * passed the frame on and writev() failed.
 */
ssize_t vmft_gate_writev(int fd, const struct iovec *iov, int count);

/* Sends the frames that may leave. Service thread. Returns a descriptor to wait on for POLLOUT, or
 * -1. */
int vmft_gate_service(void);

/* Whether this host may send something of the guest's besides its frames now. Any thread. */
bool vmft_gate_may_speak(void);

/* Wakes threads that wait for room: they look again whether the guest is fenced. */
void vmft_gate_mode_changed(void);

/* Output leaves at once from now on. Any thread. */
void vmft_gate_open(void);
/* Output is held from now on; tells the monitor what the output that has left depends on. */
void vmft_gate_close(void);

/* A hand-over. Service thread: copies the output that is held for the monitor if the monitor asks
 * for it, and answers when the monitor no longer asks. */
void vmft_gate_keep_service(void);
/* Going live: sends the frames that the other side held. Called after the announcements. */
void vmft_gate_take_output(void);

#endif
