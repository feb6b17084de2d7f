/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which side of which VM this process is to start: by the environment, or as libvirt's (domain.h).
 */
#ifndef VMFT_OWN_SIDE_H
#define VMFT_OWN_SIDE_H

#include <stdbool.h>

#include "monitor/common/error.h"
#include "monitor/common/pair-config.h"

struct vmft_own_side {
	char pair_path[VMFT_PATH_MAX];
	struct vmft_pair_config config;
	enum vmft_role role;
	enum vmft_host host;
	bool chosen;	    /* the arbiter's record decided on the role */
	bool in_background; /* -daemonize; set by the caller */
	bool managed; /* a domain of libvirt's: nobody looks after QEMU's process but libvirt */
};

/*
 * VMFT_PAIR is the pair file, VMFT_ROLE what this side is to be (primary, backup, or auto: the
 * arbiter is asked), VMFT_HOST the section of the file that this host is. Without VMFT_PAIR the
 * file is /etc/vmft/NAME.conf with the NAME of -name, and the other two need not be set. Says on
 * standard error which role was chosen. Returns 0 or a negative errno with *err filled.
 */
int vmft_own_side_find(int argc, char *const argv[], struct vmft_own_side *ret,
		       struct vmft_error *err);

#endif
