/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: when the vCPU thread has no turn while QEMU records.
 *
 * QEMU's main loop resets the machine, lets the guest fall asleep, and wakes it
 * (main_loop_should_exit()). It pauses the vCPUs before each of these. In pause_all_vcpus() it
 * releases the replay mutex and the big lock for a moment and takes them again. If the vCPU thread
 * waits for the replay mutex at that moment, it has its turn: the run state is RUNNING, so it logs
 * CHECKPOINT_WARP_ACCOUNT, and logs and carries out the packets and disk completions that wait. It
 * waits for the mutex there after it has paused itself, and whenever work was queued for it, for
 * example because a packet arrived for a guest that sleeps.
 *
 * Nothing makes a replayer keep this order: its vCPU thread is paused already, so its main loop
 * does not wait for it either. If the main loop is first there, then
 *
 *   - a guest falls asleep, and the vCPU thread of a sleeper does not read CHECKPOINT_WARP_ACCOUNT;
 *   - a guest that wakes up or is reset gets old readings of the host's clock, and the timers of
 * its devices are set by an older time of the guest. A timer is due before an event of the log that
 *     the vCPU has to reach.
 *
 * Either way the replay stands still for good.
 *
 * So the vCPU thread waits here during these operations, without any lock of QEMU's. It comes
 * before the main loop logs that the guest has asked for a reset or for sleep, and at the latest
 * before the first wait of the main loop in which the guest sleeps (the guest may have fallen
 * asleep on another host). It goes when the main loop waits and the vCPUs are resumed. What it has
 * to log meanwhile waits in QEMU's queue. The log has nothing of it between, and a replaying vCPU
 * thread that has a turn between finds nothing to act on.
 *
 * Nothing in QEMU waits for the thread meanwhile: its vCPU is paused already, and TCG queues what
 * it wants of a vCPU thread without waiting for the result.
 */
#define _GNU_SOURCE
#include "turns.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "monitor/agent/qemu/port.h"
#include "power.h"
#include "tap.h"

#define LOOK_NS 50000000L

struct vmft_turns vmft_turns;

static void set(unsigned state)
{
	atomic_store(&vmft_turns.vcpu, state);
	(void)syscall(SYS_futex, &vmft_turns.vcpu, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void wait_for_change(unsigned state)
{
	const struct timespec look = {.tv_nsec = LOOK_NS};

	(void)syscall(SYS_futex, &vmft_turns.vcpu, FUTEX_WAIT_PRIVATE, state, &look, NULL, 0);
}

/*
 * The main loop has resumed the vCPUs and stops the guest before it waits, for example because this
 * side is fenced (vm_stop()). It waits for the vCPU thread then. The run states are those in which
 * the guest was before. Who goes by mistake, for a sleeper that is stopped for an attach point,
 * logs nothing in this run state and comes again.
 */
static bool is_awaited(void)
{
	return !vmft_qemu_guest_runs() && !vmft_power_is_asleep() && vmft_qemu_vcpu_is_called();
}

/* The vCPU thread. It has paused itself if QEMU has told it to: that comes before queued work
 * (qemu_wait_io_event_common()). If it is not paused, QEMU will wait for it. */
static void come_and_wait(void)
{
	if (!vmft_qemu_vcpu_is_stopped()) {
		set(VMFT_TURNS_FREE);
		return;
	}
	set(VMFT_TURNS_WAITS);
	while (atomic_load(&vmft_turns.vcpu) == VMFT_TURNS_WAITS) {
		wait_for_change(VMFT_TURNS_WAITS);
		if (is_awaited())
			set(VMFT_TURNS_FREE);
	}
}

/* The main loop, without locks. The vCPU thread comes soon: it executes nothing, or only what it
 * executes while the main loop waits for the replay mutex. */
static void call(void)
{
	atomic_store(&vmft_turns.vcpu, VMFT_TURNS_CALLED);
	vmft_qemu_vcpu_call(come_and_wait);
	while (atomic_load(&vmft_turns.vcpu) == VMFT_TURNS_CALLED)
		wait_for_change(VMFT_TURNS_CALLED);
}

static bool vcpu_is_here(void)
{
	return atomic_load(&vmft_turns.vcpu) != VMFT_TURNS_FREE;
}

/* A timer that wakes the guest runs after this wait of the main loop, so the vCPU thread of a
 * sleeper is here before the wait begins. */
bool vmft_turns_before_wait(void)
{
	/* A main loop that waits inside aio_poll() holds the big lock. The vCPU thread could not
	 * come, and the guest cannot wake up during such a wait. */
	if (!vmft_tap.stream || getpid() != gettid() || vmft_qemu_is_locked())
		return vcpu_is_here();
	if (vcpu_is_here() && !vmft_qemu_vcpu_is_stopped())
		set(VMFT_TURNS_FREE);
	else if (!vcpu_is_here() && vmft_power_is_asleep())
		call();
	return vcpu_is_here();
}

/*
 * The main loop may release its locks here, because it releases them directly after the event too,
 * in pause_all_vcpus(). QEMU has logged the instructions that were executed before the event; those
 * that the vCPU has executed here are logged now.
 */
void vmft_turns_before_pause(void)
{
	if (vcpu_is_here())
		return;
	vmft_qemu_locks_release();
	call();
	vmft_qemu_locks_take();
	vmft_qemu_instructions_log();
}
