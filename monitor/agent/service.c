/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The service thread. It carries out the monitor's commands, sends the frames that may leave, and
 * tells the monitor by agent_beat that QEMU's process is scheduled. It holds none of QEMU's locks
 * and never waits for QEMU: what needs QEMU's locks it schedules for the main loop.
 */
#define _GNU_SOURCE
#include "service.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "agent.h"
#include "announce.h"
#include "disk.h"
#include "gate.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "monitor/common/exit-codes.h"
#include "monitor/interface.h"
#include "power.h"
#include "requests.h"
#include "signals.h"
#include "strategy.h"

#define SERVICE_TICK_MS 20

struct service {
	pthread_t thread;
	uint32_t obeyed; /* the last command that was carried out */
};

static struct service vmft_service;

static void fence(const char *why)
{
	if (atomic_exchange(&vmft_agent.fenced, true))
		return;
	vmft_agent_say("%s: the guest is stopped for good and emits nothing", why);
	vmft_gate_mode_changed();
	vmft_agent_wake();
	vmft_qemu_stop_for_good();
	vmft_agent_state_set(VMFT_AGENT_FENCED);
}

static void open_gate(void)
{
	vmft_gate_open();
	vmft_agent_stop_keeping();
}

/*
 * The monitor is gone. A protected primary gets no acknowledgements any more and cannot ask the
 * arbiter, and the backup takes over when it sees that the connection is closed: so the primary
 * stops. A guest that is alone has won its generation, and nobody else can win it: it goes on. A
 * backup's QEMU cannot go live without a monitor: it ends.
 */
static void orphaned(void)
{
	uint32_t state = atomic_load(&vmft_agent.iface->agent_state);
	uint32_t code = atomic_load(&vmft_agent.iface->exit_code);

	if (atomic_exchange(&vmft_agent.orphaned, true))
		return;
	vmft_signals_orphaned();
	if (state == VMFT_AGENT_ENDED) {
		vmft_agent.strategy->orphaned(state);
		return;
	}
	if (atomic_load(&vmft_agent.open)) {
		/* The log of an attach that is under way would fill the ring: nobody reads it. */
		vmft_agent_stop_keeping();
		vmft_agent.strategy->orphaned(state);
		vmft_agent_say("the monitor is gone: the guest goes on, unprotected");
		return;
	}
	if (state == VMFT_AGENT_ABSENT || state == VMFT_AGENT_WAITING ||
	    state == VMFT_AGENT_REPLAYING || state == VMFT_AGENT_STANDBY) {
		vmft_agent_say("the monitor is gone before this side was live: QEMU ends");
		_exit(code ? (int)code : VMFT_EXIT_INTERNAL);
	}
	fence("the monitor is gone");
}

static void end(void)
{
	/* The guest's last output that the backup has acknowledged leaves first. */
	(void)vmft_gate_service();
	vmft_agent.strategy->end(atomic_load(&vmft_agent.iface->exit_code));
}

/* Carries out a command when it changes, not whenever it has a value: after an attach point the log
 * is kept although the command is still OPEN. */
static void obey(void)
{
	uint32_t command = vmft_agent_command();
	uint32_t state = atomic_load(&vmft_agent.iface->agent_state);

	if (command == vmft_service.obeyed)
		return;
	/* A backup's guest emits nothing and its monitor ends it: nothing to fence. */
	if (command == VMFT_COMMAND_FENCE && state != VMFT_AGENT_REPLAYING &&
	    state != VMFT_AGENT_STANDBY)
		fence("the other side is live");
	else if (command == VMFT_COMMAND_END)
		end();
	else if (state == VMFT_AGENT_WAITING &&
		 (command == VMFT_COMMAND_OPEN || command == VMFT_COMMAND_RUN))
		vmft_agent.strategy->start(command == VMFT_COMMAND_OPEN);
	else if (command == VMFT_COMMAND_OPEN && state != VMFT_AGENT_STANDBY)
		open_gate();
	else if (command == VMFT_COMMAND_RUN && atomic_load(&vmft_agent.logging) &&
		 atomic_load(&vmft_agent.open))
		vmft_gate_close();
	vmft_service.obeyed = command;
}

static void *service(void *unused)
{
	int tap = -1;

	(void)unused;
	for (;;) {
		struct pollfd fds[3] = {
		    {.fd = vmft_agent.bell_agent, .events = POLLIN},
		    {.fd = tap, .events = POLLOUT},
		    {.fd = atomic_load(&vmft_agent.orphaned) ? -1 : vmft_agent.lifeline,
		     .events = POLLIN},
		};
		uint64_t rung;

		(void)poll(fds, 3, SERVICE_TICK_MS);
		if (fds[0].revents & POLLIN)
			(void)!vmft_libc_read(vmft_agent.bell_agent, &rung, sizeof(rung));
		/* Before frames leave: if the monitor is gone, the backup may be about to go
		 * live. */
		if (fds[2].revents & (POLLHUP | POLLERR))
			orphaned();
		obey();
		vmft_announce_service();
		vmft_agent.strategy->service();
		vmft_requests_service();
		vmft_disk_service();
		vmft_signals_service();
		vmft_gate_keep_service();
		vmft_power_service();
		tap = vmft_gate_service();
		atomic_fetch_add_explicit(&vmft_agent.iface->agent_beat, 1, memory_order_relaxed);
	}
	return NULL;
}

void vmft_service_start(void)
{
	vmft_agent_must_thread(&vmft_service.thread, service);
}
