/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The time of a recorded guest. It is kept to the host's time, and two faults of -icount shift=auto
 * in QEMU 7.2 are worked around: this file sees them in what QEMU logs, and changes no code of
 * QEMU.
 *
 * The guest's time is virtual time: the instructions executed, times a factor, plus the host's time
 * that an idle vCPU has slept (icount_warp_rt()). QEMU corrects the factor only when virtual and
 * real time are a tenth of a second apart (icount_adjust()).
 *
 * Everything except the thread that ends runs is called between two events that QEMU logs, under
 * the replay mutex. The workarounds rely on the order of the main loop: after its checkpoint,
 * main_loop_wait() reads the real-time virtual clock once to find the timers that are due, and once
 * to find how long to wait.
 */
#define _GNU_SOURCE
#include "icount.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "tap.h"

struct vmft_icount vmft_icount;

#define WARP_WHOLE_NS 1000000 /* idle time up to this passes in full */
#define WARP_NONE     (-1)
#define LOOK_NS	      2000000 /* how often the clock of a busy guest is looked at, by either clock */
#define AHEAD_NS      5000000  /* a guest that is further ahead of the host's clock waits... */
#define WAIT_NS	      1000000L /* ...for so long, each time its clock is looked at */
#define RUN_NS	      4000000L /* a run of the vCPU is ended after so long */

/*
 * The first fault: a guest that is idle and ahead of real time sleeps too long.
 *
 * QEMU lets no idle time pass for such a guest until real time has caught up (icount_warp_rt():
 * "might already be ahead"). But the timer that ends the idle time has run by then, and nothing
 * sets it again: the main loop sleeps until icount_adjust_rt(), up to a second, or until something
 * else happens. A frame in the queue of the guest's card waits for a timer that is 16 us away
 * (-device virtio-net,tx=timer), and the client repeats its request after 200 ms.
 *
 * So the clock is bent for the one reading by which icount_warp_rt() decides, so that idle time
 * passes: all of a short one, half of a longer one, until the guest is not ahead any more. The
 * reading is logged and replayed like any other.
 *
 * The field is stored directly, and only between two events of a thread that holds the replay
 * mutex: every other thread that reads this clock while QEMU records holds it too. The clock is
 * bent only if the next reading is certain: after its timers the main loop may stop the guest
 * (main_loop_should_exit()), and cpu_disable_ticks() would use the bent offset.
 */
static void let_idle_time_pass(struct vmft_icount *t, int64_t now)
{
	const int64_t since = vmft_qemu_time_get(VMFT_QEMU_IDLE_SINCE);
	const int64_t idle = now - since;
	int64_t ahead, pass;

	if (since == WARP_NONE || idle <= 0 || !vmft_qemu_idle_time_is_over(now))
		return;
	ahead = vmft_qemu_guest_ns() - now;
	pass = idle / 2 > WARP_WHOLE_NS ? idle / 2 : idle < WARP_WHOLE_NS ? idle : WARP_WHOLE_NS;
	if (ahead + pass <= 0)
		return;
	t->true_offset = vmft_qemu_time_get(VMFT_QEMU_CLOCK_OFFSET);
	vmft_qemu_time_set(VMFT_QEMU_CLOCK_OFFSET, t->true_offset + ahead + pass);
	t->bent = true;
}

/* QEMU has read the clock for the event that it writes next. */
void vmft_icount_before_event(void)
{
	struct vmft_icount *t = &vmft_icount;

	if (!t->bent)
		return;
	vmft_qemu_time_set(VMFT_QEMU_CLOCK_OFFSET, t->true_offset);
	t->bent = false;
}

/*
 * The second fault: the vCPU begins a run with a limit that is too large.
 *
 * QEMU 7.2's vCPU thread computes how far it is to the next timer of the virtual clock
 * (icount_get_limit()) before it takes the replay mutex (icount_prepare_for_run()). If it waits for
 * the mutex while the main loop runs icount_adjust_rt() or icount_warp_rt(), the limit was computed
 * with the old time, and the timer is due in the middle of the run. While QEMU records, the timer
 * is late. A replayer stops for good: it leaves the run at each event in it, and then
 * icount_handle_deadline() kicks its own vCPU for the timer, which is due but may not run yet, each
 * time before the vCPU executes anything. So the vCPU is made to leave such a run before its first
 * instruction.
 *
 * How it is noticed: a third reading of the clock after the checkpoint is made by a timer, and
 * there are only those two timers. The reader holds the replay mutex until all is changed, so the
 * vCPU is in no run. If a run comes next, the vCPU obeys exit_request in it; where
 * rr_cpu_thread_fn() drops the request, it computes the limit again.
 */
static void leave_run(void)
{
	vmft_qemu_vcpu_leave_run();
}

/*
 * The guest's clock is kept to the host's; monitor/common/guest-clock.h describes the rule.
 *
 * It is set when the vCPU thread logs CHECKPOINT_WARP_ACCOUNT, which it does before each run
 * (icount_account_warp_timer()). The thread holds the replay mutex and the big lock, is in no run
 * and has counted all instructions. After this it runs the timers that are due and computes how
 * long it may run. A replayer that has read this checkpoint from the log is at exactly the same
 * point (replay_checkpoint() calls replay_finish_event(), which reads on): it obeys the entry
 * there.
 *
 * QEMU's own corrections (icount_adjust()) stay. They change the factor only if the clock is off by
 * 50 ms or more, and both sides make the same ones.
 */
static uint64_t cpu_time(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* QEMU stops the host's clock (cpu_get_clock()) while the guest is stopped, at an attach point or
 * for a disk that is full. For the guest this time passes like any other: the offset is put back.
 */
static int64_t host_clock(struct vmft_icount *t, uint64_t now)
{
	if (!t->anchored)
		t->anchor = vmft_qemu_time_get(VMFT_QEMU_CLOCK_OFFSET);
	else if (vmft_qemu_time_get(VMFT_QEMU_CLOCK_OFFSET) != t->anchor)
		vmft_qemu_time_set(VMFT_QEMU_CLOCK_OFFSET, t->anchor);
	t->anchored = true;
	return t->anchor + (int64_t)now;
}

static void set_by_host(struct vmft_icount *t, uint64_t now, bool rested)
{
	struct vmft_clock_entry entry = {.host_ns = host_clock(t, now)};
	struct vmft_guest_clock clock = vmft_qemu_guest_clock();
	uint8_t bytes[VMFT_CLOCK_ENTRY_BYTES];

	if (!vmft_clock_steer(&t->steer, &clock, entry.host_ns, cpu_time(), rested))
		return;
	entry.bias = clock.bias;
	entry.shift = (uint8_t)clock.shift;
	vmft_qemu_guest_clock_set(entry.bias, entry.shift);
	vmft_tap_add(bytes, vmft_clock_entry_encode(&entry, bytes));
}

/* The factor cannot be less than one. So a guest that executes more than one instruction in a
 * nanosecond gets ahead of the host's clock. It waits here for real time to pass. */
static void wait_for_host(const struct vmft_icount *t, uint64_t now)
{
	const struct timespec wait = {.tv_nsec = WAIT_NS};
	const struct vmft_guest_clock clock = vmft_qemu_guest_clock();

	if (vmft_guest_clock_ns(&clock) - (t->anchor + (int64_t)now) > AHEAD_NS)
		(void)nanosleep(&wait, NULL);
}

static void keep_clock(struct vmft_icount *t)
{
	const uint64_t now = vmft_agent_now();
	const struct vmft_guest_clock clock = vmft_qemu_guest_clock();
	const int64_t guest_ns = vmft_guest_clock_ns(&clock);
	const bool rested = t->rested;

	if (!rested && now < t->looked_ns + LOOK_NS && guest_ns < t->looked_guest_ns + LOOK_NS)
		return;
	t->rested = false;
	t->looked_ns = now;
	t->looked_guest_ns = guest_ns;
	set_by_host(t, now, rested);
	if (!rested)
		wait_for_host(t, now);
}

void vmft_icount_replay(const uint8_t *bytes)
{
	struct vmft_clock_entry entry;

	if (vmft_clock_entry_decode(bytes, &entry) < 0)
		vmft_agent_broken("the log sets the guest's clock to what QEMU cannot do");
	else
		vmft_qemu_guest_clock_set(entry.bias, entry.shift);
}

/* The guest goes live on this host. Its clock goes on where it would be if the primary's host had
 * not failed, as far as the log says where it was, but not before the guest's last reading. */
int64_t vmft_icount_goes_on(int64_t guest_ns)
{
	const int64_t now = (int64_t)vmft_agent_now();
	const int64_t base = atomic_load(&vmft_agent.iface->clock_base);

	vmft_icount.anchored = false;
	return base != 0 && now - base > guest_ns ? now - base : guest_ns;
}

/*
 * QEMU makes the machine's clock (mc146818) from the current second (rtc_set_date_from_host()) and
 * the host's clock at this moment in ns, from which it counts. So the machine's clock would always
 * be late by the part of the second that had passed. To avoid that, all readings while the machine
 * is made return the same whole second. They are logged like any reading.
 */
void vmft_icount_time_of_day(struct timeval *tv)
{
	struct vmft_icount *t = &vmft_icount;

	if (t->made)
		return;
	if (t->made_at == 0)
		t->made_at = tv->tv_sec;
	*tv = (struct timeval){.tv_sec = t->made_at};
}

/*
 * A run of the vCPU may take long, if the guest executes more slowly than a moment ago and its next
 * timer is far off. Its clock is looked at only between runs. So a long run is ended by
 * exit_request. Any thread may set it (RCU's does): the vCPU obeys it in a run, and where it drops
 * it otherwise, it is between runs anyway.
 */
static void end_run(void)
{
	if (vmft_tap.stream && !atomic_load(&vmft_agent.fenced) && vmft_qemu_guest_runs())
		vmft_qemu_vcpu_leave_run();
}

static void *end_runs(void *unused)
{
	const struct timespec run = {.tv_nsec = RUN_NS};
	struct vmft_icount *t = &vmft_icount;

	(void)unused;
	for (;;) {
		const unsigned turns = atomic_load(&t->turns);

		(void)nanosleep(&run, NULL);
		if (atomic_load(&t->rests)) {
			/* This thread stores waits, then the kernel compares rests. turn_begins()
			 * clears rests, then reads waits. One of the two sees the other's store. */
			atomic_store(&t->waits, true);
			(void)syscall(SYS_futex, &t->rests, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
			atomic_store(&t->waits, false);
		} else if (atomic_load(&t->turns) == turns) {
			end_run();
		}
	}
	return NULL;
}

void vmft_icount_serve(void)
{
	pthread_t thread;

	atomic_store(&vmft_icount.rests, 1);
	vmft_agent_must_thread(&thread, end_runs);
}

static void turn_begins(struct vmft_icount *t)
{
	atomic_fetch_add_explicit(&t->turns, 1, memory_order_relaxed);
	if (atomic_exchange(&t->rests, 0) && atomic_load(&t->waits))
		(void)syscall(SYS_futex, &t->rests, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	keep_clock(t);
}

/* The main loop logs this event only while the vCPU has nothing to do (icount_start_warp_timer()).
 */
static void rest_begins(struct vmft_icount *t)
{
	t->rested = true;
	atomic_store(&t->rests, 1);
}

void vmft_icount_logged(const struct vmft_log_cursor *cursor)
{
	enum { READS_WITHOUT_TIMER = 2 };
	struct vmft_icount *t = &vmft_icount;

	if (!vmft_log_cursor_is_between(cursor))
		return;
	switch (cursor->kind) {
	case VMFT_EVENT_CHECKPOINT_VIRTUAL_RT:
		t->timers_run = true;
		t->reads = 0;
		return;
	case VMFT_EVENT_CLOCK_HOST:
		return;
	case VMFT_EVENT_CLOCK_VIRTUAL_RT:
		if (!t->timers_run)
			return;
		t->reads++;
		/* QEMU has found the timers that are due. If icount_timer_cb() is one of them, it
		 * makes the next reading. */
		if (t->reads == 1)
			let_idle_time_pass(t, cursor->guest_ns);
		if (t->reads > READS_WITHOUT_TIMER)
			leave_run();
		return;
	case VMFT_EVENT_CHECKPOINT_WARP_START:
		rest_begins(t);
		break;
	case VMFT_EVENT_CHECKPOINT_WARP_ACCOUNT:
		turn_begins(t);
		break;
	case VMFT_EVENT_CHECKPOINT_RESET:
		t->made = true;
		break;
	default:
		break;
	}
	t->timers_run = false;
}

/*
 * If the vCPU is idle and no alarm is set for its next timer (the first fault), the main loop must
 * not wait: in its next round icount_start_warp_timer() sets the alarm. Only once in a row: if the
 * alarm is not set for some other reason, the main loop must not spin.
 */
bool vmft_icount_ends_wait(void)
{
	struct vmft_icount *t = &vmft_icount;

	if (t->asked || !vmft_tap.stream || atomic_load(&vmft_agent.fenced) ||
	    vmft_qemu_time_get(VMFT_QEMU_IDLE_SINCE) != WARP_NONE || !vmft_qemu_guest_runs() ||
	    !vmft_qemu_idles_until_timer()) {
		t->asked = false;
		return false;
	}
	t->asked = true;
	return true;
}
