/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "queue.h"

#include <stdio.h>
#include <stdlib.h>

void vmft_core_queue_put(struct vmft_core_queue *queue, const struct vmft_core *core,
			 const struct vmft_event_in *event)
{
	const unsigned at = (queue->first + queue->count) % VMFT_CORE_QUEUE_MAX;

	if (queue->count == VMFT_CORE_QUEUE_MAX) {
		fprintf(stderr, "vmft core: %u events wait, no room for %s in %s %s\n",
			VMFT_CORE_QUEUE_MAX, vmft_in_name(event->kind), vmft_side_name(core->side),
			vmft_state_name(core->state));
		abort();
	}
	queue->entry[at].event = *event;
	queue->entry[at].side = core->side;
	queue->entry[at].state = core->state;
	queue->count++;
}

static bool is_forbidden(enum vmft_side side, enum vmft_state state, enum vmft_in kind)
{
	return vmft_core_rule(side, state, kind, NULL) == VMFT_RULE_FORBIDDEN;
}

bool vmft_core_queue_take(struct vmft_core_queue *queue, const struct vmft_core *core,
			  struct vmft_event_in *ret)
{
	while (queue->count > 0) {
		const unsigned at = queue->first;
		const enum vmft_in kind = queue->entry[at].event.kind;

		queue->first = (at + 1) % VMFT_CORE_QUEUE_MAX;
		queue->count--;
		if (is_forbidden(core->side, core->state, kind) &&
		    !is_forbidden(queue->entry[at].side, queue->entry[at].state, kind))
			continue;
		*ret = queue->entry[at].event;
		return true;
	}
	return false;
}
