/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "source-rounds.h"

#include "marks.h"
#include "source-disks.h"
#include "source-frames.h"
#include "source-memory.h"

void vmft_source_rounds_begin(struct vmft_attach_source *s)
{
	s->phase = VMFT_ATTACH_COPYING;
	s->region = 0;
	s->word = 0;
	vmft_pace_round(&s->pace, vmft_marks_bytes(s->world.link, s->regions), vmft_loop_now());
}

/* Sends or reads one run of marked blocks. False: there is no room for more now, or no mark. */
static bool copy_more(struct vmft_attach_source *s)
{
	const struct vmft_agent_link *link = s->world.link;

	while (s->region < s->regions) {
		uint64_t block;
		const unsigned count =
		    vmft_marks_run(link, s->region, s->word, VMFT_SOURCE_MEMORY_RUN, &block);

		if (count > 0)
			return vmft_source_is_disk(s, s->region)
				   ? vmft_source_disks_read(s, block)
				   : vmft_source_memory_send(s, block, count);
		if (++s->word < vmft_marks_words(link, s->region))
			continue;
		s->word = 0;
		s->region++;
	}
	return false;
}

void vmft_source_rounds_pump(struct vmft_attach_source *s)
{
	uint8_t *payload;

	vmft_source_disks_send(s);
	while (s->phase == VMFT_ATTACH_COPYING && vmft_source_frames_may_send(s) && copy_more(s))
		;
	if (s->phase != VMFT_ATTACH_COPYING || s->region < s->regions ||
	    !vmft_source_disks_are_idle(s))
		return;
	payload = vmft_source_frames_room(s, 0);
	if (!payload)
		return;
	vmft_source_frames_send(s, VMFT_FRAME_ROUND, s->pace.round, payload, 0);
	s->phase = VMFT_ATTACH_SCANNING;
	vmft_agent_link_request(s->world.link, VMFT_AREA_SCAN);
}

static void say_slower(struct vmft_attach_source *s)
{
	vmft_journal_say(s->world.journal,
			 "memory is written faster than it can be copied (%llu MB/s written, "
			 "%llu MB/s copied): the guest is slowed",
			 (unsigned long long)s->pace.dirty_per_s / 1000000,
			 (unsigned long long)s->pace.bytes_per_s / 1000000);
}

static void take_point(struct vmft_attach_source *s, uint64_t budget)
{
	struct vmft_agent_link *link = s->world.link;

	atomic_store(&link->area->budget_bytes, budget);
	/* A throttled guest holds the lock that the stop needs for up to a pause. */
	atomic_store(&link->iface->throttle, 0);
	s->phase = VMFT_ATTACH_STOPPING;
	vmft_agent_link_request(link, VMFT_AREA_POINT);
}

void vmft_source_rounds_scanned(struct vmft_attach_source *s)
{
	const uint32_t stun_ms = s->world.config->stun_ms;
	const uint64_t budget = vmft_pace_budget(stun_ms);
	const uint64_t marked = vmft_marks_bytes(s->world.link, s->regions);
	bool slower;
	const enum vmft_pace_next next =
	    vmft_pace_decide(&s->pace, marked, budget, vmft_loop_now(), &slower);

	if (slower)
		say_slower(s);
	switch (next) {
	case VMFT_PACE_POINT:
		take_point(s, budget);
		break;
	case VMFT_PACE_ROUND:
		vmft_source_rounds_begin(s);
		break;
	case VMFT_PACE_NEVER:
		vmft_attach_source_abort(
		    s,
		    "the guest writes too much memory: %llu MB in the last round, and "
		    "only %llu MB can be copied within stun-ms = %u",
		    (unsigned long long)marked / 1000000, (unsigned long long)budget / 1000000,
		    stun_ms);
		break;
	}
}
