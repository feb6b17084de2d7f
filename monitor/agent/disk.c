/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk that fails (full, EIO, read-only) is a fault of this host, not of the guest. If QEMU told
 * its guest of the error, or paused it, the guests of the two hosts would not be equal any more. So
 * a failed call on an image does not return to QEMU as long as something depends on its result:
 *
 * - Primary whose log or epochs are kept for a backup: the request stays under way, like one to a
 *   disk that does not answer. The log so far is whole and true, nothing of the failure is logged,
 *   no epoch is taken (the disks are drained first), and no output follows from it. The monitor
 * ends this QEMU and the backup takes over; or the monitor gives the backup up, and the call
 * returns.
 * - Replaying backup: the same, and a call that can be repeated is repeated. While the primary
 *   lives, the monitor ends this backup. When the primary is gone, this is the only guest there is,
 *   and it waits for room.
 * - Alone: QEMU gets the error. What QEMU does with it (werror=, rerror=) concerns nobody else.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "agent.h"
#include "clock.h"
#include "ground.h"
#include "monitor/agent/qemu/port.h"
#include "strategy.h"
#include "track.h"

#define LOOK_NS	  50000000L
#define RESUME_NS UINT64_C(1000000000)

struct vmft_disk_faults vmft_disk_faults;

/*
 * Errors that QEMU handles itself (block/file-posix.c) are no faults: an interrupted call, a call
 * that the file system does not have, and the EINVAL by which QEMU finds out a file's alignment or
 * that a range cannot be zeroed.
 */
static bool is_fault(int error, enum vmft_disk_call call)
{
	switch (error) {
	case EINTR:
	case EAGAIN:
	case ENOSYS:
	case EOPNOTSUPP:
		return false;
	case EINVAL:
		return call == VMFT_DISK_WRITE || call == VMFT_DISK_FLUSH;
	case EBUSY:
	case ENODEV:
	case ENOTTY:
		return call != VMFT_DISK_ALLOCATE;
	default:
		return true;
	}
}

/* Called before the caller looks whether the log is kept. So a monitor that orders to keep the log
 * after that knows of the failure. */
static void note(int disk, enum vmft_disk_call call, int error)
{
	struct vmft_iface *iface = vmft_agent.iface;

	atomic_store(&iface->disk_error, vmft_disk_error_pack((unsigned)disk, call, error));
	atomic_fetch_add(&iface->disk_failures, 1);
	vmft_agent_ring_monitor();
}

/* A flush that failed is not repeated: the kernel reports lost pages only once, and the next call
 * would succeed although they are lost. */
bool vmft_disk_again(int fd, enum vmft_disk_call call, unsigned *tries)
{
	const struct vmft_agent_strategy_ops *strategy = vmft_agent.strategy;
	const struct timespec look = {.tv_nsec = LOOK_NS};
	const int error = errno;
	int disk;

	if (!strategy || !is_fault(error, call))
		return false;
	disk = vmft_track_disk_of(fd);
	errno = error;
	if (disk < 0)
		return false;
	if ((*tries)++ == 0)
		note(disk, call, error);
	while (!atomic_load(&vmft_agent.fenced) && strategy->disk_answer() != VMFT_DISK_TELL) {
		(void)nanosleep(&look, NULL);
		if (call != VMFT_DISK_FLUSH && strategy->disk_answer() == VMFT_DISK_REPEAT)
			return true;
	}
	errno = error;
	return false;
}

/* --- a guest that is alone, paused by QEMU -------------------------------- */

static void resume_in_main_loop(void *unused)
{
	(void)unused;
	if (vmft_qemu_state_is(VMFT_QEMU_DISK_FAILED) && !atomic_load(&vmft_agent.fenced))
		vmft_clock_vm_start();
}

/*
 * QEMU pauses a guest whose disk is full until somebody says "cont" by QMP, and here is no QMP. So
 * the guest is started again once a second. QEMU repeats the request, and pauses the guest again if
 * there is still no room.
 */
void vmft_disk_service(void)
{
	const bool paused = vmft_qemu_state_is(VMFT_QEMU_DISK_FAILED);

	if (atomic_exchange(&vmft_agent.iface->disk_paused, paused) != paused)
		vmft_agent_ring_monitor();
	if (!paused || !atomic_load(&vmft_agent.open) || atomic_load(&vmft_agent.fenced)) {
		vmft_disk_faults.resume_ns = 0;
		return;
	}
	if (vmft_disk_faults.resume_ns == 0) {
		vmft_disk_faults.resume_ns = vmft_agent_now() + RESUME_NS;
	} else if (vmft_agent_now() >= vmft_disk_faults.resume_ns) {
		vmft_disk_faults.resume_ns += RESUME_NS;
		vmft_qemu_in_main_loop(resume_in_main_loop, NULL, "vmft-disk");
	}
}
