/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The taps of the two sides of a pair, compared. What QEMU offers its guest depends on them, and
 * is in the state of its card: a side whose tap can do less cannot load it.
 */
#ifndef VMFT_TAP_FACTS_H
#define VMFT_TAP_FACTS_H

#include <stdbool.h>
#include <stddef.h>

#include "logging-channel/frame.h"
#include "logging-channel/hello.h"

#define VMFT_TAP_IFNAME 16u /* IFNAMSIZ */

/* Of the interface as it is now; 0: not known. */
uint32_t vmft_tap_mtu(const char *ifname);

/*
 * Whether all taps of the primary's hello are as the backup's, as far as both are known; if not,
 * one line of at most size bytes says which card's, what differs, both values, what to do. A
 * tap's like is the one with its id, or, if both hosts name their cards differently, the one in
 * its place.
 */
bool vmft_tap_facts_equal(const struct vmft_hello *primary, const struct vmft_hello *backup,
			  char *ret_why, size_t size);

#endif
