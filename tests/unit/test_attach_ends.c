/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An attach from both ends, without monitors: attach_ends.h. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "attach_ends.h"
#include "suites.h"

#define S UINT64_C(1000000000)

static bool said(const struct end *end, const char *text)
{
	return strstr(end->why, text) != NULL;
}

/* --- one that is completed -------------------------------------------------- */

/* The backup replays, all is acknowledged, the core makes a pair. */
static void forms(void)
{
	ends.primary.backup = (struct vmft_attach_backup){.replayed = ENDS_POINT};
	CU_ASSERT_FATAL(ends_reach(VMFT_ATTACH_CATCHING_UP));
	CU_ASSERT_FATAL(ends_sink_reaches(VMFT_ATTACH_CATCHING_UP));
	CU_ASSERT_FATAL(ends_sink_loads());
	for (unsigned i = 0; i < 50; i++)
		ends_step();
	CU_ASSERT_EQUAL(ends.source.phase, VMFT_ATTACH_CATCHING_UP);
	CU_ASSERT_EQUAL(ends.primary.caught_up, 0);
	CU_ASSERT(ends.source.log_flows);
	ends.primary.backup.replayed = ENDS_POINT + 1;
	CU_ASSERT(ends_reach(VMFT_ATTACH_SEALING));
	CU_ASSERT_EQUAL(ends.primary.caught_up, 1);
	CU_ASSERT_EQUAL(ends.primary.closed, 0);
	atomic_store(&ends.primary.link.iface->gate_closed_at, 1501);
	ends_step();
	CU_ASSERT_EQUAL(ends.primary.closed_at, 1500);
	vmft_attach_source_formed(&ends.source);
	CU_ASSERT_EQUAL(vmft_attach_sink_formed(&ends.sink), 0);
	CU_ASSERT_EQUAL(ends.source.phase, VMFT_ATTACH_IDLE);
	CU_ASSERT_EQUAL(ends.sink.phase, VMFT_ATTACH_IDLE);
	CU_ASSERT_FALSE(ends.source.log_flows);
	CU_ASSERT_EQUAL(ends.source.attached, 1);
	CU_ASSERT_STRING_EQUAL(ends.source.error, "");
}

static void is_complete(void)
{
	CU_ASSERT_EQUAL(ends.primary.points, 1);
	CU_ASSERT_EQUAL(ends.backup.points, 1);
	CU_ASSERT_EQUAL(ends.primary.point, ENDS_POINT);
	CU_ASSERT_EQUAL(ends.backup.point, ENDS_POINT);
	CU_ASSERT_EQUAL(ends.primary.failed + ends.backup.failed, 0);
	CU_ASSERT(ends_are_equal());
}

/* Memory that was never used, blocks that differ, the state: all of it is there afterwards, and
 * nothing of what the backup had. */
static void test_completes(void)
{
	ends_up(true);
	ends_begin();
	forms();
	is_complete();
	CU_ASSERT_EQUAL(atomic_load(&ends.backup.link.area->op), VMFT_AREA_LOAD);
	CU_ASSERT_EQUAL(atomic_load(&ends.backup.link.area->load_position), ENDS_POINT);
	CU_ASSERT_EQUAL(ends.backup.disk[0].fd, -1); /* QEMU's */
	/* One block of each image differs, one region of 8 pages or so was used. */
	CU_ASSERT_EQUAL(ends.source.last.disk_bytes, ENDS_DISKS * VMFT_DISK_BLOCK_BYTES);
	CU_ASSERT(ends.source.last.ram_bytes < 30 * VMFT_RAM_BLOCK_BYTES);
	ends_down();
}

/* With a strategy that loads the state later it is proven, and the images stay open. */
static void test_completes_proven(void)
{
	ends_up(false);
	ends_begin();
	forms();
	is_complete();
	CU_ASSERT(ends.sink.proven);
	CU_ASSERT_EQUAL(atomic_load(&ends.backup.link.area->op), VMFT_AREA_PROVE);
	CU_ASSERT(ends.backup.disk[0].fd >= 0);
	ends_down();
}

static unsigned scans;

/* The guest writes during the first rounds, more than may be left for the stop. */
static void writes_a_while(void)
{
	if (scans++ >= 2)
		return;
	for (unsigned i = 0; i < ENDS_RAM_PAGES; i++)
		ends_write_page(i, (uint8_t)(scans + i));
	ends_write_block(0, 2, (uint8_t)scans);
	ends_write_block(1, 5, (uint8_t)scans);
}

static void test_rounds(void)
{
	ends_up(true);
	ends.primary.config.stun_ms = 1; /* 100 kB */
	ends.primary.on_scan = writes_a_while;
	scans = 0;
	ends_begin();
	forms();
	is_complete();
	CU_ASSERT_EQUAL(ends.source.last.rounds, 3);
	ends_down();
}

/* What was staged while the guest was stopped, and its place is not zero. */
static void test_piece(void)
{
	uint8_t byte = 0;

	ends_up(true);
	ends.primary.piece = (struct vmft_area_piece){
	    .region = ENDS_RAM, .offset = 7 * VMFT_RAM_BLOCK_BYTES, .bytes = VMFT_RAM_BLOCK_BYTES};
	ends_begin();
	CU_ASSERT_FATAL(ends_sink_reaches(VMFT_ATTACH_CATCHING_UP));
	CU_ASSERT_EQUAL(pread(ends.backup.link.ram_fd, &byte, 1, 7 * VMFT_RAM_BLOCK_BYTES + 99), 1);
	CU_ASSERT_EQUAL(byte, 0xd7);
	ends_down();
}

/* The budget was not enough: another round, and then the point. */
static void test_point_over_budget(void)
{
	ends_up(true);
	ends.primary.fails = VMFT_AREA_POINT;
	ends.primary.agent_result = -E2BIG;
	ends_begin();
	forms();
	is_complete();
	CU_ASSERT_EQUAL(ends.source.last.rounds, 2);
	ends_down();
}

/* A channel that takes nothing for a while, in any phase, loses nothing. */
static void test_full_channel(void)
{
	ends_up(true);
	ends_begin();
	CU_ASSERT_FATAL(ends_reach(VMFT_ATTACH_OFFERED));
	ends.primary.backup.replayed = ENDS_POINT;
	for (unsigned i = 0; ends.source.phase != VMFT_ATTACH_CATCHING_UP; i++) {
		CU_ASSERT_FATAL(i < 10000000);
		ends.primary.full = i % 7 != 0;
		ends_step();
	}
	ends.primary.full = false;
	forms();
	is_complete();
	ends_down();
}

/* A drill: it stays in each phase until it is let into the next one. */
static void test_held(void)
{
	enum vmft_attach_phase before;

	ends_up(true);
	vmft_attach_source_hold(&ends.source);
	ends_begin();
	for (unsigned phases = 0; phases < 6; phases++) {
		CU_ASSERT(ends_leave(VMFT_ATTACH_OFFERED)); /* the backup ends that one */
		before = ends.source.phase;
		for (unsigned i = 0; i < 20; i++)
			ends_step();
		CU_ASSERT_EQUAL(ends.source.phase, before);
		vmft_attach_source_step(&ends.source);
		CU_ASSERT(ends_leave(before));
	}
	CU_ASSERT_EQUAL(ends.source.phase, VMFT_ATTACH_CATCHING_UP);
	vmft_attach_source_release(&ends.source);
	forms();
	is_complete();
	ends_down();
}

/* --- failures --------------------------------------------------------------- */

/* The source has given up, cleans up after itself, and the next attempt is a good one. */
static void source_fails_then_forms(const char *why)
{
	CU_ASSERT(ends_reach(VMFT_ATTACH_IDLE));
	CU_ASSERT_EQUAL(ends.source.failures, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(ends.source.error, why));
	CU_ASSERT_EQUAL(atomic_load(&ends.primary.link.area->op), VMFT_AREA_DROP);
	CU_ASSERT_EQUAL(ends.primary.disk[0].fd, -1);
	CU_ASSERT_FALSE(ends.source.log_flows);
	CU_ASSERT_FALSE(vmft_attach_source_wants_backup(&ends.source, vmft_loop_now()));
	CU_ASSERT(vmft_attach_source_wants_backup(&ends.source, vmft_loop_now() + S));
	ends_cut();
	vmft_attach_sink_failed(&ends.sink);
	CU_ASSERT(ends_sink_reaches(VMFT_ATTACH_IDLE));
	CU_ASSERT_EQUAL(ends.backup.disk[0].fd, -1);
	ends.primary.points = ends.backup.points = ends.primary.failed = ends.backup.failed = 0;
	ends_begin();
	forms();
	is_complete();
	ends_down();
}

static void test_agent_fails(void)
{
	static const enum vmft_area_op ops[] = {VMFT_AREA_TRACK, VMFT_AREA_SCAN, VMFT_AREA_POINT};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		ends_up(true);
		ends.primary.fails = ops[i];
		ends.primary.agent_result = -EIO;
		ends_begin();
		source_fails_then_forms("the agent's why");
	}
}

/* The connection is lost in each phase. */
static void test_peer_lost(void)
{
	static const enum vmft_attach_phase phases[] = {
	    VMFT_ATTACH_TRACKING, VMFT_ATTACH_OFFERED,	VMFT_ATTACH_COMPARING, VMFT_ATTACH_COPYING,
	    VMFT_ATTACH_SCANNING, VMFT_ATTACH_STOPPING, VMFT_ATTACH_SENDING};

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		ends_up(true);
		vmft_attach_source_hold(&ends.source);
		ends_begin();
		for (unsigned n = 0; n < 10000000 && ends.source.phase != phases[i]; n++) {
			vmft_attach_source_step(&ends.source);
			ends_step();
		}
		CU_ASSERT_EQUAL(ends.source.phase, phases[i]);
		ends_cut();
		ends.source.held = false;
		vmft_attach_source_failed(&ends.source, "connection lost");
		source_fails_then_forms("connection lost");
	}
}

/* Twice as long after each, at most 64 s; one that is asked for comes at once. */
static void test_retries(void)
{
	uint64_t now, wait = S;

	ends_up(true);
	for (unsigned i = 0; i < 9; i++) {
		ends_begin();
		now = vmft_loop_now();
		vmft_attach_source_failed(&ends.source, "lost");
		CU_ASSERT(ends.source.retry_ns - now >= wait);
		CU_ASSERT(ends.source.retry_ns - now < wait + S);
		CU_ASSERT(ends_reach(VMFT_ATTACH_IDLE));
		wait = wait < 64 * S ? 2 * wait : wait;
	}
	vmft_attach_source_ask(&ends.source);
	CU_ASSERT(vmft_attach_source_wants_backup(&ends.source, vmft_loop_now()));
	ends.primary.config.reprotect = VMFT_REPROTECT_MANUAL;
	CU_ASSERT(vmft_attach_source_wants_backup(&ends.source, vmft_loop_now()));
	ends.source.asked = false;
	CU_ASSERT_FALSE(vmft_attach_source_wants_backup(&ends.source, vmft_loop_now()));
	ends_down();
}

/* The agent stages a piece that cannot be: one without bytes, one of no region, one too large. */
static void test_nonsense(void)
{
	static const struct vmft_area_piece pieces[] = {
	    {.region = ENDS_RAM, .offset = 0, .bytes = 0},
	    {.region = ENDS_REGIONS, .offset = 0, .bytes = 16},
	    {.region = ENDS_RAM, .offset = 0, .bytes = VMFT_DISK_BLOCK_BYTES + 1},
	};

	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		ends_up(true);
		ends.primary.piece = pieces[i];
		ends_begin();
		CU_ASSERT(ends_reach(VMFT_ATTACH_DROPPING));
		CU_ASSERT(said(&ends.primary, "is not valid"));
		ends_down();
	}
}

/* The log of a side cannot begin at the point. */
static void test_no_log(void)
{
	ends_up(true);
	ends.primary.log_result = -ENOMEM;
	ends_begin();
	CU_ASSERT(ends_reach(VMFT_ATTACH_DROPPING));
	CU_ASSERT_EQUAL(ends.primary.points, 0);
	CU_ASSERT(said(&ends.primary, "the log cannot be started again"));
	ends_down();

	ends_up(true);
	ends.backup.log_result = -ENOMEM;
	ends_begin();
	CU_ASSERT(ends_tell(&ends.backup.broken));
	CU_ASSERT_EQUAL(ends.backup.broken, 1);
	CU_ASSERT_EQUAL(ends.backup.points, 0);
	CU_ASSERT_EQUAL(ends.sink.phase, VMFT_ATTACH_COPYING);
	ends_down();
}

/* The backup's QEMU cannot load the state, or not prove that it can: there is no pair. */
static void test_state_is_bad(void)
{
	for (unsigned i = 0; i < 2; i++) {
		ends_up(i == 0);
		ends.backup.fails = i == 0 ? VMFT_AREA_LOAD : VMFT_AREA_PROVE;
		ends.backup.agent_result = -EIO;
		ends_begin();
		CU_ASSERT(ends_tell(&ends.backup.failed));
		CU_ASSERT(said(&ends.backup, "the agent's why"));
		CU_ASSERT_EQUAL(ends.backup.points, i == 0);
		ends_cut();
		CU_ASSERT(ends_sink_reaches(VMFT_ATTACH_IDLE));
		CU_ASSERT_EQUAL(vmft_attach_sink_formed(&ends.sink), -EBADMSG);
		ends_down();
	}
}

/* A sink does not end while its strategy uses the images. */
static void test_abandoned_later(void)
{
	ends_up(false);
	ends_begin();
	CU_ASSERT_FATAL(ends_sink_reaches(VMFT_ATTACH_CATCHING_UP));
	ends.backup.abandons = false;
	vmft_attach_sink_failed(&ends.sink);
	for (unsigned i = 0; i < 20; i++)
		ends_step();
	CU_ASSERT(ends.backup.disk[0].fd >= 0);
	CU_ASSERT_NOT_EQUAL(ends.sink.phase, VMFT_ATTACH_IDLE);
	ends.backup.abandons = true;
	CU_ASSERT(ends_sink_reaches(VMFT_ATTACH_IDLE));
	CU_ASSERT_EQUAL(ends.backup.disk[0].fd, -1);
	ends_down();
}

/* Images that cannot become copies are refused before anything is changed. */
static void test_image_does_not_fit(void)
{
	static const char *const why[] = {"of another format", "make it as large"};

	for (unsigned i = 0; i < 2; i++) {
		ends_up(true);
		if (i == 0)
			ends.backup.disk[1].format = VMFT_IMAGE_QCOW2;
		else
			ends.backup.disk[1].guest_bytes++;
		ends_begin();
		CU_ASSERT(ends_tell(&ends.backup.failed));
		CU_ASSERT(said(&ends.backup, why[i]));
		CU_ASSERT_EQUAL(ends.sink.phase, VMFT_ATTACH_IDLE);
		CU_ASSERT_FALSE(ends.sink.prepared);
		CU_ASSERT_EQUAL(ends.backup.disk[0].fd, -1);
		ends_down();
	}
}

/* A replay that stands still fails the attempt before the pair does. */
static void test_replay_stalls(void)
{
	ends_up(true);
	ends_begin();
	ends.primary.backup.replayed = ENDS_POINT;
	CU_ASSERT_FATAL(ends_reach(VMFT_ATTACH_CATCHING_UP));
	ends.primary.backup.stalled_ns = 11 * S;
	CU_ASSERT(ends_reach(VMFT_ATTACH_DROPPING));
	CU_ASSERT(said(&ends.primary, "replay stands still at log position 1000"));
	ends_down();
}

/* Nothing moves for a minute. */
static void test_no_progress(void)
{
	ends_up(true);
	ends.backup.silent = true;
	ends_begin();
	CU_ASSERT_FATAL(ends_reach(VMFT_ATTACH_OFFERED));
	for (unsigned i = 0; i < 10; i++)
		ends_step();
	vmft_attach_source_tick(&ends.source, vmft_loop_now() + 59 * S);
	CU_ASSERT_EQUAL(ends.primary.failed, 0);
	vmft_attach_source_tick(&ends.source, vmft_loop_now() + 61 * S);
	CU_ASSERT(said(&ends.primary, "no progress for 60 s while offered"));
	ends_down();
}

int vmft_suite_attach_ends(void)
{
	static CU_TestInfo tests[] = {
	    {"completes", test_completes},
	    {"completes, the state proven", test_completes_proven},
	    {"rounds", test_rounds},
	    {"a piece of the attach point", test_piece},
	    {"a point over its budget", test_point_over_budget},
	    {"a full channel", test_full_channel},
	    {"held by a drill", test_held},
	    {"the agent fails", test_agent_fails},
	    {"the peer is lost", test_peer_lost},
	    {"retries", test_retries},
	    {"the agent stages nonsense", test_nonsense},
	    {"the log cannot begin", test_no_log},
	    {"a state that cannot be loaded", test_state_is_bad},
	    {"abandoned later", test_abandoned_later},
	    {"an image that does not fit", test_image_does_not_fit},
	    {"replay stands still", test_replay_stalls},
	    {"no progress", test_no_progress},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"both ends of an attach", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
