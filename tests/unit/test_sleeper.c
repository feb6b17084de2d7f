/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A sleeping guest while QEMU records: when its vCPU thread may have a turn. The main loop is this
 * thread, the vCPU thread is one that does the work that is queued for it. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "agent_world.h"
#include "suites.h"

#include "monitor/agent/sleeper.h"
#include "monitor/agent/strategy.h"
#include "monitor/agent/tap.h"

enum { SUSPENDED = 12 };

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
		if (rests || atomic_load(&vmft_sleeper.vcpu) == VMFT_SLEEPER_WAITS)
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
	CU_ASSERT_EQUAL(atomic_load(&vmft_sleeper.vcpu), VMFT_SLEEPER_FREE);
	/* It goes live. */
	(void)vmft_tap_open(0);
	main_loop_waits();
	CU_ASSERT_EQUAL(atomic_load(&vmft_sleeper.vcpu), VMFT_SLEEPER_WAITS);
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
	CU_ASSERT_EQUAL(atomic_load(&vmft_sleeper.vcpu), VMFT_SLEEPER_FREE);
	main_loop_waits();
	CU_ASSERT_EQUAL(atomic_load(&vmft_sleeper.vcpu), VMFT_SLEEPER_WAITS);
	/* Its machine is reset: a device waits for its disk. */
	asleep = false;
	lock("", 0);
	paused = false;
	main_loop_waits();
	CU_ASSERT_EQUAL(atomic_load(&vmft_sleeper.vcpu), VMFT_SLEEPER_WAITS);
	unlock();
	main_loop_waits();
	CU_ASSERT_EQUAL(turns(), 1);
	down();
}

int vmft_suite_sleeper(void)
{
	CU_pSuite suite = CU_add_suite("sleeper", NULL, NULL);

	if (!suite || !CU_add_test(suite, "no turn until it is awake", test_has_no_turn) ||
	    !CU_add_test(suite, "a backup, and when it goes live", test_backup_has) ||
	    !CU_add_test(suite, "inside another wait", test_inside_another_wait))
		return -1;
	return 0;
}
