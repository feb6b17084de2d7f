/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "links.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 8 /* of devices on devices */

static struct vmft_link *find(const struct vmft_links *links, int index)
{
	for (size_t i = 0; i < links->count; i++)
		if (links->link[i].index == index)
			return &links->link[i];
	return NULL;
}

static bool carries(const struct vmft_link *link)
{
	return link->running && link->forwarding;
}

/* --- attributes ----------------------------------------------------------- */

struct attributes {
	const uint8_t *at;
	size_t left;
};

/* The next of them; false at the end, or when the rest is too short to be one. */
static bool next(struct attributes *a, unsigned *ret_type, struct attributes *ret_value)
{
	struct rtattr attribute;
	size_t step;

	if (a->left < sizeof(attribute))
		return false;
	memcpy(&attribute, a->at, sizeof(attribute));
	if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > a->left)
		return false;
	*ret_type = attribute.rta_type & (unsigned)NLA_TYPE_MASK;
	ret_value->at = a->at + sizeof(attribute);
	ret_value->left = attribute.rta_len - sizeof(attribute);
	step = RTA_ALIGN(attribute.rta_len);
	step = step < a->left ? step : a->left;
	a->at += step;
	a->left -= step;
	return true;
}

static int number(const struct attributes *value)
{
	int n = 0;

	if (value->left >= sizeof(n))
		memcpy(&n, value->at, sizeof(n));
	return n;
}

/* A bridge port's attributes. */
static void take_port(struct vmft_link *link, struct attributes port)
{
	struct attributes value;
	unsigned type;

	while (next(&port, &type, &value))
		if (type == IFLA_BRPORT_STATE && value.left >= 1)
			link->forwarding = value.at[0] == BR_STATE_FORWARDING;
}

static void take_info(struct vmft_link *link, struct attributes info)
{
	struct attributes value, data = {0};
	bool bridge = false;
	unsigned type;

	while (next(&info, &type, &value)) {
		if (type == IFLA_INFO_SLAVE_KIND)
			bridge = value.left >= 6 && memcmp(value.at, "bridge", 6) == 0;
		else if (type == IFLA_INFO_SLAVE_DATA)
			data = value;
	}
	if (bridge)
		take_port(link, data);
}

static void take_name(struct vmft_link *link, const struct attributes *value)
{
	const size_t n = value->left < IFNAMSIZ - 1 ? value->left : IFNAMSIZ - 1;

	memset(link->name, 0, sizeof(link->name));
	memcpy(link->name, value->at, n);
}

/* What the message says of the link; what it does not say is as before. */
static void take_attributes(struct vmft_link *link, const struct ifinfomsg *head,
			    struct attributes all)
{
	struct attributes value;
	bool elsewhere = false; /* the device it stands on is in another namespace: a veth's */
	int master = 0, lower = 0;
	unsigned type;

	while (next(&all, &type, &value)) {
		if (type == IFLA_IFNAME)
			take_name(link, &value);
		else if (type == IFLA_MASTER)
			master = number(&value);
		else if (type == IFLA_LINK)
			lower = number(&value);
		else if (type == IFLA_LINK_NETNSID)
			elsewhere = true;
		else if (type == IFLA_LINKINFO)
			take_info(link, value);
		else if (type == IFLA_PROTINFO && head->ifi_family == AF_BRIDGE)
			take_port(link, value);
	}
	/* A bridge's own word on its port says nothing else of it. */
	if (head->ifi_family == AF_BRIDGE)
		return;
	link->master = master;
	link->lower = elsewhere || lower == link->index ? 0 : lower;
	link->running = (head->ifi_flags & IFF_UP) != 0 && (head->ifi_flags & IFF_RUNNING) != 0;
	if (master == 0)
		link->forwarding = true;
}

/* --- messages ------------------------------------------------------------- */

static void forget(struct vmft_links *links, const struct ifinfomsg *head)
{
	struct vmft_link *link = find(links, head->ifi_index);

	/* Of family bridge: it is no port any more, but still there. */
	if (link && head->ifi_family == AF_UNSPEC)
		*link = links->link[--links->count];
}

static struct vmft_link *find_or_add(struct vmft_links *links, int index)
{
	struct vmft_link *link = find(links, index);

	if (link || links->count == VMFT_LINKS_MAX)
		return link;
	link = &links->link[links->count++];
	*link = (struct vmft_link){.index = index, .forwarding = true};
	return link;
}

static void take_link(struct vmft_links *links, const struct ifinfomsg *head, struct attributes all,
		      void (*came_up)(void *user, const struct vmft_link *link), void *user)
{
	struct vmft_link *link = find_or_add(links, head->ifi_index);
	struct vmft_link before;

	if (!link)
		return;
	before = *link;
	take_attributes(link, head, all);
	if (links->listed && carries(link) &&
	    (!carries(&before) || (link->master != before.master && link->master != 0)))
		came_up(user, link);
}

static void take_message(struct vmft_links *links, const struct nlmsghdr *head, const uint8_t *body,
			 size_t n, void (*came_up)(void *user, const struct vmft_link *link),
			 void *user)
{
	struct attributes all = {0};
	struct ifinfomsg info;

	if (head->nlmsg_type == NLMSG_DONE)
		links->listed = true;
	if ((head->nlmsg_type != RTM_NEWLINK && head->nlmsg_type != RTM_DELLINK) ||
	    n < sizeof(info))
		return;
	memcpy(&info, body, sizeof(info));
	if (info.ifi_family != AF_UNSPEC && info.ifi_family != AF_BRIDGE)
		return;
	if (head->nlmsg_type == RTM_DELLINK) {
		forget(links, &info);
		return;
	}
	if (n > NLMSG_ALIGN(sizeof(info))) {
		all.at = body + NLMSG_ALIGN(sizeof(info));
		all.left = n - NLMSG_ALIGN(sizeof(info));
	}
	take_link(links, &info, all, came_up, user);
}

void vmft_links_take(struct vmft_links *links, const void *bytes, size_t n,
		     void (*came_up)(void *user, const struct vmft_link *link), void *user)
{
	const uint8_t *at = bytes;
	struct nlmsghdr head;

	while (n >= sizeof(head)) {
		size_t step;

		memcpy(&head, at, sizeof(head));
		if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > n)
			return;
		take_message(links, &head, at + NLMSG_HDRLEN, head.nlmsg_len - NLMSG_HDRLEN,
			     came_up, user);
		step = NLMSG_ALIGN(head.nlmsg_len);
		step = step < n ? step : n;
		at += step;
		n -= step;
	}
}

/* --- which carry a card --------------------------------------------------- */

/* Whether link is device, or below it. */
static bool is_below(const struct vmft_links *links, int link, int device, unsigned depth)
{
	const struct vmft_link *self = find(links, device);

	if (link == device)
		return true;
	if (!self || depth == DEPTH_MAX)
		return false;
	if (self->lower != 0 && is_below(links, link, self->lower, depth + 1))
		return true;
	for (size_t i = 0; i < links->count; i++)
		if (links->link[i].master == device &&
		    is_below(links, link, links->link[i].index, depth + 1))
			return true;
	return false;
}

bool vmft_links_carries(const struct vmft_links *links, int link, int device)
{
	const struct vmft_link *self = find(links, device);

	if (!self || device == 0)
		return false;
	return is_below(links, link, self->master != 0 ? self->master : device, 0);
}

int vmft_links_init(struct vmft_links *links)
{
	*links = (struct vmft_links){.link = calloc(VMFT_LINKS_MAX, sizeof(*links->link))};
	return links->link ? 0 : -ENOMEM;
}

void vmft_links_fini(struct vmft_links *links)
{
	free(links->link);
	links->link = NULL;
	links->count = 0;
}
