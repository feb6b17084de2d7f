/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tap-facts.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define OFFLOADS_TEXT 36u

uint32_t vmft_tap_mtu(const char *ifname)
{
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};
	uint32_t mtu = 0;

	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (fd >= 0 && ioctl(fd, SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu > 0)
		mtu = (uint32_t)ifr.ifr_mtu;
	if (fd >= 0)
		close(fd);
	return mtu;
}

static const struct vmft_tap_facts *find(const struct vmft_hello *hello, const char *netdev)
{
	for (uint8_t i = 0; i < hello->tap_count; i++)
		if (strcmp(hello->tap[i].netdev, netdev) == 0)
			return &hello->tap[i];
	return NULL;
}

static const struct vmft_tap_facts *like(const struct vmft_hello *primary, uint8_t index,
					 const struct vmft_hello *backup)
{
	const struct vmft_tap_facts *same = find(backup, primary->tap[index].netdev);

	if (same)
		return same;
	/* A tap with the name of another card of the primary belongs to that card. */
	if (index >= backup->tap_count || find(primary, backup->tap[index].netdev))
		return NULL;
	return &backup->tap[index];
}

static void list_offloads(uint8_t offloads, char ret[static OFFLOADS_TEXT])
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {
	    {TUN_F_CSUM, "csum"},      {TUN_F_TSO4, "tso4"}, {TUN_F_TSO6, "tso6"},
	    {TUN_F_TSO_ECN, "ecn"},    {TUN_F_UFO, "ufo"},   {VMFT_TUN_F_USO4, "uso4"},
	    {VMFT_TUN_F_USO6, "uso6"},
	};
	size_t at = 0;

	(void)snprintf(ret, OFFLOADS_TEXT, "none");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (offloads & names[i].bit)
			at += (size_t)snprintf(ret + at, OFFLOADS_TEXT - at, "%s%s", at ? "+" : "",
					       names[i].name);
}

static bool differ(uint8_t a, uint8_t b)
{
	return a != b && a != VMFT_TAP_UNKNOWN && b != VMFT_TAP_UNKNOWN;
}

static void compare_offloads(uint8_t primary, uint8_t backup, char *why, size_t size)
{
	const uint8_t ours = primary & (uint8_t)~backup, theirs = backup & (uint8_t)~primary;
	char our_text[OFFLOADS_TEXT], their_text[OFFLOADS_TEXT];

	list_offloads(ours, our_text);
	list_offloads(theirs, their_text);
	(void)snprintf(why, size, "offloads %s%s%s%s%s: use the same kernel on both hosts",
		       ours ? our_text : "", ours ? " only at the primary" : "",
		       ours && theirs ? ", " : "", theirs ? their_text : "",
		       theirs ? " only at the backup" : "");
}

/* What differs, with both values, and what to do about it; "" if nothing does. */
static void compare(const struct vmft_tap_facts *primary, const struct vmft_tap_facts *backup,
		    char *why, size_t size)
{
	why[0] = '\0';
	if (differ(primary->vnet_hdr, backup->vnet_hdr)) {
		(void)snprintf(why, size,
			       "vnet_hdr is %s at the primary, %s at the backup: open both with or "
			       "without IFF_VNET_HDR",
			       primary->vnet_hdr ? "on" : "off", backup->vnet_hdr ? "on" : "off");
	} else if (differ(primary->header, backup->header)) {
		(void)snprintf(
		    why, size,
		    "vnet_hdr of up to %u bytes at the primary, %u at the backup: use the "
		    "same kernel on both hosts",
		    primary->header, backup->header);
	} else if (differ(primary->offloads, backup->offloads)) {
		compare_offloads(primary->offloads, backup->offloads, why, size);
	} else if (differ(primary->multi_queue, backup->multi_queue)) {
		(void)snprintf(why, size,
			       "multi_queue is %s at the primary, %s at the backup: open both with "
			       "or without IFF_MULTI_QUEUE",
			       primary->multi_queue ? "on" : "off",
			       backup->multi_queue ? "on" : "off");
	} else if (primary->mtu != backup->mtu && primary->mtu != 0 && backup->mtu != 0) {
		(void)snprintf(why, size,
			       "MTU %u at the primary, %u at the backup: set both to the same",
			       primary->mtu, backup->mtu);
	}
}

bool vmft_tap_facts_equal(const struct vmft_hello *primary, const struct vmft_hello *backup,
			  char *ret_why, size_t size)
{
	char what[160];

	for (uint8_t i = 0; i < primary->tap_count; i++) {
		const struct vmft_tap_facts *tap = &primary->tap[i];
		const struct vmft_tap_facts *other = like(primary, i, backup);

		if (!other) {
			(void)snprintf(
			    ret_why, size,
			    "no card at netdev %s, which the primary has: give both hosts "
			    "the same -netdev options",
			    tap->netdev);
			return false;
		}
		compare(tap, other, what, sizeof(what));
		if (what[0]) {
			(void)snprintf(ret_why, size, "another tap at netdev %s: %s", tap->netdev,
				       what);
			return false;
		}
	}
	return true;
}
