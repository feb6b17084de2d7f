/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pace.h"

#include "monitor/daemon/lockstep/throttle.h"
#include "monitor/interface.h"

#define MS UINT64_C(1000000)

#define SMALL_BYTES    (1u << 20) /* not worth another round */
#define SHRINK_PERCENT 70u	  /* a round that leaves more of the last one is the last */
/* During the stop. scripts/bench attach measured 234000 to 1155000; half of the slowest is left
 * for the stop's other parts. */
#define COPY_BYTES_PER_MS 100000u
#define ROUNDS_MAX	  60u
#define THROTTLE_STEP	  150u /* permille */
#define RATE_WINDOW_NS	  (500 * MS)

/* A clock reading may be older than one that was taken in a callback. */
static uint64_t since(uint64_t from, uint64_t now)
{
	return now > from ? now - from : 0;
}

void vmft_pace_begin(struct vmft_pace *p, uint32_t cap_mib_per_s, uint64_t now)
{
	*p = (struct vmft_pace){
	    .cap = (uint64_t)cap_mib_per_s << 20,
	    .tokens_ns = now,
	    .window_ns = now,
	};
}

static void refill(struct vmft_pace *p, uint64_t now)
{
	uint64_t passed = since(p->tokens_ns, now);

	p->tokens_ns = now;
	/* No more than a tenth of a second's worth is saved up. */
	if (passed > 100 * MS)
		passed = 100 * MS;
	p->tokens += p->cap / 1000000 * (passed / 1000);
	if (p->tokens > p->cap / 10)
		p->tokens = p->cap / 10;
}

static uint64_t rate(uint64_t bytes, uint64_t ns)
{
	return (uint64_t)((double)bytes * 1e9 / (double)ns);
}

void vmft_pace_tick(struct vmft_pace *p, uint64_t now)
{
	if (since(p->window_ns, now) >= RATE_WINDOW_NS) {
		if (p->window_bytes > 0)
			p->bytes_per_s = rate(p->window_bytes, now - p->window_ns);
		p->window_ns = now;
		p->window_bytes = 0;
	}
	if (p->cap > 0)
		refill(p, now);
}

void vmft_pace_sent(struct vmft_pace *p, uint64_t bytes)
{
	p->round_bytes += bytes;
	p->window_bytes += bytes;
	p->tokens -= bytes < p->tokens ? bytes : p->tokens;
}

bool vmft_pace_may_send(const struct vmft_pace *p)
{
	return p->cap == 0 || p->tokens > 0;
}

void vmft_pace_round(struct vmft_pace *p, uint64_t marked, uint64_t now)
{
	p->round++;
	p->round_ns = now;
	p->round_bytes = 0;
	p->left_bytes = marked;
	if (p->round == 1)
		p->marked_bytes = marked;
}

uint64_t vmft_pace_budget(uint32_t stun_ms)
{
	const uint64_t bytes = (uint64_t)stun_ms * COPY_BYTES_PER_MS;
	/* Each piece in the staging area has a head; a page is the smallest piece. */
	const uint64_t most = VMFT_AREA_STAGING_BYTES / 4112 * 4096 - VMFT_DISK_BLOCK_BYTES;

	return bytes < most ? bytes : most;
}

static bool slow_down(struct vmft_pace *p)
{
	const bool first = p->throttle == 0;

	p->throttle += THROTTLE_STEP;
	if (p->throttle > VMFT_THROTTLE_MAX_PERMILLE)
		p->throttle = VMFT_THROTTLE_MAX_PERMILLE;
	return first;
}

static void measure_round(struct vmft_pace *p, uint64_t marked, uint64_t now)
{
	const uint64_t passed = since(p->round_ns, now) + 1;

	p->dirty_per_s = rate(marked, passed);
	if (p->round_bytes > SMALL_BYTES)
		p->bytes_per_s = rate(p->round_bytes, passed);
}

enum vmft_pace_next vmft_pace_decide(struct vmft_pace *p, uint64_t marked, uint64_t budget,
				     uint64_t now, bool *ret_slower)
{
	const bool shrinks = marked < p->marked_bytes / 100 * SHRINK_PERCENT;
	const bool fits = marked <= budget;

	*ret_slower = false;
	measure_round(p, marked, now);
	p->marked_bytes = marked;
	if (fits && (marked <= SMALL_BYTES || !shrinks))
		return VMFT_PACE_POINT;
	if (!fits && !shrinks)
		*ret_slower = slow_down(p);
	return p->round >= ROUNDS_MAX ? VMFT_PACE_NEVER : VMFT_PACE_ROUND;
}

uint64_t vmft_pace_left(const struct vmft_pace *p)
{
	return p->left_bytes > p->round_bytes ? p->left_bytes - p->round_bytes : 0;
}

uint64_t vmft_pace_expected_ms(const struct vmft_pace *p, uint64_t left)
{
	double more = 1;

	if (p->bytes_per_s == 0)
		return 0;
	if (p->dirty_per_s < p->bytes_per_s)
		more = 1 / (1 - (double)p->dirty_per_s / (double)p->bytes_per_s);
	if (more > 10)
		more = 10;
	return (uint64_t)((double)left * more * 1000 / (double)p->bytes_per_s);
}
