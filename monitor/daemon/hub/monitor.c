/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor.h"

#include <stdio.h>
#include <string.h>

#include "actions.h"
#include "arbitration.h"
#include "guest.h"
#include "lag-control.h"

#define MS UINT64_C(1000000)

#define TICK_NS (20 * MS)
/* How long this side lives on when its work is over. If the network does not take the goodbye
 * within this time, it is given up: the peer will notice the closed connection, or the silence. */
#define FLUSH_NS (2000 * MS)

/* --- the core is stepped -------------------------------------------------- */

static void announce_state(struct vmft_monitor *m, const struct vmft_core *before)
{
	const struct vmft_core *core = &m->core;

	m->state_ns = vmft_loop_now();
	/* Of a pair that lags or hands over, others write a line that says more. */
	vmft_journal_state(&m->journal, before, core,
			   vmft_core_is_paired(core) && vmft_core_is_paired(before));
}

static void raise_alarm(struct vmft_monitor *m, const struct vmft_core *before)
{
	const enum vmft_alarm_event event = vmft_alarm_of(before, &m->core);
	/* Alone or live by the arbiter's answer: the reason is why the arbiter was asked. */
	const enum vmft_why why =
	    event == VMFT_ALARM_ALONE || event == VMFT_ALARM_LIVE ? m->core.lost : m->core.why;
	char text[VMFT_ALARM_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%s, generation %llu%s%s",
		       vmft_state_name(m->core.state), (unsigned long long)m->core.generation,
		       why == VMFT_WHY_NONE ? "" : ": ",
		       why == VMFT_WHY_NONE ? "" : vmft_why_text(why));
	vmft_alarm_raise(m->alarm, event, text);
}

/* While there is no backup, the strategy takes nothing for one. */
static void tell_strategy(struct vmft_monitor *m)
{
	switch (m->core.state) {
	case VMFT_STATE_ATTACHING:
	case VMFT_STATE_SEALING:
	case VMFT_STATE_PROTECTED:
	case VMFT_STATE_LAGGING:
	case VMFT_STATE_SHIPPING:
	case VMFT_STATE_HANDING_OVER:
	case VMFT_STATE_HANDED_OVER:
		break;
	default:
		if (vmft_monitor_is_primary(m))
			m->strategy_ops->halt(m->strategy);
	}
}

/* After the pair there is nothing to save. What was held is written before this side leaves. */
static void tell_saver(struct vmft_monitor *m)
{
	if (vmft_monitor_is_primary(m) || vmft_core_is_final(&m->core) ||
	    m->core.state == VMFT_STATE_GOING_LIVE)
		vmft_saver_end(&m->saver);
}

bool vmft_monitor_is_busy(const struct vmft_monitor *m)
{
	switch (m->core.state) {
	case VMFT_STATE_DRAINING:
	case VMFT_STATE_ENDING:
	case VMFT_STATE_GOING_LIVE:
	case VMFT_STATE_HANDING_OVER:
		return true;
	default:
		return false;
	}
}

/* What a side is at the moment, for its log lines; NULL: it is out of the pair for good. */
static const char *role_of(const struct vmft_core *core)
{
	switch (core->state) {
	case VMFT_STATE_FENCED:
	case VMFT_STATE_DIVERGED:
	case VMFT_STATE_ENDED:
		return NULL;
	default:
		return vmft_side_name(core->side);
	}
}

static void step(struct vmft_monitor *m, const struct vmft_event_in *event)
{
	const struct vmft_core before = m->core;
	struct vmft_actions todo;

	vmft_core_step(&m->core, event, &todo);
	m->journal.role = role_of(&m->core);
	vmft_actions_carry_out(m, &todo);
	if (m->core.state != before.state) {
		vmft_history_step(&m->history, &before, &m->core, vmft_loop_now());
		announce_state(m, &before);
		raise_alarm(m, &before);
		tell_strategy(m);
		vmft_attaching_state(m, before.state);
		tell_saver(m);
		vmft_handover_state(&m->handover, &before);
		if (vmft_monitor_is_primary(m))
			vmft_peer_look_for_backup(&m->peer);
	}
}

void vmft_monitor_event(struct vmft_monitor *m, const struct vmft_event_in *event)
{
	struct vmft_event_in next;

	vmft_core_queue_put(&m->events, &m->core, event);
	if (m->stepping)
		return;
	m->stepping = true;
	while (vmft_core_queue_take(&m->events, &m->core, &next))
		step(m, &next);
	m->stepping = false;
	if (vmft_monitor_is_busy(m))
		vmft_guest_hurry(m);
}

void vmft_monitor_simple_event(struct vmft_monitor *m, enum vmft_in kind)
{
	const struct vmft_event_in event = {.kind = kind};

	vmft_monitor_event(m, &event);
}

/* --- a guest that cannot be protected ------------------------------------- */

/* No more can be sent: to a primary this is the loss of its backup. The guest goes on if the
 * arbiter allows it. */
static void on_broken(struct vmft_op *op, int result)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION};
	struct vmft_monitor *m = op->owner;

	(void)result;
	if (vmft_monitor_is_primary(m))
		vmft_monitor_event(m, &event);
	else
		vmft_monitor_simple_event(m, VMFT_IN_GUEST_DIED);
}

/*
 * The core hears of it from the loop. Whoever finds it is in the middle of something, of taking
 * an attach point for one: what it reports next would come to a side that has ended.
 */
static void give_up_guest(struct vmft_monitor *m)
{
	m->agent_broken = true;
	if (!m->broken_op.pending)
		vmft_loop_timer(m->loop, &m->broken_op, 0);
}

void vmft_monitor_agent_broken(struct vmft_monitor *m)
{
	if (m->agent_broken)
		return;
	vmft_journal_say(&m->journal,
			 "the memory shared with QEMU (pid %d) is not valid: its guest cannot be "
			 "protected any longer",
			 m->options.guest_pid);
	give_up_guest(m);
}

void vmft_monitor_broken(struct vmft_monitor *m, const char *why)
{
	if (m->agent_broken)
		return;
	vmft_journal_say(&m->journal, "%s: this guest cannot be protected any longer", why);
	if (!vmft_monitor_is_primary(m))
		vmft_channel_refuse(&m->peer.channel, why);
	give_up_guest(m);
}

/* --- the log begins ------------------------------------------------------- */

int vmft_monitor_restart_log(struct vmft_monitor *m, uint64_t position)
{
	int rc = m->strategy_ops->restart(m->strategy, position, vmft_monitor_is_primary(m));

	if (rc < 0)
		return rc;
	if (!vmft_monitor_is_primary(m))
		vmft_saver_begin(&m->saver, m->core.generation, position, true);
	memset(&m->lag, 0, sizeof(m->lag));
	m->lag.window_bytes = m->strategy_ops->sent_bytes(m->strategy);
	m->lag.window_ns = vmft_loop_now();
	m->peer.liveness.replayed = position;
	vmft_stall_begin(&m->stall, position, vmft_loop_now());
	m->peer.liveness.ack = position;
	return 0;
}

/* --- time ----------------------------------------------------------------- */

static void maybe_leave(struct vmft_monitor *m, uint64_t now)
{
	const bool inspect = m->core.state == VMFT_STATE_FENCED && !m->guest_gone;
	const bool patient = vmft_loop_since(m->stop_ns, now) < FLUSH_NS;

	if (!m->stopping || inspect)
		return;
	/* QEMU finishes its own end meanwhile, the last bytes leave. */
	if (patient && (!m->guest_gone || !vmft_channel_is_quiet(&m->peer.channel) ||
			!vmft_saver_is_quiet(&m->saver)))
		return;
	vmft_loop_stop(m->loop);
}

static void on_tick(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;
	const uint64_t now = vmft_loop_now();
	const uint64_t passed = now - m->tick_ns;
	const uint64_t slept = passed > 2 * TICK_NS ? passed - TICK_NS : 0;

	(void)result;
	m->tick_ns = now;
	vmft_hiccup_note(&m->hiccups, passed > TICK_NS ? passed - TICK_NS : 0);
	vmft_guest_look(m, now);
	vmft_stop_look(m);
	vmft_lag_control_watch_replay(m, now, slept);
	vmft_faults_tick(m, now, slept, vmft_guest_beats(m, now));
	vmft_attach_source_tick(&m->source, now);
	vmft_peer_tick(&m->peer, now, slept);
	vmft_lag_control_tick(m, now, slept);
	vmft_arbitration_tick(m, now);
	vmft_guest_wait_for_goodbye(m, now);
	vmft_saver_tick(&m->saver);
	vmft_shown_tick(&m->shown, now);
	maybe_leave(m, now);
	vmft_loop_timer(m->loop, op, TICK_NS);
}

void vmft_monitor_init_ops(struct vmft_monitor *m)
{
	m->tick_op = (struct vmft_op){.done = on_tick, .owner = m};
	m->broken_op = (struct vmft_op){.done = on_broken, .owner = m};
}

void vmft_monitor_begin_ticks(struct vmft_monitor *m)
{
	vmft_loop_timer(m->loop, &m->tick_op, TICK_NS);
}

void vmft_monitor_leave(struct vmft_monitor *m, int exit_code)
{
	m->exit_code = exit_code;
	/* On record before QEMU ends: who sees that may start the VM again at once. */
	if (vmft_monitor_is_primary(m)) {
		vmft_arbitration_record_end(m);
		vmft_arbitration_wait(m);
	}
	atomic_store(&m->agent.iface->exit_code, (uint32_t)exit_code);
	vmft_loop_stop(m->loop);
}
