/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stall.h"

#define MS UINT64_C(1000000)

void vmft_stall_begin(struct vmft_stall_watch *watch, uint64_t position, uint64_t now_ns)
{
	*watch = (struct vmft_stall_watch){
	    .replayed = position,
	    .since_ns = now_ns,
	    .looked_ns = now_ns,
	    .said_ns = watch->said_ns,
	};
}

static enum vmft_stall_news moved(struct vmft_stall_watch *watch, bool paired, uint64_t now_ns)
{
	const bool stood = watch->stands;

	watch->since_ns = now_ns;
	watch->seen_ns = 0;
	watch->stands = false;
	return stood && paired ? VMFT_STALL_MOVES : VMFT_STALL_NO_NEWS;
}

/* The time since the last look, in which it did not move. */
static uint64_t seen(const struct vmft_stall_watch *watch, uint64_t now_ns, uint64_t slept_ns)
{
	const uint64_t passed = now_ns - watch->looked_ns;

	return passed > slept_ns ? passed - slept_ns : 0;
}

static uint64_t worth_saying_ns(const struct vmft_stall_watch *watch, uint64_t logged_ns,
				uint64_t now_ns)
{
	const bool again = watch->said_ns > 0 && now_ns - watch->said_ns < VMFT_STALL_AGAIN_NS;

	return (again ? VMFT_STALL_SAID_AGAIN_NS : VMFT_STALL_SAID_NS) +
	       VMFT_STALL_SLOWER * logged_ns;
}

enum vmft_stall_news vmft_stall_look(struct vmft_stall_watch *watch,
				     const struct vmft_stall_view *view, uint32_t stall_ms,
				     uint64_t now_ns, uint64_t slept_ns)
{
	const bool stands =
	    view->connected && view->replayed == watch->replayed && view->replayed < view->taken;
	const uint64_t more = view->heard ? seen(watch, now_ns, slept_ns) : 0;

	watch->replayed = view->replayed;
	watch->looked_ns = now_ns;
	if (!stands)
		return moved(watch, view->paired, now_ns);
	watch->since_ns += slept_ns;
	/* A backup that is being attached loads the guest's state: it has nothing to replay it with
	 * yet. What is seen of that time says nothing of the pair that forms next. */
	if (!view->paired) {
		watch->seen_ns = 0;
		watch->stands = false;
		return VMFT_STALL_NO_NEWS;
	}
	watch->seen_ns += more;
	if (now_ns > watch->since_ns && now_ns - watch->since_ns >= stall_ms * MS)
		return VMFT_STALL_TOO_LONG;
	if (watch->stands || watch->seen_ns < worth_saying_ns(watch, view->logged_ns, now_ns))
		return VMFT_STALL_NO_NEWS;
	watch->stands = true;
	watch->said_ns = now_ns;
	return VMFT_STALL_STANDS;
}
