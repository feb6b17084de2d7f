/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

#include "checkpoint_qemu.h"
#include "fake_qemu.h"
#include "monitor/agent/checkpoint.h"

void checkpoint_up(void)
{
	qemu_up_checkpoint(RAM_PAGES * (uint64_t)PAGE);
	area_budget(UINT64_MAX);
}

void calls_are(const char *want)
{
	CU_ASSERT_STRING_EQUAL(qemu.calls, want);
	qemu.calls[0] = '\0';
}

void checkpoint_attached(void)
{
	checkpoint_up();
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	qemu.calls[0] = '\0';
}

uint64_t epochs_taken(void)
{
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position),
			atomic_load(&vmft_checkpoint.epoch));
	return atomic_load(&vmft_agent.iface->log_position);
}

uint64_t guest_timer(size_t offset)
{
	uint64_t value;

	memcpy(&value, world.timers_state + offset, sizeof(value));
	return value;
}

void checkpoint_many_written(void)
{
	qemu_up_checkpoint(MANY_PAGES * (uint64_t)PAGE);
	area_budget(UINT64_MAX);
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	qemu.calls[0] = '\0';
	for (unsigned i = 0; i < MANY_PAGES; i++)
		guest_writes(RAM, i, (uint8_t)(i >> 8));
	(void)!pwrite(disk[0], "x", 1, 0);
}

void clocks_ran_on(uint64_t since_tsc)
{
	CU_ASSERT(qemu.ticks);
	CU_ASSERT_EQUAL(guest_timer(CLOCK_OFFSET), 0);
	CU_ASSERT(-guest_timer(TICKS_OFFSET) < __rdtsc() - since_tsc);
	CU_ASSERT_EQUAL(qemu.kvm_ahead, 0);
}

void guest_fenced(void)
{
	atomic_store(&vmft_agent.fenced, true);
	vmft_gate_mode_changed();
}

void guest_sends(size_t n)
{
	static char frame[2 * GATE_LIMIT];
	struct iovec iov = {.iov_base = frame, .iov_len = n};

	CU_ASSERT_EQUAL(vmft_gate_writev(world.tap[1], &iov, 1), (ssize_t)n);
}

uint64_t gate_held(void)
{
	return atomic_load(&vmft_agent.iface->gate_frames);
}
