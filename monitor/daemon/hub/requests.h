/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What can be asked of a monitor on its control socket.
 *
 * Besides status these are the commands that an administrator gives a pair (attach, start,
 * switchover) and those that drills are made of. The latter only slow or watch the pair, none can
 * lose anything: freeze and thaw stop and start the guest at an event boundary, digest hashes its
 * memory there, hold-acks and release-acks make the backup keep its acknowledgements back,
 * hold-attach, step-attach and release-attach lead an attach from phase to phase.
 */
#ifndef VMFT_REQUESTS_H
#define VMFT_REQUESTS_H

#include "monitor/common/error.h"
#include "monitor/daemon/status/control.h"

struct vmft_monitor;
struct vmft_ram_hash;

struct vmft_requests {
	char side[96]; /* "web1.primary" */
	/* Digests that are being made, and who waits for each. */
	struct vmft_request_digest {
		struct vmft_monitor *m;
		struct vmft_control_client *client; /* NULL: free */
		struct vmft_ram_hash *digest;
	} digest[VMFT_CONTROL_CLIENTS];
};

/* Opens the control socket that the pair file names for this host. 0 or a negative errno. */
int vmft_requests_open(struct vmft_monitor *m, struct vmft_error *err);
void vmft_requests_close(struct vmft_monitor *m);

#endif
