/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "monitor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"
#include "monitor/common/exit-codes.h"
#include "pairing.h"

#define MS UINT64_C(1000000)

#define TICK_NS (20 * MS)
/* The log is looked at this long after the last look while the guest is busy; output that
 * waits rings at once, so this delays acks of what nobody waits for. */
#define PUMP_NS	 (1 * MS)
#define DRAIN_NS (MS / 2)
/* The agent beats every 20 ms; five missed beats are a QEMU that is not scheduled. */
#define BEAT_FRESH_NS	 (100 * MS)
#define ARBITER_RETRY_NS (250 * MS)
/* Longer than an etcd cluster is tried for: that ends with a reason, which says more. */
#define ARBITER_SILENT_NS (6000 * MS) /* then the log says that it does not answer */
/* A guest's end that is not on record by then has to be vouched for by a person. */
#define ARBITER_END_MS 12000u
#define FIRST_CLAIMS   3u /* tries of the one a start begins with */
/* How long this side lives on when its work is over. A goodbye that the network does not take
 * within this is given up: the peer will notice the closed connection or the silence. */
#define FLUSH_NS (2000 * MS)
/* What the primary's QEMU still logs when its guest has ended, on a slow channel. */
#define GOODBYE_NS (10000 * MS)
/* A pair may lag for a moment every few seconds: said once in this time, status has the figure. */
#define LAG_SAID_NS  (10000 * MS)
#define LAG_ALARM_NS (5000 * MS) /* somebody is told */
/* A backup says every 200 ms at least how far it is. */
#define HEARD_FRESH_NS (500 * MS)

/* Whoever asks first sets the time: events of the core may ask from inside a callback. */
static void pump_in(struct vmft_monitor *m, uint64_t nanoseconds)
{
	if (!m->pump_op.pending)
		vmft_loop_timer(m->loop, &m->pump_op, nanoseconds);
}

/* --- actions -------------------------------------------------------------- */

static void fence_guest(struct vmft_monitor *m)
{
	vmft_agent_link_command(&m->agent, VMFT_COMMAND_FENCE);
	if (m->core.why == VMFT_WHY_DIVERGED) {
		vmft_journal_say(&m->journal, "this backup's guest is not what the primary's is: "
					      "it is stopped; start this backup anew");
		return;
	}
	if (m->core.why == VMFT_WHY_ATTACH_FAILED) {
		vmft_journal_say(&m->journal, "this half of an attach is thrown away; start this "
					      "backup anew to try again");
		return;
	}
	if (vmft_monitor_is_primary(m)) {
		vmft_journal_say(&m->journal,
				 "fenced: the backup is live as generation %llu; this guest is "
				 "stopped for good and emits nothing; end QEMU (pid %d) when you "
				 "have seen enough",
				 (unsigned long long)m->core.generation + 1, m->options.guest_pid);
		return;
	}
	vmft_journal_say(&m->journal, "fenced: the primary goes on without this backup");
}

static int exit_code_of(enum vmft_why why)
{
	switch (why) {
	case VMFT_WHY_CLAIM_LOST:
		return VMFT_EXIT_FENCED;
	case VMFT_WHY_ATTACH_FAILED:
		return VMFT_EXIT_ATTACH;
	case VMFT_WHY_DIVERGED:
		return VMFT_EXIT_DIVERGED;
	case VMFT_WHY_HANDED_OVER:
		return VMFT_EXIT_HANDED_OVER;
	case VMFT_WHY_GUEST_ENDED:
	case VMFT_WHY_PEER_GUEST_ENDED:
	case VMFT_WHY_STOPPED:
		return VMFT_EXIT_OK;
	default:
		return VMFT_EXIT_GUEST;
	}
}

/* Whether the arbiter may let somebody start this VM anew: its guest was shut down by the
 * side that ran it, or never ran at all. */
static bool generation_is_over(const struct vmft_monitor *m, enum vmft_why why)
{
	const bool ours = m->core.side == VMFT_SIDE_PRIMARY || m->live_ns > 0;
	const bool never_ran = m->core.side == VMFT_SIDE_PRIMARY && m->live_ns == 0 &&
			       !atomic_load(&m->agent.iface->guest_ran);

	return m->core.state == VMFT_STATE_ENDED &&
	       ((ours && why == VMFT_WHY_GUEST_ENDED) || never_ran);
}

/* A replaying QEMU whose log goes no further sleeps inside the agent for ever, and hears no
 * gentler signal. One that has its guest's end in the log ends by itself. */
static void end_replica(struct vmft_monitor *m, enum vmft_why why)
{
	/* With a state to be loaded it waits in its main loop, and ends when it is told. */
	if ((m->strategy_ops->ends_by_command && why == VMFT_WHY_GUEST_ENDED) ||
	    why == VMFT_WHY_STOPPED || why == VMFT_WHY_HANDED_OVER) {
		atomic_store(&m->agent.iface->exit_code, (uint32_t)m->exit_code);
		vmft_agent_link_command(&m->agent, VMFT_COMMAND_END);
		return;
	}
	if (m->core.side != VMFT_SIDE_BACKUP || m->live_ns > 0 || m->guest_gone ||
	    why == VMFT_WHY_GUEST_ENDED)
		return;
	/* Its agent ends it when this monitor has gone, with a code that says why. */
	if (why == VMFT_WHY_DIVERGED) {
		atomic_store(&m->agent.iface->exit_code, VMFT_EXIT_DIVERGED);
		return;
	}
	vmft_journal_say(&m->journal, "QEMU (pid %d) is ended: it has nothing more to replay",
			 m->options.guest_pid);
	(void)kill(m->options.guest_pid, SIGKILL);
}

/* A question about a generation whose record is m->record. */
static struct vmft_arbiter_question question_of(const struct vmft_monitor *m,
						enum vmft_arbiter_ask ask, uint64_t generation)
{
	struct vmft_arbiter_question q = {.ask = ask, .generation = generation};

	memcpy(q.record, m->record, sizeof(q.record));
	return q;
}

static void record_end(struct vmft_monitor *m)
{
	const struct vmft_arbiter_question q = question_of(m, VMFT_ASK_END, m->core.generation);

	vmft_arbiter_worker_ask(m->worker, &q);
}

static void stop(struct vmft_monitor *m, enum vmft_why why)
{
	m->exit_code = exit_code_of(why);
	/* Who was told to stop, and to hand over then, has done what it was told. */
	if (why == VMFT_WHY_HANDED_OVER && m->stop.asked)
		m->exit_code = VMFT_EXIT_OK;
	end_replica(m, why);
	m->stopping = true;
	m->stop_ns = vmft_loop_now();
	m->claim = 0; /* one that still waited for its agent */
	if (generation_is_over(m, why))
		record_end(m);
}

/*
 * A side whose QEMU is stopped must not win: it would keep the other from going on and do
 * nothing itself. Its claim waits until the agent has beaten lately; to the core that is
 * an arbiter slow to answer.
 */
static void ask_arbiter(struct vmft_monitor *m)
{
	const struct vmft_arbiter_question q = question_of(m, VMFT_ASK_CLAIM, m->claim);
	const uint64_t now = vmft_loop_now();

	if (m->claim == 0 || vmft_loop_since(m->beat_ns, now) > BEAT_FRESH_NS)
		return;
	m->asked_ns = now;
	vmft_arbiter_worker_ask(m->worker, &q);
	m->claim = 0;
}

static void watch_beat(struct vmft_monitor *m, uint64_t now)
{
	uint64_t beat = atomic_load(&m->agent.iface->agent_beat);

	if (beat != m->agent_beat)
		m->beat_ns = now;
	m->agent_beat = beat;
	ask_arbiter(m);
}

static void carry_out(struct vmft_monitor *m, const struct vmft_actions *todo)
{
	if (todo->set & VMFT_DO_FENCE_GUEST)
		fence_guest(m);
	if (todo->set & VMFT_DO_SEND_ACK)
		vmft_liveness_set_ack(&m->peer.liveness, todo->ack);
	if (todo->set & VMFT_DO_SEND_BYE)
		vmft_channel_bye(&m->peer.channel, todo->bye);
	if (todo->set & VMFT_DO_CLOSE_PEER)
		vmft_peer_close(&m->peer);
	if (todo->set & VMFT_DO_CLAIM) {
		m->claim = todo->generation;
		ask_arbiter(m);
	}
	if (todo->set & VMFT_DO_START_RETRY_TIMER)
		vmft_loop_timer(m->loop, &m->retry_op, ARBITER_RETRY_NS);
	/* A guest that starts alone starts with its gate open. */
	if ((todo->set & VMFT_DO_RUN_GUEST) && !(todo->set & VMFT_DO_OPEN_GATE))
		vmft_agent_link_command(&m->agent, VMFT_COMMAND_RUN);
	if (todo->set & VMFT_DO_GO_LIVE) {
		m->go_live_ns = vmft_loop_now();
		vmft_handover_goes_live(m);
		m->strategy_ops->go_live(m->strategy, todo->live_at);
	} else if (todo->set & VMFT_DO_OPEN_GATE)
		/* With GO_LIVE the agent opens its gate itself, as it goes live. */
		vmft_agent_link_command(&m->agent, VMFT_COMMAND_OPEN);
	if (todo->set & VMFT_DO_CLOSE_GATE)
		vmft_agent_link_command(&m->agent, VMFT_COMMAND_RUN);
	if (todo->set & VMFT_DO_FORM_PAIR) {
		vmft_shown_pump(m);
		vmft_peer_form(&m->peer);
		vmft_attach_source_formed(&m->source);
	}
	if (todo->set & VMFT_DO_STOP)
		stop(m, todo->stop);
	if (todo->set & (VMFT_DO_FREEZE_GUEST | VMFT_DO_THAW_GUEST)) {
		atomic_store(&m->agent.iface->freeze, (todo->set & VMFT_DO_FREEZE_GUEST) != 0);
		vmft_agent_link_wake(&m->agent);
		vmft_agent_link_ring(&m->agent);
	}
}

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
	/* What went before "alone" by the arbiter's answer is why it was asked. */
	const enum vmft_why why =
	    event == VMFT_ALARM_ALONE || event == VMFT_ALARM_LIVE ? m->core.lost : m->core.why;
	char text[VMFT_ALARM_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "%s, generation %llu%s%s",
		       vmft_state_name(m->core.state), (unsigned long long)m->core.generation,
		       why == VMFT_WHY_NONE ? "" : ": ",
		       why == VMFT_WHY_NONE ? "" : vmft_why_text(why));
	vmft_alarm_raise(m->alarm, event, text);
}

/* What the strategy makes of it: while there is no backup nothing is taken for one. */
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

/* Beyond the pair there is nothing to save; what it was, is written before this side leaves. */
static void tell_saver(struct vmft_monitor *m)
{
	if (vmft_monitor_is_primary(m) || vmft_core_is_final(&m->core) ||
	    m->core.state == VMFT_STATE_GOING_LIVE)
		vmft_saver_end(&m->saver);
}

/* A takeover is under way: look often. */
static bool is_busy(const struct vmft_monitor *m)
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
	carry_out(m, &todo);
	if (m->core.state != before.state) {
		vmft_history_step(&m->history, &before, &m->core, vmft_loop_now());
		announce_state(m, &before);
		raise_alarm(m, &before);
		tell_strategy(m);
		vmft_attaching_state(m, before.state);
		tell_saver(m);
		vmft_handover_state(m, &before);
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
	if (is_busy(m))
		pump_in(m, DRAIN_NS);
}

/* --- what happens --------------------------------------------------------- */

static void simple_event(struct vmft_monitor *m, enum vmft_in kind)
{
	const struct vmft_event_in event = {.kind = kind};

	vmft_monitor_event(m, &event);
}

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
		simple_event(m, VMFT_IN_GUEST_DIED);
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
			 "the memory shared with QEMU (pid %d) makes no sense: its "
			 "guest cannot be protected any longer",
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

static void report_replay(struct vmft_monitor *m)
{
	const struct vmft_event_in event = {
	    .kind = VMFT_IN_REPLAYED,
	    .position = m->strategy_ops->applied(m->strategy),
	};

	if (m->core.side != VMFT_SIDE_BACKUP || vmft_core_is_final(&m->core) ||
	    m->core.state == VMFT_STATE_GOING_LIVE)
		return;
	/* Until the state is in, the agent's position is not of this log. */
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
	vmft_shown_live(m);
	simple_event(m, VMFT_IN_LIVE);
	vmft_agent_link_command(&m->agent, VMFT_COMMAND_OPEN);
}

/* The guest has switched itself off, and QEMU waits with it: the last it did is taken first. */
static void report_guest_ended(struct vmft_monitor *m)
{
	if (m->guest_ended || m->guest_gone || !vmft_monitor_is_primary(m))
		return;
	m->guest_ended = true;
	vmft_journal_say(&m->journal, "the guest has ended in an orderly way");
	m->strategy_ops->finish(m->strategy, true);
	simple_event(m, VMFT_IN_GUEST_ENDED);
	vmft_frames_pump(m);
}

/* Everything the agent may have to say, in the order it matters. */
static void look_at_agent(struct vmft_monitor *m)
{
	const enum vmft_agent_state state = vmft_agent_link_state(&m->agent);

	if (state == VMFT_AGENT_BROKEN) {
		vmft_monitor_agent_broken(m);
		return;
	}
	vmft_faults_look_at_disks(m);
	vmft_console_look(m);
	if (m->core.side == VMFT_SIDE_BACKUP)
		vmft_attach_sink_look(&m->sink);
	else
		vmft_attach_source_pump(&m->source);
	m->strategy_ops->look(m->strategy);
	vmft_handover_look(m);
	vmft_faults_look_at_guest(m);
	report_replay(m);
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
	simple_event(m, guest_ended_in_order(m) ? VMFT_IN_GUEST_ENDED : VMFT_IN_GUEST_DIED);
	if (m->core.state == VMFT_STATE_SHIPPING)
		vmft_frames_pump(m);
	if (m->core.state == VMFT_STATE_FENCED)
		m->stopping = true;
}

/* A backup whose QEMU has left before the primary's: the goodbye behind the rest of the log says
 * that the guest has ended; said first by this side, the primary would take itself for alone. */
static void wait_for_goodbye(struct vmft_monitor *m, uint64_t now)
{
	if (m->left_ns == 0 || (m->core.state == VMFT_STATE_PROTECTED &&
				vmft_loop_since(m->left_ns, now) < GOODBYE_NS))
		return;
	m->left_ns = 0;
	simple_event(m, VMFT_IN_GUEST_ENDED);
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
	if (is_busy(m)) {
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

void vmft_monitor_arbiter_error(struct vmft_monitor *m, const char *why)
{
	(void)snprintf(m->arbiter_error, sizeof(m->arbiter_error), "%s", why ? why : "");
}

static void report_claim(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	const bool silent = answer->claim == VMFT_CLAIM_UNREACHABLE;

	if (silent && m->core.why != VMFT_WHY_ARBITER_UNREACHABLE)
		vmft_journal_say(&m->journal, "nobody goes on until the arbiter answers: %s",
				 answer->err.text);
	vmft_monitor_arbiter_error(m, silent ? answer->err.text : NULL);
	m->arbiter_silent_said = silent;
	m->asked_ns = 0;
	if (answer->claim == VMFT_CLAIM_WON)
		memcpy(m->record, m->owner, sizeof(m->record));
	simple_event(m, silent				  ? VMFT_IN_CLAIM_UNREACHABLE
			: answer->claim == VMFT_CLAIM_WON ? VMFT_IN_CLAIM_WON
							  : VMFT_IN_CLAIM_LOST);
}

/* Who starts the VM again will be told that it may still run. */
static void report_end(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	if (answer->rc < 0)
		vmft_journal_say(&m->journal,
				 "that generation %llu has ended is not on record: %.300s; before "
				 "the VM is started again, run: vmft declare-dead %s",
				 (unsigned long long)m->core.generation, answer->err.text,
				 m->options.pair_file);
}

/* A primary has said hello, and this backup has asked which generation is the latest. */
static void report_latest(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	if (answer->rc < 0 && m->arbiter_error[0] == '\0')
		vmft_journal_say(&m->journal, "no primary is taken until the arbiter answers: %s",
				 answer->err.text);
	vmft_monitor_arbiter_error(m, answer->rc < 0 ? answer->err.text : NULL);
	vmft_handshake_got_latest(&m->peer.handshake, answer);
}

/* A backup has said hello, and this primary has looked for the mark that it left. */
static void report_mark(struct vmft_monitor *m, const struct vmft_arbiter_answer *answer)
{
	if (vmft_handshake_got_mark(&m->peer.handshake, answer))
		vmft_monitor_arbiter_error(m, answer->rc < 0 ? answer->err.text : NULL);
}

static void take_answers(struct vmft_monitor *m)
{
	struct vmft_arbiter_answer answer;

	while (vmft_arbiter_worker_answer(m->worker, &answer)) {
		if (answer.ask == VMFT_ASK_CLAIM)
			report_claim(m, &answer);
		else if (answer.ask == VMFT_ASK_LATEST && m->handover.asked)
			vmft_handover_got_latest(m, &answer);
		else if (answer.ask == VMFT_ASK_LATEST)
			report_latest(m, &answer);
		else if (answer.ask == VMFT_ASK_MARK)
			report_mark(m, &answer);
		else
			report_end(m, &answer);
	}
}

static void on_answer(struct vmft_op *op, int result)
{
	struct vmft_monitor *m = op->owner;

	(void)result;
	take_answers(m);
	vmft_loop_poll(m->loop, op, vmft_arbiter_worker_fd(m->worker), POLLIN);
}

static void on_retry(struct vmft_op *op, int result)
{
	(void)result;
	simple_event(op->owner, VMFT_IN_RETRY_TIMER);
}

uint64_t vmft_monitor_stalled_ns(const struct vmft_monitor *m, uint64_t now)
{
	return vmft_loop_since(m->stall.since_ns, now);
}

static void say_stands(struct vmft_monitor *m, uint64_t now)
{
	const uint64_t stands = vmft_monitor_stalled_ns(m, now);
	const uint64_t limit = m->config.stall_ms * MS;
	char text[VMFT_ALARM_TEXT_MAX];

	(void)snprintf(text, sizeof(text),
		       "the backup's replay stands still at log position %llu, for %llu ms: should "
		       "this host fail now, the guest is lost with it; look after the backup's "
		       "host (its journal, its disk); in %llu s it is given up",
		       (unsigned long long)m->stall.replayed, (unsigned long long)(stands / MS),
		       (unsigned long long)((limit - stands) / MS / 1000));
	vmft_journal_say(&m->journal, "%s", text);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_BACKUP_STALLED, text);
}

static void say_moves(struct vmft_monitor *m)
{
	static const char text[] = "the backup's replay gets on again";

	vmft_journal_say(&m->journal, "%s", text);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_PROTECTED, text);
}

/* It has diverged, or its QEMU is stopped by its disk: it could not take over, and its primary
 * would be slowed for ever. */
static void give_up_stalled(struct vmft_monitor *m)
{
	const struct vmft_event_in lost = {.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_STALLED};
	char what[96];

	(void)snprintf(what, sizeof(what), "the backup's replay stands still at log position %llu",
		       (unsigned long long)m->stall.replayed);
	vmft_journal_say(&m->journal, "%s: it is given up", what);
	vmft_divergence_count(&m->divergence, what);
	vmft_monitor_event(m, &lost);
}

/* A backup that is sent epochs has none half applied as it goes live: that one is on its way for
 * long is for the lag to tell. */
static void watch_replay(struct vmft_monitor *m, uint64_t now, uint64_t slept)
{
	const struct vmft_stall_view view = {
	    .replayed = m->peer.liveness.replayed,
	    .taken = m->strategy_ops->taken(m->strategy),
	    .logged_ns = vmft_lag_logged_ns(&m->lag),
	    .connected = m->peer.channel.stage != VMFT_PEER_NONE,
	    .paired = m->core.side == VMFT_SIDE_PRIMARY && vmft_core_is_paired(&m->core),
	    .heard = m->strategy_ops->replays &&
		     vmft_loop_since(m->peer.liveness.heard_ns, now) < HEARD_FRESH_NS,
	};

	switch (vmft_stall_look(&m->stall, &view, m->config.stall_ms, now, slept)) {
	case VMFT_STALL_STANDS:
		say_stands(m, now);
		break;
	case VMFT_STALL_MOVES:
		say_moves(m);
		break;
	case VMFT_STALL_TOO_LONG:
		give_up_stalled(m);
		break;
	case VMFT_STALL_NO_NEWS:
		break;
	}
}

uint64_t vmft_monitor_lag_ms(struct vmft_monitor *m, uint64_t now)
{
	uint64_t lag, backlog;

	if (!vmft_core_is_paired(&m->core) && !m->source.log_flows)
		return 0;
	lag = vmft_lag_ms(&m->lag, m->peer.liveness.replayed, m->strategy_ops->taken(m->strategy),
			  now);
	backlog = m->strategy_ops->backlog_ns(m->strategy, now) / MS;
	return lag > backlog ? lag : backlog;
}

static void say_lags(struct vmft_monitor *m, uint64_t now, uint64_t lag_ms)
{
	m->lag_alarmed = false;
	m->lag_said = m->lag_said_ns == 0 || vmft_loop_since(m->lag_said_ns, now) >= LAG_SAID_NS;
	if (!m->lag_said)
		return;
	m->lag_said_ns = now;
	vmft_journal_say(&m->journal,
			 "lagging: the backup is %llu ms behind (lag-ms = %u): the guest is slowed "
			 "by %u %% until it keeps up",
			 (unsigned long long)lag_ms, m->config.lag_ms, m->throttle / 10);
}

static void say_keeps_up(struct vmft_monitor *m)
{
	char text[VMFT_ALARM_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "the backup keeps up again; it was up to %llu ms behind",
		       (unsigned long long)m->lag_watch.worst_ms);
	if (m->lag_said || m->lag_alarmed)
		vmft_journal_say(&m->journal, "%s", text);
	if (m->lag_alarmed)
		vmft_alarm_raise(m->alarm, VMFT_ALARM_PROTECTED, text);
}

static void alarm_lag(struct vmft_monitor *m, uint64_t now)
{
	char text[VMFT_ALARM_TEXT_MAX];

	if (!m->lag_watch.lagging || m->lag_alarmed ||
	    vmft_loop_since(m->lag_watch.since_ns, now) < LAG_ALARM_NS)
		return;
	m->lag_alarmed = true;
	(void)snprintf(
	    text, sizeof(text),
	    "the backup does not keep up: up to %llu ms behind (lag-ms = %u), the guest is "
	    "slowed for it",
	    (unsigned long long)m->lag_watch.worst_ms, m->config.lag_ms);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_LAGGING, text);
}

/* Nothing the backup holds is lost by it: the arbiter is asked as when it had died. */
static void drop_for_lag(struct vmft_monitor *m, uint64_t now, uint64_t lag_ms)
{
	const struct vmft_event_in lost = {.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_LAGGED};
	const uint64_t lagged = vmft_loop_since(m->lag_watch.since_ns, now);
	char text[VMFT_ALARM_TEXT_MAX];

	vmft_attach_source_dropped(&m->source, now);
	(void)snprintf(
	    text, sizeof(text),
	    "the backup has lagged for %llu s (%llu ms now, %llu ms at worst, lag-ms = "
	    "%u), the guest slowed by %u %%: it is given up, and none attached for %llu s",
	    (unsigned long long)(lagged / MS / 1000), (unsigned long long)lag_ms,
	    (unsigned long long)m->lag_watch.worst_ms, m->config.lag_ms, m->throttle / 10,
	    (unsigned long long)((m->source.retry_ns - now) / MS / 1000));
	vmft_journal_say(&m->journal, "%s", text);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_DROPPED, text);
	vmft_monitor_event(m, &lost);
}

static void watch_lag(struct vmft_monitor *m, uint64_t now, uint64_t slept, uint64_t lag_ms)
{
	if (!vmft_core_is_paired(&m->core) || m->core.state == VMFT_STATE_HANDING_OVER) {
		m->lag_watch = (struct vmft_lag_watch){0};
		return;
	}
	switch (vmft_lag_watch_look(&m->lag_watch, lag_ms, m->config.lag_ms, m->config.lag_drop_ms,
				    now, slept)) {
	case VMFT_LAG_LAGS:
		say_lags(m, now, lag_ms);
		simple_event(m, VMFT_IN_LAGS);
		break;
	case VMFT_LAG_KEEPS_UP:
		say_keeps_up(m);
		simple_event(m, VMFT_IN_KEEPS_UP);
		break;
	case VMFT_LAG_TOO_LONG:
		drop_for_lag(m, now, lag_ms);
		break;
	case VMFT_LAG_NO_NEWS:
		alarm_lag(m, now);
		if (!m->lag_watch.lagging &&
		    vmft_loop_since(m->state_ns, now) > VMFT_LAG_FORGIVEN_NS)
			vmft_attach_source_forgive(&m->source);
		break;
	}
}

static void set_throttle(struct vmft_monitor *m, uint32_t permille)
{
	m->throttle = permille;
	atomic_store(&m->agent.iface->throttle, permille);
}

static void control_lag(struct vmft_monitor *m, uint64_t now, uint64_t slept)
{
	uint64_t lag_ms;
	uint32_t permille;

	if (!vmft_monitor_is_primary(m))
		return;
	lag_ms = vmft_monitor_lag_ms(m, now);
	vmft_lag_rate(&m->lag, m->strategy_ops->sent_bytes(m->strategy), now);
	permille = vmft_throttle_permille(lag_ms, m->config.lag_ms);
	if (permille < m->source.pace.throttle)
		permille = m->source.pace.throttle;
	if (permille < vmft_handover_throttle(m))
		permille = vmft_handover_throttle(m);
	set_throttle(m, permille);
	watch_lag(m, now, slept, lag_ms);
	/* A backup that was given up just now slows nobody any more. */
	if (vmft_monitor_lag_ms(m, now) == 0)
		set_throttle(m, m->source.pace.throttle);
}

static void watch_arbiter(struct vmft_monitor *m, uint64_t now)
{
	if (m->asked_ns == 0 || m->arbiter_silent_said ||
	    vmft_loop_since(m->asked_ns, now) < ARBITER_SILENT_NS)
		return;
	m->arbiter_silent_said = true;
	(void)snprintf(m->arbiter_error, sizeof(m->arbiter_error), "arbiter %.400s does not answer",
		       m->config.arbiter);
	vmft_journal_say(&m->journal, "%s; nobody goes on until it does", m->arbiter_error);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_ARBITER, "the arbiter does not answer");
}

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
	watch_beat(m, now);
	look_at_agent(m);
	vmft_stop_look(m);
	watch_replay(m, now, slept);
	vmft_faults_tick(m, now, slept, vmft_loop_since(m->beat_ns, now) < BEAT_FRESH_NS);
	vmft_attach_source_tick(&m->source, now);
	vmft_peer_tick(&m->peer, now, slept);
	control_lag(m, now, slept);
	watch_arbiter(m, now);
	wait_for_goodbye(m, now);
	vmft_saver_tick(&m->saver);
	vmft_shown_tick(m, now);
	maybe_leave(m, now);
	vmft_loop_timer(m->loop, op, TICK_NS);
}

void vmft_monitor_leave(struct vmft_monitor *m, int exit_code)
{
	m->exit_code = exit_code;
	/* On record before QEMU ends: who sees that may start the VM again at once. */
	if (vmft_monitor_is_primary(m)) {
		record_end(m);
		(void)vmft_arbiter_worker_wait(m->worker, ARBITER_END_MS);
	}
	atomic_store(&m->agent.iface->exit_code, (uint32_t)exit_code);
	vmft_loop_stop(m->loop);
}

/* --- start ---------------------------------------------------------------- */

static int make_owner(struct vmft_monitor *m)
{
	uint8_t token[16];
	char hex[33];
	struct utsname host;

	if (getrandom(token, sizeof(token), 0) != (ssize_t)sizeof(token) || uname(&host) < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(token); i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", token[i]);
	(void)snprintf(m->owner, sizeof(m->owner), "%s %s on %.32s since %lld", hex,
		       vmft_pair_host_name(&m->config, m->options.host), host.nodename,
		       (long long)time(NULL));
	return 0;
}

/* One without an answer may be on record: given up, a person would have to declare it dead. */
static enum vmft_claim claim_first(struct vmft_monitor *m, const struct vmft_arbiter_latest *latest,
				   struct vmft_error *err)
{
	const struct vmft_arbiter_claim first = {
	    .generation = latest->generation + 1,
	    .owner = m->owner,
	    .after = latest->owner,
	    .starts = true,
	};
	enum vmft_claim claim = VMFT_CLAIM_UNREACHABLE;

	for (unsigned i = 0; i < FIRST_CLAIMS && claim == VMFT_CLAIM_UNREACHABLE; i++)
		claim = m->arbiter_ops->claim(m->arbiter, &first, err);
	return claim;
}

/* A primary starts the next generation; nobody may start a VM that somebody else runs. */
static int take_first_generation(struct vmft_monitor *m, uint64_t *ret, struct vmft_error *err)
{
	struct vmft_arbiter_latest latest;
	int rc = m->arbiter_ops->latest(m->arbiter, &latest, err);
	enum vmft_claim claim;

	if (rc < 0)
		return rc;
	if (latest.generation > 0 && !latest.ended)
		return vmft_error_set(err, -EBUSY, VMFT_EXIT_ARBITER,
				      "%.200s: generation %llu of %s is held by \"%.80s\" and did "
				      "not end in an orderly way; if that guest is surely not "
				      "running anywhere, run: vmft declare-dead %s",
				      m->config.arbiter, (unsigned long long)latest.generation,
				      m->config.name, latest.owner, m->options.pair_file);
	claim = claim_first(m, &latest, err);
	if (claim == VMFT_CLAIM_UNREACHABLE)
		return -EIO;
	if (claim == VMFT_CLAIM_LOST)
		return vmft_error_set(err, -EBUSY, VMFT_EXIT_ARBITER,
				      "%s: somebody else has just started %s", m->config.arbiter,
				      m->config.name);
	memcpy(m->record, m->owner, sizeof(m->record));
	*ret = latest.generation + 1;
	return 0;
}

static int open_arbiter(struct vmft_monitor *m, struct vmft_error *err)
{
	struct vmft_arbiter_settings settings = {
	    .vm = m->config.name,
	    .ca = m->config.arbiter_ca,
	    .cert = m->config.arbiter_cert,
	    .key = m->config.arbiter_key,
	};
	int rc = make_owner(m);

	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "getrandom: %s", strerror(-rc));
	m->arbiter_ops = vmft_arbiter_find(m->config.arbiter, &settings.where);
	if (!m->arbiter_ops)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%s: arbiter = %.200s: unknown kind; use file:/DIRECTORY",
				      m->options.pair_file, m->config.arbiter);
	rc = m->arbiter_ops->open(&settings, &m->arbiter, err);
	/* The primary looks for it before it takes this backup: found, both have one arbiter. */
	if (rc == 0 && m->options.role == VMFT_ROLE_BACKUP)
		rc = m->arbiter_ops->mark(
		    m->arbiter, vmft_pair_host_name(&m->config, m->options.host), m->owner, err);
	if (rc < 0)
		return rc;
	rc = vmft_arbiter_worker_start(m->arbiter_ops, m->arbiter, m->owner, &m->worker);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "cannot start a thread: %s",
				      strerror(-rc));
	return 0;
}

static int init_core(struct vmft_monitor *m, struct vmft_error *err)
{
	const bool primary = m->options.role == VMFT_ROLE_PRIMARY;
	uint64_t generation = 0; /* the backup learns it from the primary's hello */
	int rc;

	if (primary) {
		rc = take_first_generation(m, &generation, err);
		if (rc < 0)
			return rc;
	}
	vmft_core_init(&m->core, primary ? VMFT_SIDE_PRIMARY : VMFT_SIDE_BACKUP, generation);
	return 0;
}

static int init_attach(struct vmft_monitor *m, struct vmft_error *err)
{
	int rc;

	if (m->options.disk_count != m->agent.area->disk_count)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_INTERNAL,
				      "%u disks given, %u in the attach area",
				      m->options.disk_count, m->agent.area->disk_count);
	rc = vmft_attaching_init(m);
	if (rc == 0)
		rc = vmft_shown_init(m);
	return rc < 0 ? vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "%s", strerror(-rc)) : 0;
}

static void on_strategy_moved(void *user)
{
	struct vmft_monitor *m = user;

	report_replay(m);
	if (vmft_monitor_is_primary(m))
		vmft_frames_pump(m);
	else
		vmft_channel_resume(&m->peer.channel);
}

static void on_strategy_broken(void *user, const char *why)
{
	vmft_monitor_broken(user, why);
}

static bool on_strategy_disk_failed(void *user, const char *why)
{
	return vmft_faults_disk_waits(user, why);
}

static void on_strategy_saved(void *user, uint64_t position, const uint8_t *bytes, size_t n)
{
	struct vmft_monitor *m = user;

	vmft_saver_held(&m->saver, position, bytes, n);
}

static int open_strategy(struct vmft_monitor *m, struct vmft_error *err)
{
	const struct vmft_strategy_world world = {
	    .loop = m->loop,
	    .link = &m->agent,
	    .config = &m->config,
	    .log_version = m->options.identity.log_version,
	    .disk = m->options.disk,
	    .disk_count = m->options.disk_count,
	    .moved = on_strategy_moved,
	    .broken = on_strategy_broken,
	    .disk_failed = on_strategy_disk_failed,
	    .saved = on_strategy_saved,
	    .user = m,
	};
	int rc;

	m->strategy_ops = m->options.strategy;
	rc = m->strategy_ops->open(&world, &m->strategy);
	return rc < 0 ? vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "%s", strerror(-rc)) : 0;
}

static void init_saver(struct vmft_monitor *m)
{
	const struct vmft_saver_settings settings = {
	    .loop = m->loop,
	    .journal = &m->journal,
	    .config = &m->config,
	    .identity = &m->options.identity,
	    .kind = m->strategy_ops->saves,
	    .words_fd = m->options.words_fd,
	    .wanted = m->options.role == VMFT_ROLE_BACKUP,
	};

	vmft_saver_init(&m->saver, &settings);
}

static void init_ops(struct vmft_monitor *m)
{
	m->tick_op = (struct vmft_op){.done = on_tick, .owner = m};
	m->pump_op = (struct vmft_op){.done = on_pump, .owner = m};
	m->bell_op = (struct vmft_op){.done = on_bell, .owner = m};
	m->pidfd_op = (struct vmft_op){.done = on_guest_exit, .owner = m};
	m->worker_op = (struct vmft_op){.done = on_answer, .owner = m};
	m->retry_op = (struct vmft_op){.done = on_retry, .owner = m};
	m->broken_op = (struct vmft_op){.done = on_broken, .owner = m};
}

static int watch_guest(struct vmft_monitor *m, struct vmft_error *err)
{
	int rc;

	m->pidfd = (int)syscall(SYS_pidfd_open, m->options.guest_pid, 0);
	if (m->pidfd >= 0)
		return 0;
	rc = -errno;
	return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "guest process %d: %s",
			      m->options.guest_pid, strerror(-rc));
}

int vmft_monitor_init(struct vmft_monitor *m, const struct vmft_monitor_options *options,
		      struct vmft_error *err)
{
	int rc;

	memset(m, 0, sizeof(*m));
	m->options = *options;
	rc = vmft_pair_config_load(options->pair_file, &m->config, err);
	if (rc < 0)
		return rc;
	m->options.identity.silence_ms = m->config.silence_ms;
	m->options.identity.grace_ms = m->config.grace_ms;
	(void)snprintf(m->options.identity.name, sizeof(m->options.identity.name), "%s",
		       m->config.name);
	if (!m->config.has_host[options->host])
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%s: it has changed since vmft-qemu read it; start again",
				      options->pair_file);
	m->journal.vm = m->config.name;
	m->journal.host = vmft_pair_host_name(&m->config, options->host);
	m->journal.role = vmft_role_name(options->role);
	rc = vmft_stop_open(m);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "signalfd: %s", strerror(-rc));
	rc = vmft_alarm_open(options->pair_file, m->config.alarm, m->config.name,
			     vmft_pair_host_name(&m->config, options->host), &m->alarm, err);
	if (rc < 0)
		return rc;
	rc = vmft_loop_create(&m->loop);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL,
				      "io_uring: %s; see sysctl kernel.io_uring_disabled",
				      strerror(-rc));
	init_ops(m);
	rc = watch_guest(m, err);
	if (rc < 0)
		return rc;
	rc = vmft_agent_link_init(&m->agent, options->iface_fd, options->area_fd,
				  options->bell_monitor_fd, options->bell_agent_fd, options->ram_fd,
				  err);
	if (rc < 0)
		return rc;
	vmft_divergence_ask(m->agent.iface, &m->config);
	rc = init_attach(m, err);
	if (rc < 0)
		return rc;
	rc = open_strategy(m, err);
	if (rc < 0)
		return rc;
	init_saver(m);
	m->transport = options->transport;
	rc = vmft_requests_open(m, err);
	if (rc < 0)
		return rc;
	rc = open_arbiter(m, err);
	if (rc < 0)
		goto err_control;
	rc = vmft_pairing_open(m, err);
	if (rc < 0)
		goto err_peer;
	/* Last: a claim that was made is not taken back. */
	rc = init_core(m, err);
	if (rc < 0)
		goto err_peer;
	m->state_ns = m->tick_ns = vmft_loop_now();
	vmft_stall_begin(&m->stall, 0, m->tick_ns);
	vmft_journal_state(&m->journal, NULL, &m->core, true);
	return 0;

err_peer:
	vmft_peer_fini(&m->peer);
err_control:
	vmft_requests_close(m);
	return rc;
}

/* Of what was asked when the loop had stopped already, only an end matters. */
static void report_last_answer(struct vmft_monitor *m)
{
	struct vmft_arbiter_answer answer;

	while (vmft_arbiter_worker_answer(m->worker, &answer))
		if (answer.ask == VMFT_ASK_END)
			report_end(m, &answer);
}

void vmft_monitor_begin(struct vmft_monitor *m)
{
	/* Not before: a start that is refused touches nothing. */
	vmft_saver_start(&m->saver);
	vmft_loop_timer(m->loop, &m->tick_op, TICK_NS);
	vmft_loop_poll(m->loop, &m->bell_op, m->agent.bell_monitor, POLLIN);
	vmft_loop_poll(m->loop, &m->pidfd_op, m->pidfd, POLLIN);
	vmft_loop_poll(m->loop, &m->worker_op, vmft_arbiter_worker_fd(m->worker), POLLIN);
	vmft_stop_watch(m);
	atomic_store(&m->agent.iface->monitor_sleeps, 1);
	if (vmft_monitor_is_primary(m) && m->config.start == VMFT_START_ALONE)
		simple_event(m, VMFT_IN_START_ALONE);
}

int vmft_monitor_end(struct vmft_monitor *m)
{
	/* The socket file last: a successor that finds it waits until this process is gone, one
	 * that does not finds the addresses free. */
	vmft_peer_fini(&m->peer);
	vmft_requests_close(m);
	vmft_alarm_close(m->alarm);
	m->strategy_ops->close(m->strategy);
	(void)vmft_arbiter_worker_wait(m->worker, ARBITER_END_MS);
	report_last_answer(m);
	vmft_saver_fini(&m->saver);
	vmft_shown_fini(m);
	return m->exit_code;
}

int vmft_monitor_run(struct vmft_monitor *m)
{
	int rc;

	/* Heartbeats and acks are small and late ones cost the guest: best effort. Locked as it
	 * is touched, so that a page of ours never has to be read back from a busy disk. */
	(void)setpriority(PRIO_PROCESS, 0, -10);
	(void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	vmft_monitor_begin(m);
	rc = vmft_loop_run(m->loop);
	if (rc < 0) {
		vmft_journal_say(&m->journal, "io_uring: %s", strerror(-rc));
		m->exit_code = VMFT_EXIT_INTERNAL;
	}
	return vmft_monitor_end(m);
}
