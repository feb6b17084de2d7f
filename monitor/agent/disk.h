/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that cannot be read or written. */
#ifndef VMFT_AGENT_DISK_H
#define VMFT_AGENT_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/interface.h"

struct vmft_disk_faults {
	uint64_t resume_ns; /* service thread: a guest paused by its disk is started again then */
};

extern struct vmft_disk_faults vmft_disk_faults;

/*
 * A call on fd, made for QEMU by any of its threads, has failed with errno. Returns true: it is
 * to be made again; false: QEMU may have the error, and errno is what it was. May take without
 * end. *tries counts the calls, 0 at first.
 */
bool vmft_disk_again(int fd, enum vmft_disk_call call, unsigned *tries);
void vmft_disk_service(void); /* service thread */

#endif
