/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tap-fd.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* By the question that the agent asks (monitor/agent/nic.c): a macvtap answers it too. */
const char *vmft_tap_fault(int fd)
{
	struct ifreq ifr;
	struct stat st;

	memset(&ifr, 0, sizeof(ifr));
	if (fstat(fd, &st) < 0)
		return "no such descriptor is open";
	if (!S_ISCHR(st.st_mode))
		return "this descriptor is no tap and no macvtap";
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return errno == EBADFD ? "this descriptor belongs to no interface (TUNSETIFF)"
				       : "this descriptor is no tap and no macvtap";
	if (!(ifr.ifr_flags & IFF_TAP))
		return "this descriptor is a tun: it carries no Ethernet frames";
	return NULL;
}
