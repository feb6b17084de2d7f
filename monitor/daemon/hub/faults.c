/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "faults.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "monitor.h"
#include "monitor/daemon/divergence/report.h"

/* --- disks ---------------------------------------------------------------- */

static void primary_ends(struct vmft_monitor *m)
{
	vmft_channel_refuse(&m->peer.channel, m->disk.text);
	vmft_journal_say(&m->journal, "%s", m->disk.text);
	vmft_journal_say(&m->journal,
			 "ending QEMU (pid %d) before its guest sees the error; the backup takes "
			 "over; repair the disk, then start this side again as backup",
			 m->options.guest_pid);
	if (!m->guest_gone)
		(void)kill(m->options.guest_pid, SIGKILL);
}

static void primary_is_alone(struct vmft_monitor *m)
{
	if (!vmft_disk_fault_may_say(&m->disk, vmft_loop_now()))
		return;
	vmft_journal_say(&m->journal, "%s", m->disk.text);
	vmft_journal_say(&m->journal,
			 "no backup can take over: QEMU handles the error as werror= and rerror= "
			 "of its -drive say (disk full: the guest is paused until there is room)");
}

static void backup_ends(struct vmft_monitor *m)
{
	const struct vmft_event_in died = {.kind = VMFT_IN_GUEST_DIED};

	vmft_journal_say(&m->journal, "%s", m->disk.text);
	vmft_journal_say(&m->journal,
			 "this backup cannot continue: repair the disk, then start it again");
	vmft_channel_refuse(&m->peer.channel, m->disk.text);
	vmft_monitor_event(m, &died);
}

static void only_copy_waits(struct vmft_monitor *m)
{
	vmft_journal_say(&m->journal, "%s", m->disk.text);
	vmft_journal_say(&m->journal,
			 "this side has the only copy of the guest: the write is tried again until "
			 "there is room, and the guest goes live only then");
}

void vmft_faults_look_at_disks(struct vmft_monitor *m)
{
	const struct vmft_disk_view view = {
	    .iface = m->agent.iface,
	    .disk = m->options.disk,
	    .disk_count = m->options.disk_count,
	    .side = m->core.side,
	    .state = m->core.state,
	};

	switch (vmft_disk_fault_look(&m->disk, &view)) {
	case VMFT_DISK_PRIMARY_ENDS:
		primary_ends(m);
		break;
	case VMFT_DISK_ATTACH_ENDS:
		vmft_attach_source_abort(&m->source, "%s", m->disk.text);
		primary_is_alone(m);
		break;
	case VMFT_DISK_ALONE:
		primary_is_alone(m);
		break;
	case VMFT_DISK_BACKUP_ENDS:
		backup_ends(m);
		break;
	case VMFT_DISK_WAITS:
		only_copy_waits(m);
		break;
	case VMFT_DISK_NO_NEWS:
		break;
	}
}

bool vmft_faults_disk_waits(struct vmft_monitor *m, const char *text)
{
	if (vmft_disk_fault_of_monitor(&m->disk, m->core.state, text) != VMFT_DISK_WAITS)
		return false;
	if (m->disk.said_ns == 0)
		only_copy_waits(m);
	m->disk.said_ns = vmft_loop_now();
	return true;
}

/* --- divergence ------------------------------------------------------------ */

static void write_report(struct vmft_monitor *m)
{
	const struct vmft_report report = {
	    .config = &m->config,
	    .host = m->options.host,
	    .generation = m->core.generation,
	    .finding = &m->divergence.finding,
	    .link = &m->agent,
	    .ops = m->strategy_ops,
	    .strategy = m->strategy,
	};
	char path[VMFT_PATH_MAX + 128];
	int rc = vmft_report_write(&report, path, sizeof(path));

	if (rc < 0)
		vmft_journal_say(&m->journal, "the report %s cannot be written: %s", path,
				 strerror(-rc));
	else
		vmft_journal_say(&m->journal, "report: %s", path);
}

static void diverged(struct vmft_monitor *m)
{
	const struct vmft_event_in event = {.kind = VMFT_IN_DIVERGED};

	vmft_journal_say(&m->journal, "this guest has %s", m->divergence.last);
	write_report(m);
	vmft_channel_refuse(&m->peer.channel, m->divergence.last);
	vmft_monitor_event(m, &event);
}

/* This side does not end, and may not go live before the end of what it has acknowledged: a person
 * has to know, and decide. */
static void stuck(struct vmft_monitor *m)
{
	char text[VMFT_ALARM_TEXT_MAX];

	(void)snprintf(text, sizeof(text),
		       "%s, generation %" PRIu64 ": replay stands still at log position %" PRIu64
		       " of %" PRIu64 " and there is no primary: no side goes on",
		       vmft_state_name(m->core.state), m->core.generation,
		       m->divergence.finding.position, m->strategy_ops->held(m->strategy));
	vmft_journal_say(&m->journal, "%s", text);
	write_report(m);
	vmft_alarm_raise(m->alarm, VMFT_ALARM_STALLED, text);
}

static void act_on(struct vmft_monitor *m, enum vmft_divergence_news news)
{
	switch (news) {
	case VMFT_DIVERGENCE_FOUND:
		diverged(m);
		break;
	case VMFT_DIVERGENCE_STUCK:
		stuck(m);
		break;
	case VMFT_DIVERGENCE_MOVES:
		vmft_journal_say(&m->journal, "replay moves again");
		break;
	case VMFT_DIVERGENCE_NONSENSE:
		vmft_monitor_agent_broken(m);
		break;
	case VMFT_DIVERGENCE_NO_NEWS:
		break;
	}
}

void vmft_faults_look_at_guest(struct vmft_monitor *m)
{
	if (m->core.side == VMFT_SIDE_BACKUP && !vmft_core_is_final(&m->core))
		act_on(m, vmft_divergence_look(&m->divergence, m->agent.iface));
}

void vmft_faults_tick(struct vmft_monitor *m, uint64_t now, uint64_t slept, bool beats)
{
	const enum vmft_state state = m->core.state;
	const struct vmft_divergence_view view = {
	    .applied = m->strategy_ops->applied(m->strategy),
	    .held = m->strategy_ops->held(m->strategy),
	    .has_primary =
		state == VMFT_STATE_PROTECTED || (state == VMFT_STATE_ATTACHING && m->sink.loaded),
	    .drains = state == VMFT_STATE_DRAINING || state == VMFT_STATE_ENDING,
	    .beats = beats,
	    .stall_ms = m->config.stall_ms,
	};

	if (m->core.side == VMFT_SIDE_BACKUP && m->strategy_ops->replays)
		act_on(m, vmft_divergence_tick(&m->divergence, &view, now, slept));
}
