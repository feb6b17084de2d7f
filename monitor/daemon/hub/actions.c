/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "actions.h"

#include <signal.h>

#include "arbitration.h"
#include "monitor.h"
#include "monitor/common/exit-codes.h"

static void fence_guest(struct vmft_monitor *m)
{
	vmft_agent_link_command(&m->agent, VMFT_COMMAND_FENCE);
	if (m->core.why == VMFT_WHY_DIVERGED) {
		vmft_journal_say(&m->journal, "this backup's guest differs from the primary's: it "
					      "is stopped; start this backup again");
		return;
	}
	if (m->core.why == VMFT_WHY_ATTACH_FAILED) {
		vmft_journal_say(&m->journal, "this backup was not complete and is given up; start "
					      "it again for another attempt");
		return;
	}
	if (vmft_monitor_is_primary(m) && m->options.managed) {
		vmft_journal_say(
		    &m->journal,
		    "fenced: the backup is live as generation %llu; this guest is "
		    "stopped for good, and QEMU (pid %d) ends, since libvirt would show "
		    "the guest as running here: start the domain again, as the backup",
		    (unsigned long long)m->core.generation + 1, m->options.guest_pid);
		(void)kill(m->options.guest_pid, SIGKILL);
		return;
	}
	if (vmft_monitor_is_primary(m)) {
		vmft_journal_say(&m->journal,
				 "fenced: the backup is live as generation %llu; this guest is "
				 "stopped for good and sends nothing; QEMU (pid %d) is kept for "
				 "inspection, kill it when you are done",
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

/* Whether the arbiter may let somebody start this VM anew: the guest was shut down on the side that
 * ran it, or it has never run. */
static bool generation_is_over(const struct vmft_monitor *m, enum vmft_why why)
{
	const bool ours = m->core.side == VMFT_SIDE_PRIMARY || m->live_ns > 0;
	const bool never_ran = m->core.side == VMFT_SIDE_PRIMARY && m->live_ns == 0 &&
			       !atomic_load(&m->agent.iface->guest_ran);

	return m->core.state == VMFT_STATE_ENDED &&
	       ((ours && why == VMFT_WHY_GUEST_ENDED) || never_ran);
}

/* A QEMU that replays, and has replayed its log, sleeps inside the agent for ever: only SIGKILL
 * ends it. If the end of the guest is in the log, QEMU ends by itself. */
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
	vmft_journal_say(&m->journal, "ending QEMU (pid %d): it has nothing more to replay",
			 m->options.guest_pid);
	(void)kill(m->options.guest_pid, SIGKILL);
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
		vmft_arbitration_record_end(m);
}

void vmft_actions_carry_out(struct vmft_monitor *m, const struct vmft_actions *todo)
{
	if (todo->set & VMFT_DO_FENCE_GUEST)
		fence_guest(m);
	if (todo->set & VMFT_DO_SEND_ACK)
		vmft_liveness_set_ack(&m->peer.liveness, todo->ack);
	if (todo->set & VMFT_DO_SEND_BYE)
		vmft_channel_bye(&m->peer.channel, todo->bye);
	if (todo->set & VMFT_DO_CLOSE_PEER)
		vmft_peer_close(&m->peer);
	if (todo->set & VMFT_DO_CLAIM)
		vmft_arbitration_claim(m, todo->generation);
	if (todo->set & VMFT_DO_START_RETRY_TIMER)
		vmft_arbitration_retry(m);
	/* A guest that starts alone starts with its gate open. */
	if ((todo->set & VMFT_DO_RUN_GUEST) && !(todo->set & VMFT_DO_OPEN_GATE))
		vmft_agent_link_command(&m->agent, VMFT_COMMAND_RUN);
	if (todo->set & VMFT_DO_GO_LIVE) {
		m->go_live_ns = vmft_loop_now();
		vmft_handover_goes_live(&m->handover);
		m->strategy_ops->go_live(m->strategy, todo->live_at);
	} else if (todo->set & VMFT_DO_OPEN_GATE)
		/* With GO_LIVE the agent opens its gate itself, as it goes live. */
		vmft_agent_link_command(&m->agent, VMFT_COMMAND_OPEN);
	if (todo->set & VMFT_DO_CLOSE_GATE)
		vmft_agent_link_command(&m->agent, VMFT_COMMAND_RUN);
	if (todo->set & VMFT_DO_FORM_PAIR) {
		vmft_shown_pump(&m->shown);
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
