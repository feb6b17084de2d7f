/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Would-be output: the primary logs a digest of each frame that its guest sends, the backup
 * compares it with the frame that its own guest sends. All under the replay mutex but for the first
 * three functions.
 */
#ifndef VMFT_AGENT_OUTPUT_H
#define VMFT_AGENT_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "logging-channel/event.h"
#include "nic.h"

#define VMFT_FRAMES_NAME "vmft:frames" /* and the card's number: what a filter-dump opens */

#define VMFT_EXPECTED_MAX 65536u

/* A frame that the primary's guest has sent and this one's has not sent yet. */
struct vmft_expected {
	struct vmft_output_entry frame;
	uint64_t position; /* of the log entry */
	uint64_t events;   /* QEMU's, handed out before it */
};

struct vmft_output {
	int fd[VMFT_AGENT_NICS]; /* QEMU's filter-dumps write to; 0: none */
	unsigned nics;
	unsigned first, count; /* a ring */
	struct vmft_expected expected[VMFT_EXPECTED_MAX];
};

extern struct vmft_output vmft_output;

bool vmft_output_is_name(const char *path);
int vmft_output_open(const char *path); /* a descriptor, or -1 and errno */
int vmft_output_nic(int fd);		/* the card whose filter-dump writes to fd, or -1 */
/* A frame, after filter-dump's header in iov[0]. Returns the length of all. */
ssize_t vmft_output_writev(unsigned nic, const struct iovec *iov, int count);
/* Replaying: the log says that this frame was sent here. */
void vmft_output_expect(uint64_t position, const struct vmft_output_entry *frame);
/* The next expected frame should have been sent by now. */
bool vmft_output_is_late(void);
/* The next expected frame will not be sent: the guest has diverged. */
void vmft_output_miss(void);

#endif
