/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An attach of a checkpointed pair that fails, or whose point does, on the backup. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "epoch_payloads.h"
#include "monitor/daemon/hub/monitor.h"
#include "suites.h"

/* The backup's monitor after an attach point, or just before it: its images are those that epochs
 * are applied to. */
static void after_attach_point(struct vmft_monitor *m, bool reached)
{
	const struct vmft_strategy_world world = {
	    .loop = pair_loop,
	    .link = &pair_backup.link,
	    .config = &pair_backup.config,
	    .disk = m->options.disk,
	    .disk_count = DISKS,
	    .moved = pair_on_moved,
	    .broken = pair_on_broken,
	    .disk_failed = pair_on_disk_failed,
	    .user = &pair_backup,
	};

	memset(m, 0, sizeof(*m));
	m->loop = pair_loop;
	m->agent = pair_backup.link;
	m->options.disk_count = DISKS;
	for (unsigned i = 0; i < DISKS; i++) {
		m->options.disk[i] = pair_backup.disk[i];
		pair_backup.disk[i].fd = -1;
	}
	pair_ops->close(pair_backup.strategy);
	CU_ASSERT_EQUAL_FATAL(pair_ops->open(&world, &pair_backup.strategy), 0);
	if (reached)
		CU_ASSERT_EQUAL(pair_ops->restart(pair_backup.strategy, pair_epoch, false), 0);
	m->options.strategy = m->strategy_ops = pair_ops;
	m->strategy = pair_backup.strategy;
	m->core.state = VMFT_STATE_ENDED;
	CU_ASSERT_EQUAL_FATAL(vmft_attaching_init(m), 0);
	m->sink.phase = VMFT_ATTACH_CATCHING_UP;
	m->sink.loaded = true;
}

static void leaves(struct vmft_monitor *m)
{
	for (unsigned i = 0; i < DISKS; i++)
		vmft_image_close(&m->options.disk[i]);
	vmft_attach_source_fini(&m->source);
	vmft_attach_sink_fini(&m->sink);
	pair_down();
}

/* Files that get the numbers of descriptors that were just closed keep their bytes. */
static void ends_in_order(struct vmft_monitor *m)
{
	int other[DISKS];
	struct stat st;

	vmft_attach_sink_failed(&m->sink);
	for (unsigned i = 0; i < DISKS; i++)
		other[i] = memfd_create("another file", MFD_CLOEXEC);
	for (unsigned i = 0; i < 2000 && m->sink.phase != VMFT_ATTACH_IDLE; i++) {
		pair_spin(MS);
		vmft_attach_sink_look(&m->sink);
	}
	pair_spin(20 * MS);
	CU_ASSERT_EQUAL(m->sink.phase, VMFT_ATTACH_IDLE);
	CU_ASSERT_EQUAL(pair_backup.broken, 0);
	CU_ASSERT_EQUAL(pair_ops->applied(pair_backup.strategy), pair_epoch);
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), -EBADMSG);
	for (unsigned i = 0; i < DISKS; i++) {
		CU_ASSERT_EQUAL(m->options.disk[i].fd, -1);
		CU_ASSERT(fstat(other[i], &st) == 0 && st.st_size == 0);
		close(other[i]);
	}
}

/* The attach does not come to an end while an epoch is applied, at any point of that. */
static void test_attach_fails_while_applying(void)
{
	static struct vmft_monitor m;

	for (unsigned spins = 0; spins < 3; spins++) {
		pair_up();
		after_attach_point(&m, true);
		for (unsigned i = 0; i < 3 * VMFT_EPOCH_WRITES; i++)
			CU_ASSERT_EQUAL(pair_send_piece(i % 2, i * PART, PART, VMFT_EPOCH_AS_IS),
					0);
		CU_ASSERT_EQUAL(
		    pair_send_plain_commit(3 * VMFT_EPOCH_WRITES, 3 * VMFT_EPOCH_WRITES * PART), 0);
		for (unsigned i = 0; i < spins; i++)
			pair_spin(0);
		if (pair_ops->applied(pair_backup.strategy) == pair_epoch)
			ends_in_order(&m);
		leaves(&m);
	}
}

/* ... or while one that was is made durable. */
static void test_attach_fails_while_syncing(void)
{
	static struct vmft_monitor m;

	pair_up();
	after_attach_point(&m, true);
	memset(pair_now.disk[0], 0xa5, PART);
	CU_ASSERT_EQUAL(pair_send_piece(0, 0, PART, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(pair_send_plain_commit(1, PART), 0);
	pair_backup.quiet = true;
	pair_epoch++;
	while (pair_ops->applied(pair_backup.strategy) < pair_epoch)
		pair_spin(0);
	ends_in_order(&m);
	leaves(&m);
}

static bool core_told;

static void tell_core(struct vmft_op *op, int result)
{
	(void)op;
	(void)result;
	core_told = true;
}

/* The guest's memory cannot be mapped at the attach point: the core hears of that, and of it
 * only. An attach point after the guest's end would abort the monitor. */
static void test_attach_point_without_memory(void)
{
	const struct vmft_point point = {.state_bytes = 1, .disk_count = DISKS};
	uint8_t payload[512];
	struct vmft_frame_info info = {
	    .type = VMFT_FRAME_POINT, .position = pair_epoch, .payload = payload};
	static struct vmft_monitor m;

	pair_up();
	after_attach_point(&m, false);
	vmft_core_init(&m.core, VMFT_SIDE_BACKUP, 1);
	m.core.state = VMFT_STATE_ATTACHING;
	m.broken_op = (struct vmft_op){.done = tell_core, .owner = &m};
	m.sink.phase = VMFT_ATTACH_COPYING;
	m.sink.loaded = false;
	m.sink.synced = m.sink.proven = true;
	m.sink.state_bytes = 1;
	core_told = false;
	pair_backup.link.ram_fd = -1;
	info.length = (uint32_t)vmft_point_encode(&point, payload);
	CU_ASSERT_EQUAL(vmft_attach_sink_got_frame(&m.sink, &info), 0);
	CU_ASSERT(m.agent_broken);
	CU_ASSERT_EQUAL(m.core.state, VMFT_STATE_ATTACHING);
	CU_ASSERT_FALSE(m.core.pointed);
	CU_ASSERT_EQUAL(m.sink.phase, VMFT_ATTACH_COPYING);
	pair_spin(MS);
	CU_ASSERT(core_told);
	leaves(&m);
}

/* The agent has carried out what it was asked last. */
static void answers(struct vmft_monitor *m, int result, const char *error)
{
	struct vmft_area *area = m->agent.area;

	CU_ASSERT_FALSE(vmft_attach_sink_has_room(&m->sink));
	vmft_attach_sink_look(&m->sink);
	CU_ASSERT(m->sink.proving);
	(void)snprintf(area->error, sizeof(area->error), "%s", error);
	atomic_store(&area->result, result);
	atomic_store(&area->done, atomic_load(&area->request));
	vmft_attach_sink_look(&m->sink);
	CU_ASSERT_FALSE(m->sink.proving);
	CU_ASSERT(vmft_attach_sink_has_room(&m->sink));
}

/* The attach point is not reached before the agent has loaded the state once. If it cannot the
 * attempt is over, and the next one proves its state anew. */
static void test_attach_point_is_proven(void)
{
	const struct vmft_point point = {.state_bytes = 9, .disk_count = DISKS};
	uint8_t payload[512];
	struct vmft_frame_info info = {
	    .type = VMFT_FRAME_POINT, .position = pair_epoch, .payload = payload};
	static struct vmft_monitor m;
	struct vmft_area *area;

	for (unsigned i = 0; i < 2; i++) {
		const bool good = i == 0;

		pair_up();
		after_attach_point(&m, false);
		vmft_core_init(&m.core, VMFT_SIDE_BACKUP, 1);
		m.core.state = VMFT_STATE_ATTACHING;
		m.sink.phase = VMFT_ATTACH_COPYING;
		m.sink.loaded = false;
		m.sink.synced = true;
		m.sink.state_bytes = 9;
		info.length = (uint32_t)vmft_point_encode(&point, payload);
		CU_ASSERT_EQUAL(vmft_attach_sink_got_frame(&m.sink, &info), -ENOSPC);
		area = m.agent.area;
		CU_ASSERT_EQUAL(atomic_load(&area->op), VMFT_AREA_PROVE);
		CU_ASSERT_EQUAL(atomic_load(&area->load_bytes), 9);
		CU_ASSERT_EQUAL(vmft_attach_sink_got_frame(&m.sink, &info), -ENOSPC);
		answers(&m, good ? 0 : -EIO, "QEMU could not load it");
		CU_ASSERT_EQUAL(m.sink.proven, good);
		if (good) {
			CU_ASSERT_EQUAL(vmft_attach_sink_got_frame(&m.sink, &info), 0);
			CU_ASSERT_EQUAL(m.sink.phase, VMFT_ATTACH_CATCHING_UP);
			CU_ASSERT(m.core.pointed);
		} else {
			CU_ASSERT_NOT_EQUAL(m.core.state, VMFT_STATE_ATTACHING);
			CU_ASSERT_FALSE(m.core.pointed);
		}
		leaves(&m);
	}
}

int vmft_suite_checkpoint_attach(void)
{
	static CU_TestInfo tests[] = {
	    {"an attach fails while an epoch is applied", test_attach_fails_while_applying},
	    {"an attach fails while images are made durable", test_attach_fails_while_syncing},
	    {"an attach point without memory ends in order", test_attach_point_without_memory},
	    {"an attach point whose state is proven", test_attach_point_is_proven},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints: attach", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
