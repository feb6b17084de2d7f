/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taps of two hosts, compared. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "monitor/common/tap-facts.h"
#include "suites.h"

static const struct vmft_tap_facts plain = {
    .netdev = "n0", .vnet_hdr = 1, .header = 20, .offloads = 0x1f, .mtu = 1500};

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
	is_refused("netdev n0: offloads ufo only at the primary: use the same kernel");
	two_each();
	backup.tap[0].offloads = 0x7f;
	is_refused("netdev n0: offloads uso4+uso6 only at the backup: use the same kernel");
	two_each();
	primary.tap[0].offloads = 0x6f;
	is_refused(
	    "netdev n0: offloads uso4+uso6 only at the primary, ufo only at the backup: use");
	two_each();
	primary.tap[0].offloads = 0;
	is_refused("offloads csum+tso4+tso6+ecn+ufo only at the backup");
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

	if (!suite || !CU_ADD_TEST(suite, test_differences) || !CU_ADD_TEST(suite, test_unknown) ||
	    !CU_ADD_TEST(suite, test_which_is_which))
		return -1;
	return 0;
}
