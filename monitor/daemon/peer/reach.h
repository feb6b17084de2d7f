/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The live side: what keeps it from reaching the other hosts, for a person to mend. The journal
 * says each thing when it is new; the status has what is so now.
 */
#ifndef VMFT_REACH_H
#define VMFT_REACH_H

#include <stddef.h>

#include "channel.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/status/journal.h"

struct vmft_reach {
	const struct vmft_pair_config *config; /* borrowed, like the next */
	struct vmft_journal *journal;
	enum vmft_host host;	    /* this one */
	int error[VMFT_HOST_COUNT]; /* why the last try to connect to that host failed; 0: it
				     * did not */
	/* Packets of so many bytes do not get to that host; 0: they do, or it is not known. */
	unsigned lost_mtu[VMFT_HOST_COUNT];
};

void vmft_reach_init(struct vmft_reach *reach, const struct vmft_pair_config *config,
		     enum vmft_host host, struct vmft_journal *journal);
/* The host to is connected to (error 0), or is not (a negative errno). */
void vmft_reach_note(struct vmft_reach *reach, enum vmft_host to, int error);
/* Looks whether large frames get through on the connection, if there is one. */
void vmft_reach_look(struct vmft_reach *reach, const struct vmft_channel *channel);
/* "ADDRESS: why; ...", or "". */
void vmft_reach_describe(const struct vmft_reach *reach, char *text, size_t size);

#endif
