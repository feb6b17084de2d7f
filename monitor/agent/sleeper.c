/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lockstep: a guest that sleeps while QEMU records.
 *
 * QEMU wakes a sleeper in its main loop: a timer sets the run state to RUNNING, and then
 * main_loop_should_exit() pauses the vCPUs, resets the machine and resumes the vCPUs. In
 * pause_all_vcpus() the main loop releases the replay mutex and the big lock and takes both again.
 * The vCPUs of a sleeper are paused already, so it waits for nothing there. If the vCPU thread
 * waits for the replay mutex at that moment, it has its turn before the reset: the run state is
 * RUNNING, so it logs and carries out the packets that arrived during the sleep, and logs
 * CHECKPOINT_WARP_ACCOUNT. It waits for the mutex then whenever work was queued for it, for example
 * because such a packet arrived.
 *
 * A replayer's main loop does not wait for its vCPU thread at this place either. It resets the
 * machine first, gets old readings of the host's clock, and sets the timers of its devices by an
 * older time of the guest. Then a timer is due before an event of the log that the vCPU has to
 * reach, and the replay stands still.
 *
 * So the log must have nothing of the vCPU thread between the wake-up and the end of the reset.
 * From the first wait of the main loop in which the guest sleeps, the vCPU thread waits here,
 * without any lock of QEMU's. It waits until the guest is awake and its vCPUs are resumed. The
 * packets wait for it in QEMU's queue. Nothing in QEMU waits for it meanwhile: a paused vCPU need
 * not be paused, and TCG queues what it wants of a vCPU thread without waiting for the result.
 */
#define _GNU_SOURCE
#include "sleeper.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "monitor/agent/qemu/port.h"
#include "power.h"
#include "tap.h"

struct vmft_sleeper vmft_sleeper;

static void set(unsigned state)
{
	atomic_store(&vmft_sleeper.vcpu, state);
	(void)syscall(SYS_futex, &vmft_sleeper.vcpu, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void wait_while(unsigned state)
{
	while (atomic_load(&vmft_sleeper.vcpu) == state)
		(void)syscall(SYS_futex, &vmft_sleeper.vcpu, FUTEX_WAIT_PRIVATE, state, NULL, NULL,
			      0);
}

/* The vCPU thread. */
static void come_and_wait(void)
{
	set(VMFT_SLEEPER_WAITS);
	wait_while(VMFT_SLEEPER_WAITS);
}

/*
 * A timer that wakes the guest runs after this wait of the main loop, so the vCPU thread must be
 * here before the wait begins. It comes soon: the guest sleeps, so the thread executes nothing, and
 * the main loop holds no lock that it needs.
 */
static void call(void)
{
	atomic_store(&vmft_sleeper.vcpu, VMFT_SLEEPER_CALLED);
	vmft_qemu_vcpu_call(come_and_wait);
	wait_while(VMFT_SLEEPER_CALLED);
}

static bool vcpu_is_here(void)
{
	return atomic_load(&vmft_sleeper.vcpu) != VMFT_SLEEPER_FREE;
}

bool vmft_sleeper_before_wait(void)
{
	/* A main loop that waits inside aio_poll() holds the big lock. The vCPU thread could not
	 * come, and the guest cannot wake up during such a wait. */
	if (!vmft_tap.stream || getpid() != gettid() || vmft_qemu_is_locked())
		return vcpu_is_here();
	if (vcpu_is_here() && !vmft_qemu_vcpu_is_stopped())
		set(VMFT_SLEEPER_FREE);
	else if (!vcpu_is_here() && vmft_power_is_asleep())
		call();
	return vcpu_is_here();
}
