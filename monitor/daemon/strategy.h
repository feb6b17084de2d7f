/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a guest is protected, behind an operations table: lockstep moves a log of
 * nondeterministic events, checkpoint moves what the guest changed, once an epoch.
 *
 * Positions count what the strategy sends, bytes of log or epochs; the monitor only compares
 * them.
 */
#ifndef VMFT_STRATEGY_H
#define VMFT_STRATEGY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "logging-channel/loop.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/attach/image.h"
#include "monitor/daemon/guest/agent-link.h"

struct vmft_strategy;

/* What a strategy has of the monitor around it; all of it outlives the strategy. */
struct vmft_strategy_world {
	struct vmft_loop *loop;
	struct vmft_agent_link *link;
	const struct vmft_pair_config *config;
	struct vmft_image *disk; /* backup: open while there is something to apply to them */
	uint32_t disk_count;
	/* There is more to take, or more was applied, or there is room again. */
	void (*moved)(void *user);
	/* This side's guest cannot be protected, or applied to, any longer; why is one line. */
	void (*broken)(void *user, const char *why);
	/* Backup: an image cannot be written. True: try again in a while, nobody else has this
	 * guest; false: it is broken. */
	bool (*disk_failed)(void *user, const char *why);
	void *user;
};

struct vmft_epoch_figures;

struct vmft_strategy_ops {
	const char *name;
	/* Every pair is formed by an attach, also the first; QEMU is told when the VM is over. */
	bool moves_state;
	/* 0 or a negative errno. */
	int (*open)(const struct vmft_strategy_world *world, struct vmft_strategy **ret);
	void (*close)(struct vmft_strategy *strategy);

	/* What is sent begins anew at position, with a state that goes along. Primary: what was
	 * not taken before is void; backup: nothing has been held yet. 0, or a negative errno
	 * when the memory for it cannot be had. */
	int (*restart)(struct vmft_strategy *strategy, uint64_t position, bool primary);
	/* Primary: there is no backup any more. */
	void (*halt)(struct vmft_strategy *strategy);
	/* Primary: nothing is asked of the agent, an attach may. */
	bool (*is_idle)(const struct vmft_strategy *strategy);
	/* The agent may have answered, or have output that waits. */
	void (*look)(struct vmft_strategy *strategy);

	/* Primary: up to n bytes of what is to be sent next, which begins at *ret_position.
	 * Returns how many, 0 when there is nothing, -EBADMSG when the agent's memory makes
	 * no sense. n is at least VMFT_FRAME_PAYLOAD_MAX. */
	ssize_t (*take)(struct vmft_strategy *strategy, uint8_t *bytes, size_t n,
			uint64_t *ret_position);
	/* Primary: the end of what take() has given out whole. */
	uint64_t (*taken)(const struct vmft_strategy *strategy);
	/* Primary: the guest has come to its end. alive: QEMU is still there, and what the guest
	 * did last is to be taken too. */
	void (*finish)(struct vmft_strategy *strategy, bool alive);
	/* Primary, behind finish(): take() has given out all there will be. */
	bool (*is_empty)(const struct vmft_strategy *strategy);
	/* Primary: how long what is to be sent has waited for the channel, ns. */
	uint64_t (*backlog_ns)(const struct vmft_strategy *strategy, uint64_t now);
	/* Primary: bytes given out so far. */
	uint64_t (*sent_bytes)(const struct vmft_strategy *strategy);
	/* Primary: the backup holds all up to position, also before there is a pair. */
	void (*acked)(struct vmft_strategy *strategy, uint64_t position);
	/* Primary: output that depends on no more than position may leave until the given
	 * CLOCK_MONOTONIC ns. */
	void (*release)(struct vmft_strategy *strategy, uint64_t position, uint64_t until);

	/* Backup: keeps n bytes that begin at position. 0, -ENOSPC when there is no room now
	 * (nothing was kept), -EBADMSG when they cannot be what comes next. */
	int (*hold)(struct vmft_strategy *strategy, uint64_t position, const uint8_t *bytes,
		    size_t n);
	/* Backup: hold() would have room. */
	bool (*has_room)(const struct vmft_strategy *strategy);
	/* Backup: all before it is held whole and can be applied: what may be acknowledged. */
	uint64_t (*held)(const struct vmft_strategy *strategy);
	/* Backup: applied to the backup's guest so far; <= held. */
	uint64_t (*applied)(const struct vmft_strategy *strategy);
	/* Backup: what was held and is not applied is thrown away, nothing more may come before
	 * restart(). True: nothing uses the images any more; false: call it again later. */
	bool (*abandon)(struct vmft_strategy *strategy);
	/* Backup: the guest takes over once all up to position is applied. */
	void (*go_live)(struct vmft_strategy *strategy, uint64_t position);

	/* Backup: prints the log around a position; NULL where there is none. */
	void (*around)(const struct vmft_strategy *strategy, uint64_t position, FILE *to);

	/* How the epochs went; NULL where there are none. */
	const struct vmft_epoch_figures *(*figures)(struct vmft_strategy *strategy);
};

extern const struct vmft_strategy_ops vmft_strategy_lockstep;
extern const struct vmft_strategy_ops vmft_strategy_checkpoint;

#endif
