/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tcp-info.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

int vmft_tcp_info_get(int fd, struct vmft_tcp_info *ret)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) < 0)
		return -errno;
	/* Whoever connected has his SYN counted as a byte (tcp_snd_una_update(), Linux 6.1). */
	ret->acked = info.tcpi_bytes_acked > 0 ? info.tcpi_bytes_acked - 1 : 0;
	ret->resends = info.tcpi_retransmits;
	ret->mtu = info.tcpi_pmtu;
	ret->segment = info.tcpi_snd_mss;
	return 0;
}
