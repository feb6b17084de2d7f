/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether two sides that have said hello can be a pair. Pure. */
#ifndef VMFT_HELLO_CHECK_H
#define VMFT_HELLO_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logging-channel/hello.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/attach/image.h"

#define VMFT_HELLO_WHY_MAX 200u /* length of a reason */

/* The versions of the channel that a peer speaks, of which this vmft speaks none: one line to
 * follow "the peer has", in text of VMFT_HELLO_WHY_MAX + 1 bytes. */
const char *vmft_hello_foreign(const struct vmft_versions *theirs, char *text);

/* What this side asks of a peer. */
struct vmft_hello_terms {
	const struct vmft_hello *ours;
	const struct vmft_pair_config *config;
	const struct vmft_image *disk; /* to name the one that differs */
	uint32_t disk_count;
	enum vmft_host host; /* this side's */
	enum vmft_host to;   /* primary: the host that was connected to */
	bool primary;	     /* this side is */
	bool attach;	     /* primary: it would attach the backup */
	bool heartbeat;	     /* this side has a heartbeat path */
	/* The strategy can do with another QEMU build at the other side. */
	bool other_builds;
	bool versioned_machine; /* the machine is the same in each QEMU that has it */
};

/*
 * What keeps the two from being a pair, one line to follow "the peer has", or NULL. The line may
 * stand in text, of VMFT_HELLO_WHY_MAX + 1 bytes.
 */
const char *vmft_hello_mismatch(const struct vmft_hello_terms *terms,
				const struct vmft_hello *theirs, char *text);

#endif
