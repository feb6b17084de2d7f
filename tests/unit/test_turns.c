/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When the vCPU thread has a turn while QEMU records: not while the guest sleeps or its machine is
 * reset. The main loop is this thread, the vCPU thread is one that does the work that is queued for
 * it. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "agent_world.h"
#include "suites.h"

#include "monitor/agent/strategy.h"
#include "monitor/agent/tap.h"
#include "monitor/agent/turns.h"

enum { SUSPENDED = 12, WARP_ACCOUNT = 31, RESET_REQUESTED = 32, SUSPEND_REQUESTED = 33 };

static struct {
	pthread_t thread;
	pthread_mutex_t big_lock;
	pthread_cond_t changed; /* any of the next four; all are under big_lock */
	unsigned queued;	/* work that QEMU holds for the vCPU */
	unsigned begun, done;
	bool ends;
	void (*work)(void *cpu, uint64_t data);
	uint64_t data;
} vcpu;

static bool asleep, paused; /* written and read by the main loop only */
static __thread bool has_lock;

static bool is_locked(void)
{
	return has_lock;
}

static void lock(const char *file, int line)
{
	(void)file;
	(void)line;
	(void)pthread_mutex_lock(&vcpu.big_lock);
	has_lock = true;
}

static void unlock(void)
{
	has_lock = false;
	(void)pthread_mutex_unlock(&vcpu.big_lock);
}

static void run_on_cpu(void *cpu, void (*work)(void *cpu, uint64_t data), uint64_t data)
{
	CU_ASSERT_PTR_EQUAL(cpu, &world);
	CU_ASSERT_TRUE(has_lock);
	vcpu.work = work;
	vcpu.data = data;
	vcpu.queued++;
	(void)pthread_cond_broadcast(&vcpu.changed);
}

static bool runstate_check(int run_state)
{
	return asleep && run_state == SUSPENDED;
}

static bool cpu_is_stopped(void *cpu)
{
	CU_ASSERT_PTR_EQUAL(cpu, &world);
	return asleep || paused;
}

/* The vCPU thread has waited for this mutex: it logs an event of its own. */
static void replay_mutex_unlock(void)
{
	const uint8_t event = WARP_ACCOUNT;

	CU_ASSERT_FALSE(has_lock);
	vmft_tap_write(&event, 1);
}

static void replay_mutex_lock(void)
{
	CU_ASSERT_FALSE(has_lock);
}

static void save_instructions(void)
{
	static const uint8_t event[] = {0, 0, 0, 0, 3};

	CU_ASSERT_TRUE(has_lock);
	for (size_t i = 0; i < sizeof(event); i++)
		vmft_tap_write(event + i, 1);
}

/* As rr_wait_io_event() in QEMU. */
static void *vcpu_thread(void *unused)
{
	(void)unused;
	lock("", 0);
	while (!vcpu.ends) {
		if (vcpu.queued == 0) {
			(void)pthread_cond_wait(&vcpu.changed, &vcpu.big_lock);
			continue;
		}
		vcpu.queued--;
		vcpu.begun++;
		vcpu.work(&world, vcpu.data);
		vcpu.done++;
	}
	unlock();
	return NULL;
}

/* Waits until the vCPU thread has nothing to do, or is kept from it. Returns how many turns it has
 * had so far. */
static unsigned turns(void)
{
	for (;;) {
		unsigned done;
		bool rests;

		lock("", 0);
		done = vcpu.done;
		rests = vcpu.queued == 0 && vcpu.begun == done;
		unlock();
		if (rests || atomic_load(&vmft_turns.vcpu) == VMFT_TURNS_WAITS)
			return done;
		(void)sched_yield();
	}
}

static void main_loop_waits(void)
{
	const struct timespec none = {0};

	(void)vmft_agent.strategy->wait(NULL, 0, &none, NULL);
}

static void up(void)
{
	static struct world_qemu played;

	world_up(0, NULL, 0);
	played = world_qemu;
	played.qemu_mutex_iothread_locked = is_locked;
	played.qemu_mutex_lock_iothread_impl = lock;
	played.qemu_mutex_unlock_iothread = unlock;
	played.async_run_on_cpu = run_on_cpu;
	played.runstate_check = runstate_check;
	played.cpu_is_stopped = cpu_is_stopped;
	played.replay_mutex_unlock = replay_mutex_unlock;
	played.replay_mutex_lock = replay_mutex_lock;
	played.replay_save_instructions = save_instructions;
	world_use_qemu(&played);
	atomic_store(&vmft_agent.armed, true);
	memset(&vcpu, 0, sizeof(vcpu));
	(void)pthread_mutex_init(&vcpu.big_lock, NULL);
	(void)pthread_cond_init(&vcpu.changed, NULL);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&vcpu.thread, NULL, vcpu_thread, NULL), 0);
	asleep = paused = false;
}

static void down(void)
{
	lock("", 0);
	vcpu.ends = true;
	(void)pthread_cond_broadcast(&vcpu.changed);
	unlock();
	(void)pthread_join(vcpu.thread, NULL);
	world_down();
}

static void test_has_no_turn(void)
{
	up();
	(void)vmft_tap_open(0);
	world.events = true; /* a packet for the guest */
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 1);

	asleep = paused = true;
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 1);
	main_loop_waits(); /* its packet waits, and no work is queued each time */
	CU_ASSERT_EQUAL(turns(), 1);
	/* Its alarm: the guest runs, its machine is reset. */
	asleep = false;
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 1);
	/* Awake: the work that kept the thread is done, and the packet's. */
	paused = false;
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 3);

	asleep = paused = true; /* it sleeps again */
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 3);
	asleep = paused = false;
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 5);
	down();
}

static void test_backup_has(void)
{
	up();
	asleep = paused = true;
	main_loop_waits();
	CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_FREE);
	/* It goes live. */
	(void)vmft_tap_open(0);
	main_loop_waits();
	CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_WAITS);
	asleep = paused = false;
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 1);
	down();
}

static void test_inside_another_wait(void)
{
	up();
	(void)vmft_tap_open(0);
	asleep = paused = true;
	lock("", 0);
	main_loop_waits();
	CU_ASSERT_EQUAL(vcpu.queued, 0);
	unlock();
	CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_FREE);
	main_loop_waits();
	CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_WAITS);
	/* Its machine is reset: a device waits for its disk. */
	asleep = false;
	lock("", 0);
	paused = false;
	main_loop_waits();
	CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_WAITS);
	unlock();
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 1);
	down();
}

static void log_is(const uint8_t *want, size_t n)
{
	uint8_t logged[16];

	CU_ASSERT_EQUAL(atomic_load(&vmft_agent.iface->log_head), n);
	vmft_ring_read(&vmft_agent.ring, 0, logged, n);
	CU_ASSERT_EQUAL(memcmp(logged, want, n), 0);
}

/* The main loop has found that the vCPU has asked for it. */
static void main_loop_logs(uint8_t event)
{
	lock("", 0);
	vmft_tap_write(&event, 1);
	CU_ASSERT_TRUE(has_lock);
}

static void test_before_a_pause(void)
{
	for (uint8_t event = RESET_REQUESTED; event <= SUSPEND_REQUESTED; event++) {
		const uint8_t want[] = {WARP_ACCOUNT, 0, 0, 0, 0, 3, event};

		up();
		(void)vmft_tap_open(0);
		world.now = 1; /* its clock is not looked at */
		paused = true; /* by itself */
		main_loop_logs(event);
		log_is(want, sizeof(want));
		CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_WAITS);
		unlock();
		asleep = event == SUSPEND_REQUESTED;
		main_loop_waits();
		CU_ASSERT_EQUAL(turns(), 0);
		asleep = paused = false;
		main_loop_waits();
		CU_ASSERT_EQUAL(turns(), 1);
		down();
	}
}

/* It is not the vCPU that has asked for it: QEMU will wait for its thread to pause. */
static void test_not_paused_yet(void)
{
	up();
	(void)vmft_tap_open(0);
	main_loop_logs(RESET_REQUESTED);
	CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_FREE);
	unlock();
	CU_ASSERT_EQUAL(turns(), 1);
	down();
}

/* There is no backup that replays it. */
static void test_log_not_kept(void)
{
	up();
	(void)vmft_tap_open(0);
	vmft_agent_stop_keeping();
	paused = true;
	main_loop_logs(RESET_REQUESTED);
	unlock();
	CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_FREE);
	CU_ASSERT_EQUAL(turns(), 0);
	down();
}

/* The main loop has resumed it, and stops the guest for good before it waits. */
static void test_stopped_meanwhile(void)
{
	up();
	(void)vmft_tap_open(0);
	paused = true;
	world.idle = true;
	main_loop_logs(RESET_REQUESTED);
	CU_ASSERT_EQUAL(atomic_load(&vmft_turns.vcpu), VMFT_TURNS_WAITS);
	world.stopped = true;
	world.idle = false;
	unlock();
	while (atomic_load(&vmft_turns.vcpu) == VMFT_TURNS_WAITS)
		(void)sched_yield();
	CU_ASSERT_EQUAL(turns(), 1);
	down();
}

int vmft_suite_turns(void)
{
	CU_pSuite suite = CU_add_suite("turns", NULL, NULL);

	if (!suite || !CU_add_test(suite, "no turn until it is awake", test_has_no_turn) ||
	    !CU_add_test(suite, "a backup, and when it goes live", test_backup_has) ||
	    !CU_add_test(suite, "inside another wait", test_inside_another_wait) ||
	    !CU_add_test(suite, "before a reset and a sleep", test_before_a_pause) ||
	    !CU_add_test(suite, "not paused yet", test_not_paused_yet) ||
	    !CU_add_test(suite, "the log is not kept", test_log_not_kept) ||
	    !CU_add_test(suite, "stopped for good meanwhile", test_stopped_meanwhile))
		return -1;
	return 0;
}
