/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the clock of a guest that is recorded or replayed shows. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <string.h>

#include "agent_log.h"
#include "agent_world.h"
#include "monitor/agent/feed.h"
#include "monitor/agent/icount.h"
#include "monitor/agent/tap.h"
#include "suites.h"

/* The vCPU is made to leave a run when a timer of the main loop has read the clock to change it,
 * and at no reading that the main loop makes each time it comes round. */
static void test_time_stale_run(void)
{
	static const uint8_t timers[] = {36}, account[] = {31};
	static const uint8_t host[] = {28, 0, 0, 0, 0, 0, 0, 0, 1};

	agent_up();
	(void)vmft_tap_open(0);
	for (unsigned i = 0; i < 3; i++)
		log_bytes(event_clock, sizeof(event_clock));
	log_bytes(timers, 1);
	log_bytes(event_clock, sizeof(event_clock));
	log_bytes(host, sizeof(host));
	log_bytes(event_clock, sizeof(event_clock));
	log_bytes(event_instruction, sizeof(event_instruction));
	log_bytes(event_clock, sizeof(event_clock)); /* the guest's own */
	log_bytes(account, 1);
	CU_ASSERT_EQUAL(world.kicked, 0);

	log_bytes(timers, 1);
	log_bytes(event_clock, sizeof(event_clock));
	log_bytes(event_clock, sizeof(event_clock));
	log_bytes(host, sizeof(host));
	CU_ASSERT_EQUAL(world.kicked, 0);
	for (size_t i = 0; i < sizeof(event_clock); i++)
		log_bytes(event_clock + i, 1);
	CU_ASSERT_EQUAL(world.kicked, 1);
	log_bytes(account, 1);
	log_bytes(event_clock, sizeof(event_clock));
	CU_ASSERT_EQUAL(world.kicked, 1);
	world_down();
}

static int64_t timers_get(size_t offset)
{
	int64_t value;

	memcpy(&value, world.timers_state + offset, sizeof(value));
	return value;
}

static void timers_set(size_t offset, int64_t value)
{
	memcpy(world.timers_state + offset, &value, sizeof(value));
}

static void log_clock(int64_t now)
{
	uint8_t event[9] = {29};

	for (unsigned i = 0; i < 8; i++)
		event[1 + i] = (uint8_t)(now >> (56 - 8 * i));
	log_bytes(event, sizeof(event));
}

/* By how much the clock is bent for the reading after the one by which due timers are found; the
 * guest has been idle so long, and is so far ahead of real time. */
static int64_t bent_by(int64_t idle, int64_t ahead)
{
	static const uint8_t timers[] = {36};
	const int64_t start = 1000000000, offset = 77;
	int64_t by;

	timers_set(48, start);
	timers_set(56, offset);
	world.warp_expires = start + idle;
	world.virtual_ns = start + idle + ahead;
	log_bytes(timers, 1);
	CU_ASSERT_EQUAL(timers_get(56), offset);
	log_clock(start + idle);
	by = timers_get(56) - offset;
	log_clock(start + idle); /* one reading only */
	CU_ASSERT_EQUAL(timers_get(56), offset);
	CU_ASSERT_EQUAL(timers_get(48), start);
	return by;
}

/* The idle time of a guest that is ahead of real time passes; a long one at half its speed. */
static void test_time_of_an_idle_guest(void)
{
	const int64_t ms = 1000000;

	agent_up();
	(void)vmft_tap_open(0);
	CU_ASSERT_EQUAL(bent_by(16000, 100 * ms), 100 * ms + 16000);
	CU_ASSERT_EQUAL(bent_by(ms, 100 * ms), 101 * ms);
	CU_ASSERT_EQUAL(bent_by(3 * ms / 2, 100 * ms), 101 * ms);
	CU_ASSERT_EQUAL(bent_by(10 * ms, 100 * ms), 105 * ms);
	CU_ASSERT_EQUAL(bent_by(10 * ms, 1), 5 * ms + 1);
	/* Real time has caught up by as much as may pass: QEMU is right. */
	CU_ASSERT_EQUAL(bent_by(10 * ms, -5 * ms), 0);
	CU_ASSERT_EQUAL(bent_by(16000, -ms), 0);
	CU_ASSERT_EQUAL(bent_by(16000, -6000), 10000);
	/* Nobody waits for a timer. */
	CU_ASSERT_EQUAL(bent_by(0, 100 * ms), 0);
	CU_ASSERT_EQUAL(bent_by(-1 - 1000000000, 100 * ms), 0);
	timers_set(48, -1);
	log_bytes((const uint8_t[]){36}, 1);
	log_clock(5);
	CU_ASSERT_EQUAL(timers_get(56), 77);
	/* What is not certain to be read is not bent: QEMU may stop the guest with it. */
	timers_set(48, 1);
	world.virtual_ns = 1000000;
	for (int64_t expires = -1; expires <= 6; expires += 7) {
		world.warp_expires = expires;
		log_bytes((const uint8_t[]){36}, 1);
		log_clock(5);
		CU_ASSERT_EQUAL(timers_get(56), 77);
	}
	world.warp_expires = 5;
	world.stopped = true;
	log_bytes((const uint8_t[]){36}, 1);
	log_clock(5);
	CU_ASSERT_EQUAL(timers_get(56), 77);
	world.stopped = false;
	/* A reading of somebody else. */
	log_bytes((const uint8_t[]){31}, 1);
	log_clock(5);
	CU_ASSERT_EQUAL(timers_get(56), 77);
	world_down();
}

static void test_time_is_true_at_the_next_event(void)
{
	agent_up();
	(void)vmft_tap_open(0);
	timers_set(48, 1);
	world.warp_expires = 101;
	world.virtual_ns = 1000;
	log_bytes((const uint8_t[]){36}, 1);
	log_clock(101);
	CU_ASSERT_EQUAL(timers_get(56), 899 + 100);
	log_bytes((const uint8_t[]){28}, 1); /* the first byte of it */
	CU_ASSERT_EQUAL(timers_get(56), 0);
	world_down();
}

static struct vmft_clock_entry clock_entry_at(uint64_t position)
{
	uint8_t bytes[VMFT_CLOCK_ENTRY_BYTES];
	struct vmft_clock_entry entry;

	vmft_ring_read(&vmft_agent.ring, position, bytes, sizeof(bytes));
	CU_ASSERT_EQUAL(bytes[0], VMFT_ENTRY_CLOCK);
	CU_ASSERT_EQUAL(vmft_clock_entry_decode(bytes, &entry), 0);
	return entry;
}

static const uint8_t warp_start[] = {30}, warp_account[] = {31};

/* A guest that has slept sees all of it, in its log too; one that executes no less than every few
 * milliseconds, and not at any other event. */
static void test_time_is_the_hosts(void)
{
	const int16_t shift = 3;
	struct vmft_clock_entry entry;

	agent_up();
	(void)vmft_tap_open(0);
	memcpy(world.timers_state + 26, &shift, sizeof(shift));
	timers_set(40, 1000); /* bias */
	timers_set(64, 500);  /* instructions */
	timers_set(56, 5000 - (int64_t)world.now);
	timers_set(48, -1);
	log_bytes(warp_account, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 1);
	world.now += 700000000;
	log_bytes(event_clock, sizeof(event_clock));
	CU_ASSERT_EQUAL(timers_get(40), 1000);
	log_bytes(warp_start, 1);
	CU_ASSERT_EQUAL(timers_get(40), 1000);
	log_bytes(warp_account, 1);
	CU_ASSERT_EQUAL(timers_get(40), 1000 + 700000000);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 12 + VMFT_CLOCK_ENTRY_BYTES);
	entry = clock_entry_at(12);
	CU_ASSERT_EQUAL(entry.bias, 700001000);
	CU_ASSERT_EQUAL(entry.shift, 3);
	CU_ASSERT_EQUAL(entry.host_ns, 700005000);
	/* Stopped for a while: the host's clock as QEMU has it stood still. */
	timers_set(56, timers_get(56) - 40000000);
	world.now += 40000000;
	log_bytes(warp_account, 1);
	CU_ASSERT_EQUAL(timers_get(40), 1000 + 740000000);
	CU_ASSERT_EQUAL(clock_entry_at(13 + VMFT_CLOCK_ENTRY_BYTES).host_ns, 740005000);
	world.now += 1000000; /* looked at just now */
	log_bytes(warp_account, 1);
	CU_ASSERT_EQUAL(timers_get(40), 1000 + 740000000);
	/* Nobody is there to be told: it is kept all the same. */
	vmft_agent_stop_keeping();
	world.now += 50000000;
	log_bytes(warp_account, 1);
	CU_ASSERT_EQUAL(timers_get(40), 1000 + 791000000);
	world_down();
}

/* The second in which the machine is made, and no part of it; from its first reset on all of it. */
static void test_time_of_the_machine(void)
{
	static const uint8_t reset[] = {38};
	struct timeval tv = {.tv_sec = 1700, .tv_usec = 999999};

	agent_up();
	(void)vmft_tap_open(0);
	vmft_icount_time_of_day(&tv);
	CU_ASSERT_EQUAL(tv.tv_sec, 1700);
	CU_ASSERT_EQUAL(tv.tv_usec, 0);
	tv = (struct timeval){.tv_sec = 1701, .tv_usec = 5};
	log_bytes(event_checkpoint, 1);
	vmft_icount_time_of_day(&tv);
	CU_ASSERT_EQUAL(tv.tv_sec, 1700);
	CU_ASSERT_EQUAL(tv.tv_usec, 0);
	tv = (struct timeval){.tv_sec = 1701, .tv_usec = 6};
	log_bytes(reset, 1);
	vmft_icount_time_of_day(&tv);
	CU_ASSERT_EQUAL(tv.tv_sec, 1701);
	CU_ASSERT_EQUAL(tv.tv_usec, 6);
	world_down();
}

static void test_time_of_a_wait(void)
{
	agent_up();
	world.idle = true;
	world.deadline_ns = 16000;
	CU_ASSERT_FALSE(vmft_icount_ends_wait()); /* replaying */
	(void)vmft_tap_open(0);
	CU_ASSERT_TRUE(vmft_icount_ends_wait());
	CU_ASSERT_FALSE(vmft_icount_ends_wait()); /* each other time at most */
	CU_ASSERT_TRUE(vmft_icount_ends_wait());
	CU_ASSERT_FALSE(vmft_icount_ends_wait());
	timers_set(48, 5); /* its alarm is set */
	CU_ASSERT_FALSE(vmft_icount_ends_wait());
	timers_set(48, -1);
	world.idle = false;
	CU_ASSERT_FALSE(vmft_icount_ends_wait());
	world.idle = true;
	world.stopped = true;
	CU_ASSERT_FALSE(vmft_icount_ends_wait());
	world.stopped = false;
	world.deadline_ns = -1; /* no timer */
	CU_ASSERT_FALSE(vmft_icount_ends_wait());
	world.deadline_ns = 0;
	CU_ASSERT_TRUE(vmft_icount_ends_wait());
	CU_ASSERT_FALSE(vmft_icount_ends_wait());
	atomic_store(&vmft_agent.fenced, true);
	CU_ASSERT_FALSE(vmft_icount_ends_wait());
	world_down();
}

/* The clock is set where the primary's was: when QEMU asks for what is after the entry. */
static void test_feed_sets_the_clock(void)
{
	const struct vmft_clock_entry entry = {.shift = 5, .bias = -77, .host_ns = 9};
	uint8_t bytes[VMFT_CLOCK_ENTRY_BYTES];
	int16_t shift;

	agent_up();
	feed_header();
	ring_takes(warp_account, 1);
	ring_takes(bytes, vmft_clock_entry_encode(&entry, bytes));
	ring_takes(event_checkpoint, 1);
	timers_set(40, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), warp_account[0]);
	CU_ASSERT_EQUAL(timers_get(40), 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), event_checkpoint[0]);
	CU_ASSERT_EQUAL(timers_get(40), -77);
	memcpy(&shift, world.timers_state + 26, sizeof(shift));
	CU_ASSERT_EQUAL(shift, 5);
	CU_ASSERT_EQUAL(world.broken, 0);
	/* QEMU would shift by as much as the log says. */
	bytes[1] = 64;
	ring_takes(bytes, sizeof(bytes));
	ring_takes(event_checkpoint, 1);
	vmft_icount_replay(bytes);
	CU_ASSERT_EQUAL(world.broken, 1);
	CU_ASSERT_EQUAL(timers_get(40), -77);
	world_down();
}

/* A guest that goes live: the time its host was gone has passed; where that is not known, none. */
static void test_time_goes_on(void)
{
	agent_up();
	world.now = 1000000;
	CU_ASSERT_EQUAL(vmft_icount_goes_on(500), 500);
	atomic_store(&vmft_agent.iface->clock_base, 900000);
	CU_ASSERT_EQUAL(vmft_icount_goes_on(500), 100000);
	CU_ASSERT_EQUAL(vmft_icount_goes_on(100001), 100001); /* it has read that */
	atomic_store(&vmft_agent.iface->clock_base, -5);
	CU_ASSERT_EQUAL(vmft_icount_goes_on(500), 1000005);
	world_down();
}

int vmft_suite_agent_time(void)
{
	static CU_TestInfo tests[] = {
	    {"test_time_stale_run", test_time_stale_run},
	    {"test_time_of_an_idle_guest", test_time_of_an_idle_guest},
	    {"test_time_is_the_hosts", test_time_is_the_hosts},
	    {"test_time_of_the_machine", test_time_of_the_machine},
	    {"test_feed_sets_the_clock", test_feed_sets_the_clock},
	    {"test_time_goes_on", test_time_goes_on},
	    {"test_time_is_true_at_the_next_event", test_time_is_true_at_the_next_event},
	    {"test_time_of_a_wait", test_time_of_a_wait},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"agent: time", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
