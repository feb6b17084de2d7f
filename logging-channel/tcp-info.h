/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel knows of a TCP connection. This is a file of its own because linux/tcp.h, which
 * has all of it, and netinet/tcp.h, which has the names of the options, cannot be included
 * together.
 */
#ifndef VMFT_TCP_INFO_H
#define VMFT_TCP_INFO_H

#include <stdint.h>

struct vmft_tcp_info {
	uint64_t acked;	  /* bytes of ours that the peer's kernel has */
	unsigned resends; /* of the oldest that it has not, in a row */
	unsigned mtu;	  /* of the path, as far as it is known here */
	unsigned segment; /* bytes that fill a packet of that */
};

/* 0 or a negative errno. */
int vmft_tcp_info_get(int fd, struct vmft_tcp_info *ret);

#endif
