/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taps of two hosts, told and compared. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "monitor/common/tap-facts.h"
#include "suites.h"

static const struct vmft_tap_facts plain = {
    .netdev = "n0", .vnet_hdr = 1, .header = 20, .offloads = 0x1f, .mtu = 1500};

static void test_text(void)
{
	static const char *const bad[] = {
	    "1:20:31:0:1500:tap0",
	    "1:20:31:0:1500:tap0:",
	    "1:20:31:0:1:abcdefghijklmnop:n",
	    "",
	    "1",
	    "1:20:31:0:1500",
	    "1:20:31:0:1500::",
	    "2:20:31:0:1::n",
	    "1:256:31:0:1::n",
	    "1:20:32:0:1::n",
	    "1:20:31:2:1::n",
	    "1:20:31:x:1::n",
	    "1:20:31:0:1500 n",
	    "1:20:31:0:::n",
	};
	char text[VMFT_TAP_TEXT_MAX], longest[VMFT_TAP_TEXT_MAX + 32];
	char ifname[VMFT_TAP_IFNAME];
	struct vmft_tap_facts got = {.mtu = 99};

	vmft_tap_facts_format(&plain, "tap0", text);
	CU_ASSERT_STRING_EQUAL(text, "1:20:31:0:1500:tap0:n0");
	CU_ASSERT_EQUAL(vmft_tap_facts_parse(text, &got, ifname), 0);
	CU_ASSERT_STRING_EQUAL(ifname, "tap0");
	CU_ASSERT_EQUAL(memcmp(&got, &plain, sizeof(got)), 0);
	CU_ASSERT_EQUAL(vmft_tap_facts_parse("255:255:255:255:0::a:b", &got, ifname), 0);
	CU_ASSERT_STRING_EQUAL(got.netdev, "a:b");
	CU_ASSERT_STRING_EQUAL(ifname, "");
	got.mtu = 99;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(vmft_tap_facts_parse(bad[i], &got, ifname), -EINVAL);
	memset(longest, 'n', sizeof(longest));
	memcpy(longest, "1:20:31:0:1:abcdefghijklmno:", 28);
	longest[28 + VMFT_TAP_NETDEV_MAX + 1] = '\0';
	CU_ASSERT_EQUAL(vmft_tap_facts_parse(longest, &got, ifname), -EINVAL);
	CU_ASSERT_EQUAL(got.mtu, 99);
	longest[28 + VMFT_TAP_NETDEV_MAX] = '\0';
	CU_ASSERT_EQUAL(vmft_tap_facts_parse(longest, &got, ifname), 0);
	vmft_tap_facts_format(&got, ifname, text);
	CU_ASSERT_STRING_EQUAL(text, longest);
}

static struct vmft_hello primary, backup;

static void two_each(void)
{
	memset(&primary, 0, sizeof(primary));
	primary.tap_count = 2;
	primary.tap[0] = primary.tap[1] = plain;
	strcpy(primary.tap[1].netdev, "n1");
	backup = primary;
}

static void is_refused(const char *because)
{
	char why[200] = "";

	CU_ASSERT(!vmft_tap_facts_equal(&primary, &backup, why, sizeof(why)));
	if (!strstr(why, because))
		CU_FAIL(why);
}

static void is_fine(void)
{
	char why[200] = "";

	CU_ASSERT(vmft_tap_facts_equal(&primary, &backup, why, sizeof(why)));
}

/* Each difference is named with the card's id and both values. */
static void test_differences(void)
{
	two_each();
	is_fine();
	backup.tap[1].vnet_hdr = backup.tap[1].header = backup.tap[1].offloads = 0;
	is_refused("netdev n1: vnet_hdr is on at the primary, off at the backup");
	two_each();
	primary.tap[0].vnet_hdr = 0;
	is_refused("netdev n0: vnet_hdr is off at the primary, on at the backup");
	two_each();
	backup.tap[0].header = 10;
	is_refused("netdev n0: vnet_hdr of up to 20 bytes at the primary, 10 at the backup");
	two_each();
	backup.tap[0].offloads = 0xf;
	is_refused("netdev n0: offloads csum+tso4+tso6+ecn+ufo at the primary, "
		   "csum+tso4+tso6+ecn at the backup");
	two_each();
	primary.tap[0].offloads = 0;
	is_refused("offloads none at the primary");
	two_each();
	backup.tap[1].multi_queue = 1;
	is_refused("netdev n1: multi_queue is off at the primary, on at the backup");
	two_each();
	backup.tap[1].mtu = 9000;
	is_refused("netdev n1: MTU 1500 at the primary, 9000 at the backup");
}

/* What one of them does not know is not held against the other. */
static void test_unknown(void)
{
	two_each();
	backup.tap[0].vnet_hdr = backup.tap[0].header = VMFT_TAP_UNKNOWN;
	backup.tap[0].offloads = backup.tap[0].multi_queue = VMFT_TAP_UNKNOWN;
	backup.tap[0].mtu = 0;
	is_fine();
	primary.tap[1].mtu = 0;
	is_fine();
}

/* By their names, in whatever order; by their places, if the hosts name them differently. */
static void test_which_is_which(void)
{
	two_each();
	primary.tap[0].mtu = 9000;
	is_refused("netdev n0: MTU");
	backup.tap[0] = primary.tap[1];
	backup.tap[1] = primary.tap[0];
	is_fine();
	two_each();
	strcpy(backup.tap[0].netdev, "hostnet0");
	is_fine();
	backup.tap[0].mtu = 9000;
	is_refused("netdev n0: MTU 1500 at the primary, 9000");
	two_each();
	backup.tap_count = 1;
	is_refused("no card at netdev n1, which the primary has");
	two_each();
	backup.tap[0] = backup.tap[1];
	is_refused("no card at netdev n0");
}

int vmft_suite_tap_facts(void)
{
	CU_pSuite suite = CU_add_suite("tap facts", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_text) || !CU_ADD_TEST(suite, test_differences) ||
	    !CU_ADD_TEST(suite, test_unknown) || !CU_ADD_TEST(suite, test_which_is_which))
		return -1;
	return 0;
}
