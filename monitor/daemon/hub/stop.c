/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "stop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "monitor.h"

static enum vmft_stop_step of_primary(const struct vmft_core *core, bool may_hand_over)
{
	switch (core->state) {
	case VMFT_STATE_FORMING:
		return VMFT_STOP_LEAVE;
	case VMFT_STATE_HANDING_OVER:
	case VMFT_STATE_HANDED_OVER:
	case VMFT_STATE_ARBITRATING:
	case VMFT_STATE_SHIPPING:
	case VMFT_STATE_ENDED:
		return VMFT_STOP_WAIT;
	case VMFT_STATE_PROTECTED:
	case VMFT_STATE_LAGGING:
		return may_hand_over ? VMFT_STOP_HAND_OVER : VMFT_STOP_END_GUEST;
	default:
		return VMFT_STOP_END_GUEST;
	}
}

/* From draining on this backup has the only copy of a guest that its clients use. So it goes live
 * first; a live guest can be ended in order. */
static enum vmft_stop_step of_backup(const struct vmft_core *core, uint64_t asked_ns)
{
	switch (core->state) {
	case VMFT_STATE_FORMING:
	case VMFT_STATE_ATTACHING:
		return VMFT_STOP_LEAVE;
	case VMFT_STATE_PROTECTED:
		return asked_ns < VMFT_STOP_TOGETHER_NS ? VMFT_STOP_WAIT : VMFT_STOP_LEAVE;
	default:
		return VMFT_STOP_WAIT;
	}
}

enum vmft_stop_step vmft_stop_step(const struct vmft_core *core, uint64_t asked_ns,
				   bool may_hand_over)
{
	return core->side == VMFT_SIDE_PRIMARY ? of_primary(core, may_hand_over)
					       : of_backup(core, asked_ns);
}

/* A guest that a drill has frozen could not end, so it is thawed. */
static void end_guest(struct vmft_monitor *m)
{
	if (m->stop.ordered || m->guest_gone)
		return;
	m->stop.ordered = true;
	atomic_store(&m->agent.iface->freeze, 0);
	atomic_store(&m->agent.iface->stop, 1);
	vmft_agent_link_wake(&m->agent);
	vmft_agent_link_ring(&m->agent);
}

static void ask(struct vmft_monitor *m, const char *whom)
{
	if (m->stop.asked)
		return;
	m->stop.asked = true;
	m->stop.since = vmft_loop_now();
	vmft_journal_say(&m->journal, "%s was told to stop, so this side of the VM stops", whom);
}

void vmft_stop_look(struct vmft_monitor *m)
{
	const struct vmft_event_in stopped = {.kind = VMFT_IN_STOPPED};
	const uint32_t count = atomic_load(&m->agent.iface->stop_asked);

	if (count != m->stop.seen)
		ask(m, "QEMU");
	m->stop.seen = count;
	/* A hand-over that has begun runs to its end, whoever asked for it. */
	if (!m->stop.asked || vmft_handover_is_on(&m->handover))
		return;
	switch (vmft_stop_step(&m->core, vmft_loop_since(m->stop.since, vmft_loop_now()),
			       m->config.on_stop == VMFT_ON_STOP_HAND_OVER && !m->stop.tried)) {
	case VMFT_STOP_WAIT:
		break;
	case VMFT_STOP_LEAVE:
		vmft_monitor_event(m, &stopped);
		break;
	case VMFT_STOP_END_GUEST:
		end_guest(m);
		break;
	case VMFT_STOP_HAND_OVER:
		m->stop.tried = true;
		(void)vmft_handover_begin(&m->handover, NULL, NULL);
		break;
	}
}

/* --- the monitor's own signals ---------------------------------------------- */

static void on_signal(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;
	struct signalfd_siginfo info;

	(void)result;
	if (read(m->stop.fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		ask(m, "the monitor");
		vmft_stop_look(m);
	}
	vmft_loop_poll(m->loop, op, m->stop.fd, POLLIN);
}

int vmft_stop_open(struct vmft_monitor *m)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	m->stop.op = (struct vmft_op){.done = on_signal, .owner = m};
	m->stop.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return m->stop.fd < 0 ? -errno : 0;
}

void vmft_stop_watch(struct vmft_monitor *m)
{
	vmft_loop_poll(m->loop, &m->stop.op, m->stop.fd, POLLIN);
}
