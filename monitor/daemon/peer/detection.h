/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When a silent peer is given up: docs/detection.md. This module computes with times and reads no
 * clock.
 */
#ifndef VMFT_DETECTION_H
#define VMFT_DETECTION_H

#include <stdbool.h>
#include <stdint.h>

enum vmft_verdict {
	VMFT_VERDICT_HEARD, /* the channel has not been silent for silence time */
	VMFT_VERDICT_GRACE, /* it has, but the heartbeat path works: the channel may come back */
	VMFT_VERDICT_LOST,  /* VMFT_WHY_SILENCE */
};

/* The settings of one side of a pair. */
struct vmft_detection {
	uint64_t silence_ns; /* silence-ms of the pair file */
	uint64_t grace_ns;   /* grace-ms of the pair file */
	bool primary; /* waits only three quarters of both, so that it asks the arbiter first */
};

/* The silence of the channel after which the peer is lost. */
uint64_t vmft_detection_silence_ns(const struct vmft_detection *d);
/* The same while the heartbeat path works. */
uint64_t vmft_detection_grace_ns(const struct vmft_detection *d);
/*
 * The heartbeat path works if a datagram has shown so within this time. It is half of the channel's
 * silence time: the last datagram of a peer that stops may come a little after its last frame, and
 * this side must not wait longer for such a peer.
 */
uint64_t vmft_detection_fresh_ns(const struct vmft_detection *d);

/*
 * channel_ns: how long the channel has been silent. path_ns: how long ago the heartbeat path last
 * worked in both directions; UINT64_MAX if it never did, or if there is no path.
 */
enum vmft_verdict vmft_detection_verdict(const struct vmft_detection *d, uint64_t channel_ns,
					 uint64_t path_ns);

#endif
