/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backup inside QEMU: it loads the state of an epoch, to prove it or to go live, and hands the
 * guest the frames that the primary's guest had received.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checkpoint_qemu.h"
#include "fake_qemu.h"
#include "monitor/agent/announce.h"
#include "monitor/agent/input.h"
#include "suites.h"

/* --- a backup goes live -------------------------------------------------------- */

static const uint8_t saved[] = "QEVM\0\0\0\3devices";

static unsigned drained_at_start, announced_at_start;

static bool open_at_start, live_at_start;

static void start_looks(void)
{
	drained_at_start = world.drained;
	announced_at_start = world.announced;
	open_at_start = atomic_load(&vmft_agent.open);
	live_at_start = atomic_load(&vmft_agent.iface->agent_state) == VMFT_AGENT_LIVE;
	strcat(qemu.calls, "vm-start ");
}

/* A backup's QEMU that waits, stopped, with the state of epoch 41 and a ROM of the primary's. */
static void standby(void)
{
	checkpoint_up();
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DESCRIBE), 0);
	qemu.running = false;
	world.run_state = QEMU_INMIGRATE;
	atomic_store(&vmft_agent.iface->agent_state, VMFT_AGENT_STANDBY);
	vmft_qemu.symbols.vm_start = start_looks;
	memset((uint8_t *)area + area->region[BIOS].shadow_at, 0xbb, 3 * PAGE + 100);
	memcpy((uint8_t *)area + area->state_at, saved, sizeof(saved));
	atomic_store(&area->load_bytes, sizeof(saved));
	atomic_store(&area->load_position, 41);
	world.now = 5000;
}

static void test_load(void)
{
	uint8_t rom[3 * PAGE + 100];

	memset(rom, 0xbb, sizeof(rom));
	standby();
	qemu.shadow_expected = rom;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
	calls_are("activate " LOADED "vm-start ");
	CU_ASSERT(qemu.shadow_was_there);
	CU_ASSERT_EQUAL(qemu.loaded_bytes, sizeof(saved) - 8);
	CU_ASSERT_EQUAL(memcmp(qemu.loaded, saved + 8, sizeof(saved) - 8), 0);
	/* All before the guest's first frame. */
	CU_ASSERT_EQUAL(drained_at_start, 1);
	CU_ASSERT_EQUAL(announced_at_start, 1);
	CU_ASSERT(open_at_start);
	CU_ASSERT(!live_at_start);
	CU_ASSERT_EQUAL(vmft_announcer.made, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_LIVE);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->live_at_ns), 5000);
	/* Epochs are counted on. */
	CU_ASSERT_EQUAL(epochs_taken(), 41);
	guest_sends(10);
	CU_ASSERT_EQUAL(gate_held(), 0);
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_closed_at), 42 + 1);
	qemu_down();
}

static void still_stands_by(const char *calls)
{
	calls_are(calls);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_STANDBY);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->live_at_ns), 0);
	CU_ASSERT(!atomic_load(&vmft_agent.open));
	CU_ASSERT_EQUAL(world.drained, 0);
	CU_ASSERT_EQUAL(world.announced, 0);
	CU_ASSERT(!qemu.running);
	CU_ASSERT_EQUAL(epochs_taken(), 0);
}

/* Whichever step fails, the guest does not run here and the agent announces nothing for it. */
static void test_load_fails(void)
{
	static char text[] = "Failed to get \"write\" lock";
	static const uint64_t bad[] = {0, 8, VMFT_AREA_STATE_BYTES + 1, UINT64_MAX};

	standby();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		atomic_store(&area->load_bytes, bad[i]);
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EINVAL);
		still_stands_by("");
	}
	atomic_store(&area->load_bytes, sizeof(saved));
	qemu.block[VRAM - RAM].name = "vga2.vram";
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -ENOENT);
	still_stands_by("");
	qemu.block[VRAM - RAM].name = "vga.vram";
	qemu.activate_error = text;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EBUSY);
	CU_ASSERT_STRING_EQUAL(area->error, text);
	still_stands_by("activate ");
	qemu.activate_error = NULL;
	qemu.load_result = -22;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), -EIO);
	still_stands_by("activate " LOADED);
	qemu_down();
}

/* --- a state that is loaded to see whether it can be --------------------------- */

/* Guest memory as QEMU has it: the memfd, mapped. */
static uint8_t *map_ram(void)
{
	uint8_t *ram = mmap(NULL, qemu.block[0].bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			    vmft_agent.ram_fd, 0);

	CU_ASSERT_PTR_NOT_EQUAL_FATAL((void *)ram, MAP_FAILED);
	free(qemu.block[0].host);
	qemu.block[0].host = ram;
	return ram;
}

static void unmap_ram(void)
{
	(void)munmap(qemu.block[0].host, qemu.block[0].bytes);
	qemu.block[0].host = NULL;
	qemu_down();
}

/* It is loaded with guest memory as it is, and then neither the devices nor the memory have any of
 * it: any state can be loaded later, or this one proven again. */
static void test_prove(void)
{
	const size_t at = PAGE + 5;
	uint8_t *ram, byte = 0;

	standby();
	ram = map_ram();
	ram[at] = 'a';
	qemu.load_writes = &ram[at];
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), 0);
		still_stands_by(LOADED "reset ");
		CU_ASSERT_EQUAL(qemu.loaded_bytes, sizeof(saved) - 8);
		CU_ASSERT_EQUAL(qemu.load_found, 'a');
		CU_ASSERT_EQUAL(ram[at], 'a');
	}
	CU_ASSERT_EQUAL(pread(vmft_agent.ram_fd, &byte, 1, (off_t)at), 1);
	CU_ASSERT_EQUAL(byte, 'a');
	/* It is the memfd again, not a copy. */
	ram[at] = 'b';
	CU_ASSERT_EQUAL(pread(vmft_agent.ram_fd, &byte, 1, (off_t)at), 1);
	CU_ASSERT_EQUAL(byte, 'b');
	unmap_ram();
}

/* QEMU registers a handler when it loads a state with flash that can be written, and a second one
 * would be its end: only the state that the guest goes live with is loaded so. */
static void test_flash(void)
{
	standby();
	(void)map_ram();
	qemu.block[BIOS - RAM].name = "system.flash0";
	(void)snprintf(area->region[BIOS].name, sizeof(area->region[BIOS].name), "system.flash0");
	qemu.flash.object.type = "cfi.pflash01";
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), 0);
	CU_ASSERT(qemu.load_finds_flash_locked);
	CU_ASSERT(!qemu.flash.ro);
	still_stands_by(LOADED "reset ");
	/* The guest was in the middle of a command when its state was taken. */
	qemu.flash.cmd = 0x20;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
	CU_ASSERT(!qemu.load_finds_flash_locked);
	CU_ASSERT_PTR_NOT_NULL(strstr(qemu.calls, "flash-device "));
	unmap_ram();
}

/* The reason is QEMU's first line, without what it puts before each. */
static void test_prove_fails(void)
{
	static const struct {
		const char *says, *error;
	} cases[] = {
	    {NULL, "QEMU could not load the device state"},
	    {"vmft-agent: a line of another's\n", "QEMU could not load the device state"},
	    {"2026-01-01T00:00:00.000000Z vmft-unit: net: saved image requires vnet_hdr=on\n"
	     "vmft-unit: Failed to load net\n",
	     "QEMU could not load the device state: net: saved image requires vnet_hdr=on"},
	    {"vmft-unit: no newline", "QEMU could not load the device state: no newline"},
	};
	uint8_t *ram;

	standby();
	ram = map_ram();
	ram[7] = 'a';
	qemu.load_writes = &ram[7];
	qemu.load_result = -22;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		qemu.load_says = cases[i].says;
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), -EIO);
		CU_ASSERT_STRING_EQUAL(area->error, cases[i].error);
		still_stands_by(LOADED "reset ");
		CU_ASSERT_EQUAL(ram[7], 'a');
	}
	atomic_store(&area->load_bytes, 8);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), -EINVAL);
	still_stands_by("");
	atomic_store(&area->load_bytes, sizeof(saved));
	qemu.block[0].name = "other.ram";
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_PROVE), -ENOENT);
	still_stands_by("");
	unmap_ram();
}

/* --- frames that come in ------------------------------------------------------- */

static const char frame[] = "a frame that came in";

/* The next record of the ring, which the monitor's end is at. */
static void record_is(uint64_t *at, uint64_t of_epoch, size_t n)
{
	struct vmft_input head;
	uint8_t bytes[sizeof(frame)];

	CU_ASSERT_FATAL(vmft_ring_ready(&vmft_agent.ring, *at) >= (int64_t)(sizeof(head) + n));
	vmft_ring_read(&vmft_agent.ring, *at, (uint8_t *)&head, sizeof(head));
	CU_ASSERT_EQUAL(head.epoch, of_epoch);
	CU_ASSERT_EQUAL(head.nic, 0);
	CU_ASSERT_EQUAL_FATAL(head.bytes, n);
	vmft_ring_read(&vmft_agent.ring, *at + sizeof(head), bytes, n);
	CU_ASSERT_EQUAL(memcmp(bytes, frame, n), 0);
	*at += sizeof(head) + (n + 7) / 8 * 8;
}

/* Tagged with the epoch that will be the first to have seen it, only of taps and only while
 * there is a backup; the monitor is woken if it sleeps. */
static void test_input_taken(void)
{
	uint64_t at = 0;

	checkpoint_up();
	vmft_input_taken(world.tap[0], frame, sizeof(frame));
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, 0), 0);
	CU_ASSERT_EQUAL_FATAL(agent_ask(VMFT_AREA_POINT), 0);
	atomic_store(&vmft_agent.iface->monitor_sleeps, 1);
	atomic_store(&world.rung, 0);
	vmft_input_taken(world.tap[0], frame, sizeof(frame));
	CU_ASSERT_EQUAL(atomic_load(&world.rung), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->monitor_sleeps), 0);
	vmft_input_taken(world.tap[1], frame, sizeof(frame)); /* no tap */
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	vmft_input_taken(world.tap[0], frame, 3);
	record_is(&at, 2, sizeof(frame));
	record_is(&at, 3, 3);
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, at), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_DROP), 0);
	vmft_input_taken(world.tap[0], frame, 3);
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, at), 0);
	qemu_down();
}

/* A bulk transfer is not carried twice, a frame too long not at all, and a monitor that does not
 * take anything costs the guest nothing. */
static void test_input_bounded(void)
{
	static const uint8_t large[VMFT_INPUT_MAX + 1];
	const uint64_t mib = 1u << 20;
	int64_t kept;

	checkpoint_attached();
	vmft_input_taken(world.tap[0], large, sizeof(large));
	CU_ASSERT_EQUAL(vmft_ring_ready(&vmft_agent.ring, 0), 0);
	for (unsigned i = 0; i < 100; i++)
		vmft_input_taken(world.tap[0], large, VMFT_INPUT_MAX);
	kept = vmft_ring_ready(&vmft_agent.ring, 0);
	CU_ASSERT(kept > (int64_t)(mib - 2 * VMFT_INPUT_MAX) && kept <= (int64_t)WORLD_RING);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_EPOCH), 0);
	for (unsigned i = 0; i < 100; i++)
		vmft_input_taken(world.tap[0], large, VMFT_INPUT_MAX);
	CU_ASSERT(vmft_ring_ready(&vmft_agent.ring, 0) <= (int64_t)WORLD_RING);
	qemu_down();
}

/* What the monitor does before it has the state loaded. */
static void hand_over(uint64_t *at, uint32_t nic, const void *bytes, uint32_t n)
{
	const struct vmft_input head = {.epoch = 42, .nic = nic, .bytes = n};

	vmft_ring_write(&vmft_agent.ring, *at, (const uint8_t *)&head, sizeof(head));
	vmft_ring_write(&vmft_agent.ring, *at + sizeof(head), bytes, n);
	*at += sizeof(head) + (n + 7) / 8 * 8;
	vmft_ring_publish(&vmft_agent.ring, *at);
}

static bool hands_out(size_t n)
{
	struct pollfd fds[] = {{.fd = world.tap[1], .events = POLLIN},
			       {.fd = world.tap[0], .events = POLLIN}};
	uint8_t bytes[64];
	ssize_t got = 0;

	if (vmft_input_waits(fds, 1) || vmft_input_waits(fds, 2) != &fds[1])
		return false;
	CU_ASSERT(!vmft_input_next(world.tap[1], bytes, sizeof(bytes), &got));
	return vmft_input_next(world.tap[0], bytes, sizeof(bytes), &got) && got == (ssize_t)n &&
	       memcmp(bytes, frame, n) == 0;
}

/* The guest gets them before anything that its tap has, and the ring is the primary's then. */
static void test_input_handed_out(void)
{
	uint64_t at = 0;
	uint8_t byte;
	ssize_t got;

	standby();
	hand_over(&at, 0, frame, sizeof(frame));
	hand_over(&at, 0, frame, 5);
	CU_ASSERT(!vmft_input_next(world.tap[0], &byte, 1, &got)); /* it is not live */
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
	CU_ASSERT(hands_out(sizeof(frame)));
	CU_ASSERT(hands_out(5));
	CU_ASSERT(!hands_out(0));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_tail), at);
	qemu.running = true;
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_TRACK), 0);
	CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_POINT), 0);
	vmft_input_taken(world.tap[0], frame, 7);
	record_is(&at, 43, 7);
	qemu_down();
}

/* A record that makes no sense, or comes too late, is dropped with all records after it. */
static void test_input_not_handed_out(void)
{
	static const struct {
		uint32_t nic, n;
		uint64_t late;
	} bad[] = {{0, 0, 0}, {1, 5, 0}, {0, VMFT_INPUT_MAX + 1, 0}, {0, 5, 3000000000}};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		static const uint8_t zeroes[VMFT_INPUT_MAX + 1];
		uint64_t at = 0;

		standby();
		hand_over(&at, bad[i].nic, zeroes, bad[i].n);
		hand_over(&at, 0, frame, 5);
		CU_ASSERT_EQUAL(agent_ask(VMFT_AREA_LOAD), 0);
		world.now += bad[i].late;
		CU_ASSERT(!hands_out(5));
		CU_ASSERT(!hands_out(5));
		CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_tail), at);
		qemu_down();
	}
}

int vmft_suite_checkpoint_live(void)
{
	static CU_TestInfo tests[] = {
	    {"a state is proven", test_prove},
	    {"a state with flash", test_flash},
	    {"a state that cannot be loaded", test_prove_fails},
	    {"input is taken down", test_input_taken},
	    {"input is bounded", test_input_bounded},
	    {"input is handed out", test_input_handed_out},
	    {"input is not handed out", test_input_not_handed_out},
	    {"load", test_load},
	    {"load fails", test_load_fails},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"checkpoints, inside QEMU: going live", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
