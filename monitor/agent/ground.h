/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every file of the agent stands on: libc as it is without this library (libc.h), the clock,
 * threads, and the words shared with the monitor by which threads sleep and are woken.
 */
#ifndef VMFT_AGENT_GROUND_H
#define VMFT_AGENT_GROUND_H

#include <pthread.h>
#include <stdint.h>

#include "agent.h"
#include "libc.h"
#include "monitor/interface.h"

/* Prints a line to standard error, with "vmft-agent: " before it. */
void vmft_agent_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t vmft_agent_now(void); /* CLOCK_MONOTONIC, ns */

/* Starts a thread that takes none of QEMU's signals. Returns 0 or a positive errno, as
 * pthread_create() does. */
int vmft_agent_thread(pthread_t *ret, void *(*run)(void *), void *user);
/* The same for a thread that QEMU cannot do without: ends the process if it cannot be started. */
void vmft_agent_must_thread(pthread_t *ret, void *(*run)(void *));

/* Wakes the monitor. Async-signal-safe. */
void vmft_agent_ring_monitor(void);
/* Stores the state for the monitor and wakes it. */
void vmft_agent_state_set(enum vmft_agent_state state);
/* Says why, once, and stores VMFT_AGENT_BROKEN: the guest runs on without protection. */
void vmft_agent_broken(const char *what);

/* Sleeps until the monitor's futex word differs from seen, or vmft_agent_wake() is called. */
void vmft_agent_sleep(uint32_t seen);
void vmft_agent_wake(void);

/* No log and no epoch is kept for a backup any more; a thread that waits for room goes on. Any
 * thread. */
void vmft_agent_stop_keeping(void);

static inline uint32_t vmft_agent_command(void) /* enum vmft_command */
{
	return atomic_load_explicit(&vmft_agent.iface->command, memory_order_acquire);
}

#endif
