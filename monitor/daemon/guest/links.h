/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host's network links as the kernel tells of them (rtnetlink(7)), and which of them carry a
 * card of the guest's: the ports of the bridge that its tap is in, what a macvtap or a VLAN device
 * stands on, the members of a bond below either.
 *
 * Pure: messages come in as bytes, no socket.
 */
#ifndef VMFT_LINKS_H
#define VMFT_LINKS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMFT_LINKS_MAX 4096u /* what is beyond is not known */

struct vmft_link {
	int index;
	int master;	 /* the bridge or bond it is in; 0: none */
	int lower;	 /* the device of this namespace that it stands on; 0: none */
	bool running;	 /* up, with a carrier */
	bool forwarding; /* no port of a bridge that is blocked, or learns only */
	char name[IFNAMSIZ];
};

struct vmft_links {
	struct vmft_link *link; /* VMFT_LINKS_MAX of them */
	size_t count;
	bool listed; /* all there were at first are known: what is new is news */
};

/* 0 or -ENOMEM. */
int vmft_links_init(struct vmft_links *links);
void vmft_links_fini(struct vmft_links *links);

/*
 * Takes in messages as one recv() gave them; what is no such message is passed over. Calls came_up
 * for each link that can carry frames now and could not before, or has just joined its master.
 */
void vmft_links_take(struct vmft_links *links, const void *bytes, size_t n,
		     void (*came_up)(void *user, const struct vmft_link *link), void *user);

/* Whether frames of the device, a tap or a macvtap, go by way of the link. */
bool vmft_links_carries(const struct vmft_links *links, int link, int device);

#endif
