/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "disk-fault.h"

#include <signal.h>
#include <stdio.h>

#include "monitor/daemon/hub/monitor.h"

#define SAY_AGAIN_NS UINT64_C(10000000000) /* a guest that is paused is let go on once a second */

static const char *what_of(unsigned call)
{
	switch (call) {
	case VMFT_DISK_READ:
		return "read";
	case VMFT_DISK_FLUSH:
		return "made durable";
	default:
		return "written";
	}
}

/* Not trusted: the agent wrote it. */
static void describe(struct vmft_monitor *m, uint32_t packed)
{
	const unsigned disk = vmft_disk_error_disk(packed);
	const struct vmft_image unknown = {.path = "an image"};

	vmft_image_fault(disk < m->options.disk_count ? &m->options.disk[disk] : &unknown,
			 what_of(vmft_disk_error_call(packed)), vmft_disk_error_errno(packed),
			 m->disk.text, sizeof(m->disk.text));
}

/*
 * Its log, or its epochs, end before the failure: what is left of them is shipped as of any QEMU
 * that died, and the goodbye behind it lets the backup take over at once.
 */
static void primary_ends(struct vmft_monitor *m)
{
	vmft_channel_refuse(&m->peer.channel, m->disk.text);
	vmft_journal_say(&m->journal, "%s", m->disk.text);
	vmft_journal_say(
	    &m->journal,
	    "QEMU (pid %d) is ended before its guest sees that, the backup takes over; "
	    "see to the disk, then start this host anew as backup",
	    m->options.guest_pid);
	if (!m->guest_gone)
		(void)kill(m->options.guest_pid, SIGKILL);
}

static void primary_is_alone(struct vmft_monitor *m)
{
	const uint64_t now = vmft_loop_now();

	if (m->disk.said_ns != 0 && vmft_loop_since(m->disk.said_ns, now) < SAY_AGAIN_NS)
		return;
	m->disk.said_ns = now;
	vmft_journal_say(&m->journal, "%s", m->disk.text);
	vmft_journal_say(
	    &m->journal,
	    "no backup to take over: what becomes of it is said by werror= and rerror= "
	    "(if full: the guest is paused, and let go on when there is room)");
}

static bool decide_primary(struct vmft_monitor *m)
{
	switch (m->core.state) {
	case VMFT_STATE_PROTECTED:
	case VMFT_STATE_LAGGING:
	case VMFT_STATE_HANDING_OVER:
	case VMFT_STATE_SHIPPING:
		primary_ends(m);
		return true;
	case VMFT_STATE_ATTACHING:
	case VMFT_STATE_SEALING:
		/* No pair yet. Alone again, QEMU gets its error. */
		vmft_attach_source_abort(&m->source, "%s", m->disk.text);
		primary_is_alone(m);
		return true;
	case VMFT_STATE_ALONE:
		primary_is_alone(m);
		return true;
	case VMFT_STATE_ARBITRATING:
	case VMFT_STATE_WAITING_ARBITER:
		/* Alone or fenced, and the call waits until it is known. */
		return false;
	default:
		return true;
	}
}

static void backup_ends(struct vmft_monitor *m)
{
	const struct vmft_event_in died = {.kind = VMFT_IN_GUEST_DIED};

	vmft_journal_say(&m->journal, "%s", m->disk.text);
	vmft_journal_say(&m->journal,
			 "this backup cannot go on: see to the disk, then start it anew");
	vmft_channel_refuse(&m->peer.channel, m->disk.text);
	vmft_monitor_event(m, &died);
}

static void only_copy_waits(struct vmft_monitor *m)
{
	vmft_journal_say(&m->journal, "%s", m->disk.text);
	vmft_journal_say(&m->journal, "this is the only copy of the guest: it is tried again until "
				      "there is room, and goes live only then");
}

static bool decide_backup(struct vmft_monitor *m, bool again)
{
	switch (m->core.state) {
	case VMFT_STATE_DRAINING:
	case VMFT_STATE_ENDING:
		if (!again)
			break;
		only_copy_waits(m);
		return true;
	case VMFT_STATE_ARBITRATING:
	case VMFT_STATE_WAITING_ARBITER:
	case VMFT_STATE_GOING_LIVE:
		/* All of the log is replayed without it: the guest does not know how this request
		 * ended, and will be told as any that is alone. */
		return false;
	case VMFT_STATE_FORMING:
	case VMFT_STATE_ATTACHING:
	case VMFT_STATE_PROTECTED:
		break;
	default:
		return true;
	}
	backup_ends(m);
	return true;
}

void vmft_disk_fault_look(struct vmft_monitor *m)
{
	const struct vmft_iface *iface = m->agent.iface;
	const uint32_t failures = atomic_load(&iface->disk_failures);
	const uint32_t packed = atomic_load(&iface->disk_error);

	if (failures != m->disk.failures) {
		m->disk.counted += failures - m->disk.failures;
		m->disk.failures = failures;
		m->disk.undecided = true;
		describe(m, packed);
	}
	if (!m->disk.undecided)
		return;
	m->disk.undecided = false;
	if (vmft_monitor_is_primary(m))
		m->disk.undecided = !decide_primary(m);
	else
		m->disk.undecided =
		    !decide_backup(m, vmft_disk_error_call(packed) != VMFT_DISK_FLUSH);
}

bool vmft_disk_fault_waits(struct vmft_monitor *m, const char *text)
{
	const bool last =
	    m->core.state == VMFT_STATE_DRAINING || m->core.state == VMFT_STATE_ENDING;

	m->disk.counted++;
	(void)snprintf(m->disk.text, sizeof(m->disk.text), "%.160s", text);
	if (!last)
		return false;
	if (m->disk.said_ns == 0)
		only_copy_waits(m);
	m->disk.said_ns = vmft_loop_now();
	return true;
}
