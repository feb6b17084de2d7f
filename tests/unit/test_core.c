/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core as a table: every pair of state and event, its order of events, its names and its
 * diagram. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core_steps.h"
#include "monitor/core/core.h"
#include "monitor/core/queue.h"
#include "suites.h"

#ifndef VMFT_SOURCE_ROOT
#define VMFT_SOURCE_ROOT "."
#endif

static void check_pair(const struct vmft_core *at, enum vmft_in kind)
{
	struct vmft_event_in event = EVENT(kind, .why = VMFT_WHY_SILENCE, .position = at->held);
	struct vmft_core core = *at;
	struct vmft_actions actions;
	uint32_t next;

	if (kind == VMFT_IN_ACK || kind == VMFT_IN_ALL_HANDED)
		event.position = event.sent = at->acked;
	if (at->state == VMFT_STATE_ATTACHING &&
	    (kind == VMFT_IN_CAUGHT_UP || kind == VMFT_IN_LOG_HELD))
		core.pointed = true; /* without it they abort, see below */
	switch (vmft_core_rule(at->side, at->state, kind, &next)) {
	case VMFT_RULE_FORBIDDEN:
		CU_ASSERT_EQUAL(next, 0);
		if (!core_aborts(*at, event))
			fprintf(stderr, "%s %s %s does not abort\n", vmft_side_name(at->side),
				vmft_state_name(at->state), vmft_in_name(kind));
		CU_ASSERT(core_aborts(*at, event));
		break;
	case VMFT_RULE_IGNORED:
		event.position = event.sent = 12345;
		actions = core_step(&core, event);
		CU_ASSERT_EQUAL(memcmp(&core, at, sizeof(core)), 0);
		CU_ASSERT_EQUAL(actions.set, 0);
		break;
	case VMFT_RULE_HANDLED:
		core_step(&core, event);
		CU_ASSERT((next & (1U << core.state)) != 0);
		break;
	}
}

static void every_pair_of_state_and_event(void)
{
	unsigned reachable = 0;

	for (int side = 0; side < VMFT_SIDE_COUNT; side++) {
		for (int state = 0; state < VMFT_STATE_COUNT; state++) {
			struct vmft_core core;

			if (!core_reach((enum vmft_side)side, (enum vmft_state)state, &core)) {
				for (int in = 0; in < VMFT_IN_COUNT; in++)
					CU_ASSERT_EQUAL(vmft_core_rule((enum vmft_side)side,
								       (enum vmft_state)state,
								       (enum vmft_in)in, NULL),
							VMFT_RULE_FORBIDDEN);
				continue;
			}
			reachable++;
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				check_pair(&core, (enum vmft_in)in);
		}
	}
	CU_ASSERT_EQUAL(reachable, 24); /* 13 of the primary, 11 of the backup */
}

static void final_states_do_nothing(void)
{
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int in = 0; in < VMFT_IN_COUNT; in++)
			for (int state = VMFT_STATE_FENCED; state <= VMFT_STATE_ENDED; state++)
				CU_ASSERT(vmft_core_rule((enum vmft_side)side,
							 (enum vmft_state)state, (enum vmft_in)in,
							 NULL) != VMFT_RULE_HANDLED);
}

static void mistakes_of_the_caller_abort(void)
{
	struct vmft_core core = core_protected_at(VMFT_SIDE_BACKUP, 100);

	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_LOG_HELD, .position = 99)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_PEER_LOST, .why = VMFT_WHY_NONE)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_PEER_LOST, .why = VMFT_WHY_GUEST_DIED)));
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_COUNT)));
	core.state = VMFT_STATE_COUNT;
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_PEER_ENDED)));
	core = core_arbitrating(VMFT_SIDE_BACKUP);
	core.held = 101;
	CU_ASSERT(core_aborts(core, EVENT(VMFT_IN_CLAIM_WON)));
}

static void everything_has_a_name(void)
{
	for (int i = 0; i < VMFT_STATE_COUNT; i++)
		CU_ASSERT_STRING_NOT_EQUAL(vmft_state_name((enum vmft_state)i), "?");
	for (int i = 0; i < VMFT_IN_COUNT; i++)
		CU_ASSERT_STRING_NOT_EQUAL(vmft_in_name((enum vmft_in)i), "?");
	for (int i = 0; i < VMFT_DO_COUNT; i++)
		CU_ASSERT_STRING_NOT_EQUAL(vmft_do_name((enum vmft_do)(1U << i)), "?");
	for (int i = 0; i < VMFT_WHY_COUNT; i++)
		CU_ASSERT_STRING_NOT_EQUAL(vmft_why_text((enum vmft_why)i), "?");
	CU_ASSERT_STRING_EQUAL(vmft_state_name(VMFT_STATE_COUNT), "?");
}

/* The diagram of docs/failover.md: [side][from][to][event], changes of state only. */
typedef bool diagram[VMFT_SIDE_COUNT][VMFT_STATE_COUNT][VMFT_STATE_COUNT][VMFT_IN_COUNT];

static int find_name(const char *word, int count, const char *(*name)(int))
{
	for (int i = 0; i < count; i++)
		if (!strcmp(word, name(i)))
			return i;
	return -1;
}

static const char *side_name(int i)
{
	return vmft_side_name((enum vmft_side)i);
}

static const char *state_name(int i)
{
	return vmft_state_name((enum vmft_state)i);
}

static const char *in_name(int i)
{
	return vmft_in_name((enum vmft_in)i);
}

static bool read_transition(char *line, diagram *ret)
{
	char *save = NULL;
	char *word = strtok_r(line, " \n", &save);
	int side, from, to;

	if (!word)
		return true;
	side = find_name(word, VMFT_SIDE_COUNT, side_name);
	word = strtok_r(NULL, " \n", &save);
	from = word ? find_name(word, VMFT_STATE_COUNT, state_name) : -1;
	word = strtok_r(NULL, " \n", &save);
	if (!word || strcmp(word, "->"))
		return false;
	word = strtok_r(NULL, " \n", &save);
	to = word ? find_name(word, VMFT_STATE_COUNT, state_name) : -1;
	if (side < 0 || from < 0 || to < 0)
		return false;
	while ((word = strtok_r(NULL, " \n", &save))) {
		int in = find_name(word, VMFT_IN_COUNT, in_name);

		if (in < 0 || (*ret)[side][from][to][in])
			return false;
		(*ret)[side][from][to][in] = true;
	}
	return true;
}

static bool read_diagram(diagram *ret)
{
	FILE *file = fopen(VMFT_SOURCE_ROOT "/docs/failover.md", "re");
	char line[256];
	bool inside = false, seen = false, good = true;

	if (!file)
		return false;
	while (good && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, "```", 3)) {
			inside = !strcmp(line, "```transitions\n");
			seen |= inside;
			continue;
		}
		if (inside)
			good = read_transition(line, ret);
	}
	fclose(file);
	return good && seen;
}

static void document_shows_the_table(void)
{
	static diagram drawn;

	memset(drawn, 0, sizeof(drawn));
	CU_ASSERT_FATAL(read_diagram(&drawn));
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int from = 0; from < VMFT_STATE_COUNT; from++)
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				for (int to = 0; to < VMFT_STATE_COUNT; to++) {
					uint32_t next;
					bool is;

					vmft_core_rule((enum vmft_side)side, (enum vmft_state)from,
						       (enum vmft_in)in, &next);
					is = to != from && next & (1U << to);
					if (is != drawn[side][from][to][in])
						fprintf(stderr,
							"docs/failover.md: %s %s -> %s %s\n",
							side_name(side), state_name(from),
							state_name(to), in_name(in));
					CU_ASSERT_EQUAL(is, drawn[side][from][to][in]);
				}
}

static void events_come_out_in_their_order(void)
{
	const struct vmft_core core = core_protected_at(VMFT_SIDE_BACKUP, 0);
	struct vmft_core_queue queue = {0};
	struct vmft_event_in next;

	for (uint64_t turn = 0; turn < 3; turn++) {
		for (uint64_t i = 0; i < VMFT_CORE_QUEUE_MAX - 1; i++)
			vmft_core_queue_put(
			    &queue, &core,
			    &(struct vmft_event_in){.kind = VMFT_IN_LOG_HELD, .position = i});
		for (uint64_t i = 0; i < VMFT_CORE_QUEUE_MAX - 1; i++)
			CU_ASSERT(vmft_core_queue_take(&queue, &core, &next) && next.position == i);
		CU_ASSERT_FALSE(vmft_core_queue_take(&queue, &core, &next));
	}
}

/* The guest dies at the attach point: the point that was reported as well is void. */
static void event_that_another_made_void_is_dropped(void)
{
	struct vmft_core core = core_attaching(VMFT_SIDE_BACKUP);
	struct vmft_core_queue queue = {0};
	struct vmft_actions actions;
	struct vmft_event_in next;

	vmft_core_queue_put(&queue, &core, &(struct vmft_event_in){.kind = VMFT_IN_GUEST_DIED});
	vmft_core_queue_put(&queue, &core, &(struct vmft_event_in){.kind = VMFT_IN_ATTACH_POINT});
	vmft_core_queue_put(
	    &queue, &core,
	    &(struct vmft_event_in){.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION});
	CU_ASSERT(vmft_core_queue_take(&queue, &core, &next));
	CU_ASSERT_EQUAL(next.kind, VMFT_IN_GUEST_DIED);
	vmft_core_step(&core, &next, &actions);
	CU_ASSERT_EQUAL(core.state, VMFT_STATE_ENDED);
	CU_ASSERT(vmft_core_queue_take(&queue, &core, &next));
	CU_ASSERT_EQUAL(next.kind, VMFT_IN_PEER_LOST);
	CU_ASSERT_FALSE(vmft_core_queue_take(&queue, &core, &next));
}

/* What was forbidden from the start still reaches the core, which aborts on it. */
static void mistake_of_the_caller_is_not_dropped(void)
{
	const struct vmft_core core = core_forming(VMFT_SIDE_BACKUP);
	struct vmft_core_queue queue = {0};
	struct vmft_event_in next;

	vmft_core_queue_put(&queue, &core, &(struct vmft_event_in){.kind = VMFT_IN_CLAIM_WON});
	CU_ASSERT(vmft_core_queue_take(&queue, &core, &next));
	CU_ASSERT_EQUAL(next.kind, VMFT_IN_CLAIM_WON);
	CU_ASSERT(core_aborts(core, next));
}

int vmft_suite_core(void)
{
	static CU_TestInfo tests[] = {
	    {"every pair of state and event is defined", every_pair_of_state_and_event},
	    {"final states do nothing", final_states_do_nothing},
	    {"mistakes of the caller abort", mistakes_of_the_caller_abort},
	    {"events come out in their order", events_come_out_in_their_order},
	    {"an event that another made void is dropped", event_that_another_made_void_is_dropped},
	    {"a mistake of the caller is not dropped", mistake_of_the_caller_is_not_dropped},
	    {"everything has a name", everything_has_a_name},
	    {"the document shows the table", document_shows_the_table},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"core: the table", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
