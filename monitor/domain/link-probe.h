/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast two hosts can talk over the channel's addresses: the answer to a small message, and what
 * goes through in a while. One host listens ("vmft host listen ADDRESS"), the other connects from
 * its own address.
 */
#ifndef VMFT_LINK_PROBE_H
#define VMFT_LINK_PROBE_H

#include <stdint.h>

#include "monitor/common/pair-config.h"

struct vmft_link_figures {
	uint64_t round_trip_ns; /* the median of some */
	uint64_t bytes_per_s;
};

/*
 * Listens, on any port if the address's is in use, writes "listening PORT" to stdout, serves one
 * connection, and returns. 0, or a negative errno: nobody connected within 10 s, or the address is
 * not this host's.
 */
int vmft_link_listen(const struct vmft_channel_address *address);

/* From the address from (any port) to that port of the address to. Takes about 0.6 s. 0 or a
 * negative errno. */
int vmft_link_measure(const struct vmft_channel_address *from,
		      const struct vmft_channel_address *to, uint16_t port,
		      struct vmft_link_figures *ret);

#endif
