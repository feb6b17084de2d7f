/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast an attach copies: the cap that the pair file may set, the rates that are measured, and
 * what is decided from them after each round. Pure: times are handed in, CLOCK_MONOTONIC ns.
 */
#ifndef VMFT_PACE_H
#define VMFT_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct vmft_pace {
	uint64_t cap;	       /* bytes per second; 0: none */
	uint64_t tokens;       /* bytes that the cap allows now */
	uint64_t tokens_ns;    /* when they were last added to */
	uint64_t window_ns;    /* when the window of bytes_per_s began */
	uint64_t window_bytes; /* sent since then */
	uint64_t round_ns;     /* when the round began */
	uint64_t round_bytes;  /* sent in this round */
	uint64_t left_bytes;   /* what this round had to send when it began */
	uint64_t marked_bytes; /* marked when the last round ended */
	uint64_t bytes_per_s;  /* sent; of the last round or of the last half second; 0: unknown */
	uint64_t dirty_per_s;  /* written by the guest during the last round */
	uint32_t throttle;     /* permille for which the guest is paused for the attach */
	uint32_t round;	       /* the first is 1 */
};

void vmft_pace_begin(struct vmft_pace *pace, uint32_t cap_mib_per_s, uint64_t now_ns);
/* At least every tenth of a second, or the cap is not used up. */
void vmft_pace_tick(struct vmft_pace *pace, uint64_t now_ns);
void vmft_pace_sent(struct vmft_pace *pace, uint64_t bytes);
bool vmft_pace_may_send(const struct vmft_pace *pace);

/* A round begins; so many bytes are marked. */
void vmft_pace_round(struct vmft_pace *pace, uint64_t marked_bytes, uint64_t now_ns);

enum vmft_pace_next {
	VMFT_PACE_ROUND, /* one more round */
	VMFT_PACE_POINT, /* what is left is taken at the attach point */
	VMFT_PACE_NEVER, /* there were too many rounds: the attempt is given up */
};

/* The most bytes that may be left for the attach point, when it may stop the guest for stun_ms. */
uint64_t vmft_pace_budget(uint32_t stun_ms);

/*
 * A round has ended and the guest has written marked_bytes meanwhile: what comes next. It may have
 * raised throttle, when the guest writes faster than can be copied; *ret_slower says that it did so
 * for the first time.
 */
enum vmft_pace_next vmft_pace_decide(struct vmft_pace *pace, uint64_t marked_bytes,
				     uint64_t budget_bytes, uint64_t now_ns, bool *ret_slower);

/* What is left of this round, in bytes. */
uint64_t vmft_pace_left(const struct vmft_pace *pace);
/* How long it takes to send left_bytes, ms, when each further round brings as much less as the
 * dirty rate allows; 0: not known. */
uint64_t vmft_pace_expected_ms(const struct vmft_pace *pace, uint64_t left_bytes);

#endif
