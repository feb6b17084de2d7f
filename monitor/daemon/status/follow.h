/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal's events as JSON, for a client that follows them. */
#ifndef VMFT_FOLLOW_H
#define VMFT_FOLLOW_H

#include <json-c/json.h>

#include "journal.h"

/* Where a reader is: the number of events it had. */
struct vmft_follower {
	uint64_t had;
};

/* Begins after what has happened so far. Returns what the side is now, as an event; owned by the
 * caller. side: who speaks, "web1.primary". */
struct json_object *vmft_follow_begin(struct vmft_follower *follower,
				      const struct vmft_journal *journal, const char *side);

/* The next event, owned by the caller; NULL: there is none yet. When events came faster than they
 * were taken, "lost" says how many were overwritten before this one. */
struct json_object *vmft_follow_next(struct vmft_follower *follower,
				     const struct vmft_journal *journal, const char *side);

#endif
