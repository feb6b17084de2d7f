/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the clock of a recorded guest is kept to its host's. Pure: the caller hands in times, ns.
 * QEMU computes the guest's time from instructions: bias + (icount << shift). How many instructions
 * take a nanosecond depends on what the guest does, by a factor of ten and more, and no power of
 * two fits exactly. So shift and bias are set again every few milliseconds. The shift makes the
 * clock a little faster or a little slower than the host's, whichever brings it nearer. Time in
 * which the guest did not execute, because it rested or because the host let others run, is added
 * at once: the guest sees that it slept that long. The clock never goes back.
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
	int64_t cost;	 /* CPU time of an instruction in 1/256 ns, smoothed; 0: not known yet */
};

/*
 * Sets what the clock is to be from here on. real_ns: the host's clock now. cpu_ns: CPU time that
 * the thread which executes the guest has used. rested: the guest had nothing to execute until now.
 * Returns whether anything changed.
 */
bool vmft_clock_steer(struct vmft_clock_steer *steer, struct vmft_guest_clock *clock,
		      int64_t real_ns, uint64_t cpu_ns, bool rested);

/*
 * The difference between another host's clock and this one's. Readings of the other clock arrive
 * here, each a little late. The least late ones of the last period count.
 */
struct vmft_clock_base {
	int64_t least, least_before; /* here minus there; of this while and the one before */
	uint64_t began_ns;	     /* this while; 0: no reading yet */
};

void vmft_clock_base_note(struct vmft_clock_base *base, int64_t there_ns, uint64_t here_ns);
/* Here minus there; false: not known. */
bool vmft_clock_base_get(const struct vmft_clock_base *base, int64_t *ret);

#endif
