/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that a guest sends, and what a peer says that one has shown: the table stays within its
 * bounds, its bytes give it back, and what is announced is understood as what it was made of.
 *
 * An input is a byte, what it is, then a frame or a table's bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "monitor/common/announcement.h"
#include "monitor/common/presence.h"

static struct vmft_presence presence, other;
static uint8_t bytes[VMFT_PRESENCE_BYTES_MAX], again[VMFT_PRESENCE_BYTES_MAX];

static void must(int condition)
{
	if (!condition)
		abort();
}

static void check_table(const struct vmft_presence *p)
{
	size_t n;

	must(p->addresses <= VMFT_PRESENCE_ADDRESSES && p->groups <= VMFT_PRESENCE_GROUPS);
	n = vmft_presence_encode(p, bytes);
	must(n <= sizeof(bytes));
	must(vmft_presence_decode(bytes, n, &other) == 0);
	must(vmft_presence_encode(&other, again) == n && memcmp(bytes, again, n) == 0);
}

static void check_announced(const struct vmft_group *group)
{
	uint8_t frame[VMFT_ANNOUNCEMENT_MAX];
	const size_t n = vmft_announcement_of_group(group, frame);

	must(n <= sizeof(frame));
	memset(&other, 0, sizeof(other));
	(void)vmft_presence_sent(&other, group->place.nic, frame, n, group->shown_ns);
	/* A reporter that is nobody reports nothing. */
	if (memcmp(group->mac, "\0\0\0\0\0", 6) == 0)
		return;
	must(other.groups == 1 && memcmp(other.group[0].group, group->group, 16) == 0);
	must(other.group[0].filter == group->filter && other.group[0].version == group->version);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	memset(&presence, 0, sizeof(presence));
	if (data[0] & 1u) {
		if (vmft_presence_decode(data + 1, size - 1, &presence) < 0)
			return 0;
	} else {
		(void)vmft_presence_sent(&presence, data[0] >> 5, data + 1, size - 1, 1);
		(void)vmft_presence_sent(&presence, data[0] >> 5, data + 1, size - 1, 2);
		(void)vmft_presence_got(&presence, data[0] >> 4 & 7, data + 1, size - 1,
					VMFT_PRESENCE_ECHO_NS + 3);
	}
	check_table(&presence);
	for (uint32_t i = 0; i < presence.groups; i++)
		check_announced(&presence.group[i]);
	return 0;
}

/* Reports of two groups in a VLAN by IGMPv3, one for two senders; of one by MLDv1; a table of one
 * address and one group. */
#define ETHERNET 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1
#define IPV6_1	 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
#define GROUP6	 0xff, 0xe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34

static const uint8_t igmp[] = {
    ETHERNET, 0x81, 0,	  0, 7, 8,  0,	  0x46, 0xc0, 0,    56,	  0, 0, 0,  0, 1, 2, 0,	 0, 10, 7,
    0,	      2,    0xe0, 0, 0, 22, 0x94, 4,	0,    0,    0x22, 0, 0, 0,  0, 0, 0, 2,	 4, 0,	0,
    0,	      0xef, 1,	  1, 1, 3,  0,	  0,	2,    0xef, 2,	  2, 2, 10, 0, 0, 1, 10, 0, 0,	2};
static const uint8_t mld[] = {ETHERNET, 0x86,	0xdd,	0x60, 0, 0, 0, 0, 32, 0,
			      1,	IPV6_1, GROUP6, 58,   0, 5, 2, 0, 0,  1,
			      0,	131,	0,	0,    0, 0, 0, 0, 0,  GROUP6};
static const uint8_t table[] = {1, 0, 0, 0, 1, 3, 1, 0x81, 0, 0, 7, 0, 0,      0,      0,     2, 0,
				0, 0, 0, 1, 1, 0, 0, 0,	   1, 3, 0, 0, 0,      0,      0,     0, 0,
				0, 0, 2, 0, 0, 0, 0, 1,	   6, 2, 1, 1, IPV6_1, GROUP6, IPV6_1};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {igmp, sizeof(igmp)},
    {mld, sizeof(mld)},
    {table, sizeof(table)},
    {0},
};
