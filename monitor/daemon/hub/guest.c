/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arbitration.h"
#include "frames.h"
#include "monitor.h"
#include "monitor/common/exit-codes.h"

#define MS UINT64_C(1000000)

/* While the guest is busy the log is looked at this long after the last look. Output that waits
 * rings at once, so this delays only acks that nobody waits for. */
#define PUMP_NS	 (1 * MS)
#define DRAIN_NS (MS / 2)
/* The agent beats every 20 ms; if five beats are missed, QEMU is not scheduled. */
#define BEAT_FRESH_NS (100 * MS)
/* On a slow channel: for what the primary's QEMU still logs when its guest has ended. */
#define GOODBYE_NS (10000 * MS)

/* The first who asks sets the time: events of the core may ask from inside a callback. */
static void pump_in(struct vmft_monitor *m, uint64_t nanoseconds)
{
	if (!m->pump_op.pending)
		vmft_loop_timer(m->loop, &m->pump_op, nanoseconds);
}

static void watch_beat(struct vmft_monitor *m, uint64_t now)
{
	uint64_t beat = atomic_load(&m->agent.iface->agent_beat);

	if (beat != m->agent_beat)
		m->beat_ns = now;
	m->agent_beat = beat;
	vmft_arbitration_ask(m);
}

void vmft_guest_report_replay(struct vmft_monitor *m)
{
	const struct vmft_event_in event = {
	    .kind = VMFT_IN_REPLAYED,
	    .position = m->strategy_ops->applied(m->strategy),
	};

	if (m->core.side != VMFT_SIDE_BACKUP || vmft_core_is_final(&m->core) ||
	    m->core.state == VMFT_STATE_GOING_LIVE)
		return;
	/* Until the state is loaded, the position of the agent is not of this log. */
	if (m->core.state == VMFT_STATE_ATTACHING && !m->sink.loaded)
		return;
	if (event.position != m->core.replayed)
		vmft_monitor_event(m, &event);
}

static void report_live(struct vmft_monitor *m)
{
	if (m->core.side != VMFT_SIDE_BACKUP || m->core.state != VMFT_STATE_GOING_LIVE)
		return;
	m->live_ns = atomic_load(&m->agent.iface->live_at_ns);
	vmft_journal_say(&m->journal, "live: %.1f ms after the arbitration was won",
			 (double)(m->live_ns - m->go_live_ns) / 1e6);
	vmft_shown_live(&m->shown);
	vmft_monitor_simple_event(m, VMFT_IN_LIVE);
	vmft_agent_link_command(&m->agent, VMFT_COMMAND_OPEN);
}

/* The guest has switched itself off. QEMU waits until the last that the guest did is taken. */
static void report_guest_ended(struct vmft_monitor *m)
{
	if (m->guest_ended || m->guest_gone || !vmft_monitor_is_primary(m))
		return;
	m->guest_ended = true;
	vmft_journal_say(&m->journal, "the guest has ended in an orderly way");
	m->strategy_ops->finish(m->strategy, true);
	vmft_monitor_simple_event(m, VMFT_IN_GUEST_ENDED);
	vmft_frames_pump(m);
}

/*
 * Nothing is taken from it any more. But the answer to what it was asked before may still come, and
 * the guest may stand still until the agent is told to forget that: with an epoch in two parts it
 * waits between them.
 */
static void look_at_broken_agent(struct vmft_monitor *m)
{
	if (!vmft_monitor_is_primary(m) || m->broken_op.pending)
		return;
	vmft_attach_source_pump(&m->source);
	m->strategy_ops->look(m->strategy);
}

/* Takes in all that the agent may have to say. The order counts: a disk that failed did so before
 * the output that follows it. */
static void look_at_agent(struct vmft_monitor *m)
{
	const enum vmft_agent_state state = vmft_agent_link_state(&m->agent);

	if (state == VMFT_AGENT_BROKEN) {
		vmft_monitor_agent_broken(m);
		look_at_broken_agent(m);
		return;
	}
	vmft_faults_look_at_disks(m);
	vmft_console_look(&m->console, m->agent.iface, &m->journal);
	if (m->core.side == VMFT_SIDE_BACKUP)
		vmft_attach_sink_look(&m->sink);
	else
		vmft_attach_source_pump(&m->source);
	m->strategy_ops->look(m->strategy);
	vmft_handover_look(&m->handover);
	vmft_faults_look_at_guest(m);
	vmft_guest_report_replay(m);
	if (m->live_ns == 0 && atomic_load(&m->agent.iface->live_at_ns) != 0)
		report_live(m);
	if (m->core.side == VMFT_SIDE_PRIMARY)
		vmft_frames_pump(m);
	if (state == VMFT_AGENT_ENDED && m->strategy_ops->ends_by_command)
		report_guest_ended(m);
}

static bool guest_ended_in_order(const struct vmft_monitor *m)
{
	return vmft_agent_link_state(&m->agent) == VMFT_AGENT_ENDED;
}

static void report_guest_gone(struct vmft_monitor *m)
{
	m->guest_gone = true;
	vmft_journal_say(&m->journal, "QEMU (pid %d) %s", m->options.guest_pid,
			 guest_ended_in_order(m) ? "has ended in an orderly way" : "is gone");
	/* What it logged or staged before it went is still there. */
	look_at_agent(m);
	m->strategy_ops->finish(m->strategy, false);
	if (m->core.side == VMFT_SIDE_BACKUP && m->core.state == VMFT_STATE_PROTECTED &&
	    guest_ended_in_order(m)) {
		m->left_ns = vmft_loop_now();
		return;
	}
	vmft_monitor_simple_event(m, guest_ended_in_order(m) ? VMFT_IN_GUEST_ENDED
							     : VMFT_IN_GUEST_DIED);
	if (m->core.state == VMFT_STATE_SHIPPING)
		vmft_frames_pump(m);
	if (m->core.state == VMFT_STATE_FENCED)
		m->stopping = true;
}

/* The QEMU of this backup has ended before the primary's. The goodbye that follows the rest of the
 * log says that the guest has ended. If this side said so first, the primary would believe that it
 * is alone. */
void vmft_guest_wait_for_goodbye(struct vmft_monitor *m, uint64_t now)
{
	if (m->left_ns == 0 || (m->core.state == VMFT_STATE_PROTECTED &&
				vmft_loop_since(m->left_ns, now) < GOODBYE_NS))
		return;
	m->left_ns = 0;
	vmft_monitor_simple_event(m, VMFT_IN_GUEST_ENDED);
}

/* --- completions ---------------------------------------------------------- */

static void on_bell(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;
	uint64_t count;

	(void)result;
	(void)!read(m->agent.bell_monitor, &count, sizeof(count));
	look_at_agent(m);
	vmft_stop_look(m);
	pump_in(m, PUMP_NS);
	vmft_loop_poll(m->loop, op, m->agent.bell_monitor, POLLIN);
}

static void on_pump(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;
	struct vmft_iface *iface = m->agent.iface;
	const uint64_t before = m->strategy_ops->taken(m->strategy);

	(void)result;
	look_at_agent(m);
	if (vmft_monitor_is_busy(m)) {
		pump_in(m, DRAIN_NS);
		return;
	}
	if (m->strategy_ops->taken(m->strategy) != before) {
		pump_in(m, PUMP_NS);
		return;
	}
	/* The partner of the fence in the agent's publish(): we say that we sleep, then look
	 * once more. */
	atomic_store(&iface->monitor_sleeps, 1);
	look_at_agent(m);
}

static void on_guest_exit(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;

	(void)result;
	report_guest_gone(m);
}

bool vmft_guest_beats(const struct vmft_monitor *m, uint64_t now)
{
	return vmft_loop_since(m->beat_ns, now) < BEAT_FRESH_NS;
}

void vmft_guest_look(struct vmft_monitor *m, uint64_t now)
{
	watch_beat(m, now);
	look_at_agent(m);
}

void vmft_guest_hurry(struct vmft_monitor *m)
{
	pump_in(m, DRAIN_NS);
}

int vmft_guest_watch(struct vmft_monitor *m, struct vmft_error *err)
{
	int rc;

	m->pump_op = (struct vmft_op){.done = on_pump, .owner = m};
	m->bell_op = (struct vmft_op){.done = on_bell, .owner = m};
	m->pidfd_op = (struct vmft_op){.done = on_guest_exit, .owner = m};

	m->pidfd = (int)syscall(SYS_pidfd_open, m->options.guest_pid, 0);
	if (m->pidfd >= 0)
		return 0;
	rc = -errno;
	return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "guest process %d: %s",
			      m->options.guest_pid, strerror(-rc));
}

void vmft_guest_begin(struct vmft_monitor *m)
{
	vmft_loop_poll(m->loop, &m->bell_op, m->agent.bell_monitor, POLLIN);
	vmft_loop_poll(m->loop, &m->pidfd_op, m->pidfd, POLLIN);
	atomic_store(&m->agent.iface->monitor_sleeps, 1);
}
