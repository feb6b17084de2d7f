/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a guest is protected, behind an operations table: lockstep moves a log of
 * nondeterministic events; a strategy that moves state fills the same table.
 *
 * Positions count what the strategy sends; the monitor only compares them.
 */
#ifndef VMFT_STRATEGY_H
#define VMFT_STRATEGY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent-link.h"

struct vmft_strategy;

struct vmft_strategy_ops {
	const char *name;
	/* link outlives the strategy. 0 or a negative errno. */
	int (*open)(struct vmft_agent_link *link, struct vmft_strategy **ret);
	void (*close)(struct vmft_strategy *strategy);

	/* What is sent begins anew at position, with a state that goes along. Primary: what was
	 * not taken before is void; backup: nothing has been held yet. */
	void (*restart)(struct vmft_strategy *strategy, uint64_t position, bool primary);

	/* Primary: up to n bytes of what is to be sent next, which begins at *ret_position.
	 * Returns how many, 0 when there is nothing, -EBADMSG when the agent's memory makes
	 * no sense. */
	ssize_t (*take)(struct vmft_strategy *strategy, uint8_t *bytes, size_t n,
			uint64_t *ret_position);
	/* Primary: the end of what take() has given out. */
	uint64_t (*taken)(const struct vmft_strategy *strategy);
	/* Primary: output that depends on no more than position may leave until the given
	 * CLOCK_MONOTONIC ns. */
	void (*release)(struct vmft_strategy *strategy, uint64_t position, uint64_t until);

	/* Backup: keeps n bytes that begin at position. 0, -ENOSPC when there is no room now
	 * (nothing was kept), -EBADMSG when they cannot be what comes next. */
	int (*hold)(struct vmft_strategy *strategy, uint64_t position, const uint8_t *bytes,
		    size_t n);
	/* Backup: all before it is held whole and can be applied: what may be acknowledged. */
	uint64_t (*held)(const struct vmft_strategy *strategy);
	/* Backup: applied to the backup's guest so far; <= held. */
	uint64_t (*applied)(const struct vmft_strategy *strategy);
	/* Backup: the guest takes over once all up to position is applied. */
	void (*go_live)(struct vmft_strategy *strategy, uint64_t position);
};

extern const struct vmft_strategy_ops vmft_strategy_lockstep;

#endif
