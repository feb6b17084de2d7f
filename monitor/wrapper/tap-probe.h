/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this host's taps can do, asked before QEMU has them. */
#ifndef VMFT_TAP_PROBE_H
#define VMFT_TAP_PROBE_H

#include <stddef.h>

#include "cmdline.h"
#include "monitor/common/tap-facts.h"

struct vmft_tap_probe {
	struct vmft_tap_facts facts;  /* what cannot be found out is VMFT_TAP_UNKNOWN there */
	char ifname[VMFT_TAP_IFNAME]; /* "": not known yet */
};

/* Fills one of ret_taps for each card. */
void vmft_taps_look(const struct vmft_cmdline_nic *nics, size_t count,
		    struct vmft_tap_probe *ret_taps);

/* A tap_fault of struct vmft_rewrite_options: why a descriptor that is given as fd= is no tap whose
 * frames can be held back, or NULL. */
const char *vmft_tap_fault(int fd);

#endif
