/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frames by which the network learns where a guest lives now, and when they are sent. For an
 * address it is a reverse ARP request from that address, as QEMU sends after a migration
 * (net/announce.c): switches learn from its source, hosts ignore it, and it says nothing of IP
 * addresses, which may have moved. For a group it is the report that the guest had sent, in the
 * version that the guest used. Both carry the VLAN tags with which they were shown. Pure: no clock,
 * no I/O.
 */
#ifndef VMFT_ANNOUNCEMENT_H
#define VMFT_ANNOUNCEMENT_H

#include <stdbool.h>

#include "presence.h"

#define VMFT_ANNOUNCEMENT_MAX 256u /* bytes of a frame */

/* Each returns the frame's length. */
size_t vmft_announcement_of_address(const struct vmft_address *address,
				    uint8_t frame[static VMFT_ANNOUNCEMENT_MAX]);
size_t vmft_announcement_of_group(const struct vmft_group *group,
				  uint8_t frame[static VMFT_ANNOUNCEMENT_MAX]);

/*
 * Whether everything is to be announced once more: it was announced `made` times, and the guest
 * went live, or a link came up, since_ns ago. Announcements come often at first, because a switch
 * may miss one. Then the pauses grow to 5 s at most, for a little over a minute, because a port may
 * begin to forward late (spanning tree takes 30 s; a bond or a driver takes seconds).
 */
bool vmft_announcement_is_due(uint64_t since_ns, unsigned made);
#define VMFT_ANNOUNCEMENT_MINUTE "65 s" /* until the last, for people */

#endif
