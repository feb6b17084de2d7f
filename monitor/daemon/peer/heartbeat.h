/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The heartbeat path: a second way to hear of the peer, beside the channel and independent of
 * it. Datagrams between the hosts' heartbeat addresses, lost or late without harm.
 *
 * It only ever puts off giving the peer up (detection.h), so what it must not do is speak for a
 * peer that is gone. A datagram counts if it carries the ticket that this side made for this
 * connection and sent in its hello, so that nobody else, no other VM and no earlier pair has it;
 * if its clock is later than the last one's, so that none counts twice; and if it echoes a
 * datagram that this side has sent lately: the path then works in both directions, and the peer
 * is waiting as long as this side is.
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
	bool active; /* there is a peer; the rest is of it */
	bool said_silent;
	uint64_t generation;
	uint64_t every_ns; /* how often this side speaks */
	uint64_t fresh_ns; /* the path works if it did so long ago at most */
	uint64_t begun_ns;
	uint64_t sent_ns;     /* clock of our last datagram, 0: none yet */
	uint64_t their_clock; /* of the last that counted, 0: none yet */
	uint64_t heard_ns;    /* when that came */
	uint64_t works_ns;    /* when one last came that echoed a late one of ours; 0: never */
	uint64_t refused;     /* datagrams that did not count, since the start */
	uint8_t ours[VMFT_TICKET_BYTES];
	uint8_t theirs[VMFT_TICKET_BYTES];
};

/*
 * Binds the pair file's heartbeat address of host; without one *h says that there is no path.
 * patient: a monitor that was killed may still hold the address for a moment. 0, or what bind()
 * and socket() report, negative. config and journal stay with the caller and must live on.
 */
int vmft_heartbeat_open(struct vmft_heartbeat *h, struct vmft_loop *loop,
			const struct vmft_pair_config *config, enum vmft_host host, bool patient,
			struct vmft_journal *journal);

/* The address is free after that. Only when the loop does not run any more: it uses
 * vmft_loop_withdraw(). */
void vmft_heartbeat_close(struct vmft_heartbeat *h);

/* Makes a new ticket and puts it, and who we are, into a hello. Ends what was before. */
void vmft_heartbeat_introduce(struct vmft_heartbeat *h, struct vmft_hello *hello);
/* Their hello was accepted, and answers or is answered by the one introduced last. fresh_ns:
 * vmft_detection_fresh_ns(). */
void vmft_heartbeat_begin(struct vmft_heartbeat *h, const struct vmft_hello *theirs,
			  uint64_t generation, uint64_t every_ns, uint64_t fresh_ns);
void vmft_heartbeat_end(struct vmft_heartbeat *h);

/* Speaks, if it is time and this side may (speaks), and notes in the journal when the path falls
 * silent or is back. slept: time this monitor did not run itself. */
void vmft_heartbeat_tick(struct vmft_heartbeat *h, uint64_t now, uint64_t slept, bool speaks);

/* What the path brought. 0, or why it does not count: what vmft_frame_decode() says, -EBADMSG,
 * -EACCES (not of this peer) or -ESTALE (no peer, another generation, or had before). */
int vmft_heartbeat_take(struct vmft_heartbeat *h, const uint8_t *bytes, size_t n, uint64_t now);

/* How long ago the path was last known to work both ways; UINT64_MAX: never, or no path. */
uint64_t vmft_heartbeat_silent_ns(const struct vmft_heartbeat *h, uint64_t now);
/* For status: "none", "idle" (no peer), "ok", "silent for 12 ms", "one way only for 12 ms". */
void vmft_heartbeat_describe(const struct vmft_heartbeat *h, uint64_t now, char *text, size_t size);

#endif
