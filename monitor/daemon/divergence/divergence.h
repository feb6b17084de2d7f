/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backup whose guest is not what the primary's is (docs/divergence.md), as its own monitor finds
 * it and as the primary hears of it. Decides only: what is done about it, and said, is for the
 * caller.
 */
#ifndef VMFT_DIVERGENCE_H
#define VMFT_DIVERGENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/common/pair-config.h"
#include "monitor/interface.h"

/* A kind that the monitor finds by itself, after those of enum vmft_divergence_kind. */
enum { VMFT_DIVERGENCE_STALLED = VMFT_DIVERGENCE_KINDS };

/* Backup: what differs, and where in the log. */
struct vmft_divergence_finding {
	unsigned kind; /* enum vmft_divergence_kind, or VMFT_DIVERGENCE_STALLED */
	uint64_t position;
	uint64_t expected, found; /* digests; 0 when kind has none */
};

struct vmft_divergence {
	uint64_t count;	 /* primary: backups lost to it; backup: 1 once its own is found */
	char last[161];	 /* what was the matter with the last one; "": there was none */
	char heard[161]; /* primary: why the backup says that it gives up */
	struct vmft_divergence_finding finding; /* backup: of the last news */
	uint64_t position;			/* backup: where replay was at the last tick */
	uint64_t moved_ns;  /* backup: when it last moved, later by the time that does not count */
	uint64_t looked_ns; /* backup: when the last tick was */
	bool stuck; /* backup: it has no primary, replay stands still, and the caller knows */
};

enum vmft_divergence_news {
	VMFT_DIVERGENCE_NO_NEWS,
	VMFT_DIVERGENCE_FOUND,	  /* this guest has diverged: finding, and last in words */
	VMFT_DIVERGENCE_STUCK,	  /* replay stands still (finding), and there is no primary */
	VMFT_DIVERGENCE_MOVES,	  /* ... and it moves again */
	VMFT_DIVERGENCE_NONSENSE, /* what the agent wrote cannot be */
};

/* At the monitor's start: nothing has been found, and nothing has stood still before now_ns. */
void vmft_divergence_begin(struct vmft_divergence *divergence, uint64_t now_ns);

/* Tells the agent what to sample. */
void vmft_divergence_ask(struct vmft_iface *iface, const struct vmft_pair_config *config);

/* Backup, until its core is final: what the agent may have found. */
enum vmft_divergence_news vmft_divergence_look(struct vmft_divergence *divergence,
					       const struct vmft_iface *iface);

struct vmft_divergence_view {
	uint64_t applied, held; /* log positions */
	bool has_primary;	/* there is one that can go on instead */
	bool drains;		/* there is none, and what is held is being applied */
	bool beats;		/* this side's agent does */
	uint32_t stall_ms;
};

/*
 * Backup of a strategy that replays: whether replay stands still. To be called every tick; slept:
 * for how long the caller itself did not run just before it. The limit is three quarters of
 * stall-ms: the primary gives the backup up after all of it, and the report is there by then.
 */
enum vmft_divergence_news vmft_divergence_tick(struct vmft_divergence *divergence,
					       const struct vmft_divergence_view *view,
					       uint64_t now_ns, uint64_t slept_ns);

/* Primary: the backup says why it gives up; true if it is because its guest diverged. */
bool vmft_divergence_heard(struct vmft_divergence *divergence, const char *why);
/* Primary: that backup is lost. what: "" for what was heard. */
void vmft_divergence_count(struct vmft_divergence *divergence, const char *what);

/* A kind's short name, and what differs in a few words. */
const char *vmft_divergence_name(unsigned kind);
const char *vmft_divergence_text(unsigned kind);

#endif
