/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the connections to the other side have of the monitor around them. */
#ifndef VMFT_PEER_WORLD_H
#define VMFT_PEER_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "logging-channel/frame.h"
#include "logging-channel/hello.h"
#include "logging-channel/loop.h"
#include "logging-channel/transport.h"
#include "monitor/common/pair-config.h"
#include "monitor/common/tap-facts.h"
#include "monitor/core/core.h"
#include "monitor/daemon/arbiter/arbiter.h"
#include "monitor/daemon/attach/image.h"
#include "monitor/daemon/status/journal.h"

/* This side at this moment, as far as the peer is to hear of it. */
struct vmft_peer_facts {
	/* This side may speak for its guest: the agent beats, or there is no agent that could. A
	 * QEMU that is stopped falls silent like a host that is gone. */
	bool speaks;
	bool stopping;	   /* this side's work is over: no peer is looked for, or taken */
	bool has_room;	   /* backup: a frame that was answered -ENOSPC may find room now */
	uint64_t beat_ns;  /* when the agent last beat, CLOCK_MONOTONIC */
	uint64_t taken;	   /* primary: position up to which all was given to the channel */
	uint64_t replayed; /* backup: position up to which all is applied */
};

/* All pointers outlive the connections; core and the records are only read here. */
struct vmft_peer_world {
	struct vmft_loop *loop;
	const struct vmft_transport_ops *transport;
	const struct vmft_pair_config *config;
	const char *pair_file; /* its path, for messages */
	struct vmft_journal *journal;
	const struct vmft_core *core;
	struct vmft_arbiter_worker *worker;
	enum vmft_host host; /* this one */
	bool listens;	     /* this side was started as the backup: primaries connect to it */
	bool patient;	     /* a monitor of this side was killed: the kernel may need a moment to
			      * free its addresses */

	/* What this side says of itself; the MTUs of the taps are read anew for each hello. */
	struct vmft_hello *identity;
	const char (*tap_ifname)[VMFT_TAP_IFNAME]; /* one for each tap of identity; "": not known */
	const struct vmft_image *disk;
	uint32_t disk_count;
	/* The strategy can do with another QEMU build at the other side; the machine is the same in
	 * each QEMU that has it. */
	bool other_builds, versioned_machine;
	bool
	    forms_by_attach; /* the strategy's: every pair is formed by an attach, also the first */
	const char *record;  /* primary: the arbiter's record of its generation */
	const char *owner;   /* backup: the mark that it has left at the arbiter */

	struct vmft_peer_facts (*facts)(void *user);
	/* Primary that is alone: an attach may be begun now. */
	bool (*wants_backup)(void *user);
	/* Backup: why no primary can be taken now, or NULL. attach: the primary's guest runs. */
	const char *(*why_not)(void *user, bool attach);
	/* Primary: connected. The peer knows nothing that was told on an earlier connection. */
	void (*connected)(void *user);
	/* Backup: this primary is taken, the arbiter knows its record for that generation. */
	void (*adopt)(void *user, uint64_t generation, const char *record);
	/* The hellos are accepted, and the pair is formed by an attach: begin it. */
	void (*attach)(void *user);
	/* The hellos are accepted, and there is a pair. */
	void (*paired)(void *user);
	/* Primary: this backup can never be its peer. */
	void (*unfit)(void *user);
	/* A frame on the pair's connection that is no hello. 0; -ENOSPC: there is no room, the
	 * channel is to be paused and the frame comes again; else the connection is closed. */
	int (*frame)(void *user, const struct vmft_frame_info *frame);
	/* The transport has sent what was queued: there is room on the channel. */
	void (*sent)(void *user);
	/* The peer is lost: .why of VMFT_IN_PEER_LOST. */
	void (*lost)(void *user, enum vmft_why why);
	void *user;
};

#endif
