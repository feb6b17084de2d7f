/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checkpoint: frames that came in. Main loop. */
#ifndef VMFT_AGENT_INPUT_H
#define VMFT_AGENT_INPUT_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vmft_input_state { /* main loop */
	uint64_t at;	  /* position in the ring, of whichever end this side has */
	uint64_t epoch;	  /* in which bytes were counted */
	uint64_t bytes;
	bool handing_out;
	uint64_t until_ns;
};

extern struct vmft_input_state vmft_input_state;

/* Primary: QEMU has read this frame from fd. */
void vmft_input_taken(int fd, const void *bytes, size_t n);
/* Backup, going live: the frames that the monitor has put into the ring are given to the guest. */
void vmft_input_hand_out(void);
/* Returns true: QEMU is to get what is in bytes instead of what the tap has; *ret is the length. */
bool vmft_input_next(int fd, void *bytes, size_t n, ssize_t *ret);
/* The entry of a tap that QEMU is about to wait for and for which there is a frame here; or NULL.
 */
struct pollfd *vmft_input_waits(struct pollfd *fds, nfds_t count);

#endif
