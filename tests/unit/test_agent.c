/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's tap, feed and gate without a QEMU around them: what agent.c and nic.c would do
 * to the process stands here as plain functions, the "tap" is a pipe, time is a variable.
 */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../monitor/agent/agent.h"
#include "../../monitor/common/iface-setup.h"
#include "suites.h"

struct vmft_agent vmft_agent;

/* The world around the three files; reset by setup(). */
struct world {
	uint64_t now;
	unsigned broken, rung, drained, announced, notified;
	int replay_mode;
	FILE *replay_file;
	uint8_t timers_state[96];
	uint8_t replay_state[72];
	bool events;
	int tap[2]; /* a pipe: frames come out of tap[0] */
};

static struct world world;

void vmft_agent_say(const char *format, ...)
{
	(void)format;
}

void vmft_agent_state_set(enum vmft_agent_state state)
{
	atomic_store(&vmft_agent.iface->agent_state, state);
}

void vmft_agent_ring_monitor(void)
{
	world.rung++;
}

void vmft_agent_wake(void)
{
}

/* Nothing will wake a single thread that waits for itself: such a test is wrong. */
void vmft_agent_sleep(uint32_t seen)
{
	(void)seen;
	abort();
}

void vmft_agent_broken(const char *what)
{
	(void)what;
	world.broken++;
	vmft_agent_state_set(VMFT_AGENT_BROKEN);
}

uint64_t vmft_agent_now(void)
{
	return world.now;
}

void vmft_nic_drain_all(void)
{
	world.drained++;
}

void vmft_nic_announce_all(void)
{
	world.announced++;
}

static void notify_event(void)
{
	world.notified++;
}

static bool has_events(void)
{
	return world.events;
}

static void clock_notify(int clock)
{
	world.notified += clock == 1;
}

static void setup(void)
{
	struct vmft_error err;
	int fd = vmft_iface_create(1u << 20, &err);

	memset(&world, 0, sizeof(world));
	memset(&vmft_agent, 0, sizeof(vmft_agent));
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(vmft_iface_map(fd, &vmft_agent.iface, &vmft_agent.ring, &err), 0);
	close(fd);
	CU_ASSERT_EQUAL_FATAL(pipe2(world.tap, O_NONBLOCK), 0);
	vmft_agent.log_version = 0xe0200c;
	vmft_agent.clock_offset = 56;
	vmft_agent.kind_offset = 28;
	vmft_agent.libc_writev = writev;
	vmft_agent.qemu = (struct vmft_qemu){
	    .replay_mode = &world.replay_mode,
	    .replay_file = &world.replay_file,
	    .timers_state = world.timers_state,
	    .replay_state = world.replay_state,
	    .notify_event = notify_event,
	    .has_events = has_events,
	    .clock_notify = clock_notify,
	};
	vmft_gate_init(&vmft_agent.gate, 1000);
	atomic_store(&vmft_agent.iface->command, VMFT_COMMAND_RUN);
	world.now = 1000;
}

static void teardown(void)
{
	/* drops what a test left in the gate */
	atomic_store(&vmft_agent.fenced, true);
	(void)vmft_gate_service();
	close(world.tap[0]);
	close(world.tap[1]);
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
	CU_ASSERT_EQUAL(world.notified, 0);
	(void)vmft_tap_open(0);
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.notified, 0);
	world.events = true;
	vmft_tap_before_wait();
	CU_ASSERT_EQUAL(world.notified, 1);
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
	atomic_store(&vmft_agent.open, true);
	emit("three "); /* not past those still held */
	(void)vmft_gate_service();
	CU_ASSERT_STRING_EQUAL(seen(), "one two three ");
	emit("four");
	CU_ASSERT_STRING_EQUAL(seen(), "four");
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
	vmft_agent.gate.limit = 950;
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
	vmft_agent.qemu.replay_file = &world.replay_file;
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x00);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0xe0);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x20);
	CU_ASSERT_EQUAL(vmft_feed_byte(), 0x0c);
	CU_ASSERT_EQUAL(fseek(vmft_agent.feed.stream, VMFT_LOG_HEADER_BYTES, SEEK_SET), 0);
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
	CU_ASSERT_EQUAL(vmft_feed_byte(), VMFT_EVENT_END);
	CU_ASSERT_EQUAL(world.replay_mode, 1);
	CU_ASSERT_PTR_EQUAL(world.replay_file, vmft_agent.tap.stream);
	memcpy(&offset, world.timers_state + 56, sizeof(offset));
	CU_ASSERT_EQUAL(offset + (int64_t)world.now, 0x1234);
	CU_ASSERT_EQUAL(world.drained, 1);
	CU_ASSERT_EQUAL(world.announced, 1);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->agent_state), VMFT_AGENT_LIVE);
	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_position), sizeof(clock_event));
	CU_ASSERT(atomic_load(&vmft_agent.open));
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
	atomic_store(&vmft_agent.open, true);
	CU_ASSERT_EQUAL(slice_ns(), -1);
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
	    !CU_ADD_TEST(suite, test_gate_waits_for_acks_in_order) ||
	    !CU_ADD_TEST(suite, test_gate_lease) ||
	    !CU_ADD_TEST(suite, test_gate_ack_beyond_the_log) ||
	    !CU_ADD_TEST(suite, test_gate_open) || !CU_ADD_TEST(suite, test_gate_fenced) ||
	    !CU_ADD_TEST(suite, test_gate_full) || !CU_ADD_TEST(suite, test_feed_then_live) ||
	    !CU_ADD_TEST(suite, test_feed_ended) || !CU_ADD_TEST(suite, test_feed_slices))
		return -1;
	return 0;
}
