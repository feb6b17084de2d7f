/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The signals that tell QEMU to end: SIGTERM, SIGINT, SIGHUP. QEMU's own handlers would make it
 * leave its main loop at once. But the guest belongs to the pair, so the monitor is told instead.
 * It decides (monitor/daemon/hub/stop.h): it orders that QEMU handles the signal as usual, it hands
 * the guest over, or it ends a QEMU that has no guest of its own.
 *
 * If the monitor is gone, QEMU handles the signal as usual.
 */
#define _GNU_SOURCE
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "agent.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"

struct vmft_signals vmft_signals;

static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

/* Does what QEMU's own handler does (termsig_handler() in os-posix.c). Any thread. */
static void pass_on(void)
{
	vmft_qemu_end_by_signal(atomic_load(&vmft_signals.signal), atomic_load(&vmft_signals.pid));
}

/* A signal handler: it only stores to atomics and writes to an eventfd. */
static void on_signal(int number, siginfo_t *info, void *context)
{
	const int error = errno;

	(void)context;
	atomic_store(&vmft_signals.signal, number);
	atomic_store(&vmft_signals.pid, info->si_pid);
	atomic_fetch_add(&vmft_agent.iface->stop_asked, 1);
	if (atomic_load(&vmft_agent.orphaned))
		pass_on();
	else
		vmft_agent_ring_monitor();
	errno = error;
}

/* Returns true if QEMU had set its handlers, which are replaced now. */
static bool take(void)
{
	struct sigaction ours = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	bool qemus = false;

	(void)sigemptyset(&ours.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct sigaction found;

		if (sigaction(numbers[i], NULL, &found) < 0)
			continue;
		if (found.sa_flags & SA_SIGINFO ? found.sa_sigaction == on_signal
						: found.sa_handler == SIG_IGN)
			continue;
		qemus |= (found.sa_flags & SA_SIGINFO) != 0;
		(void)sigaction(numbers[i], &ours, NULL);
	}
	return qemus;
}

/* Called as soon as there is a monitor to tell, before QEMU has set its own handlers: a signal
 * would kill QEMU then, and its guest would count as dead. */
void vmft_signals_arm(void)
{
	vmft_signals.taken = take();
}

/* QEMU sets its handlers after it has made the machine (qemu_init_displays()). */
void vmft_signals_before_wait(void)
{
	if (atomic_load_explicit(&vmft_agent.armed, memory_order_relaxed) && !vmft_signals.taken &&
	    getpid() == gettid())
		vmft_signals.taken = take();
}

/* The monitor was told of a signal and is gone: QEMU handles it. */
void vmft_signals_orphaned(void)
{
	if (atomic_load(&vmft_agent.iface->stop_asked) > 0 && !vmft_signals.passed)
		pass_on();
	vmft_signals.passed = true;
}

void vmft_signals_service(void)
{
	if (vmft_signals.passed || !atomic_load(&vmft_agent.iface->stop))
		return;
	vmft_signals.passed = true;
	pass_on();
}
