/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "follow.h"

#include "logging-channel/loop.h"

static void add_text(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value ? value : ""));
}

static struct json_object *event_new(const struct vmft_journal_event *event, const char *side)
{
	struct json_object *object = json_object_new_object();

	add_text(object, "side", side);
	json_object_object_add(object, "time_ms", json_object_new_uint64(event->wall_ms));
	json_object_object_add(object, "ms", json_object_new_uint64(event->at_ns / 1000000));
	add_text(object, "state", event->state);
	if (event->was)
		add_text(object, "was", event->was);
	json_object_object_add(object, "generation", json_object_new_uint64(event->generation));
	add_text(object, "reason", event->reason);
	add_text(object, "text", event->text);
	return object;
}

struct json_object *vmft_follow_begin(struct vmft_follower *follower,
				      const struct vmft_journal *journal, const char *side)
{
	const struct vmft_journal_event now = {
	    .at_ns = vmft_loop_now(),
	    .wall_ms = vmft_journal_wall_ms(),
	    .state = journal->state,
	    .reason = journal->reason,
	    .generation = journal->generation,
	};

	follower->had = journal->happened;
	return event_new(&now, side);
}

struct json_object *vmft_follow_next(struct vmft_follower *follower,
				     const struct vmft_journal *journal, const char *side)
{
	const uint64_t kept =
	    journal->happened > VMFT_JOURNAL_EVENTS ? journal->happened - VMFT_JOURNAL_EVENTS : 0;
	struct json_object *object;
	uint64_t lost = 0;

	if (follower->had == journal->happened)
		return NULL;
	if (follower->had < kept) {
		lost = kept - follower->had;
		follower->had = kept;
	}
	object = event_new(&journal->event[follower->had++ % VMFT_JOURNAL_EVENTS], side);
	if (lost > 0)
		json_object_object_add(object, "lost", json_object_new_uint64(lost));
	return object;
}
