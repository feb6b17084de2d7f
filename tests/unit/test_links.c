/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's links as the kernel tells of them, and which of them carry a card. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/daemon/guest/links.h"
#include "suites.h"

static struct vmft_links links;
static char up[256]; /* the names of links that came up, each with a blank after it */

static void came_up(void *user, const struct vmft_link *link)
{
	CU_ASSERT_PTR_EQUAL(user, &links);
	(void)strcat(strcat(up, link->name), " ");
}

/* --- messages ---------------------------------------------------------------- */

static struct {
	uint8_t bytes[1024];
	size_t n;
} message;

static struct nlmsghdr *head(void)
{
	return (struct nlmsghdr *)(void *)message.bytes;
}

static size_t put(unsigned type, const void *bytes, size_t n)
{
	struct rtattr attribute = {
	    .rta_len = (unsigned short)(sizeof(attribute) + n),
	    .rta_type = (unsigned short)type,
	};
	const size_t at = message.n;

	memcpy(message.bytes + at, &attribute, sizeof(attribute));
	if (bytes)
		memcpy(message.bytes + at + sizeof(attribute), bytes, n);
	message.n = at + RTA_ALIGN(sizeof(attribute) + n);
	return at;
}

static void put_end(size_t nest)
{
	((struct rtattr *)(void *)(message.bytes + nest))->rta_len =
	    (unsigned short)(message.n - nest);
}

static void begin(uint16_t type, int family, int index, unsigned flags)
{
	struct ifinfomsg info = {
	    .ifi_family = (unsigned char)family,
	    .ifi_index = index,
	    .ifi_flags = flags,
	};

	memset(&message, 0, sizeof(message));
	head()->nlmsg_type = type;
	memcpy(message.bytes + NLMSG_HDRLEN, &info, sizeof(info));
	message.n = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(info));
}

static void arrives(void)
{
	uint8_t *copy = malloc(message.n);

	head()->nlmsg_len = (uint32_t)message.n;
	memcpy(copy, message.bytes, message.n);
	up[0] = '\0';
	vmft_links_take(&links, copy, message.n, came_up, &links);
	free(copy);
}

#define UP (IFF_UP | IFF_RUNNING)

static void link_is(int index, const char *name, int master, int lower, unsigned flags)
{
	begin(RTM_NEWLINK, AF_UNSPEC, index, flags);
	(void)put(IFLA_IFNAME, name, strlen(name) + 1);
	if (master)
		(void)put(IFLA_MASTER, &master, sizeof(master));
	if (lower)
		(void)put(IFLA_LINK, &lower, sizeof(lower));
	arrives();
}

static void port_is(int index, uint8_t state)
{
	size_t nest;

	begin(RTM_NEWLINK, AF_BRIDGE, index, UP);
	nest = put(IFLA_PROTINFO | NLA_F_NESTED, NULL, 0);
	(void)put(IFLA_BRPORT_STATE, &state, 1);
	put_end(nest);
	arrives();
}

/* The same in a link's own message. */
static void slave_is(int index, const char *name, int master, uint8_t state)
{
	size_t info, data;

	begin(RTM_NEWLINK, AF_UNSPEC, index, UP);
	(void)put(IFLA_IFNAME, name, strlen(name) + 1);
	(void)put(IFLA_MASTER, &master, sizeof(master));
	info = put(IFLA_LINKINFO, NULL, 0);
	(void)put(IFLA_INFO_SLAVE_KIND, "bridge", 7);
	data = put(IFLA_INFO_SLAVE_DATA, NULL, 0);
	(void)put(IFLA_BRPORT_STATE, &state, 1);
	put_end(data);
	put_end(info);
	arrives();
}

static void listed(void)
{
	begin(NLMSG_DONE, 0, 0, 0);
	arrives();
}

enum { LO = 1, ETH0, ETH1, BOND, VLAN, BR, TAP, OTHER, OTHER_BR, MACVTAP };

/* tap0 in br0, which is on a VLAN of a bond of two; another bridge beside it. */
static void setup(void)
{
	CU_ASSERT_EQUAL_FATAL(vmft_links_init(&links), 0);
	link_is(LO, "lo", 0, 0, UP);
	link_is(ETH0, "eth0", BOND, 0, IFF_UP);
	link_is(ETH1, "eth1", BOND, 0, UP);
	link_is(BOND, "bond0", 0, 0, UP);
	link_is(VLAN, "bond0.5", BR, BOND, UP);
	link_is(BR, "br0", 0, 0, UP);
	link_is(TAP, "tap0", BR, 0, UP);
	link_is(OTHER, "tap1", OTHER_BR, 0, UP);
	link_is(OTHER_BR, "br1", 0, 0, UP);
	link_is(MACVTAP, "macvtap0", 0, ETH1, UP);
	CU_ASSERT_STRING_EQUAL(up, "");
	listed();
}

static void test_comes_up(void)
{
	setup();
	link_is(ETH0, "eth0", BOND, 0, UP);
	CU_ASSERT_STRING_EQUAL(up, "eth0 ");
	link_is(ETH0, "eth0", BOND, 0, UP); /* news of something else */
	CU_ASSERT_STRING_EQUAL(up, "");
	link_is(ETH0, "eth0", BOND, 0, 0);
	CU_ASSERT_STRING_EQUAL(up, "");
	link_is(ETH0, "eth0", BOND, 0, UP);
	CU_ASSERT_STRING_EQUAL(up, "eth0 ");
	/* Out of its bond and back; a new one; one that goes and comes back. */
	link_is(ETH0, "eth0", 0, 0, UP);
	CU_ASSERT_STRING_EQUAL(up, "");
	link_is(ETH0, "eth0", BR, 0, UP);
	CU_ASSERT_STRING_EQUAL(up, "eth0 ");
	link_is(20, "new", 0, 0, UP);
	CU_ASSERT_STRING_EQUAL(up, "new ");
	begin(RTM_DELLINK, AF_UNSPEC, 20, 0);
	arrives();
	link_is(20, "new", 0, 0, UP);
	CU_ASSERT_STRING_EQUAL(up, "new ");
	vmft_links_fini(&links);
}

/* A bridge's port with a carrier, which forwards later. */
static void test_port_forwards(void)
{
	setup();
	port_is(VLAN, BR_STATE_LISTENING);
	port_is(VLAN, BR_STATE_LEARNING);
	CU_ASSERT_STRING_EQUAL(up, "");
	port_is(VLAN, BR_STATE_FORWARDING);
	CU_ASSERT_STRING_EQUAL(up, "bond0.5 ");
	port_is(VLAN, BR_STATE_FORWARDING);
	CU_ASSERT_STRING_EQUAL(up, "");
	slave_is(VLAN, "bond0.5", BR, BR_STATE_BLOCKING);
	slave_is(VLAN, "bond0.5", BR, BR_STATE_FORWARDING);
	CU_ASSERT_STRING_EQUAL(up, "bond0.5 ");
	/* A bridge that lets go of its port does not end the link. */
	begin(RTM_DELLINK, AF_BRIDGE, VLAN, 0);
	arrives();
	port_is(VLAN, BR_STATE_FORWARDING);
	CU_ASSERT_STRING_EQUAL(up, "");
	vmft_links_fini(&links);
}

static void test_carries(void)
{
	static const struct {
		int link, device;
		bool carries;
	} cases[] = {
	    {ETH0, TAP, true},	   {ETH1, TAP, true},	   {BOND, TAP, true},
	    {VLAN, TAP, true},	   {BR, TAP, true},	   {TAP, TAP, true},
	    {LO, TAP, false},	   {OTHER, TAP, false},	   {OTHER_BR, TAP, false},
	    {ETH1, MACVTAP, true}, {ETH0, MACVTAP, false}, {BOND, MACVTAP, false},
	    {ETH0, OTHER, false},  {ETH0, 99, false},	   {99, TAP, false},
	    {0, 0, false},
	};

	setup();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CU_ASSERT_EQUAL(vmft_links_carries(&links, cases[i].link, cases[i].device),
				cases[i].carries);
	/* Each on the other: it ends. */
	link_is(30, "a", 31, 31, UP);
	link_is(31, "b", 30, 30, UP);
	CU_ASSERT(!vmft_links_carries(&links, LO, 30));
	vmft_links_fini(&links);
}

/* The device a veth's other end is at is of another namespace's numbers. */
static void test_elsewhere(void)
{
	const int there = ETH0, ns = 0;

	setup();
	begin(RTM_NEWLINK, AF_UNSPEC, 40, UP);
	(void)put(IFLA_IFNAME, "veth", 5);
	(void)put(IFLA_LINK, &there, sizeof(there));
	(void)put(IFLA_LINK_NETNSID, &ns, sizeof(ns));
	arrives();
	CU_ASSERT(!vmft_links_carries(&links, ETH0, 40));
	vmft_links_fini(&links);
}

/* Cut short or of absurd lengths: passed over. */
static void test_garbage(void)
{
	setup();
	slave_is(50, "port", BR, BR_STATE_BLOCKING);
	for (size_t n = 0; n < message.n; n++) {
		uint8_t *copy = malloc(n ? n : 1);

		memcpy(copy, message.bytes, n);
		if (n >= sizeof(struct nlmsghdr))
			((struct nlmsghdr *)(void *)copy)->nlmsg_len = (uint32_t)n;
		vmft_links_take(&links, copy, n, came_up, &links);
		free(copy);
	}
	for (unsigned seed = 0; seed < 20000; seed++) {
		uint8_t *copy = malloc(message.n);

		memcpy(copy, message.bytes, message.n);
		for (unsigned i = 0; i < 4; i++)
			copy[16u + (seed * 2654435761u >> (i * 5)) % (message.n - 16)] ^=
			    (uint8_t)(seed >> i);
		vmft_links_take(&links, copy, message.n, came_up, &links);
		up[0] = '\0';
		free(copy);
	}
	CU_ASSERT(links.count <= VMFT_LINKS_MAX);
	vmft_links_fini(&links);
}

int vmft_suite_links(void)
{
	CU_TestInfo tests[] = {
	    {"a link comes up", test_comes_up},
	    {"a bridge's port forwards", test_port_forwards},
	    {"which carry a card", test_carries},
	    {"a device of another namespace", test_elsewhere},
	    {"garbage", test_garbage},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"links of the host", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
