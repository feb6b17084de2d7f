/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a recorded guest's time passes: two faults of QEMU 7.2's -icount shift=auto, seen in what it
 * logs, and what is done about them without a line of QEMU changed.
 *
 * Virtual time is what the guest lives by: instructions executed, times a factor that
 * icount_adjust() corrects, plus the host's time an idle vCPU has slept (icount_warp_rt()). The
 * factor is corrected when virtual and real time are a tenth of a second apart; so they are.
 *
 * Both halves run between the writing of events, under the replay mutex, and both rest on the
 * order in which the main loop does things: main_loop_wait() reads the real-time virtual clock
 * once behind its checkpoint to see which timers are due, and once for how long to wait.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <string.h>

enum { QEMU_CLOCK_VIRTUAL = 1, QEMU_TIMERS_OF_THE_GUEST = ~1 /* ~QEMU_TIMER_ATTR_EXTERNAL */ };

#define WARP_WHOLE_NS 1000000 /* an idle time up to this passes for the guest as it passes */
#define WARP_NONE     (-1)

static int64_t timers_get(size_t offset)
{
	int64_t value;

	memcpy(&value, vmft_agent.qemu.timers_state + offset, sizeof(value));
	return value;
}

static void timers_set(size_t offset, int64_t value)
{
	memcpy(vmft_agent.qemu.timers_state + offset, &value, sizeof(value));
}

static bool warp_timer_is_due(int64_t now)
{
	const int64_t *expire_time; /* what a QEMUTimer begins with; -1 if it is not set */

	memcpy(&expire_time, vmft_agent.qemu.timers_state + vmft_agent.warp_timer_offset,
	       sizeof(expire_time));
	return *expire_time >= 0 && *expire_time <= now && vmft_agent.qemu.runstate_is_running();
}

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
static void let_idle_time_pass(struct vmft_time *t, int64_t now)
{
	const int64_t since = timers_get(vmft_agent.warp_offset);
	const int64_t idle = now - since;
	int64_t ahead, pass;

	if (since == WARP_NONE || idle <= 0 || !warp_timer_is_due(now))
		return;
	ahead = vmft_agent.qemu.virtual_clock() - now;
	pass = idle / 2 > WARP_WHOLE_NS ? idle / 2 : idle < WARP_WHOLE_NS ? idle : WARP_WHOLE_NS;
	if (ahead + pass <= 0)
		return;
	t->true_offset = timers_get(vmft_agent.clock_offset);
	timers_set(vmft_agent.clock_offset, t->true_offset + ahead + pass);
	t->bent = true;
}

/* Before QEMU's next event is written: what was read for it has been read. */
void vmft_time_before_event(void)
{
	struct vmft_time *t = &vmft_agent.time;

	if (!t->bent)
		return;
	timers_set(vmft_agent.clock_offset, t->true_offset);
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
	void *cpu = vmft_agent.qemu.get_cpu(0);

	if (cpu)
		vmft_agent.qemu.cpu_exit(cpu);
}

/* Behind a piece of what QEMU has logged. */
void vmft_time_logged(const struct vmft_log_cursor *cursor)
{
	enum { READS_WITHOUT_TIMER = 2 };
	struct vmft_time *t = &vmft_agent.time;

	if (!vmft_log_cursor_is_between(cursor))
		return;
	switch (cursor->head[0]) {
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
	default:
		t->timers_run = false;
	}
}

/*
 * The main loop is about to wait, without locks. An idle vCPU for whose next timer nobody has set
 * an alarm (above): the loop must come round, icount_start_warp_timer() sets one. Once: should
 * there be a reason that it does not, the loop may not spin.
 */
bool vmft_time_ends_wait(void)
{
	const struct vmft_qemu *q = &vmft_agent.qemu;
	struct vmft_time *t = &vmft_agent.time;

	if (t->asked || !vmft_agent.tap.stream || atomic_load(&vmft_agent.fenced) ||
	    timers_get(vmft_agent.warp_offset) != WARP_NONE || !q->runstate_is_running() ||
	    !q->is_idle() || q->deadline(QEMU_CLOCK_VIRTUAL, QEMU_TIMERS_OF_THE_GUEST) < 0) {
		t->asked = false;
		return false;
	}
	t->asked = true;
	return true;
}
