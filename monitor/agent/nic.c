/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's taps as descriptors of this process: recognising them, emptying them, and
 * telling the switches behind them where the guest lives now.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* /dev/net/tun, Documentation/admin-guide/devices.txt */
#define TUN_MAJOR 10
#define TUN_MINOR 200

/* QEMU opens its taps early; looking further would cost a syscall a number. */
#define FD_SCAN_MAX 1024

/* More frames than a tap queues by default (txqueuelen 1000). */
#define DRAIN_MAX 4096

bool vmft_nic_is_tap(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(TUN_MAJOR, TUN_MINOR);
}

static void for_each_tap(void (*visit)(int fd, unsigned index))
{
	unsigned index = 0;

	for (int fd = 3; fd < FD_SCAN_MAX; fd++)
		if (vmft_nic_is_tap(fd))
			visit(fd, index++);
}

unsigned vmft_nic_taps(int *fds, unsigned max)
{
	unsigned count = 0;

	for (int fd = 3; fd < FD_SCAN_MAX && count < max; fd++)
		if (vmft_nic_is_tap(fd))
			fds[count++] = fd;
	return count;
}

static void drain(int fd, unsigned index)
{
	uint8_t frame[69 * 1024]; /* NET_BUFSIZE of QEMU, and its header */

	(void)index;
	/* QEMU's taps are non-blocking (net/tap.c). */
	for (unsigned i = 0; i < DRAIN_MAX && vmft_libc_read(fd, frame, sizeof(frame)) > 0; i++)
		;
}

void vmft_nic_drain_all(void)
{
	for_each_tap(drain);
}

static size_t header_bytes(int fd)
{
	struct ifreq ifr;
	int size = 0;

	memset(&ifr, 0, sizeof(ifr));
	if (vmft_libc_ioctl(fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_VNET_HDR))
		return 0;
	if (vmft_libc_ioctl(fd, TUNGETVNETHDRSZ, &size) < 0 || size < 0 || size > 32)
		return 0;
	return (size_t)size;
}

/* A reverse ARP request as QEMU sends after a migration (net/announce.c): its source
 * address is what a learning switch needs; hosts ignore it. */
static void announce(int fd, unsigned index)
{
	static const uint8_t fixed[] = {
	    0x80, 0x35, 0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x03,
	};
	uint8_t packet[32 + 60] = {0};
	const size_t header = header_bytes(fd);
	uint8_t *frame = packet + header;
	struct iovec iov = {.iov_base = packet, .iov_len = header + 60};
	const uint8_t *mac;

	if (index >= vmft_agent.mac_count)
		return;
	mac = vmft_agent.macs[index];
	memset(frame, 0xff, 6);
	memcpy(frame + 6, mac, 6);
	memcpy(frame + 12, fixed, sizeof(fixed));
	memcpy(frame + 22, mac, 6);
	memcpy(frame + 32, mac, 6);
	(void)!vmft_libc_writev(fd, &iov, 1);
}

void vmft_nic_announce_all(void)
{
	for_each_tap(announce);
}
