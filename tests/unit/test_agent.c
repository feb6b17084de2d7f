/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's tap, gate and feed. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_world.h"
#include "suites.h"

#include "monitor/agent/feed.h"
#include "monitor/agent/icount.h"
#include "monitor/agent/tap.h"

static void setup(void)
{
	world_up(1u << 20, NULL, 0);
}

static void teardown(void)
{
	world_down();
}

static void log_bytes(const uint8_t *bytes, size_t n)
{
	vmft_tap_write(bytes, n);
}

static const uint8_t checkpoint[] = {34};
static const uint8_t instruction[] = {0, 0, 0, 0, 9};
static const uint8_t clock_event[] = {29, 0, 0, 0, 0, 0, 0, 0x12, 0x34};

/* --- tap --------------------------------------------------------------------- */

static void test_tap_publishes_whole_events(void)
{
	setup();
	CU_ASSERT_PTR_NOT_NULL(vmft_tap_open(0));
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 1);
	for (size_t i = 0; i < sizeof(clock_event); i++) {
		CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 1);
		log_bytes(clock_event + i, 1);
	}
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 10);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->guest_ns), 0x1234);
	log_bytes(instruction, sizeof(instruction));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 10);
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 16);
	teardown();
}

/* A sleeping monitor is rung once; an error exit's tail is cut off. */
static void test_tap_bell_and_crash(void)
{
	setup();
	(void)vmft_tap_open(0);
	world.rung = 0;
	atomic_store(&vmft_agent.iface->monitor_sleeps, 1);
	log_bytes(checkpoint, 1);
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(world.rung, 1);
	atomic_store(&vmft_agent.crashed, true);
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 2);
	teardown();
}

static void test_tap_end_and_header(void)
{
	static const uint8_t end[] = {16, 39};
	static const uint8_t header[] = {0, 0xe0, 0x20, 0x0c};

	setup();
	(void)vmft_tap_open(0);
	log_bytes(end, sizeof(end));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_ENDED);
	log_bytes(header, sizeof(header));
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 2);
	CU_ASSERT_EQUAL(world.broken, 0);
	teardown();
}

static void test_tap_garbage_tail(void)
{
	setup();
	(void)vmft_tap_open(0);
	atomic_store(&vmft_agent.iface->log_tail, 1ull << 40);
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(world.broken, 1);
	log_bytes(checkpoint, 1); /* the guest goes on */
	CU_ASSERT_EQUAL(world.broken, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 0);
	teardown();
}

static void test_tap_wakes_the_vcpu(void)
{
	setup();
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 0);
	(void)vmft_tap_open(0);
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 0);
	world.events = true;
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 1);
	CU_ASSERT_FALSE(world.locked);
	world.locked = true; /* a wait within something else */
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 2);
	CU_ASSERT_TRUE(world.locked);
	/* One that is stopped for good takes nothing: the main loop would go round for ever. */
	atomic_store(&vmft_agent.fenced, true);
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.works, 2);
	/* The main loop itself is not woken: its wait is to be one. */
	CU_ASSERT_EQUAL(world.notified, 0);
	teardown();
}

/* An event of n bytes in all. */
static void log_random(size_t n)
{
	const uint32_t data = (uint32_t)n - 9;
	uint8_t *event = calloc(1, n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(event);
	event[0] = 27; /* RANDOM */
	for (unsigned i = 0; i < 4; i++)
		event[5 + i] = (uint8_t)(data >> (24 - 8 * i));
	log_bytes(event, n);
	free(event);
}

static void *log_checkpoint(void *unused)
{
	(void)unused;
	log_bytes(checkpoint, 1);
	return NULL;
}

/* The vCPU is made to leave a run when a timer of the main loop has read the clock to change it,
 * and at no reading that the main loop makes each time it comes round. */
static void test_time_stale_run(void)
{
	static const uint8_t timers[] = {36}, account[] = {31};
	static const uint8_t host[] = {28, 0, 0, 0, 0, 0, 0, 0, 1};

	setup();
	(void)vmft_tap_open(0);
	for (unsigned i = 0; i < 3; i++)
		log_bytes(clock_event, sizeof(clock_event));
	log_bytes(timers, 1);
	log_bytes(clock_event, sizeof(clock_event));
	log_bytes(host, sizeof(host));
	log_bytes(clock_event, sizeof(clock_event));
	log_bytes(instruction, sizeof(instruction));
	log_bytes(clock_event, sizeof(clock_event)); /* the guest's own */
	log_bytes(account, 1);
	CU_ASSERT_EQUAL(world.kicked, 0);

	log_bytes(timers, 1);
	log_bytes(clock_event, sizeof(clock_event));
	log_bytes(clock_event, sizeof(clock_event));
	log_bytes(host, sizeof(host));
	CU_ASSERT_EQUAL(world.kicked, 0);
	for (size_t i = 0; i < sizeof(clock_event); i++)
		log_bytes(clock_event + i, 1);
	CU_ASSERT_EQUAL(world.kicked, 1);
	log_bytes(account, 1);
	log_bytes(clock_event, sizeof(clock_event));
	CU_ASSERT_EQUAL(world.kicked, 1);
	teardown();
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

/* By how much the clock is bent for the reading behind the one by which due timers are found; the
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

	setup();
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
	teardown();
}

static void test_time_is_true_at_the_next_event(void)
{
	setup();
	(void)vmft_tap_open(0);
	timers_set(48, 1);
	world.warp_expires = 101;
	world.virtual_ns = 1000;
	log_bytes((const uint8_t[]){36}, 1);
	log_clock(101);
	CU_ASSERT_EQUAL(timers_get(56), 899 + 100);
	log_bytes((const uint8_t[]){28}, 1); /* the first byte of it */
	CU_ASSERT_EQUAL(timers_get(56), 0);
	teardown();
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

	setup();
	(void)vmft_tap_open(0);
	memcpy(world.timers_state + 26, &shift, sizeof(shift));
	timers_set(40, 1000); /* bias */
	timers_set(64, 500);  /* instructions */
	timers_set(56, 5000 - (int64_t)world.now);
	timers_set(48, -1);
	log_bytes(warp_account, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 1);
	world.now += 700000000;
	log_bytes(clock_event, sizeof(clock_event));
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
	teardown();
}

/* The second in which the machine is made, and no part of it; from its first reset on all of it. */
static void test_time_of_the_machine(void)
{
	static const uint8_t reset[] = {38};
	struct timeval tv = {.tv_sec = 1700, .tv_usec = 999999};

	setup();
	(void)vmft_tap_open(0);
	vmft_icount_time_of_day(&tv);
	CU_ASSERT_EQUAL(tv.tv_sec, 1700);
	CU_ASSERT_EQUAL(tv.tv_usec, 0);
	tv = (struct timeval){.tv_sec = 1701, .tv_usec = 5};
	log_bytes(checkpoint, 1);
	vmft_icount_time_of_day(&tv);
	CU_ASSERT_EQUAL(tv.tv_sec, 1700);
	CU_ASSERT_EQUAL(tv.tv_usec, 0);
	tv = (struct timeval){.tv_sec = 1701, .tv_usec = 6};
	log_bytes(reset, 1);
	vmft_icount_time_of_day(&tv);
	CU_ASSERT_EQUAL(tv.tv_sec, 1701);
	CU_ASSERT_EQUAL(tv.tv_usec, 6);
	teardown();
}

static void test_time_of_a_wait(void)
{
	setup();
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
	teardown();
}

/* A writer that finds the ring full waits, and goes on when the log is not kept any more; what
 * it writes then goes nowhere. */
static void test_tap_stops_keeping(void)
{
	pthread_t guest;

	setup();
	(void)vmft_tap_open(0);
	log_random(WORLD_RING / 2);
	log_random(WORLD_RING / 2);
	world.sleep = world_futex_wait;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&guest, NULL, log_checkpoint, NULL), 0);
	world_wait_asleep(1);
	vmft_agent_stop_keeping();
	(void)pthread_join(guest, NULL);
	world.sleep = NULL; /* nobody waits from here on */
	CU_ASSERT_EQUAL(atomic_load(&world.woken), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), WORLD_RING);
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), WORLD_RING);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), WORLD_RING + 2);
	CU_ASSERT_EQUAL(world.broken, 0);
	vmft_agent_stop_keeping(); /* wakes nobody for nothing */
	CU_ASSERT_EQUAL(atomic_load(&world.woken), 1);
	teardown();
}

static void thaw_by_not_keeping(uint32_t unused)
{
	(void)unused;
	atomic_fetch_add(&world.slept, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frozen_at), 1 + 1);
	vmft_agent_stop_keeping();
}

/* A guest stopped between two events goes on too; while an attach point is taken no thread is
 * stopped there, it would hold what the main loop needs. */
static void test_tap_freeze(void)
{
	setup();
	(void)vmft_tap_open(0);
	world.sleep = thaw_by_not_keeping;
	atomic_store(&vmft_agent.iface->freeze, 1);
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&world.slept), 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frozen_at), 0);
	world.sleep = NULL;
	atomic_store(&vmft_agent.logging, true);
	atomic_store(&vmft_tap.busy, true);
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), 2);
	teardown();
}

static void take_point(uint64_t position)
{
	const struct vmft_area *area = vmft_agent.area;
	struct vmft_iface *iface = vmft_agent.iface;

	vmft_tap_keep_from_here();
	CU_ASSERT(atomic_load(&vmft_agent.logging));
	CU_ASSERT_EQUAL(atomic_load(&iface->log_head), position);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_tail), position);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_position), position);
	CU_ASSERT_EQUAL(atomic_load(&area->point_position), position);
	CU_ASSERT_EQUAL(atomic_load(&area->point_guest_ns), 0x1234);
}

/* QEMU saves with its state where its log stands, behind the header of the file. */
static void log_stands_at(uint64_t position)
{
	CU_ASSERT_EQUAL(ftell(vmft_tap.stream), (long)(position + VMFT_LOG_HEADER_BYTES));
}

/* The ring holds exactly these bytes, from the position on. */
static void ring_holds(uint64_t position, const uint8_t *bytes, size_t n)
{
	uint8_t got[64];

	CU_ASSERT_EQUAL_FATAL(vmft_ring_ready(&vmft_agent.ring, position), (int64_t)n);
	vmft_ring_read(&vmft_agent.ring, position, got, n);
	CU_ASSERT_EQUAL(memcmp(got, bytes, n), 0);
}

/* The log begins at the attach point, also behind an INSTRUCTION whose event is still to
 * come; nothing of before is in the ring, and what comes is published as ever: in whole events. */
static void test_tap_attach_point(void)
{
	static const uint8_t behind[] = {0, 0, 0, 0, 9, 34, 34};
	const uint64_t at = sizeof(clock_event) + sizeof(instruction);
	struct vmft_iface *iface;

	setup();
	iface = vmft_agent.iface;
	atomic_store(&iface->command, VMFT_COMMAND_OPEN);
	(void)vmft_tap_open(0);
	CU_ASSERT(!atomic_load(&vmft_agent.logging));
	log_bytes(clock_event, sizeof(clock_event));
	log_bytes(instruction, sizeof(instruction));
	CU_ASSERT_EQUAL(atomic_load(&iface->log_head), 0);
	log_stands_at(at);
	CU_ASSERT(!atomic_load(&vmft_agent.logging)); /* being asked begins nothing */
	take_point(at);
	log_stands_at(at);
	for (size_t i = 0; i < sizeof(instruction); i++) {
		log_bytes(instruction + i, 1);
		CU_ASSERT_EQUAL(atomic_load(&iface->log_head), at); /* not to be cut here */
	}
	log_bytes(checkpoint, 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_head), at + 6);
	log_bytes(checkpoint, 1);
	ring_holds(at, behind, sizeof(behind));
	CU_ASSERT_EQUAL(atomic_load(&iface->log_events), 5);
	CU_ASSERT_EQUAL(world.broken, 0);
	teardown();
}

/* What cannot fit into the ring is found out behind an attach point as well, not waited for. */
static void test_tap_too_large_behind_point(void)
{
	setup();
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_OPEN);
	(void)vmft_tap_open(0);
	log_bytes(clock_event, sizeof(clock_event));
	log_bytes(instruction, sizeof(instruction));
	take_point(sizeof(clock_event) + sizeof(instruction));
	log_bytes(instruction, sizeof(instruction));
	log_random(WORLD_RING);
	CU_ASSERT_EQUAL(world.broken, 1);
	teardown();
}

/* An attach that failed leaves nothing: the next one begins further on, with an empty ring. */
static void test_tap_second_attach_point(void)
{
	uint64_t at = sizeof(clock_event);

	setup();
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_OPEN);
	(void)vmft_tap_open(0);
	log_bytes(clock_event, sizeof(clock_event));
	log_stands_at(at);
	take_point(at);
	log_random(WORLD_RING);
	vmft_agent_stop_keeping();
	log_bytes(checkpoint, 1);
	at += WORLD_RING + 1;
	log_stands_at(at); /* not what it said before */
	take_point(at);
	log_bytes(checkpoint, 1);
	ring_holds(at, checkpoint, 1);
	CU_ASSERT_EQUAL(world.broken, 0);
	teardown();
}

/* --- gate -------------------------------------------------------------------- */

static void emit(const char *text)
{
	struct iovec iov[2] = {
	    {.iov_base = (void *)text, .iov_len = 1},
	    {.iov_base = (void *)(text + 1), .iov_len = strlen(text) - 1},
	};

	CU_ASSERT_EQUAL(vmft_gate_writev(world.tap[1], iov, 2), (ssize_t)strlen(text));
}

/* What has come out of the tap since the last look. */
static const char *seen(void)
{
	static char text[256];
	ssize_t n = read(world.tap[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void ack(uint64_t position)
{
	atomic_store(&vmft_agent.iface->acked, position);
	atomic_store(&vmft_agent.iface->release_until, world.now + 100);
}

static void two_frames(void)
{
	(void)vmft_tap_open(0);
	log_bytes(checkpoint, 1);
	emit("one ");
	log_bytes(checkpoint, 1);
	emit("two ");
}

static void test_gate_waits_for_acks_in_order(void)
{
	setup();
	two_frames();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_frames), 2);
	CU_ASSERT_EQUAL(vmft_gate_service(), -1);
	CU_ASSERT_STRING_EQUAL(seen(), "");
	ack(1);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "one ");
	ack(2);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "two ");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_frames), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frames_released), 2);
	teardown();
}

static void test_gate_lease(void)
{
	setup();
	two_frames();
	ack(2);
	world.now += 101; /* stopped between the ack and the frame's leaving */
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "");
	ack(2);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "one two ");
	teardown();
}

static void test_gate_ack_beyond_the_log(void)
{
	setup();
	two_frames();
	ack(3);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "");
	CU_ASSERT_EQUAL(world.broken, 1);
	teardown();
}

static void test_gate_open(void)
{
	setup();
	two_frames();
	vmft_gate_open();
	emit("three "); /* not past those still held */
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "one two three ");
	emit("four");
	CU_ASSERT_STRING_EQUAL(seen(), "four");
	teardown();
}

/* Closing answers what a backup must have before it may count: the highest position that
 * anything which has left depends on, be it that it left at once or out of the queue. */
static void test_gate_closes(void)
{
	struct vmft_iface *iface;

	setup();
	iface = vmft_agent.iface;
	(void)vmft_tap_open(0);
	vmft_gate_open();
	log_bytes(checkpoint, 1);
	emit("one ");
	CU_ASSERT_STRING_EQUAL(seen(), "one ");
	CU_ASSERT_EQUAL(vmft_gate.left_at, 1);
	log_bytes(checkpoint, 1);
	world.rung = 0;
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&iface->gate_closed_at), 1 + 1);
	CU_ASSERT_EQUAL(world.rung, 1);
	emit("two ");
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "");
	CU_ASSERT_EQUAL(vmft_gate.left_at, 1);
	vmft_gate_open();
	CU_ASSERT_EQUAL(atomic_load(&iface->gate_closed_at), 0);
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "two ");
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&iface->gate_closed_at), 2 + 1);
	CU_ASSERT_EQUAL(atomic_load(&iface->frames_released), 2);
	teardown();
}

/* Nothing has left yet: a backup that holds nothing will do. */
static void test_gate_closes_at_once(void)
{
	setup();
	two_frames();
	vmft_gate_close();
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->gate_closed_at), 0 + 1);
	teardown();
}

static void test_gate_fenced(void)
{
	setup();
	two_frames();
	ack(2);
	atomic_store(&vmft_agent.open, true);
	atomic_store(&vmft_agent.fenced, true);
	emit("three ");
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "");
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->frames_dropped), 3);
	teardown();
}

static void *emit_large(void *done)
{
	static char text[950];

	memset(text, 'x', sizeof(text) - 1);
	emit(text);
	atomic_store((atomic_bool *)done, true);
	return NULL;
}

/* A full gate holds the sender back, and loses nothing. */
static void test_gate_full(void)
{
	char bytes[2000];
	atomic_bool done = false;
	pthread_t guest;
	ssize_t n = 0;

	setup();
	two_frames();
	vmft_gate.limit = 950;
	CU_ASSERT_EQUAL_FATAL(pthread_create(&guest, NULL, emit_large, &done), 0);
	while (atomic_load(&vmft_agent.iface->gate_stalls) == 0)
		usleep(1000);
	CU_ASSERT(!atomic_load(&done));
	ack(2);
	(void)vmft_gate_service();
	(void)pthread_join(guest, NULL);
	CU_ASSERT(atomic_load(&done));
	(void)vmft_gate_service();
	n = read(world.tap[0], bytes, sizeof(bytes));
	CU_ASSERT_EQUAL(n, 8 + 949);
	teardown();
}

/* --- feed -------------------------------------------------------------------- */

static void feed_header(void)
{
	CU_ASSERT_PTR_NOT_NULL(vmft_feed_open());
	vmft_qemu.symbols.replay_file = &world.replay_file;
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x00);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0xe0);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x20);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x0c);
	CU_ASSERT_EQUAL(fseek(vmft_feed.stream, VMFT_LOG_HEADER_BYTES, SEEK_SET), 0);
}

static void hold(const uint8_t *bytes, size_t n)
{
	uint64_t head = atomic_load(&vmft_agent.iface->log_head);

	vmft_ring_write(&vmft_agent.ring, head, bytes, n);
	vmft_ring_publish(&vmft_agent.ring, head + n);
}

static void test_feed_then_live(void)
{
	int64_t offset;

	setup();
	feed_header();
	world.replay_mode = 2;
	hold(clock_event, sizeof(clock_event));
	for (size_t i = 0; i < sizeof(clock_event); i++)
		CU_ASSERT_EQUAL(vmft_feed_byte(), clock_event[i]);
	atomic_store(&vmft_agent.iface->log_end, sizeof(clock_event));
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(world.replay_mode, 1);
	CU_ASSERT_PTR_EQUAL(world.replay_file, vmft_tap.stream);
	memcpy(&offset, world.timers_state + 56, sizeof(offset));
	CU_ASSERT_EQUAL(offset + (int64_t)world.now, 0x1234);
	CU_ASSERT_EQUAL(world.drained, 1);
	CU_ASSERT_EQUAL(world.announced, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_LIVE);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), sizeof(clock_event));
	CU_ASSERT(atomic_load(&vmft_agent.open));
	teardown();
}

/* The clock is set where the primary's was: when QEMU asks for what is behind the entry. */
static void test_feed_sets_the_clock(void)
{
	const struct vmft_clock_entry entry = {.shift = 5, .bias = -77, .host_ns = 9};
	uint8_t bytes[VMFT_CLOCK_ENTRY_BYTES];
	int16_t shift;

	setup();
	feed_header();
	hold(warp_account, 1);
	hold(bytes, vmft_clock_entry_encode(&entry, bytes));
	hold(checkpoint, 1);
	timers_set(40, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), warp_account[0]);
	CU_ASSERT_EQUAL(timers_get(40), 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), checkpoint[0]);
	CU_ASSERT_EQUAL(timers_get(40), -77);
	memcpy(&shift, world.timers_state + 26, sizeof(shift));
	CU_ASSERT_EQUAL(shift, 5);
	CU_ASSERT_EQUAL(world.broken, 0);
	/* QEMU would shift by as much as the log says. */
	bytes[1] = 64;
	hold(bytes, sizeof(bytes));
	hold(checkpoint, 1);
	vmft_icount_replay(bytes);
	CU_ASSERT_EQUAL(world.broken, 1);
	CU_ASSERT_EQUAL(timers_get(40), -77);
	teardown();
}

/* A guest that goes live: the time its host was gone has passed; where that is not known, none. */
static void test_time_goes_on(void)
{
	setup();
	world.now = 1000000;
	CU_ASSERT_EQUAL(vmft_icount_goes_on(500), 500);
	atomic_store(&vmft_agent.iface->clock_base, 900000);
	CU_ASSERT_EQUAL(vmft_icount_goes_on(500), 100000);
	CU_ASSERT_EQUAL(vmft_icount_goes_on(100001), 100001); /* it has read that */
	atomic_store(&vmft_agent.iface->clock_base, -5);
	CU_ASSERT_EQUAL(vmft_icount_goes_on(500), 1000005);
	teardown();
}

static void test_feed_ended(void)
{
	static const uint8_t end[] = {16, 39};

	setup();
	feed_header();
	hold(end, sizeof(end));
	CU_ASSERT_EQUAL(vmft_feed_byte(), 16);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_ENDED);
	teardown();
}

/* --- a state that is loaded instead of a boot --------------------------------- */

#define POINT 5000u

static void command_prepare(uint32_t unused)
{
	(void)unused;
	atomic_fetch_add(&world.slept, 1);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_PREPARE);
}

/* The guest's machine comes up and asks for its first event; the monitor has yet to say. */
static void prepared(void)
{
	struct vmft_area *area = vmft_agent.area;

	feed_header();
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_HOLD);
	world.sleep = command_prepare;
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	world.sleep = NULL;
	CU_ASSERT_EQUAL(atomic_load(&world.slept), 1);
	atomic_store(&area->load_position, POINT);
	atomic_store(&area->load_guest_ns, 777000);
	atomic_store(&vmft_agent.iface->log_head, POINT);
	atomic_store(&vmft_agent.iface->log_tail, POINT);
}

static int seek_to(uint64_t position)
{
	return fseek(vmft_feed.stream, (long)(position + VMFT_LOG_HEADER_BYTES), SEEK_SET);
}

/* Nothing is decided before the monitor has: HOLD waits, RUN boots. */
static void test_feed_boots(void)
{
	setup();
	feed_header();
	hold(checkpoint, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 34);
	CU_ASSERT_EQUAL(vmft_feed.phase, VMFT_FEED_STREAM);
	CU_ASSERT_EQUAL(world.autostart, 1);
	CU_ASSERT_EQUAL(world.run_state, -1);
	teardown();
}

/* PREPARE: QEMU is told to come up as for a migration and finds no event, however often it
 * looks; nothing is taken out of the ring. */
static void test_feed_prepares(void)
{
	enum { QEMU_RUN_STATE_INMIGRATE = 1 };

	setup();
	prepared();
	CU_ASSERT_EQUAL(world.autostart, 0);
	CU_ASSERT_EQUAL(world.run_state, QEMU_RUN_STATE_INMIGRATE);
	hold(checkpoint, 1);
	for (int i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_tail), POINT);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), 0);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_REPLAYING);
	CU_ASSERT_EQUAL(world.broken, 0);
	teardown();
}

/* The state that is loaded seeks to its place: events from there, positions counted from there,
 * the guest's clock going on from the point's. */
static void test_feed_attached(void)
{
	struct vmft_iface *iface;
	int64_t offset;

	setup();
	iface = vmft_agent.iface;
	prepared();
	CU_ASSERT_EQUAL(seek_to(POINT), 0);
	CU_ASSERT_EQUAL(vmft_feed.phase, VMFT_FEED_STREAM);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_position), POINT);
	hold(instruction, sizeof(instruction));
	hold(checkpoint, 1);
	for (size_t i = 0; i < sizeof(instruction); i++)
		CU_ASSERT_EQUAL(vmft_feed_byte(), instruction[i]);
	CU_ASSERT_EQUAL(vmft_feed_byte(), checkpoint[0]);
	atomic_store(&iface->log_end, POINT + 6);
	atomic_store(&iface->command, VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_position), POINT + 6);
	CU_ASSERT_EQUAL(atomic_load(&iface->log_tail), POINT + 6);
	CU_ASSERT_EQUAL(atomic_load(&iface->agent_state), VMFT_AGENT_LIVE);
	memcpy(&offset, world.timers_state + 56, sizeof(offset));
	CU_ASSERT_EQUAL(offset + (int64_t)world.now, 777000);
	CU_ASSERT_EQUAL(world.broken, 0);
	teardown();
}

/* A state that was saved a little before the point is the point's: what was logged between the
 * two is not replayed. */
static void test_feed_attached_behind_save(void)
{
	static const uint64_t places[] = {POINT - 1, POINT - 20, 0};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		setup();
		prepared();
		hold(checkpoint, 1);
		CU_ASSERT_EQUAL(seek_to(places[i]), 0);
		CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), POINT);
		CU_ASSERT_EQUAL(vmft_feed_byte(), checkpoint[0]);
		CU_ASSERT_EQUAL(vmft_feed.cursor.fed, POINT + 1);
		CU_ASSERT_EQUAL(world.broken, 0);
		teardown();
	}
}

/* A state that was saved behind the point, or without a place in a log: never replayed. */
static void test_feed_attached_elsewhere(void)
{
	static const uint64_t places[] = {POINT + 1, (uint64_t)-1, (uint64_t)-12};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		setup();
		prepared();
		hold(checkpoint, 1);
		(void)seek_to(places[i]);
		CU_ASSERT_EQUAL(world.broken, 1);
		CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
		CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_BROKEN);
		teardown();
	}
}

static long slice_ns(void)
{
	struct timespec slice = {.tv_nsec = -1};

	return vmft_feed_shortens_wait(NULL, &slice) ? slice.tv_nsec : -1;
}

static void next_event(uint32_t kind)
{
	memcpy(world.replay_state + 28, &kind, sizeof(kind));
}

/* No wait after progress when the next event is the main loop's, longer ones without; the
 * vCPU gets a little time for its own, and a millisecond for INSTRUCTION. */
static void test_feed_slices(void)
{
	enum { INSTRUCTION = 0, WARP_ACCOUNT = 31, CLOCK_VIRTUAL = 34 };

	setup();
	feed_header();
	CU_ASSERT_EQUAL(slice_ns(), -1); /* it has no log yet */
	hold(checkpoint, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 34);
	next_event(INSTRUCTION);
	CU_ASSERT(slice_ns() >= 1000000);
	next_event(CLOCK_VIRTUAL);
	CU_ASSERT_EQUAL(slice_ns(), 0);
	CU_ASSERT_EQUAL(slice_ns(), 40000);
	CU_ASSERT_EQUAL(slice_ns(), 80000);
	for (int i = 0; i < 20; i++)
		(void)slice_ns();
	CU_ASSERT(slice_ns() >= 1000000);
	CU_ASSERT(slice_ns() < 10000000);
	hold(checkpoint, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 34);
	CU_ASSERT_EQUAL(slice_ns(), 0);
	hold(checkpoint, 1);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 34);
	next_event(WARP_ACCOUNT);
	CU_ASSERT_EQUAL(slice_ns(), 20000);
	atomic_store(&vmft_agent.iface->log_end, 3);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_GO_LIVE);
	CU_ASSERT_EQUAL(vmft_feed_byte(), vmft_qemu_log_format()->end);
	CU_ASSERT_EQUAL(slice_ns(), -1); /* live */
	teardown();
}

/* Until its state is loaded there is nothing to hurry for. */
static void test_feed_slices_prepared(void)
{
	setup();
	prepared();
	next_event(34);
	CU_ASSERT_EQUAL(slice_ns(), -1);
	CU_ASSERT_EQUAL(seek_to(POINT), 0);
	CU_ASSERT_EQUAL(slice_ns(), 0);
	teardown();
}

int vmft_suite_agent(void)
{
	CU_pSuite suite = CU_add_suite("agent", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_tap_publishes_whole_events) ||
	    !CU_ADD_TEST(suite, test_tap_bell_and_crash) ||
	    !CU_ADD_TEST(suite, test_tap_end_and_header) ||
	    !CU_ADD_TEST(suite, test_tap_garbage_tail) ||
	    !CU_ADD_TEST(suite, test_tap_wakes_the_vcpu) ||
	    !CU_ADD_TEST(suite, test_time_stale_run) ||
	    !CU_ADD_TEST(suite, test_time_of_an_idle_guest) ||
	    !CU_ADD_TEST(suite, test_time_is_the_hosts) ||
	    !CU_ADD_TEST(suite, test_time_of_the_machine) ||
	    !CU_ADD_TEST(suite, test_feed_sets_the_clock) ||
	    !CU_ADD_TEST(suite, test_time_goes_on) ||
	    !CU_ADD_TEST(suite, test_time_is_true_at_the_next_event) ||
	    !CU_ADD_TEST(suite, test_time_of_a_wait) ||
	    !CU_ADD_TEST(suite, test_tap_stops_keeping) || !CU_ADD_TEST(suite, test_tap_freeze) ||
	    !CU_ADD_TEST(suite, test_tap_attach_point) ||
	    !CU_ADD_TEST(suite, test_tap_too_large_behind_point) ||
	    !CU_ADD_TEST(suite, test_tap_second_attach_point) ||
	    !CU_ADD_TEST(suite, test_gate_waits_for_acks_in_order) ||
	    !CU_ADD_TEST(suite, test_gate_lease) ||
	    !CU_ADD_TEST(suite, test_gate_ack_beyond_the_log) ||
	    !CU_ADD_TEST(suite, test_gate_open) || !CU_ADD_TEST(suite, test_gate_closes) ||
	    !CU_ADD_TEST(suite, test_gate_closes_at_once) ||
	    !CU_ADD_TEST(suite, test_gate_fenced) || !CU_ADD_TEST(suite, test_gate_full) ||
	    !CU_ADD_TEST(suite, test_feed_then_live) || !CU_ADD_TEST(suite, test_feed_ended) ||
	    !CU_ADD_TEST(suite, test_feed_boots) || !CU_ADD_TEST(suite, test_feed_prepares) ||
	    !CU_ADD_TEST(suite, test_feed_attached) ||
	    !CU_ADD_TEST(suite, test_feed_attached_behind_save) ||
	    !CU_ADD_TEST(suite, test_feed_attached_elsewhere) ||
	    !CU_ADD_TEST(suite, test_feed_slices) || !CU_ADD_TEST(suite, test_feed_slices_prepared))
		return -1;
	return 0;
}
