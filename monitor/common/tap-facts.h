/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Compares the taps of the two sides of a pair. What QEMU offers its guest depends on the tap and
 * is part of the card's state: a side whose tap can do less cannot load that state.
 */
#ifndef VMFT_TAP_FACTS_H
#define VMFT_TAP_FACTS_H

#include <stdbool.h>
#include <stddef.h>

#include "logging-channel/frame.h"
#include "logging-channel/hello.h"

#define VMFT_TAP_IFNAME 16u /* IFNAMSIZ */

/* TUN_F_USO4 and TUN_F_USO6 of Linux 6.2; the headers of Debian 12 are older. */
#define VMFT_TUN_F_USO4 0x20u
#define VMFT_TUN_F_USO6 0x40u

/* Of the interface as it is now; 0: not known. */
uint32_t vmft_tap_mtu(const char *ifname);

/*
 * Whether all taps of the primary's hello are like the backup's, as far as both are known. If not,
 * one line of at most size bytes names the card, what differs, both values and what to do. A tap is
 * compared with the one that has its id, or, if the hosts name their cards differently, with the
 * one in its place.
 */
bool vmft_tap_facts_equal(const struct vmft_hello *primary, const struct vmft_hello *backup,
			  char *ret_why, size_t size);

#endif
