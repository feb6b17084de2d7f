/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image that this side's QEMU, or its monitor, cannot read or write. While another side can go
 * on, that is a fail-stop fault of this side. The agent keeps the failed call from returning
 * (monitor/agent/disk.c) until what is decided here has come true. Decides only: what is done about
 * it, and said, is for the caller.
 */
#ifndef VMFT_DISK_FAULT_H
#define VMFT_DISK_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/core/core.h"
#include "monitor/daemon/attach/image.h"
#include "monitor/interface.h"

struct vmft_disk_fault {
	uint32_t failures; /* of the agent's count, those looked at */
	bool undecided;	   /* what becomes of the last one depends on a claim under way */
	uint64_t said_ns;  /* when it was last said of a guest without another side; 0: never */
	uint64_t counted;  /* those of the monitor's own writes included */
	char text[161];	   /* the last: which image, what, errno; "": none yet */
};

enum vmft_disk_verdict {
	VMFT_DISK_NO_NEWS,
	/* Primary: its QEMU is to be ended before the guest sees the failure. What QEMU has logged
	 * or staged before it is shipped as that of any QEMU that died, and the goodbye that
	 * follows lets the backup take over at once. */
	VMFT_DISK_PRIMARY_ENDS,
	/* Primary: there is no pair yet, so the attempt to attach ends and QEMU gets its error. */
	VMFT_DISK_ATTACH_ENDS,
	/* Primary: it is alone; QEMU gets its error. */
	VMFT_DISK_ALONE,
	/* Backup: it cannot go on. */
	VMFT_DISK_BACKUP_ENDS,
	/* Backup: it has the only copy of the guest, so the call is tried again. */
	VMFT_DISK_WAITS,
};

struct vmft_disk_view {
	const struct vmft_iface *iface;
	const struct vmft_image *disk;
	uint32_t disk_count;
	enum vmft_side side;
	enum vmft_state state;
};

/* The agent may have counted a failure. To be called before anything else it says is looked at. */
enum vmft_disk_verdict vmft_disk_fault_look(struct vmft_disk_fault *fault,
					    const struct vmft_disk_view *view);

/* Backup: the monitor's own writes to the images fail, as text says. VMFT_DISK_WAITS or
 * VMFT_DISK_BACKUP_ENDS. */
enum vmft_disk_verdict vmft_disk_fault_of_monitor(struct vmft_disk_fault *fault,
						  enum vmft_state state, const char *text);

/* Whether to say it now of a guest that is alone: one that is paused is let go on once a second,
 * and fails again. */
bool vmft_disk_fault_may_say(struct vmft_disk_fault *fault, uint64_t now_ns);

#endif
