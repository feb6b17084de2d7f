/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When a peer that is not heard is given up: docs/detection.md. Times only, no clock is read.
 */
#ifndef VMFT_DETECTION_H
#define VMFT_DETECTION_H

#include <stdbool.h>
#include <stdint.h>

enum vmft_verdict {
	VMFT_VERDICT_HEARD, /* the channel is not silent for long enough to ask */
	VMFT_VERDICT_GRACE, /* it is, but the peer is there: the channel may come back */
	VMFT_VERDICT_LOST,  /* VMFT_WHY_SILENCE */
};

/* Of a side of a pair; all in ns. */
struct vmft_detection {
	uint64_t silence_ns; /* of the pair file, as it stands there */
	uint64_t grace_ns;
	bool primary; /* it asks the arbiter first: three quarters of either */
};

/* The channel may be silent for so long. */
uint64_t vmft_detection_silence_ns(const struct vmft_detection *d);
/* And for so long, while the heartbeat path works. */
uint64_t vmft_detection_grace_ns(const struct vmft_detection *d);
/*
 * The heartbeat path works if it did within this time. Half of the channel's, so that a peer
 * that stops, and sent its last datagram a little after its last frame, is not waited for.
 */
uint64_t vmft_detection_fresh_ns(const struct vmft_detection *d);

/*
 * channel_ns: the channel has been silent for so long. path_ns: so long ago the heartbeat path
 * was last known to work in both directions; UINT64_MAX if it never was, or there is none.
 */
enum vmft_verdict vmft_detection_verdict(const struct vmft_detection *d, uint64_t channel_ns,
					 uint64_t path_ns);

#endif
