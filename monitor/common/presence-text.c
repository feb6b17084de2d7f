/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest is known by on its networks, as text. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "presence.h"

static void place_text(const struct vmft_place *place, char *to, size_t size)
{
	to[0] = '\0';
	if (place->tags == 1)
		(void)snprintf(to, size, " (VLAN %u)", place->tag[0].control & VMFT_VLAN_MASK);
	else if (place->tags == 2)
		(void)snprintf(to, size, " (VLAN %u in %u)", place->tag[1].control & VMFT_VLAN_MASK,
			       place->tag[0].control & VMFT_VLAN_MASK);
}

void vmft_address_text(const struct vmft_address *address, char ret[static VMFT_PRESENCE_TEXT_MAX])
{
	const uint8_t *m = address->mac;
	char place[32];

	place_text(&address->place, place, sizeof(place));
	(void)snprintf(ret, VMFT_PRESENCE_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x%s", m[0], m[1],
		       m[2], m[3], m[4], m[5], place);
}

void vmft_group_text(const struct vmft_group *group, char ret[static VMFT_PRESENCE_TEXT_MAX])
{
	char place[32], ip[INET6_ADDRSTRLEN] = "?";

	place_text(&group->place, place, sizeof(place));
	(void)inet_ntop(group->ip_version == 4 ? AF_INET : AF_INET6, group->group, ip, sizeof(ip));
	(void)snprintf(ret, VMFT_PRESENCE_TEXT_MAX, "%s%s", ip, place);
}
