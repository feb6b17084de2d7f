/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "ground.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"

void vmft_agent_say(const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	(void)dprintf(STDERR_FILENO, "vmft-agent: %s\n", text);
}

uint64_t vmft_agent_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* QEMU's threads rely on receiving its signals; ours must take none of them. */
int vmft_agent_thread(pthread_t *ret, void *(*run)(void *), void *user)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(ret, NULL, run, user);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

void vmft_agent_must_thread(pthread_t *ret, void *(*run)(void *))
{
	int rc = vmft_agent_thread(ret, run, NULL);

	if (rc != 0) {
		vmft_agent_say("cannot start a thread: %s", strerror(rc));
		_exit(VMFT_EXIT_INTERNAL);
	}
}

void vmft_agent_ring_monitor(void)
{
	const uint64_t one = 1;

	(void)!vmft_libc_write(vmft_agent.bell_monitor, &one, sizeof(one));
}

void vmft_agent_state_set(enum vmft_agent_state state)
{
	atomic_store_explicit(&vmft_agent.iface->agent_state, state, memory_order_release);
	vmft_agent_ring_monitor();
}

void vmft_agent_broken(const char *what)
{
	if (atomic_load(&vmft_agent.iface->agent_state) == VMFT_AGENT_BROKEN)
		return;
	vmft_agent_say("%s: this guest is not protected any more", what);
	vmft_agent_state_set(VMFT_AGENT_BROKEN);
}

void vmft_agent_sleep(uint32_t seen)
{
	struct vmft_iface *iface = vmft_agent.iface;

	/* The waker bumps the word first and looks at agent_waits second, we count ourselves
	 * first and let the kernel compare the word second: one of the two sees the other. */
	atomic_fetch_add(&iface->agent_waits, 1);
	(void)syscall(SYS_futex, &iface->monitor_futex, FUTEX_WAIT, seen, NULL, NULL, 0);
	atomic_fetch_sub(&iface->agent_waits, 1);
}

void vmft_agent_wake(void)
{
	struct vmft_iface *iface = vmft_agent.iface;

	atomic_fetch_add(&iface->monitor_futex, 1);
	(void)syscall(SYS_futex, &iface->monitor_futex, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void vmft_agent_stop_keeping(void)
{
	if (atomic_exchange(&vmft_agent.logging, false))
		vmft_agent_wake();
}
