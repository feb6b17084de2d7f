/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's cards. Everywhere a card is named by its place in the list of -netdev options, which
 * both hosts have in the same order: the digest of the machine's configuration covers it.
 */
#ifndef VMFT_AGENT_NIC_H
#define VMFT_AGENT_NIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "monitor/common/presence.h"
#include "monitor/interface.h"

#define VMFT_AGENT_NICS	    VMFT_NICS_SHARED_MAX
#define VMFT_NIC_HEADER_MAX 32u /* before a frame: struct virtio_net_hdr_v1_hash has 20 bytes */

static_assert(VMFT_AGENT_NICS <= VMFT_PRESENCE_NICS, "a table of addresses has room for each card");

struct vmft_nic {
	char id[VMFT_NIC_ID_MAX + 1]; /* of its netdev, on this host */
	uint8_t mac[6];
	_Atomic int fd;		 /* 0: not known yet */
	_Atomic uint32_t header; /* bytes before each frame at the tap, for offloads */
};

/* id, mac and count are set by the constructor, the rest by vmft_nic_find_all(). */
struct vmft_nics {
	struct vmft_nic nic[VMFT_AGENT_NICS];
	unsigned count;
	atomic_bool found; /* fd and header of all cards are known */
};

extern struct vmft_nics vmft_nics;

/*
 * Asks QEMU which descriptors the cards have. Does nothing once they are known, and nothing while
 * QEMU has not made all of them. Main thread, or a thread that holds the replay mutex.
 */
void vmft_nic_find_all(void);
/* Any thread of QEMU is about to wait in ppoll(). */
void vmft_nic_before_wait(void);
/* Which card a descriptor belongs to, or -1. Any thread. */
int vmft_nic_of(int fd);
/* The card's descriptor, or -1. Any thread. */
int vmft_nic_fd(unsigned nic);
/* Whether what is written to fd leaves this host. Any thread; errno may change. */
bool vmft_nic_is_tap(int fd);
/* QEMU has told the tap that a header of so many bytes is before each frame. */
void vmft_nic_header_is(int fd, int bytes);
/* Reads and drops the frames that wait in all taps. The same threads as vmft_nic_find_all(). */
void vmft_nic_drain_all(void);

#endif
