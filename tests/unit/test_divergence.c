/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest that diverged: what the agent writes into the log, and what it finds there. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <unistd.h>

#include "agent_world.h"
#include "monitor/agent/feed.h"
#include "monitor/agent/output.h"
#include "monitor/agent/tap.h"
#include "monitor/daemon/savedlog/log-index.h"
#include "suites.h"

#define PAGES 8u
#define PAGE  VMFT_RAM_BLOCK_BYTES
#define MS    UINT64_C(1000000)

static const uint8_t checkpoint[] = {34};

static const uint8_t sampled[] = {36}; /* of a clock that is the main loop's alone */

static const uint8_t instruction[] = {0, 0, 0, 0, 9};

static const uint8_t block[] = {8, 0, 0, 0, 0, 0, 0, 0, 0};

/* The log a primary makes is kept here, then handed to a backup. */
static uint8_t log_bytes[65536];

static size_t log_size;

static void primary_up(void)
{
	world_up(PAGES * PAGE, NULL, 0);
	CU_ASSERT_PTR_NOT_NULL(vmft_tap_open(0));
	CU_ASSERT_EQUAL(vmft_output_open("vmft:frames0"), vmft_output.fd[0]);
	CU_ASSERT_EQUAL(vmft_output_open("vmft:frames1"), vmft_output.fd[1]);
}

static void primary_down(void)
{
	log_size = atomic_load(&vmft_agent.iface->log_head);
	CU_ASSERT_FATAL(log_size <= sizeof(log_bytes));
	vmft_ring_read(&vmft_agent.ring, 0, log_bytes, log_size);
	close(vmft_output.fd[0]);
	close(vmft_output.fd[1]);
	world_down();
}

/* The thread of QEMU that asks for the next byte sleeps for ever: as long as the test wants. */
static jmp_buf asleep;

static void backup_sleeps(uint32_t unused)
{
	(void)unused;
	longjmp(asleep, 1);
}

static void backup_up(void)
{
	world_up(PAGES * PAGE, NULL, 0);
	CU_ASSERT_PTR_NOT_NULL(vmft_feed_open());
	for (unsigned i = 0; i < 4; i++)
		(void)vmft_feed_byte();
	CU_ASSERT_EQUAL(fseek(vmft_feed.stream, VMFT_LOG_HEADER_BYTES, SEEK_SET), 0);
	vmft_ring_write(&vmft_agent.ring, 0, log_bytes, log_size);
	vmft_ring_publish(&vmft_agent.ring, log_size);
	world.sleep = backup_sleeps;
}

/* QEMU asks for n bytes. Returns how many it got before it was put to sleep; they are in got. */
static uint8_t got[65536];

static size_t replay(size_t n)
{
	static volatile size_t count;

	count = 0;
	if (setjmp(asleep) == 0)
		while (count < n) {
			got[count] = (uint8_t)vmft_feed_byte();
			count++;
		}
	return count;
}

static void send_frame(unsigned nic, const char *text)
{
	static unsigned time; /* of filter-dump's header, never the same */
	struct iovec iov[3] = {
	    {.iov_base = &time, .iov_len = sizeof(time)},
	    {.iov_base = (void *)text, .iov_len = 1},
	    {.iov_base = (void *)(text + 1), .iov_len = strlen(text) - 1},
	};

	time++;
	CU_ASSERT_EQUAL(vmft_output_writev(nic, iov, 3), (ssize_t)(sizeof(time) + strlen(text)));
}

static uint32_t kind(void)
{
	return atomic_load(&vmft_agent.iface->diverged);
}

static uint64_t at(void)
{
	return atomic_load(&vmft_agent.iface->diverged_at);
}

/* checkpoint, two frames, checkpoint, INSTRUCTION and checkpoint */
static void log_two_frames(void)
{
	primary_up();
	vmft_tap_write(checkpoint, 1);
	send_frame(0, "one");
	send_frame(0, "two");
	vmft_tap_write(checkpoint, 1);
	vmft_tap_write(instruction, sizeof(instruction));
	vmft_tap_write(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 1 + 13 + 13 + 1 + 5 + 1);
	primary_down();
}

/* --- frames -------------------------------------------------------------------- */

/* QEMU gets its own entries and no other; positions count all of them. */
static void test_same_output(void)
{
	static const uint8_t theirs[] = {34, 34, 0, 0, 0, 0, 9, 34};

	log_two_frames();
	backup_up();
	CU_ASSERT_EQUAL(replay(2), 2); /* the second one's kind is asked for before the frames */
	send_frame(0, "one");
	send_frame(0, "two");
	CU_ASSERT_EQUAL(replay(100), 6);
	CU_ASSERT_EQUAL(memcmp(got, theirs + 2, 6), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->outputs_compared), 2);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), log_size);
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_NONE);
	world_down();
}

/* In each of these the guest stands still from then on, whatever is in the log, and does not
 * go live. */
static void stands_still(void)
{
	atomic_store(&vmft_agent.iface->log_end, log_size);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_GO_LIVE);
	world.rung = 0;
	CU_ASSERT_EQUAL(replay(1), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->live_at_ns), 0);
	world_down();
}

static void test_other_output(void)
{
	log_two_frames();
	backup_up();
	CU_ASSERT_EQUAL(replay(2), 2);
	send_frame(0, "one");
	world.rung = 0;
	send_frame(0, "twO");
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_OUTPUT);
	CU_ASSERT_EQUAL(at(), 14); /* the second OUTPUT */
	CU_ASSERT_NOT_EQUAL(atomic_load(&vmft_agent.iface->diverged_expected),
			    atomic_load(&vmft_agent.iface->diverged_found));
	CU_ASSERT_EQUAL(world.rung, 1);
	send_frame(0, "more"); /* what was found first stays */
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_OUTPUT);
	stands_still();
}

/* Each of a frame's cards sends frames of its own. */
static void test_other_card(void)
{
	log_two_frames();
	backup_up();
	CU_ASSERT_EQUAL(replay(2), 2);
	send_frame(1, "one");
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_OUTPUT);
	CU_ASSERT_EQUAL(at(), 1);
	stands_still();
}

static void test_more_output(void)
{
	log_two_frames();
	backup_up();
	CU_ASSERT_EQUAL(replay(1), 1);
	send_frame(0, "zero"); /* before the primary's guest had sent any */
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_MORE_OUTPUT);
	CU_ASSERT_EQUAL(at(), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->diverged_expected), 0);
	stands_still();
}

/* A frame that does not come is waited for through some events, no longer. */
static void test_no_output(void)
{
	primary_up();
	vmft_tap_write(checkpoint, 1);
	send_frame(0, "one");
	for (unsigned i = 0; i < 100; i++) {
		vmft_tap_write(checkpoint, 1);
		if (i % 10 == 0)
			vmft_tap_write(sampled, 1);
	}
	send_frame(0, "two");
	vmft_tap_write(checkpoint, 1);
	primary_down();
	backup_up();
	/* The log is taken in pieces; what was handed out is what counts. */
	vmft_agent.iface->log_head = 50;
	CU_ASSERT_EQUAL(replay(100), 50 - 13);
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_NONE);
	vmft_agent.iface->log_head = log_size;
	CU_ASSERT_EQUAL(replay(1000), 1 + 100 + 10 - (50 - 13));
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_NO_OUTPUT);
	CU_ASSERT_EQUAL(at(), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->diverged_found), 0);
	stands_still();
}

/* A frame is sent late: within the slack, in its turn. */
static void test_late_output(void)
{
	log_two_frames();
	backup_up();
	CU_ASSERT_EQUAL(replay(7), 7);
	send_frame(0, "one");
	CU_ASSERT_EQUAL(replay(100), 1);
	send_frame(0, "two");
	CU_ASSERT_EQUAL(replay(100), 0);
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_NONE);
	world_down();
}

/* A guest that goes live sends what the last event of the log makes it send: not compared. */
static void test_output_after_the_log(void)
{
	log_two_frames();
	log_size = 14;
	backup_up();
	CU_ASSERT_EQUAL(replay(1), 1);
	atomic_store(&vmft_agent.iface->log_end, log_size);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_LIVE);
	send_frame(0, "another");
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_NONE);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), log_size);
	world_down();
}

/* Nobody would read the frames. */
static void test_output_without_a_log(void)
{
	world_up(PAGES * PAGE, NULL, 0);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_OPEN);
	CU_ASSERT_PTR_NOT_NULL(vmft_tap_open(0));
	vmft_tap_write(checkpoint, 1);
	send_frame(0, "one");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), 1);
	world_down();
}

/* Behind an INSTRUCTION it is not to be cut, nor after an OUTPUT after that. */
static void test_output_after_instruction(void)
{
	primary_up();
	vmft_tap_write(checkpoint, 1);
	vmft_tap_write(instruction, sizeof(instruction));
	send_frame(0, "one");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 1);
	vmft_tap_write(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 20);
	CU_ASSERT_EQUAL(world.broken, 0);
	primary_down();
}

static void test_output_amid_an_event(void)
{
	primary_up();
	vmft_tap_write(block, 4);
	send_frame(0, "one");
	CU_ASSERT_EQUAL(world.broken, 1);
	primary_down();
}

static void no_sleep(uint32_t unused)
{
	(void)unused;
	CU_ASSERT(false);
}

/* A frame goes out in the middle of an event's effect: that is no place to be compared at. */
static void test_no_freeze_at_output(void)
{
	primary_up();
	vmft_tap_write(checkpoint, 1);
	atomic_store(&vmft_agent.iface->freeze, 1);
	world.sleep = no_sleep;
	send_frame(0, "one");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 14);
	primary_down();
}

static void test_frame_files(void)
{
	world_up(PAGES * PAGE, NULL, 0);
	CU_ASSERT(vmft_output_is_name("vmft:frames0"));
	CU_ASSERT(!vmft_output_is_name("vmft:log"));
	CU_ASSERT(!vmft_output_is_name("/dev/null"));
	CU_ASSERT_EQUAL(vmft_output_open("vmft:frames8"), -1);
	CU_ASSERT_EQUAL(vmft_output_nic(0), -1);
	world_down();
}

/* --- samples ------------------------------------------------------------------- */

static void guest_writes(unsigned page, uint8_t value)
{
	CU_ASSERT_EQUAL(pwrite(vmft_agent.ram_fd, &value, 1, page * PAGE + 100), 1);
}

static void sample(uint32_t every_ms, uint32_t pages)
{
	atomic_store(&vmft_agent.iface->digest_pages, pages);
	atomic_store(&vmft_agent.iface->digest_ms, every_ms);
	world.now += 1000000000;
}

/* A log with a sample of all pages. */
static void log_sample(void)
{
	primary_up();
	sample(1000, PAGES);
	guest_writes(3, 7);
	vmft_tap_write(checkpoint, 1);
	vmft_tap_write(sampled, 1);
	vmft_tap_write(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->digests_taken), 1);
	primary_down();
	CU_ASSERT_EQUAL(log_size, 3 + VMFT_DIGEST_HEAD_BYTES + 4 * PAGES);
}

static void test_same_memory(void)
{
	log_sample();
	backup_up();
	guest_writes(3, 7);
	world.registers = "RIP=1 HLT=1\nCR0=2\n"; /* it has yet to find out that it is not */
	CU_ASSERT_EQUAL(replay(100), 3);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->digests_compared), 1);
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_NONE);
	world_down();
}

static void test_other_memory(void)
{
	log_sample();
	backup_up();
	guest_writes(3, 7);
	guest_writes(6, 1);
	CU_ASSERT_EQUAL(replay(100), 2);
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_MEMORY);
	CU_ASSERT_EQUAL(at(), 2);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->diverged_page_count), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->diverged_page[0]), 6 * PAGE);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->digests_compared), 0);
	stands_still();
}

static void test_other_registers(void)
{
	log_sample();
	backup_up();
	guest_writes(3, 7);
	world.registers = "RIP=2 HLT=0\nCR0=2\n";
	CU_ASSERT_EQUAL(replay(100), 2);
	CU_ASSERT_EQUAL(kind(), VMFT_DIVERGENCE_PROCESSOR);
	CU_ASSERT_EQUAL(at(), 2);
	stands_still();
}

static void test_other_size(void)
{
	log_sample();
	backup_up();
	CU_ASSERT_EQUAL(ftruncate(vmft_agent.ram_fd, PAGE), 0);
	CU_ASSERT_EQUAL(replay(100), 2);
	CU_ASSERT_EQUAL(world.broken, 1);
	world_down();
}

/* One at a time: when it is time, at a point for it, with no disk request under way. */
static void test_when_to_sample(void)
{
	const uint64_t two = 2;
	struct vmft_iface *iface;

	primary_up();
	iface = vmft_agent.iface;
	vmft_tap_write(sampled, 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->digests_taken), 0); /* switched off */
	sample(1000, 1);
	vmft_tap_write(checkpoint, 1); /* a timer's: the vCPU may replay it */
	CU_ASSERT_EQUAL(atomic_load(&iface->digests_taken), 0);
	memcpy(world.replay_state + 48, &two, sizeof(two));
	vmft_tap_write(sampled, 1);
	vmft_tap_write(block, sizeof(block));
	vmft_tap_write(sampled, 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->digests_taken), 0);
	vmft_tap_write(block, sizeof(block));
	atomic_store(&vmft_tap.busy, true);
	vmft_tap_write(sampled, 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->digests_taken), 0);
	atomic_store(&vmft_tap.busy, false);
	vmft_tap_write(sampled, 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->digests_taken), 1);
	vmft_tap_write(sampled, 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->digests_taken), 1);
	world.now += 1000000000;
	vmft_tap_write(sampled, 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->digests_taken), 2);
	primary_down();
}

/* Requests that were made before the log began are no business of it. */
static void test_samples_after_attach_point(void)
{
	const uint64_t five = 5;

	primary_up();
	memcpy(world.replay_state + 48, &five, sizeof(five));
	sample(1000, 1);
	vmft_tap_keep_from_here();
	vmft_tap_write(sampled, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->digests_taken), 1);
	primary_down();
}

static void *log_sampled(void *unused)
{
	(void)unused;
	vmft_tap_write(sampled, 1);
	return NULL;
}

static void test_samples_by_main_thread(void)
{
	pthread_t vcpu;

	primary_up();
	sample(1000, 1);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&vcpu, NULL, log_sampled, NULL), 0);
	(void)pthread_join(vcpu, NULL);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->digests_taken), 0);
	primary_down();
}

/* Each page once, before any is looked at again; a number of pages that has many divisors. */
static void test_samples_sweep(void)
{
	static struct vmft_digest_entry entry;
	static uint8_t seen[60];
	uint64_t position = 0;

	primary_up();
	CU_ASSERT_EQUAL(ftruncate(vmft_agent.ram_fd, 60 * PAGE), 0);
	for (unsigned i = 0; i < 12; i++) {
		sample(1, 5);
		vmft_tap_write(sampled, 1);
	}
	for (unsigned i = 0; i < 12; i++) {
		uint8_t bytes[VMFT_DIGEST_HEAD_BYTES + 20];

		vmft_ring_read(&vmft_agent.ring, position + 1, bytes, sizeof(bytes));
		position += 1 + sizeof(bytes);
		CU_ASSERT_EQUAL_FATAL(vmft_digest_entry_decode(bytes, sizeof(bytes), &entry), 0);
		for (unsigned j = 0; j < 5; j++)
			seen[vmft_digest_entry_page(&entry, j)]++;
	}
	for (unsigned i = 0; i < 60; i++)
		CU_ASSERT_EQUAL(seen[i], 1);
	primary_down();
}

/* --- the log, for a report ----------------------------------------------------- */

static void test_index(void)
{
	struct vmft_log_index index;
	char text[16384] = "";
	FILE *to;

	log_two_frames();
	backup_up();
	vmft_log_index_restart(&index, 0);
	to = fmemopen(text, sizeof(text), "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	vmft_log_index_print(&index, vmft_qemu_log_format(), &vmft_agent.ring, log_size, 14, to);
	(void)fclose(to);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, ">           14       13  output length"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "            28        5  instruction instructions 9"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "            33        1  checkpoint clock-virtual"));
	world_down();
}

/* From a mark that is still in the ring, however long ago the log began; none: says so. */
static void test_index_of_a_long_log(void)
{
	struct vmft_log_index index;
	char text[16384] = "";
	uint64_t end = 0;
	FILE *to;

	world_up(PAGES * PAGE, NULL, 0);
	vmft_log_index_restart(&index, 0);
	for (unsigned i = 0; i < 3 * WORLD_RING / sizeof(block); i++) {
		vmft_ring_write(&vmft_agent.ring, end, block, sizeof(block));
		end += sizeof(block);
		vmft_log_index_note(&index, end, WORLD_RING);
	}
	to = fmemopen(text, sizeof(text), "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	vmft_log_index_print(&index, vmft_qemu_log_format(), &vmft_agent.ring, end,
			     end - 9 * sizeof(block), to);
	vmft_log_index_print(&index, vmft_qemu_log_format(), &vmft_agent.ring, end, 100, to);
	(void)fclose(to);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "> "));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "block request"));
	CU_ASSERT_PTR_NULL(strstr(text, "no event"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "not in memory any more"));
	world_down();
}

int vmft_suite_divergence(void)
{
	static CU_TestInfo tests[] = {
	    {"the same frames", test_same_output},
	    {"another frame", test_other_output},
	    {"another card's frame", test_other_card},
	    {"a frame more", test_more_output},
	    {"a frame less", test_no_output},
	    {"a late frame", test_late_output},
	    {"frames after the log's end", test_output_after_the_log},
	    {"frames without a log", test_output_without_a_log},
	    {"a frame after INSTRUCTION", test_output_after_instruction},
	    {"a frame amid an event", test_output_amid_an_event},
	    {"no freeze at a frame", test_no_freeze_at_output},
	    {"the files of filter-dump", test_frame_files},
	    {"the same memory", test_same_memory},
	    {"other memory", test_other_memory},
	    {"other registers", test_other_registers},
	    {"memory of another size", test_other_size},
	    {"when to sample", test_when_to_sample},
	    {"samples after an attach point", test_samples_after_attach_point},
	    {"samples by the main thread", test_samples_by_main_thread},
	    {"samples sweep", test_samples_sweep},
	    {"the log around a position", test_index},
	    {"the log around a position, long", test_index_of_a_long_log},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"divergence", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
