/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backup whose guest is not what the primary's is, seen from its monitor and from the
 * primary's: docs/divergence.md.
 */
#ifndef VMFT_DIVERGENCE_H
#define VMFT_DIVERGENCE_H

#include <stdbool.h>
#include <stdint.h>

struct vmft_monitor;

struct vmft_divergence {
	uint64_t count;	 /* primary: backups lost to it; backup: 1 once its own is found */
	char last[161];	 /* what was the matter with the last one; "": there was none */
	char heard[161]; /* primary: why the backup says that it gives up */
	uint64_t position, moved_ns; /* backup: where replay is, and when it last moved */
	uint64_t looked_ns;
	bool stuck; /* backup: its primary is gone, and it has been said that replay stands still */
};

/* The agent is told what to sample. */
void vmft_divergence_init(struct vmft_monitor *m);

/* Backup: what the agent may have found. */
void vmft_divergence_look(struct vmft_monitor *m);
/* Backup: replay that stands still; beats: its agent does not. slept: as for vmft_peer_tick(). */
void vmft_divergence_tick(struct vmft_monitor *m, uint64_t now, uint64_t slept, bool beats);

/* Primary: the backup says why it gives up; true if it is because its guest diverged. */
bool vmft_divergence_heard(struct vmft_monitor *m, const char *why);
/* Primary: that backup is lost. what: "" for what was heard. */
void vmft_divergence_count(struct vmft_monitor *m, const char *what);

#endif
