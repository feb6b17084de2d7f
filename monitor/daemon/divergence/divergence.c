/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "divergence.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "logging-channel/loop.h"

#define MS UINT64_C(1000000)

/* With this a backup's reason for giving up begins, and the primary knows a divergence by it. */
#define DIVERGED "diverged "

static const struct {
	const char *name, *text;
} kinds[] = {
    [VMFT_DIVERGENCE_OUTPUT] = {"output", "it would have sent another frame"},
    [VMFT_DIVERGENCE_NO_OUTPUT] = {"no-output", "it did not send a frame the primary sent"},
    [VMFT_DIVERGENCE_MORE_OUTPUT] = {"more-output", "it sent a frame the primary did not"},
    [VMFT_DIVERGENCE_MEMORY] = {"memory", "its memory differs"},
    [VMFT_DIVERGENCE_PROCESSOR] = {"processor", "its processor's registers differ"},
    [VMFT_DIVERGENCE_STALLED] = {"stalled", "its replay stands still"},
};

const char *vmft_divergence_name(unsigned kind)
{
	return kinds[kind].name;
}

const char *vmft_divergence_text(unsigned kind)
{
	return kinds[kind].text;
}

void vmft_divergence_ask(struct vmft_iface *iface, const struct vmft_pair_config *config)
{
	atomic_store(&iface->digest_pages, config->digest_pages);
	atomic_store(&iface->digest_ms, config->digest_ms);
}

/* --- the backup ----------------------------------------------------------- */

static enum vmft_divergence_news found(struct vmft_divergence *d)
{
	const struct vmft_divergence_finding *f = &d->finding;

	d->count = 1;
	(void)snprintf(d->last, sizeof(d->last), DIVERGED "(%s) at log position %" PRIu64 ": %s",
		       kinds[f->kind].name, f->position, kinds[f->kind].text);
	return VMFT_DIVERGENCE_FOUND;
}

enum vmft_divergence_news vmft_divergence_look(struct vmft_divergence *d,
					       const struct vmft_iface *iface)
{
	const uint32_t kind = atomic_load_explicit(&iface->diverged, memory_order_acquire);

	if (kind == VMFT_DIVERGENCE_NONE || d->count > 0)
		return VMFT_DIVERGENCE_NO_NEWS;
	if (kind >= VMFT_DIVERGENCE_KINDS)
		return VMFT_DIVERGENCE_NONSENSE;
	d->finding = (struct vmft_divergence_finding){
	    .kind = kind,
	    .position = atomic_load(&iface->diverged_at),
	    .expected = atomic_load(&iface->diverged_expected),
	    .found = atomic_load(&iface->diverged_found),
	};
	return found(d);
}

/* Without a primary nobody can go on instead, and what stands still may still move: a disk answers
 * again. So that is no divergence. */
static enum vmft_divergence_news stalled(struct vmft_divergence *d,
					 const struct vmft_divergence_view *view)
{
	d->finding = (struct vmft_divergence_finding){
	    .kind = VMFT_DIVERGENCE_STALLED,
	    .position = view->applied,
	};
	if (view->has_primary)
		return found(d);
	d->stuck = true;
	return VMFT_DIVERGENCE_STUCK;
}

void vmft_divergence_begin(struct vmft_divergence *d, uint64_t now)
{
	*d = (struct vmft_divergence){.moved_ns = now, .looked_ns = now};
}

enum vmft_divergence_news vmft_divergence_tick(struct vmft_divergence *d,
					       const struct vmft_divergence_view *view,
					       uint64_t now, uint64_t slept)
{
	const uint64_t limit = view->stall_ms * MS / 4 * 3;
	const bool may_stall = d->count == 0 && (view->has_primary || view->drains);
	const bool moved = view->applied != d->position;
	const bool was_stuck = d->stuck;

	/* A QEMU that is stopped, or waits for a processor, does not stand still: that time is not
	 * counted. The time before it still is, or on a busy host it would never add up. */
	d->moved_ns += view->beats ? slept : vmft_loop_since(d->looked_ns, now);
	d->looked_ns = now;
	if (!may_stall || moved || view->applied >= view->held)
		d->moved_ns = now;
	d->position = view->applied;
	if (moved)
		d->stuck = false;
	if (moved && was_stuck)
		return VMFT_DIVERGENCE_MOVES;
	if (d->stuck || vmft_loop_since(d->moved_ns, now) < limit)
		return VMFT_DIVERGENCE_NO_NEWS;
	return stalled(d, view);
}

/* --- the primary ---------------------------------------------------------- */

bool vmft_divergence_heard(struct vmft_divergence *d, const char *why)
{
	(void)snprintf(d->heard, sizeof(d->heard), "%s", why);
	return strncmp(why, DIVERGED, sizeof(DIVERGED) - 1) == 0;
}

void vmft_divergence_count(struct vmft_divergence *d, const char *what)
{
	d->count++;
	(void)snprintf(d->last, sizeof(d->last), "%s", what[0] ? what : d->heard);
	d->heard[0] = '\0';
}
