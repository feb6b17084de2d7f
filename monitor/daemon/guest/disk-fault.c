/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "disk-fault.h"

#include <stdio.h>

#include "logging-channel/loop.h"

#define SAY_AGAIN_NS UINT64_C(10000000000)

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

/* The agent wrote it: it is not trusted. */
static void describe(struct vmft_disk_fault *f, const struct vmft_disk_view *view, uint32_t packed)
{
	const unsigned disk = vmft_disk_error_disk(packed);
	const struct vmft_image unknown = {.path = "an image"};

	vmft_image_fault(disk < view->disk_count ? &view->disk[disk] : &unknown,
			 what_of(vmft_disk_error_call(packed)), vmft_disk_error_errno(packed),
			 f->text, sizeof(f->text));
}

/* undecided: alone or fenced, and the call waits until that is known. */
static enum vmft_disk_verdict decide_primary(enum vmft_state state, bool *ret_undecided)
{
	switch (state) {
	case VMFT_STATE_PROTECTED:
	case VMFT_STATE_LAGGING:
	case VMFT_STATE_HANDING_OVER:
	case VMFT_STATE_SHIPPING:
		return VMFT_DISK_PRIMARY_ENDS;
	case VMFT_STATE_ATTACHING:
	case VMFT_STATE_SEALING:
		return VMFT_DISK_ATTACH_ENDS;
	case VMFT_STATE_ALONE:
		return VMFT_DISK_ALONE;
	case VMFT_STATE_ARBITRATING:
	case VMFT_STATE_WAITING_ARBITER:
		*ret_undecided = true;
		return VMFT_DISK_NO_NEWS;
	default:
		return VMFT_DISK_NO_NEWS;
	}
}

/* again: the agent tries the call again. undecided: all of the log is replayed without the request,
 * the guest does not know how it ended, and is told as any guest that is alone. */
static enum vmft_disk_verdict decide_backup(enum vmft_state state, bool again, bool *ret_undecided)
{
	switch (state) {
	case VMFT_STATE_DRAINING:
	case VMFT_STATE_ENDING:
		return again ? VMFT_DISK_WAITS : VMFT_DISK_BACKUP_ENDS;
	case VMFT_STATE_ARBITRATING:
	case VMFT_STATE_WAITING_ARBITER:
	case VMFT_STATE_GOING_LIVE:
		*ret_undecided = true;
		return VMFT_DISK_NO_NEWS;
	case VMFT_STATE_FORMING:
	case VMFT_STATE_ATTACHING:
	case VMFT_STATE_PROTECTED:
		return VMFT_DISK_BACKUP_ENDS;
	default:
		return VMFT_DISK_NO_NEWS;
	}
}

enum vmft_disk_verdict vmft_disk_fault_look(struct vmft_disk_fault *f,
					    const struct vmft_disk_view *view)
{
	const uint32_t failures = atomic_load(&view->iface->disk_failures);
	const uint32_t packed = atomic_load(&view->iface->disk_error);

	if (failures != f->failures) {
		f->counted += failures - f->failures;
		f->failures = failures;
		f->undecided = true;
		describe(f, view, packed);
	}
	if (!f->undecided)
		return VMFT_DISK_NO_NEWS;
	f->undecided = false;
	if (view->side == VMFT_SIDE_PRIMARY)
		return decide_primary(view->state, &f->undecided);
	/* The agent does not repeat a flush that failed (monitor/agent/disk.c). */
	return decide_backup(view->state, vmft_disk_error_call(packed) != VMFT_DISK_FLUSH,
			     &f->undecided);
}

enum vmft_disk_verdict vmft_disk_fault_of_monitor(struct vmft_disk_fault *f, enum vmft_state state,
						  const char *text)
{
	f->counted++;
	(void)snprintf(f->text, sizeof(f->text), "%.160s", text);
	return state == VMFT_STATE_DRAINING || state == VMFT_STATE_ENDING ? VMFT_DISK_WAITS
									  : VMFT_DISK_BACKUP_ENDS;
}

bool vmft_disk_fault_may_say(struct vmft_disk_fault *f, uint64_t now)
{
	if (f->said_ns != 0 && vmft_loop_since(f->said_ns, now) < SAY_AGAIN_NS)
		return false;
	f->said_ns = now;
	return true;
}
