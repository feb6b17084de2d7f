/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Payloads of epochs that cannot be what comes next, and that nothing of them is applied. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "epoch_payloads.h"
#include "logging-channel/wire.h"
#include "suites.h"

static void test_bad_pieces(void)
{
	static const struct {
		uint32_t region;
		uint64_t offset;
		uint32_t n;
		enum vmft_epoch_how how;
	} bad[] = {
	    /* there is no such region */
	    {REGIONS, 0, PAGE, VMFT_EPOCH_AS_IS},
	    {VMFT_AREA_REGIONS_MAX - 1, 0, 1, VMFT_EPOCH_ZERO},
	    {VMFT_AREA_REGIONS_MAX, 0, 1, VMFT_EPOCH_ZERO},
	    {VMFT_EPOCH_STATE_REGION - 1, 0, PAGE, VMFT_EPOCH_AS_IS},
	    /* beyond its end */
	    {RAM, RAM_PAGES * PAGE, PAGE, VMFT_EPOCH_AS_IS},
	    {RAM, RAM_PAGES * PAGE - 1, 2, VMFT_EPOCH_ZERO},
	    {RAM, UINT64_MAX - PAGE, PAGE, VMFT_EPOCH_ZERO},
	    {ROM, 3 * PAGE, 101, VMFT_EPOCH_XOR},
	    {0, DISK_MAX - PAGE, PAGE + 1, VMFT_EPOCH_AS_IS},
	    {1, DISK_MAX, 1, VMFT_EPOCH_ZERO},
	    {VMFT_EPOCH_STATE_REGION, VMFT_AREA_STATE_BYTES, 1, VMFT_EPOCH_ZERO},
	    {VMFT_EPOCH_STATE_REGION, VMFT_AREA_STATE_BYTES - PAGE + 1, PAGE, VMFT_EPOCH_AS_IS},
	    /* more of memory than a page, a change of a disk */
	    {RAM, 0, PAGE + 1, VMFT_EPOCH_AS_IS},
	    {RAM, 0, 2 * PAGE, VMFT_EPOCH_ZERO},
	    {0, 0, PAGE, VMFT_EPOCH_XOR},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		pair_up();
		CU_ASSERT_EQUAL(pair_send_piece(RAM, 0, PAGE, VMFT_EPOCH_AS_IS), 0);
		CU_ASSERT_EQUAL(pair_send_piece(bad[i].region, bad[i].offset, bad[i].n, bad[i].how),
				-EBADMSG);
		pair_nothing_applied();
		pair_down();
	}
}

/* Each of them up to the last byte is good. */
static void test_pieces_to_the_end(void)
{
	pair_up();
	CU_ASSERT_EQUAL(pair_send_piece(RAM, (RAM_PAGES - 1) * PAGE, PAGE, VMFT_EPOCH_XOR), 0);
	CU_ASSERT_EQUAL(pair_send_piece(ROM, 3 * PAGE, 100, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(pair_send_piece(VRAM, (VRAM_PAGES - 1) * PAGE, PAGE, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(pair_send_piece(0, DISK_MAX - PAGE, PAGE, VMFT_EPOCH_AS_IS), 0);
	CU_ASSERT_EQUAL(pair_send_piece(1, DISK_MAX - BLOCK, BLOCK, VMFT_EPOCH_ZERO), 0);
	CU_ASSERT_EQUAL(pair_send_piece(VMFT_EPOCH_STATE_REGION, VMFT_AREA_STATE_BYTES - PAGE, PAGE,
					VMFT_EPOCH_AS_IS),
			0);
	for (unsigned i = 0; i < PAGE; i++) {
		pair_now.ram[(RAM_PAGES - 1) * PAGE + i] ^= 0xa5;
		pair_now.vram[(VRAM_PAGES - 1) * PAGE + i] = 0;
		pair_now.disk[0][DISK_MAX - PAGE + i] = 0xa5;
	}
	memset(pair_now.rom + 3 * PAGE, 0xa5, 100);
	memset(pair_now.disk[1] + DISK_MAX - BLOCK, 0, BLOCK);
	pair_now.disk_bytes[0] = pair_now.disk_bytes[1] = DISK_MAX;
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_plain_commit(6, 4 * PAGE + 100 + BLOCK), 0);
	pair_all_applied();
	CU_ASSERT_EQUAL(pair_backup.broken, 0);
	pair_backup_is(&pair_now);
	CU_ASSERT_EQUAL(
	    pair_area_of(&pair_backup)[pair_backup.link.area->state_at + VMFT_AREA_STATE_BYTES - 1],
	    0xa5);
	pair_down();
}

/* A commit that does not match what came, or cannot be: nothing of its epoch is applied. */
static void test_bad_commits(void)
{
	struct vmft_epoch_commit bad[8];
	unsigned n = 0;

	pair_setup();
	for (unsigned i = 0; i < 8; i++)
		bad[i] = pair_commit_of(1, PAGE);
	bad[n++].pieces = 0;
	bad[n++].pieces = 2;
	bad[n++].bytes = PAGE - 1;
	bad[n++].bytes = UINT64_MAX;
	bad[n++].disk_count = DISKS - 1;
	bad[n++].disk_count = DISKS + 1;
	bad[n++].state_bytes = VMFT_AREA_STATE_BYTES + 1;
	bad[n++].disk_bytes[1] = DISK_MAX + 1;
	pair_down();
	while (n-- > 0) {
		pair_up();
		CU_ASSERT_EQUAL(pair_send_piece(RAM, 0, PAGE, VMFT_EPOCH_AS_IS), 0);
		CU_ASSERT_EQUAL(pair_send_commit(&bad[n]), -EBADMSG);
		pair_nothing_applied();
		pair_down();
	}
}

static void test_bad_payloads(void)
{
	static const uint8_t state[] = {2, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1};

	pair_up();
	pair_message.position = pair_epoch + 1;
	pair_message.n = 0;
	CU_ASSERT_EQUAL(pair_holds(), -EBADMSG);
	pair_message.n = 20;
	memset(pair_message.bytes, 0xff, 20);
	CU_ASSERT_EQUAL(pair_holds(), -EBADMSG);
	/* What the codec has for others and no epoch has. */
	memcpy(pair_message.bytes, state, sizeof(state));
	pair_message.n = sizeof(state);
	CU_ASSERT_EQUAL(pair_holds(), -EBADMSG);
	pair_nothing_applied();
	pair_down();
}

/* Only the next epoch's. */
static void test_wrong_epoch(void)
{
	static const int64_t off[] = {-11, -1, 1, 1000};

	pair_up();
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		(void)pair_payload_head(VMFT_EPOCH_PIECES, 0);
		pair_message.position += (uint64_t)off[i];
		CU_ASSERT_EQUAL(pair_holds(), -EBADMSG);
	}
	pair_nothing_applied();
	pair_history[++pair_epoch % HISTORY] = pair_now;
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), 0);
	CU_ASSERT_EQUAL(pair_holds(), -EBADMSG); /* the same again */
	pair_down();
}

/* A piece of many in a payload is bad: those before it are of no epoch either. */
static void test_bad_after_good(void)
{
	uint8_t *at;

	pair_up();
	at = pair_payload_head(VMFT_EPOCH_PIECES, 2 * VMFT_EPOCH_PIECE_HEAD);
	at = vmft_wire_put_u32(
	    vmft_wire_put_u32(vmft_wire_put_u32(vmft_wire_put_u64(at, 0), RAM), PAGE),
	    VMFT_EPOCH_ZERO << 24);
	(void)vmft_wire_put_u32(
	    vmft_wire_put_u32(vmft_wire_put_u32(vmft_wire_put_u64(at, 0), REGIONS), PAGE),
	    VMFT_EPOCH_ZERO << 24);
	CU_ASSERT_EQUAL(pair_holds(), -EBADMSG);
	CU_ASSERT_EQUAL(pair_send_plain_commit(0, 0), -EBADMSG);
	pair_nothing_applied();
	pair_down();
}

int vmft_suite_checkpoint_damage(void)
{
	static CU_TestInfo tests[] = {
	    {"bad pieces", test_bad_pieces},
	    {"pieces to the end", test_pieces_to_the_end},
	    {"bad commits", test_bad_commits},
	    {"bad payloads", test_bad_payloads},
	    {"another epoch's", test_wrong_epoch},
	    {"bad after good", test_bad_after_good},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints: damage", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
