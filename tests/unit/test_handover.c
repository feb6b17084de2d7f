/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A planned hand-over: what it is refused for, and the primary's output on the backup. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/daemon/handover/handover.h"
#include "suites.h"

#define STAGING_AT sizeof(struct vmft_area)
#define ROOM	   4096u /* bytes of staging that are there */

static struct vmft_handover handover;
static struct vmft_agent_link agent;
static struct vmft_iface iface;
static struct vmft_core core;
static bool gone;

static bool on_is_guest_gone(void *user)
{
	(void)user;
	return gone;
}

static void up(void)
{
	const struct vmft_handover_world world = {
	    .link = &agent, .core = &core, .is_guest_gone = on_is_guest_gone};

	core = (struct vmft_core){.side = VMFT_SIDE_PRIMARY, .state = VMFT_STATE_PROTECTED};
	gone = false;
	agent.iface = &iface;
	agent.area = calloc(1, STAGING_AT + ROOM);
	CU_ASSERT_PTR_NOT_NULL_FATAL(agent.area);
	agent.area->staging_at = STAGING_AT;
	vmft_handover_init(&handover, &world);
}

static void down(void)
{
	free(agent.area);
	agent.area = NULL;
}

static bool refused_for(const char *text)
{
	const char *why = vmft_handover_begin(&handover, NULL, NULL);

	return why && strstr(why, text) && !vmft_handover_is_on(&handover);
}

/* A hand-over that is refused has changed nothing. */
static void test_refused(void)
{
	up();
	core.side = VMFT_SIDE_BACKUP;
	CU_ASSERT(refused_for("ask the primary"));
	core.side = VMFT_SIDE_PRIMARY;
	core.state = VMFT_STATE_ALONE;
	CU_ASSERT(refused_for("no backup to hand over to"));
	core.state = VMFT_STATE_PROTECTED;
	gone = true;
	CU_ASSERT(refused_for("the guest has ended"));
	gone = false;
	handover.asked = true;
	CU_ASSERT(refused_for("has not yet answered"));
	CU_ASSERT_EQUAL(vmft_handover_throttle(&handover), 0);
	down();
}

/* Frame `position` of the output: n bytes for tap 1. */
static int gets(uint64_t position, size_t n)
{
	uint8_t payload[256] = {0};
	const struct vmft_frame_info frame = {
	    .type = VMFT_FRAME_OUTPUT,
	    .position = position,
	    .payload = payload,
	    .length = (uint32_t)(VMFT_CHUNK_HEAD + n),
	};

	vmft_chunk_encode(1, payload);
	return vmft_handover_got_output(&handover, &frame);
}

/* Frames come in order and without a gap; the first frame replaces what came before. */
static void test_output(void)
{
	uint64_t bytes;

	up();
	CU_ASSERT_EQUAL(gets(1, 60), -EBADMSG);
	CU_ASSERT_EQUAL(gets(0, 60), 0);
	CU_ASSERT_EQUAL(gets(1, 61), 0);
	CU_ASSERT_EQUAL(gets(1, 61), -EBADMSG);
	CU_ASSERT_EQUAL(gets(3, 61), -EBADMSG);
	bytes = handover.taken_bytes;
	CU_ASSERT_EQUAL(bytes, 2 * sizeof(struct vmft_held_output) + 64 + 64);
	CU_ASSERT_EQUAL(gets(0, 60), 0);
	CU_ASSERT(handover.taken_bytes < bytes);
	down();
}

/* The backup sends the output only if the hand-over was not called off. */
static void test_output_goes_live(void)
{
	up();
	CU_ASSERT_EQUAL(gets(0, 60), 0);
	vmft_handover_goes_live(&handover);
	CU_ASSERT_EQUAL(atomic_load(&iface.take_output), 0);
	core.handed = true;
	vmft_handover_goes_live(&handover);
	CU_ASSERT_EQUAL(atomic_load(&iface.take_output), handover.taken_bytes);
	down();
}

int vmft_suite_handover(void)
{
	CU_TestInfo tests[] = {
	    {"refused", test_refused},
	    {"output of the primary", test_output},
	    {"output when the backup goes live", test_output_goes_live},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"hand-over", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
