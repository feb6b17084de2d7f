/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the backup's replay stands still though it has log to replay: said soon, as it could not
 * take over now, given up later. Pure: times are handed in, CLOCK_MONOTONIC ns.
 */
#ifndef VMFT_STALL_H
#define VMFT_STALL_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A backup that lags still moves several times a second, and says so as often. But where the guest
 * ran without anything to log (unpacking a kernel: for up to a second), the backup is seen to move
 * only after that, and it may take this many times as long as the guest.
 */
#define VMFT_STALL_SLOWER  10u
#define VMFT_STALL_SAID_NS UINT64_C(1500000000)
/* If it was reported within this time already, it has to stand still for longer. */
#define VMFT_STALL_AGAIN_NS	 UINT64_C(60000000000)
#define VMFT_STALL_SAID_AGAIN_NS UINT64_C(5000000000)

/* What the primary knows as it looks. */
struct vmft_stall_view {
	uint64_t replayed;  /* log position, as the backup said last */
	uint64_t taken;	    /* of the log, to be replayed */
	uint64_t logged_ns; /* the guest took to log what comes next there, at most */
	bool connected;	    /* there is a backup */
	bool paired;	    /* and it would take over */
	bool heard;	    /* it said so just now: silence is something else */
};

/* All zeroes begins a watch. */
struct vmft_stall_watch {
	uint64_t replayed;  /* when looked at last */
	uint64_t since_ns;  /* when it last moved, or had nothing to replay */
	uint64_t looked_ns; /* last */
	uint64_t seen_ns;   /* for how long since then it was seen not to move */
	uint64_t said_ns;   /* when STANDS was the news last; 0: never */
	bool stands;	    /* STANDS was the news, and it has not moved since */
};

enum vmft_stall_news {
	VMFT_STALL_NO_NEWS,
	VMFT_STALL_STANDS,
	VMFT_STALL_MOVES, /* after STANDS */
	VMFT_STALL_TOO_LONG,
};

/*
 * Replay begins anew at a position: the pair has formed, or the log begins there. What was seen
 * before does not count. That STANDS was told of lately is remembered.
 */
void vmft_stall_begin(struct vmft_stall_watch *watch, uint64_t position, uint64_t now_ns);

/* slept_ns: how long the caller did not run itself just before, in which it could not see replay
 * move. TOO_LONG, after stall_ms, is the news until the pair is none any more. */
enum vmft_stall_news vmft_stall_look(struct vmft_stall_watch *watch,
				     const struct vmft_stall_view *view, uint32_t stall_ms,
				     uint64_t now_ns, uint64_t slept_ns);

#endif
