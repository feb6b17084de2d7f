/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest-clock.h"

/* A clock that is off is made faster or slower so that it would be right after this time. */
#define HORIZON_NS 5000000
/*
 * If a guest that executes is later than this, its thread was kept from running: the time is added
 * at once.
 */
#define STALL_NS 10000000
/* Not worth a log entry. */
#define REST_NS 50000
/* The cost of fewer instructions is that of the few. */
#define MEASURE_NS    50000u
#define MEASURE_COUNT 5000
#define COST_ONE      256 /* 1 ns */
#define COST_MAX      (INT64_C(4) * COST_ONE << VMFT_GUEST_CLOCK_SHIFT_MAX)

#define BASE_WHILE_NS UINT64_C(10000000000)

static void measure(struct vmft_clock_steer *s, int64_t icount, uint64_t cpu_ns)
{
	const int64_t instructions = icount - s->icount;
	const uint64_t spent = cpu_ns - s->cpu_ns;
	int64_t cost;

	if (s->cpu_ns != 0 && (spent < MEASURE_NS || instructions < MEASURE_COUNT))
		return;
	if (s->cpu_ns != 0 && spent < UINT64_C(1) << 40) {
		cost = (int64_t)spent * COST_ONE / instructions;
		cost = cost < COST_MAX ? cost : COST_MAX;
		/*
		 * A guest that became much faster is believed at once, because a clock that is
		 * ahead takes longer to correct. One that became much slower is believed in
		 * steps: the kernel counts time for which a hypervisor ran somebody else as CPU
		 * time of the thread. A cost that is a hundred times too high would make the
		 * clock run ahead by as much until it is measured again.
		 */
		if (s->cost != 0 && cost > s->cost * 2)
			cost = s->cost * 2;
		s->cost = s->cost == 0 || cost < s->cost / 2 ? cost : (s->cost + cost) / 2;
	}
	s->icount = icount;
	s->cpu_ns = cpu_ns;
}

/* The power of two that is nearest to the cost. The cost is raised if the clock is late. */
static int shift_for(int64_t cost, int64_t behind)
{
	const int64_t most = 3 * (int64_t)HORIZON_NS, least = -(int64_t)HORIZON_NS * 3 / 4;
	const int64_t pull = behind > most ? most : behind < least ? least : behind;
	const int64_t wanted = cost + cost * pull / HORIZON_NS;
	int shift = 0;

	while (shift < VMFT_GUEST_CLOCK_SHIFT_MAX &&
	       ((int64_t)COST_ONE << shift) * 181 / 128 < wanted)
		shift++;
	return shift;
}

bool vmft_clock_steer(struct vmft_clock_steer *s, struct vmft_guest_clock *clock, int64_t real_ns,
		      uint64_t cpu_ns, bool rested)
{
	const struct vmft_guest_clock before = *clock;
	const int64_t now = vmft_guest_clock_ns(clock);
	int64_t behind = real_ns - now, added = 0;

	measure(s, clock->icount, cpu_ns);
	if (behind > (rested ? REST_NS : STALL_NS)) {
		added = behind;
		behind = 0;
	}
	if (s->cost > 0)
		clock->shift = shift_for(s->cost, behind);
	clock->bias = now + added - (int64_t)((uint64_t)clock->icount << clock->shift);
	return clock->shift != before.shift || added > 0;
}

void vmft_clock_base_note(struct vmft_clock_base *base, int64_t there_ns, uint64_t here_ns)
{
	const int64_t difference = (int64_t)here_ns - there_ns;

	if (base->began_ns == 0) {
		base->least = base->least_before = difference;
		base->began_ns = here_ns;
	} else if (here_ns - base->began_ns >= BASE_WHILE_NS) {
		base->least_before = base->least;
		base->least = difference;
		base->began_ns = here_ns;
	} else if (difference < base->least) {
		base->least = difference;
	}
}

bool vmft_clock_base_get(const struct vmft_clock_base *base, int64_t *ret)
{
	if (base->began_ns == 0)
		return false;
	*ret = base->least < base->least_before ? base->least : base->least_before;
	return true;
}
