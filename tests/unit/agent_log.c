/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>

#include "agent_log.h"
#include "agent_world.h"
#include "monitor/agent/feed.h"
#include "monitor/agent/tap.h"

void agent_up(void)
{
	world_up(1u << 20, NULL, 0);
}

void log_bytes(const uint8_t *bytes, size_t n)
{
	vmft_tap_write(bytes, n);
}

const uint8_t event_checkpoint[] = {34};

const uint8_t event_instruction[] = {0, 0, 0, 0, 9};

const uint8_t event_clock[] = {29, 0, 0, 0, 0, 0, 0, 0x12, 0x34};

void feed_header(void)
{
	CU_ASSERT_PTR_NOT_NULL(vmft_feed_open());
	vmft_qemu.symbols.replay_file = &world.replay_file;
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x00);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0xe0);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x20);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x0c);
	CU_ASSERT_EQUAL(fseek(vmft_feed.stream, VMFT_LOG_HEADER_BYTES, SEEK_SET), 0);
}

void ring_takes(const uint8_t *bytes, size_t n)
{
	uint64_t head = atomic_load(&vmft_agent.iface->log_head);

	vmft_ring_write(&vmft_agent.ring, head, bytes, n);
	vmft_ring_publish(&vmft_agent.ring, head + n);
}
