/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames that come in for the guest while an epoch is under way. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "epoch_pair.h"
#include "suites.h"

static const char frame[] = "a frame that came in";

/* As the agent of the primary writes it. */
static void comes_in(uint64_t *at, uint64_t of_epoch, uint32_t n)
{
	const struct vmft_ring *ring = &pair_primary.link.ring;
	const struct vmft_input head = {.epoch = of_epoch, .nic = 1, .bytes = n};

	vmft_ring_write(ring, *at, (const uint8_t *)&head, sizeof(head));
	vmft_ring_write(ring, *at + sizeof(head), (const uint8_t *)frame, n);
	*at += sizeof(head) + (n + 7) / 8 * 8;
	vmft_ring_publish(ring, *at);
}

/* What no epoch that is held has seen is handed out when the backup goes live, in its order. */
static void test_input(void)
{
	const struct vmft_ring *ring = &pair_backup.link.ring;
	struct vmft_input head;
	uint8_t bytes[sizeof(frame)];
	uint64_t at = 0;

	pair_up();
	comes_in(&at, pair_epoch + 1, 3);
	CU_ASSERT(pair_takes());
	CU_ASSERT_EQUAL(pair_holds(), 0);
	pair_next_epoch();	      /* it has seen that one */
	comes_in(&at, pair_epoch, 4); /* late: and this one */
	comes_in(&at, pair_epoch + 1, 5);
	comes_in(&at, pair_epoch + 2, sizeof(frame));
	while (pair_takes())
		CU_ASSERT_EQUAL(pair_holds(), 0);
	CU_ASSERT_EQUAL(atomic_load(&pair_primary.link.iface->log_tail), at);
	pair_all_applied();
	CU_ASSERT_EQUAL(vmft_ring_ready(ring, 0), 0);
	pair_ops->go_live(pair_backup.strategy, pair_epoch);
	CU_ASSERT_EQUAL_FATAL(vmft_ring_ready(ring, 0), (int64_t)(2 * sizeof(head) + 8 + 24));
	vmft_ring_read(ring, 0, (uint8_t *)&head, sizeof(head));
	CU_ASSERT_EQUAL(head.bytes, 5);
	vmft_ring_read(ring, sizeof(head) + 8, (uint8_t *)&head, sizeof(head));
	CU_ASSERT_EQUAL(head.epoch, pair_epoch + 2);
	CU_ASSERT_EQUAL(head.nic, 1);
	CU_ASSERT_EQUAL_FATAL(head.bytes, sizeof(frame));
	vmft_ring_read(ring, 2 * sizeof(head) + 8, bytes, sizeof(frame));
	CU_ASSERT_EQUAL(memcmp(bytes, frame, sizeof(frame)), 0);
	pair_down();
}

/* More than the backup keeps is what a network loses; the epoch is whole without it. */
static void test_input_too_much(void)
{
	uint64_t at = 0;

	pair_up();
	for (unsigned i = 0; i < 100000; i++) {
		comes_in(&at, pair_epoch + 2, sizeof(frame));
		CU_ASSERT_FATAL(pair_takes());
		CU_ASSERT_FATAL(pair_holds() == 0);
	}
	pair_next_epoch();
	pair_all_applied();
	pair_backup_is(&pair_now);
	pair_ops->go_live(pair_backup.strategy, pair_epoch);
	CU_ASSERT(vmft_ring_ready(&pair_backup.link.ring, 0) > 900000);
	pair_down();
}

/* The agent's memory is not trusted. */
static void test_input_nonsense(void)
{
	static const uint32_t lengths[] = {0, VMFT_INPUT_MAX + 1, UINT32_MAX};

	for (size_t i = 0; i < 3; i++) {
		uint64_t at = 0;

		pair_up();
		comes_in(&at, pair_epoch + 1, 3);
		pair_primary.link.ring.data[12] = (uint8_t)lengths[i];
		pair_primary.link.ring.data[13] = (uint8_t)(lengths[i] >> 8);
		pair_primary.link.ring.data[14] = (uint8_t)(lengths[i] >> 16);
		pair_primary.link.ring.data[15] = (uint8_t)(lengths[i] >> 24);
		CU_ASSERT_EQUAL(pair_ops->take(pair_primary.strategy, pair_message.bytes,
					       sizeof(pair_message.bytes), &pair_message.position),
				-EBADMSG);
		pair_down();
	}
}

int vmft_suite_checkpoint_input(void)
{
	static CU_TestInfo tests[] = {
	    {"input", test_input},
	    {"input, too much", test_input_too_much},
	    {"input that is nonsense", test_input_nonsense},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints: input", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
