/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A core that is brought into a state by events, for the tests of the core. */
#ifndef VMFT_TEST_CORE_STEPS_H
#define VMFT_TEST_CORE_STEPS_H

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stdint.h>

#include "monitor/core/core.h"

#define EVENT(...)	((struct vmft_event_in){.kind = __VA_ARGS__})
#define STEP(core, ...) core_step((core), EVENT(__VA_ARGS__))
#define STATE_IS(core, name)                                                                       \
	CU_ASSERT_STRING_EQUAL(vmft_state_name((core)->state), vmft_state_name(VMFT_STATE_##name))

/* One step. Asserts that only known actions are set; each field that the core does not fill stays
 * garbage. */
struct vmft_actions core_step(struct vmft_core *core, struct vmft_event_in event);

/* A side in generation 7 that waits for its peer. */
struct vmft_core core_forming(enum vmft_side side);

/* A side of a pair; the backup holds the log up to this position, and the primary knows it. */
struct vmft_core core_protected_at(enum vmft_side side, uint64_t position);

/* A primary that was started alone, or a fresh backup, and its new peer. */
struct vmft_core core_attaching(enum vmft_side side);

/* As core_attaching(), with the attach point at this position. */
struct vmft_core core_attaching_from(enum vmft_side side, uint64_t position);

/* The states in the names, each from position 100. */
struct vmft_core core_sealing(void);

struct vmft_core core_arbitrating(enum vmft_side side);

struct vmft_core core_handing_over(void);

struct vmft_core core_handed_over(void);

/* Brings a side into a state by real events; false where the side can never be in it. */
bool core_reach(enum vmft_side side, enum vmft_state state, struct vmft_core *ret);

/* Whether the step aborts. It runs in a child, without a core file and without its last message. */
bool core_aborts(struct vmft_core core, struct vmft_event_in event);

#endif
