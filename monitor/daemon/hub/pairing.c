/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pairing.h"

#include <stdio.h>

#include "frames.h"
#include "monitor.h"
#include "monitor/common/exit-codes.h"

/* The agent beats; or QEMU has not opened its log yet, or is gone: then no thread could beat. */
static bool agent_beats(const struct vmft_monitor *m)
{
	return vmft_agent_link_state(&m->agent) == VMFT_AGENT_ABSENT || m->guest_gone ||
	       vmft_loop_since(m->beat_ns, vmft_loop_now()) <
		   vmft_liveness_agent_ns(&m->peer.liveness);
}

/* Until the state is loaded the position of the agent is not of this log. */
static uint64_t replayed(const struct vmft_monitor *m)
{
	return m->peer.channel.stage == VMFT_PEER_FORMED || m->sink.loaded
		   ? m->strategy_ops->applied(m->strategy)
		   : m->core.replayed;
}

static struct vmft_peer_facts facts(void *user)
{
	const struct vmft_monitor *m = user;

	return (struct vmft_peer_facts){
	    .speaks = agent_beats(m),
	    .stopping = m->stopping,
	    .has_room =
		vmft_attach_sink_has_room(&m->sink) && m->strategy_ops->has_room(m->strategy),
	    .beat_ns = m->beat_ns,
	    .taken = m->strategy_ops->taken(m->strategy),
	    .replayed = replayed(m),
	};
}

static bool wants_backup(void *user)
{
	return vmft_attaching_wants_backup(user, vmft_loop_now());
}

static const char *why_not(void *user, bool attach)
{
	const struct vmft_monitor *m = user;

	if (m->sink.phase != VMFT_ATTACH_IDLE)
		return "to wait: an attempt to attach is still being cleaned up";
	if (m->sink.prepared && !attach)
		return "a guest that does not run yet; this backup was prepared for a guest that "
		       "runs: start the backup again";
	return NULL;
}

static void connected(void *user)
{
	struct vmft_monitor *m = user;

	vmft_shown_forget(&m->shown);
}

static void adopt(void *user, uint64_t generation, const char *record)
{
	struct vmft_monitor *m = user;

	vmft_core_init(&m->core, VMFT_SIDE_BACKUP, generation);
	(void)snprintf(m->record, sizeof(m->record), "%s", record);
}

static void attach(void *user)
{
	struct vmft_monitor *m = user;
	const struct vmft_event_in start = {.kind = VMFT_IN_START_ALONE};
	const struct vmft_event_in begin = {.kind = VMFT_IN_ATTACH};

	if (!vmft_monitor_is_primary(m)) {
		vmft_monitor_event(m, &begin);
		return;
	}
	/* The backup that the guest waited for is there, and is given the guest as it runs. */
	if (m->core.state == VMFT_STATE_FORMING)
		vmft_monitor_event(m, &start);
	vmft_journal_say(&m->journal, "attaching the backup at %s",
			 m->config.host[m->peer.channel.to].channel.text);
	vmft_attaching_begin(m);
}

void vmft_pairing_done(struct vmft_monitor *m)
{
	const struct vmft_event_in ready = {.kind = VMFT_IN_PEER_READY};

	vmft_peer_formed(&m->peer);
	vmft_liveness_forget_echo(&m->peer.liveness);
	vmft_stall_begin(&m->stall, m->peer.liveness.replayed, vmft_loop_now());
	if (!vmft_monitor_is_primary(m))
		vmft_saver_begin(&m->saver, m->core.generation, 0, false);
	vmft_monitor_event(m, &ready);
}

static void paired(void *user)
{
	vmft_pairing_done(user);
}

/* Trying again changes nothing, and the guest has not run: this side need not go on. */
static void unfit(void *user)
{
	struct vmft_monitor *m = user;

	if (m->core.state == VMFT_STATE_FORMING)
		vmft_monitor_leave(m, VMFT_EXIT_PEER);
}

static int frame(void *user, const struct vmft_frame_info *info)
{
	return vmft_frames_got(user, info);
}

static void sent(void *user)
{
	struct vmft_monitor *m = user;

	vmft_attach_source_pump(&m->source);
	vmft_frames_pump(m);
}

static void lost(void *user, enum vmft_why why)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_PEER_LOST, .why = why};

	vmft_monitor_event(user, &event);
}

int vmft_pairing_open(struct vmft_monitor *m, struct vmft_error *err)
{
	const struct vmft_peer_world world = {
	    .loop = m->loop,
	    .transport = m->transport,
	    .config = &m->config,
	    .pair_file = m->options.pair_file,
	    .journal = &m->journal,
	    .core = &m->core,
	    .worker = m->worker,
	    .host = m->options.host,
	    .listens = m->options.role == VMFT_ROLE_BACKUP,
	    .patient = m->control.left_over,
	    .identity = &m->options.identity,
	    .tap_ifname = m->options.tap_ifname,
	    .disk = m->options.disk,
	    .disk_count = m->options.disk_count,
	    .other_builds = vmft_strategy_kind_moves_to_builds(m->strategy_ops->kind),
	    .versioned_machine = m->options.versioned_machine,
	    .forms_by_attach = m->strategy_ops->pairs_by_attach,
	    .record = m->record,
	    .owner = m->owner,
	    .facts = facts,
	    .wants_backup = wants_backup,
	    .why_not = why_not,
	    .connected = connected,
	    .adopt = adopt,
	    .attach = attach,
	    .paired = paired,
	    .unfit = unfit,
	    .frame = frame,
	    .sent = sent,
	    .lost = lost,
	    .user = m,
	};

	return vmft_peer_init(&m->peer, &world, err);
}
