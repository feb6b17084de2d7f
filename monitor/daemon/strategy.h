/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a guest is protected, as an operations table: lockstep moves a log of nondeterministic
 * events, checkpoint moves what the guest changed, once an epoch.
 *
 * The monitor, the peer and the attach know a strategy by this table only; none of them asks which
 * strategy it has. Where the two need different handling, the table has a property for the
 * difference. A further strategy is one more table.
 *
 * The words for an end. halt(): the backup is gone, the primary's guest goes on. finish(): the
 * primary's guest has ended, what it did last is still to be sent. abandon(): the backup throws
 * away what it holds. close(): the object is freed. Elsewhere in the daemon, X_end() ends what
 * X_begin() began and may begin again, and X_fini() gives back what X_init() took.
 *
 * A position counts what the strategy sends: bytes of log or epochs. The monitor only compares
 * positions.
 */
#ifndef VMFT_STRATEGY_H
#define VMFT_STRATEGY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "logging-channel/loop.h"
#include "logging-channel/savedlog.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/attach/image.h"
#include "monitor/daemon/guest/agent-link.h"

struct vmft_strategy;

/* What a strategy knows of the monitor around it. All of it outlives the strategy. */
struct vmft_strategy_world {
	struct vmft_loop *loop;
	struct vmft_agent_link *link;
	const struct vmft_pair_config *config;
	uint32_t log_version;	 /* of QEMU's record/replay log */
	struct vmft_image *disk; /* backup: open while there is something to apply to them */
	uint32_t disk_count;
	/* There is more to take, or more was applied, or there is room again. */
	void (*moved)(void *user);
	/* This side's guest cannot be protected, or applied to, any longer; why is one line. */
	void (*broken)(void *user, const char *why);
	/* Backup: an image cannot be written. True: the strategy tries again in a while, as nobody
	 * else has this guest; false: the monitor gives this side up. */
	bool (*disk_failed)(void *user, const char *why);
	/* Backup: a record of the log was checked and is held: n bytes that begin at position, or,
	 * of a strategy whose log has no bytes, position alone (bytes NULL, n 0). For the saved
	 * log; the bytes are only valid during the call. NULL: nobody saves the log. */
	void (*saved)(void *user, uint64_t position, const uint8_t *bytes, size_t n);
	void *user;
};

struct vmft_epoch_figures;

/*
 * Every operation is there, unless its comment says that it may be NULL: an operation with nothing
 * to do is an empty function, so that no caller has to ask. "Primary" and "backup" say on which
 * side an operation is called; one strategy object serves both, as a backup that goes live becomes
 * a primary.
 */
struct vmft_strategy_ops {
	const char *name;

	/* Every pair is formed by an attach, the first one too. False: the first pair is two
	 * guests that start from equal images at the same time. */
	bool pairs_by_attach;
	/* Backup: at the attach point the agent loads the device state, QEMU takes the images, and
	 * applies from there on. False: the agent only proves that it can load the state, and
	 * go_live() loads what is held then; the images stay the monitor's until then. */
	bool loads_at_point;
	/* Has the properties that are known before a strategy is opened. */
	enum vmft_strategy_kind kind;
	/* A QEMU whose guest has ended waits for VMFT_COMMAND_END, on either side: the primary's
	 * until the last position is held by the backup. False: QEMU ends by itself, as the log
	 * tells the backup's too. */
	bool ends_by_command;
	/* Backup: what is held is applied by a guest that runs (replay). That may fall behind,
	 * which a hand-over waits for, and may stand still for ever, which both sides watch for.
	 * False: what is held is one step or two, and it is applied by the monitor. */
	bool replays;
	/* What a saved log of it holds. */
	enum vmft_savedlog_kind saves;

	/* 0 or a negative errno. The strategy copies the world. */
	int (*open)(const struct vmft_strategy_world *world, struct vmft_strategy **ret);
	void (*close)(struct vmft_strategy *strategy);

	/* At an attach point: what is sent begins anew at position, with a state that goes along.
	 * Primary: what was not taken before is void; backup: nothing has been held yet. 0, or a
	 * negative errno when the memory for it cannot be had: then nothing has changed. */
	int (*restart)(struct vmft_strategy *strategy, uint64_t position, bool primary);
	/* Primary: there is no backup any more. */
	void (*halt)(struct vmft_strategy *strategy);
	/* Primary: nothing is asked of the agent, so an attach may ask it. */
	bool (*is_idle)(const struct vmft_strategy *strategy);
	/* The agent may have answered, or have output that waits. */
	void (*look)(struct vmft_strategy *strategy);

	/* Primary: up to n bytes of what is to be sent next, which begins at *ret_position.
	 * Returns how many, 0 when there is nothing, -EBADMSG when the agent's memory makes
	 * no sense. n is at least VMFT_FRAME_PAYLOAD_MAX. */
	ssize_t (*take)(struct vmft_strategy *strategy, uint8_t *bytes, size_t n,
			uint64_t *ret_position);
	/* Primary: the position up to which take() has returned complete units. */
	uint64_t (*taken)(const struct vmft_strategy *strategy);
	/* Primary: the guest has come to its end. alive: QEMU is still there, and what the guest
	 * did last is to be taken too. */
	void (*finish)(struct vmft_strategy *strategy, bool alive);
	/* Primary, after finish(): take() has returned all there will be. */
	bool (*is_empty)(const struct vmft_strategy *strategy);
	/* Primary: for how long what is to be sent has waited for the channel, ns; 0 where the lag
	 * shows it. */
	uint64_t (*backlog_ns)(const struct vmft_strategy *strategy, uint64_t now);
	/* Primary: bytes that take() has returned so far. */
	uint64_t (*sent_bytes)(const struct vmft_strategy *strategy);
	/* Primary: the backup holds all up to position, also before there is a pair. */
	void (*acked)(struct vmft_strategy *strategy, uint64_t position);
	/* Primary: output that depends on no more than position may leave until the given
	 * CLOCK_MONOTONIC ns. */
	void (*release)(struct vmft_strategy *strategy, uint64_t position, uint64_t until);

	/* Backup: keeps n bytes that begin at position, as take() returned them. 0, -ENOSPC when
	 * there is no room now (nothing was kept), -EBADMSG when they cannot be what comes next. */
	int (*hold)(struct vmft_strategy *strategy, uint64_t position, const uint8_t *bytes,
		    size_t n);
	/* Backup: hold() would have room. */
	bool (*has_room)(const struct vmft_strategy *strategy);
	/* Backup: all before this position is held as complete units and can be applied: what may
	 * be acknowledged. */
	uint64_t (*held)(const struct vmft_strategy *strategy);
	/* Backup: applied to the backup's guest so far; <= held. */
	uint64_t (*applied)(const struct vmft_strategy *strategy);
	/* Backup: what was held and is not applied is thrown away, nothing more may come before
	 * restart(). True: nothing uses the images any more; false: call it again later. */
	bool (*abandon)(struct vmft_strategy *strategy);
	/* Backup: the guest takes over once all up to position is applied. */
	void (*go_live)(struct vmft_strategy *strategy, uint64_t position);

	/* Backup: prints the log around a position. NULL: its log has no entries to print. */
	void (*around)(const struct vmft_strategy *strategy, uint64_t position, FILE *to);

	/* How the epochs went. NULL: there are none. */
	const struct vmft_epoch_figures *(*figures)(struct vmft_strategy *strategy);
};

extern const struct vmft_strategy_ops vmft_strategy_lockstep;
extern const struct vmft_strategy_ops vmft_strategy_checkpoint;

#endif
