/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events that wait for the state machine, first in, first out.
 *
 * An action of the core may itself cause an event (sending fails, an image cannot be opened).
 * The core must not be stepped from inside its own actions: the outer step would go on with
 * actions of a state that is over. So such an event waits here until the outer step is done.
 *
 * Pure, like core.h: no clock, no I/O, no allocation.
 */
#ifndef VMFT_CORE_QUEUE_H
#define VMFT_CORE_QUEUE_H

#include <stdbool.h>

#include "core.h"

/* The actions of one step cause a handful of events at most. More are a loop: the queue aborts. */
#define VMFT_CORE_QUEUE_MAX 32u

struct vmft_core_queue {
	struct {
		struct vmft_event_in event;
		enum vmft_side side; /* of the core, when the event was put in */
		enum vmft_state state;
	} entry[VMFT_CORE_QUEUE_MAX];
	unsigned first, count;
};

/* The event is copied. core is the state the caller saw when it made the event. Aborts when
 * the queue is full. */
void vmft_core_queue_put(struct vmft_core_queue *queue, const struct vmft_core *core,
			 const struct vmft_event_in *event);

/*
 * Takes the next event that core may be stepped with. An event that an earlier one has made
 * void is dropped: the table allowed it in the state it was made in, and forbids it in the
 * state core has now. An event that was forbidden from the start is not dropped: it is a
 * caller's mistake, and vmft_core_step() aborts on it. False: the queue is empty.
 */
bool vmft_core_queue_take(struct vmft_core_queue *queue, const struct vmft_core *core,
			  struct vmft_event_in *ret);

#endif
