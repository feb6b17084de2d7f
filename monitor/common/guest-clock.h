/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the clock of a guest that is recorded is kept to its host's. Pure: times are handed in, ns.
 *
 * QEMU makes the guest's time of instructions: bias + (icount << shift). How many instructions a
 * nanosecond takes changes with what the guest does, by a factor of ten and more, and no power of
 * two is just right. So shift and bias are set anew every few milliseconds: the shift so that the
 * clock goes a little faster than the host's or a little slower, whichever brings it nearer. Time
 * in which the guest did not execute, because it rested or because the host let others run, is
 * added at once: the guest sees that it slept for so long. It is never taken back.
 */
#ifndef VMFT_GUEST_CLOCK_H
#define VMFT_GUEST_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define VMFT_GUEST_CLOCK_SHIFT_MAX 10 /* QEMU's MAX_ICOUNT_SHIFT */

struct vmft_guest_clock {
	int64_t icount; /* instructions the guest has executed */
	int64_t bias;
	int shift;
};

static inline int64_t vmft_guest_clock_ns(const struct vmft_guest_clock *clock)
{
	return clock->bias + (int64_t)((uint64_t)clock->icount << clock->shift);
}

struct vmft_clock_steer {
	int64_t icount;	 /* when the cost was measured last */
	uint64_t cpu_ns; /* and the CPU time of the thread that executes, then */
	int64_t cost;	 /* of an instruction in 1/256 ns of CPU time, smoothed; 0: not known yet */
};

/*
 * What the clock is to be from here on, the host's being at real_ns; the thread that executes the
 * guest has used so much CPU time. rested: the guest did not execute until now, having nothing to
 * do. Returns whether anything changed.
 */
bool vmft_clock_steer(struct vmft_clock_steer *steer, struct vmft_guest_clock *clock,
		      int64_t real_ns, uint64_t cpu_ns, bool rested);

/*
 * Where another host's clock is, seen from here: readings of it arrive, each of them late by a
 * little. The least late ones of the last while tell.
 */
struct vmft_clock_base {
	int64_t least, least_before; /* here minus there; of this while and the one before */
	uint64_t began_ns;	     /* this while; 0: no reading yet */
};

void vmft_clock_base_note(struct vmft_clock_base *base, int64_t there_ns, uint64_t here_ns);
/* Here minus there; false: not known. */
bool vmft_clock_base_get(const struct vmft_clock_base *base, int64_t *ret);

#endif
