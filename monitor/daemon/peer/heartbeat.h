/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The heartbeat path: a second way to hear of the peer, independent of the channel. The two sides
 * send datagrams between their hosts' heartbeat addresses. A datagram that is lost or late does no
 * harm.
 *
 * The path can only delay the moment when this side gives the peer up (detection.h). So a datagram
 * must not count if the peer may be gone. It counts if
 * - it has the ticket that this side made for this connection and sent in its hello: no other
 *   sender, no other VM and no earlier pair has this ticket;
 * - its clock is later than that of the last datagram, so none counts twice;
 * - it echoes a datagram that this side has sent lately: then the path works in both directions,
 *   and the peer waits for as long as this side does.
 */
#ifndef VMFT_HEARTBEAT_H
#define VMFT_HEARTBEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logging-channel/frame.h"
#include "logging-channel/hello.h"
#include "logging-channel/loop.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/status/journal.h"

struct vmft_heartbeat {
	struct vmft_loop *loop;
	const struct vmft_pair_config *config; /* borrowed, like the next */
	struct vmft_journal *journal;
	struct vmft_op read_op;
	int fd; /* -1: there is no such path */
	enum vmft_host host;
	enum vmft_host peer;
	bool active; /* there is a peer; the fields after this one are about it */
	bool said_silent;
	uint64_t generation;
	uint64_t every_ns; /* how often this side sends a datagram */
	uint64_t fresh_ns; /* the path works if it is known to have worked within this time */
	uint64_t begun_ns;
	uint64_t sent_ns;     /* clock of our last datagram, 0: none yet */
	uint64_t their_clock; /* clock of the last datagram that counted; 0: none yet */
	uint64_t heard_ns;    /* when that datagram came */
	uint64_t works_ns;    /* when a datagram last echoed a recent one of ours; 0: never */
	uint64_t refused;     /* datagrams that did not count, since the start */
	uint8_t ours[VMFT_TICKET_BYTES];
	uint8_t theirs[VMFT_TICKET_BYTES];
};

/*
 * Binds the heartbeat address that the pair file gives to host. If it gives none, *h says that
 * there is no path. patient: waits for a while if the address is in use, because a monitor that was
 * killed may still hold it. Returns 0, or the error of socket() or bind() as a negative errno.
 * config and journal stay the caller's, and must outlive *h.
 */
int vmft_heartbeat_open(struct vmft_heartbeat *h, struct vmft_loop *loop,
			const struct vmft_pair_config *config, enum vmft_host host, bool patient,
			struct vmft_journal *journal);

/* Frees the address. Call it only after the loop has ended, because it uses vmft_loop_withdraw().
 */
void vmft_heartbeat_close(struct vmft_heartbeat *h);

/* Makes a new ticket, and puts the ticket and this host into a hello. Ends an earlier peer's path.
 */
void vmft_heartbeat_introduce(struct vmft_heartbeat *h, struct vmft_hello *hello);
/* This side has accepted the peer's hello, which belongs to the hello introduced last. fresh_ns:
 * vmft_detection_fresh_ns(). */
void vmft_heartbeat_begin(struct vmft_heartbeat *h, const struct vmft_hello *theirs,
			  uint64_t generation, uint64_t every_ns, uint64_t fresh_ns);
void vmft_heartbeat_end(struct vmft_heartbeat *h);

/* Sends a datagram if it is time and this side may send (speaks). Writes to the journal when the
 * path becomes silent and when it works again. slept: ns for which this monitor did not run. */
void vmft_heartbeat_tick(struct vmft_heartbeat *h, uint64_t now, uint64_t slept, bool speaks);

/* A datagram came. Returns 0, or why it does not count: what vmft_frame_decode() returns, -EBADMSG,
 * -EACCES (from another sender than this peer) or -ESTALE (there is no peer, or it is of another
 * generation, or it came before). */
int vmft_heartbeat_take(struct vmft_heartbeat *h, const uint8_t *bytes, size_t n, uint64_t now);

/* How long ago the path last worked in both directions, ns; UINT64_MAX: never, or there is no path.
 */
uint64_t vmft_heartbeat_silent_ns(const struct vmft_heartbeat *h, uint64_t now);
/* For status: "none", "idle" (no peer), "ok", "silent for 12 ms", "one way only for 12 ms". */
void vmft_heartbeat_describe(const struct vmft_heartbeat *h, uint64_t now, char *text, size_t size);

#endif
