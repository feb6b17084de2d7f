/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two sides of an attach (attach-source.h, attach-sink.h) know of the monitor around
 * them. Whatever the pointers lead to outlives both sides.
 *
 * A callback gets user. It may call back into the side that called it: on_failed() leads to
 * vmft_attach_source_failed() or vmft_attach_sink_failed() before it returns, or later when the
 * monitor is in the middle of another event. So each caller looks at its phase again afterwards.
 */
#ifndef VMFT_ATTACH_WORLD_H
#define VMFT_ATTACH_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image.h"
#include "logging-channel/frame.h"
#include "logging-channel/loop.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/guest/agent-link.h"
#include "monitor/daemon/status/journal.h"

/* Primary: how far its new backup is, in positions of the log. */
struct vmft_attach_backup {
	uint64_t replayed;   /* what the backup says it has replayed; the attach point at first */
	uint64_t lag_ms;     /* how long ago this side sent what the backup replays now */
	uint64_t stalled_ns; /* for how long replay has not moved though there is log for it */
};

struct vmft_attach_world {
	struct vmft_loop *loop;
	struct vmft_agent_link *link;
	const struct vmft_pair_config *config;
	struct vmft_journal *journal;
	struct vmft_image *disk; /* opened and closed by the attach */
	uint32_t disk_count;	 /* as many as the attach area's */
	bool loads_at_point;	 /* backup: of the strategy, see monitor/daemon/strategy.h */

	/* Room for a payload of n bytes, which is written there and then given to send(); NULL:
	 * there is none now, vmft_attach_source_pump() is called when there is. A backup, which
	 * sends little, has none only when its connection ends. */
	uint8_t *(*room)(void *user, size_t n);
	void (*send)(void *user, enum vmft_frame_type type, uint64_t position, uint8_t *payload,
		     size_t n);
	/* The log of this side begins at position. 0 or a negative errno: nothing has changed. */
	int (*begin_log)(void *user, uint64_t position);
	/* The attach point, which is position, is with this side's end of the channel (primary) or
	 * held (backup); begin_log() has been called. */
	void (*on_point)(void *user, uint64_t position);
	/* This side gives the attempt up; why is one line, which the peer is told too. Does nothing
	 * when there is no attempt any more. */
	void (*on_failed)(void *user, const char *why);

	/* Primary. */
	struct vmft_attach_backup (*backup)(void *user, uint64_t now);
	/* The backup replays so closely that the pair can be sealed. */
	void (*on_caught_up)(void *user);
	/* The agent has closed its gate: output that depends on more than position waits. May be
	 * called more than once. */
	void (*on_gate_closed)(void *user, uint64_t position);

	/* Backup. */
	/* A frame that was answered -ENOSPC may be taken now. */
	void (*resume)(void *user);
	/* The strategy's abandon(), see monitor/daemon/strategy.h. */
	bool (*abandon)(void *user);
	/* This side's guest cannot be protected; why is one line. */
	void (*on_broken)(void *user, const char *why);
	void *user;
};

#endif
