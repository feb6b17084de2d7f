/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's cards as descriptors of this process. A card is identified by the id of its netdev:
 * QEMU says which descriptor the netdev has. The order of the descriptors says nothing, and may
 * differ between the two hosts: whoever starts QEMU may have passed them in any order (fd=).
 */
#define _GNU_SOURCE
#include "nic.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "announce.h"
#include "libc.h"
#include "monitor/agent/qemu/port.h"

/* More frames than a tap queues by default (txqueuelen is 1000). */
#define DRAIN_MAX 4096

struct vmft_nics vmft_nics;

/*
 * Asks the device whether it is a tap. The device's number is not enough: /dev/net/tun has a fixed
 * one (10:200), but each macvtap and ipvtap is a character device with a number that the kernel
 * chose. They answer the same question (drivers/net/tap.c).
 */
static bool says_tap(int fd, struct ifreq *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode))
		return false;
	memset(ret, 0, sizeof(*ret));
	return vmft_libc_ioctl(fd, TUNGETIFF, ret) == 0;
}

static uint32_t header_of(int fd)
{
	struct ifreq ifr;
	int size = 0;

	if (!says_tap(fd, &ifr) || !(ifr.ifr_flags & IFF_VNET_HDR) ||
	    vmft_libc_ioctl(fd, TUNGETVNETHDRSZ, &size) < 0 || size < 0)
		return 0;
	return (uint32_t)size <= VMFT_NIC_HEADER_MAX ? (uint32_t)size : 0;
}

/* The monitor watches the card's link by the interface's index, and names the card in its journal
 * by its id. */
static void tell_monitor(unsigned i, int fd)
{
	struct vmft_iface *iface = vmft_agent.iface;
	struct ifreq ifr;

	memcpy(iface->nic_id[i], vmft_nics.nic[i].id, sizeof(iface->nic_id[i]));
	if (says_tap(fd, &ifr))
		atomic_store(&iface->nic_link[i], if_nametoindex(ifr.ifr_name));
}

/* QEMU makes all cards before its main loop waits for the first time, and before its replay can
 * reach the log's end. Until then this function finds nothing and is called again. */
void vmft_nic_find_all(void)
{
	struct vmft_nics *nics = &vmft_nics;
	int fds[VMFT_AGENT_NICS];

	if (atomic_load_explicit(&nics->found, memory_order_acquire))
		return;
	for (unsigned i = 0; i < nics->count; i++) {
		fds[i] = vmft_qemu_nic_fd(nics->nic[i].id);
		if (fds[i] <= STDERR_FILENO)
			return;
	}
	for (unsigned i = 0; i < nics->count; i++) {
		atomic_store(&nics->nic[i].header, header_of(fds[i]));
		atomic_store(&nics->nic[i].fd, fds[i]);
		tell_monitor(i, fds[i]);
	}
	atomic_store_explicit(&vmft_agent.iface->nic_count, nics->count, memory_order_release);
	atomic_store_explicit(&nics->found, true, memory_order_release);
	vmft_announce_begin();
}

/* Only the main thread looks: another thread may wait while QEMU still makes its netdevs. */
void vmft_nic_before_wait(void)
{
	if (atomic_load_explicit(&vmft_agent.armed, memory_order_relaxed) &&
	    !atomic_load_explicit(&vmft_nics.found, memory_order_relaxed) && getpid() == gettid())
		vmft_nic_find_all();
}

int vmft_nic_of(int fd)
{
	const struct vmft_nics *nics = &vmft_nics;

	for (unsigned i = 0; i < nics->count; i++)
		if (atomic_load_explicit(&nics->nic[i].fd, memory_order_relaxed) == fd && fd > 0)
			return (int)i;
	return -1;
}

int vmft_nic_fd(unsigned nic)
{
	const int fd = nic < vmft_nics.count ? atomic_load(&vmft_nics.nic[nic].fd) : 0;

	return fd > 0 ? fd : -1;
}

/* The descriptor of a known card is looked at too: QEMU may have closed it (netdev_del), and its
 * number may be that of a socket now. */
bool vmft_nic_is_tap(int fd)
{
	struct ifreq ifr;
	struct stat st;

	if (vmft_nic_of(fd) >= 0)
		return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode);
	return says_tap(fd, &ifr);
}

void vmft_nic_header_is(int fd, int bytes)
{
	const int nic = vmft_nic_of(fd);

	if (nic >= 0 && bytes >= 0 && (unsigned)bytes <= VMFT_NIC_HEADER_MAX)
		atomic_store(&vmft_nics.nic[nic].header, (uint32_t)bytes);
}

void vmft_nic_drain_all(void)
{
	uint8_t frame[VMFT_QEMU_FRAME_MAX];

	vmft_nic_find_all();
	for (unsigned i = 0; i < vmft_nics.count; i++) {
		const int fd = vmft_nic_fd(i);

		/* QEMU's taps are non-blocking (net/tap.c). */
		for (unsigned n = 0;
		     fd >= 0 && n < DRAIN_MAX && vmft_libc_read(fd, frame, sizeof(frame)) > 0; n++)
			;
	}
}
