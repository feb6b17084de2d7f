/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a recorded guest's time passes: it is kept to the host's; and two faults of QEMU 7.2's
 * -icount shift=auto, seen in what it logs, and what is done about them without a line of QEMU
 * changed.
 *
 * Virtual time is what the guest lives by: instructions executed, times a factor, plus the host's
 * time an idle vCPU has slept (icount_warp_rt()). QEMU corrects the factor only when virtual and
 * real time are a tenth of a second apart (icount_adjust()).
 *
 * All of it but the thread at the end runs between the writing of events, under the replay mutex.
 * What is done about the faults rests on the order in which the main loop does things:
 * main_loop_wait() reads the real-time virtual clock once behind its checkpoint to see which timers
 * are due, and once for how long to wait.
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

#define WARP_WHOLE_NS 1000000 /* an idle time up to this passes for the guest as it passes */
#define WARP_NONE     (-1)
#define LOOK_NS	      2000000 /* the clock of a guest that executes is looked at so often, by either */
#define AHEAD_NS      5000000  /* a guest that is further ahead waits... */
#define WAIT_NS	      1000000L /* ...for so long, each time it is looked at */
#define RUN_NS	      4000000L /* a run of the vCPU is ended after so long */

/*
 * A guest that is ahead of real time and idle.
 *
 * QEMU lets no idle time pass for it until real time has caught up (icount_warp_rt(): "might
 * already be ahead"), and then forgets about it: the timer that ends its idle time has run, nothing
 * makes another, and the main loop sleeps until icount_adjust_rt(), up to a second, or until
 * something else happens. A frame that the guest has put in its card's queue waits for a timer 16
 * us away (-device virtio-net,tx=timer), and the client sends again after 200 ms.
 *
 * So the one reading by which icount_warp_rt() judges is one that lets the idle time pass: all of a
 * short one; of a longer one half, until the guest is not ahead any more. It is logged as any
 * reading, and replayed. The field is stored directly, and only between two events of a thread that
 * holds the replay mutex: whoever else reads that clock while recording holds it too. And only if
 * the second event is certain: behind its timers the main loop may stop the guest
 * (main_loop_should_exit()), which makes another thing of the field (cpu_disable_ticks()).
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

/* Before QEMU's next event is written: what was read for it has been read. */
void vmft_icount_before_event(void)
{
	struct vmft_icount *t = &vmft_icount;

	if (!t->bent)
		return;
	vmft_qemu_time_set(VMFT_QEMU_CLOCK_OFFSET, t->true_offset);
	t->bent = false;
}

/*
 * A run of the vCPU that was allowed before the main loop changed how instructions become time.
 *
 * QEMU 7.2's vCPU thread asks how far it is to the next timer of the virtual clock
 * (icount_get_limit()) before it has the replay mutex (icount_prepare_for_run()). If it waits there
 * for a main loop that runs icount_adjust_rt() or icount_warp_rt(), its limit is the one of the old
 * time, and the timer is due in the middle of the run. Recording, it is late; a replayer comes to
 * a halt for good. It leaves the run at each event in it, and from there icount_handle_deadline()
 * kicks its own vCPU for the timer that is due and may not run yet, each time before the vCPU comes
 * to execute anything. So the vCPU is made to leave such a run before its first instruction.
 *
 * How it shows here: a third reading behind the checkpoint is a timer's, and those two are the
 * timers there are. The reader holds the replay mutex and keeps it until all is changed, so the
 * vCPU is in no run. It obeys exit_request when it is in one, and where it drops one otherwise
 * (rr_cpu_thread_fn()) it asks for its limit anew.
 */
static void leave_run(void)
{
	vmft_qemu_vcpu_leave_run();
}

/*
 * The guest's clock is kept to the host's: guest-clock.h has how.
 *
 * The place is the vCPU thread's at CHECKPOINT_WARP_ACCOUNT, which it logs before each run
 * (icount_account_warp_timer()). It holds the replay mutex and the big lock, is in no run, has
 * counted all instructions, and afterwards runs the timers that are due and asks how long it may
 * run. A replayer that has taken this checkpoint out of the log is at the very same point
 * (replay_checkpoint() calls replay_finish_event(), which reads on): there the entry is obeyed.
 *
 * QEMU's own corrections, icount_adjust(), are left in place. They change the factor only if the
 * clock is 50 ms off or more, and both sides do it alike.
 */
static uint64_t cpu_time(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The host's clock as QEMU has it, cpu_get_clock(), stands while the guest is stopped, at an attach
 * point or for a disk that is full. To the guest it is time like any other. */
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

/* No factor is less than one: a guest that executes more than an instruction a nanosecond goes
 * ahead all the same. Its real time passes here. */
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

/* The guest goes live here. Its clock goes on where it would be had its host not failed, as far as
 * the log that came says where that was; not before what it has read. */
int64_t vmft_icount_goes_on(int64_t guest_ns)
{
	const int64_t now = (int64_t)vmft_agent_now();
	const int64_t base = atomic_load(&vmft_agent.iface->clock_base);

	vmft_icount.anchored = false;
	return base != 0 && now - base > guest_ns ? now - base : guest_ns;
}

/*
 * The machine's clock (mc146818) is made with what second it is (rtc_set_date_from_host()) and with
 * the host's clock at that moment, in ns, from which on it counts: so it is late by the part of the
 * second that had passed, for ever. What QEMU reads while it makes the machine is therefore one
 * whole second. It is logged, as any reading.
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
 * A run that nothing ends is ended: by a timer of the guest it may be far off if the guest executes
 * more slowly than it did a moment ago. The vCPU obeys exit_request in a run, and where it drops
 * one otherwise it comes round as well; any thread of QEMU's may set it, and RCU's does.
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
			/* We say that we wait, then let the kernel compare; turn_begins() clears
			 * rests, then looks whether we wait. */
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

/* The main loop logs this one only while the vCPU has nothing to do (icount_start_warp_timer()). */
static void rest_begins(struct vmft_icount *t)
{
	t->rested = true;
	atomic_store(&t->rests, 1);
}

/* Behind a piece of what QEMU has logged. */
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
		/* Which timers run is known now; icount_timer_cb() reads next, if it does. */
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
 * The main loop is about to wait, without locks. An idle vCPU for whose next timer nobody has set
 * an alarm (above): the loop must come round, icount_start_warp_timer() sets one. Once: should
 * there be a reason that it does not, the loop may not spin.
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
