/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest shows of itself on its networks, and the frames that tell others of it. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/announcement.h"
#include "monitor/common/exchange.h"
#include "monitor/common/presence.h"
#include "suites.h"

#define SECOND UINT64_C(1000000000)

static struct vmft_presence presence;

static const uint8_t own[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static void setup(void)
{
	memset(&presence, 0, sizeof(presence));
}

/* --- frames ------------------------------------------------------------------ */

static size_t hex(const char *text, uint8_t *ret)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	for (; *text; text++) {
		const char *at = strchr(digits, *text);

		if (!at)
			continue;
		if (n % 2 == 0)
			ret[n / 2] = (uint8_t)((at - digits) << 4);
		else
			ret[n / 2] |= (uint8_t)(at - digits);
		n++;
	}
	return n / 2;
}

/* Sends the frame from card 1 at that second. */
static bool sends(const char *text, uint64_t second)
{
	uint8_t frame[512];
	const size_t n = hex(text, frame);
	bool changed = vmft_presence_sent(&presence, 1, frame, n, second * SECOND);

	/* Cut short anywhere it is no more than a source. */
	for (size_t i = 0; i < n; i++) {
		uint8_t *cut = malloc(i ? i : 1);
		static struct vmft_presence other;

		memcpy(cut, frame, i);
		memset(&other, 0, sizeof(other));
		(void)vmft_presence_sent(&other, 1, cut, i, 0);
		CU_ASSERT(other.addresses <= 1);
		free(cut);
	}
	return changed;
}

#define SOURCE	    " 525400123456 "
#define EVERYBODY   "ffffffffffff"
#define GROUP_MAC   "01005e010101"
#define TAG7	    " 8100 0007 "
#define IPV4(ihl)   " 0800 " ihl "c0 0000 0000 4000 01 02 0000 0a070002 efd20101 "
#define IPV4_ALERT  IPV4("46") " 94040000 "
#define IPV6	    " 86dd 60000000 0000 00 01 fe80000000000000505400fffe123456 " ALL_MLD2
#define ALL_MLD2    " ff020000000000000000000000000016 "
#define HOP_BY_HOP  " 3a00 05020000 0100 "
#define GROUP4	    " ef010101 "
#define GROUP6	    " ff0e0000000000000000000000001234 "
#define SOURCE4(n)  " 0a0000" n " "
#define SOURCE6(n)  " 20010db80000000000000000000000" n " "
#define V2(type)    GROUP_MAC SOURCE IPV4_ALERT type "00 0000 " GROUP4
#define V3(records) "01005e000016" SOURCE IPV4_ALERT "2200 0000 0000 " records
#define MLD1(type)  "333300001234" SOURCE IPV6 HOP_BY_HOP type "00 0000 0000 0000" GROUP6
#define MLD2(all)   "333300000016" SOURCE IPV6 HOP_BY_HOP "8f00 0000 0000 " all

static void test_addresses(void)
{
	setup();
	CU_ASSERT(vmft_presence_own(&presence, 1, own));
	CU_ASSERT(!vmft_presence_own(&presence, 1, own));
	CU_ASSERT(!sends(EVERYBODY SOURCE "0806 0001", 1));
	CU_ASSERT(sends(EVERYBODY " 02420a070007 0806 0001", 2));
	CU_ASSERT(!sends("020000000001 02420a070007 0800 45", 3));
	/* The same address in a VLAN is another thing to a switch; its priority is not. */
	CU_ASSERT(sends(EVERYBODY SOURCE TAG7 "0806", 4));
	CU_ASSERT(!sends(EVERYBODY SOURCE "8100 e007 0806", 5));
	CU_ASSERT(sends(EVERYBODY SOURCE "88a8 0064 8100 0007 0806", 6));
	/* Nobody's. */
	CU_ASSERT(!sends(EVERYBODY "010000000001 0806", 7));
	CU_ASSERT(!sends(EVERYBODY "000000000000 0806", 7));
	CU_ASSERT(!sends(EVERYBODY SOURCE, 7));
	CU_ASSERT_EQUAL_FATAL(presence.addresses, 4);
	CU_ASSERT_EQUAL(presence.address[1].shown_ns, 3 * SECOND);
	CU_ASSERT_EQUAL(presence.address[1].place.nic, 1);
	CU_ASSERT_EQUAL(presence.address[2].place.tag[0].control, 0xe007);
	CU_ASSERT_EQUAL(presence.address[3].place.tags, 2);
	CU_ASSERT_EQUAL(presence.groups, 0);
}

static bool is_in(uint8_t version, uint8_t sources)
{
	return presence.groups == 1 && presence.group[0].version == version &&
	       presence.group[0].sources == sources;
}

static void test_igmp(void)
{
	setup();
	CU_ASSERT(sends(V2("16"), 1) && is_in(2, 0));
	CU_ASSERT_EQUAL(presence.group[0].from[3], 2);
	CU_ASSERT(!sends(V2("16"), 2) && presence.group[0].shown_ns == 2 * SECOND);
	CU_ASSERT(sends(V2("12"), 3) && is_in(1, 0));
	CU_ASSERT(sends(V2("17"), 4) && presence.groups == 0);
	CU_ASSERT(!sends(V2("17"), 5));
	CU_ASSERT(!sends(V2("11"), 5)); /* a query */
	/* In a VLAN; without a router alert; one that no switch may prune; no multicast. */
	CU_ASSERT(sends(GROUP_MAC SOURCE TAG7 IPV4_ALERT "1600 0000" GROUP4, 6) && is_in(2, 0));
	CU_ASSERT_EQUAL(presence.group[0].place.tags, 1);
	CU_ASSERT(sends(GROUP_MAC SOURCE IPV4("45") "1600 0000 ef020202", 7));
	CU_ASSERT(!sends(GROUP_MAC SOURCE IPV4_ALERT "1600 0000 e00000fb", 8));
	CU_ASSERT(!sends(GROUP_MAC SOURCE IPV4_ALERT "1600 0000 0a000001", 8));
	CU_ASSERT_EQUAL(presence.groups, 2);
}

static void test_igmpv3(void)
{
	setup();
	CU_ASSERT(sends(V3("0002 04000000" GROUP4 "02000000 ef020202"), 1));
	CU_ASSERT_EQUAL(presence.groups, 2);
	CU_ASSERT(sends(V3("0001 03000000 ef020202"), 2) && is_in(3, 0));
	CU_ASSERT_EQUAL(presence.group[0].filter, VMFT_FILTER_ANY);
	/* Records with auxiliary words are passed over whole. */
	CU_ASSERT(sends(V3("0002 01010000 ef030303 00000000 03000000" GROUP4), 3));
	CU_ASSERT_EQUAL(presence.groups, 0);
	/* For some senders: they come and go. */
	CU_ASSERT(sends(V3("0001 03000002" GROUP4 SOURCE4("01") SOURCE4("02")), 4) && is_in(3, 2));
	CU_ASSERT(sends(V3("0001 05000001" GROUP4 SOURCE4("03")), 5) && is_in(3, 3));
	CU_ASSERT(!sends(V3("0001 05000001" GROUP4 SOURCE4("03")), 5));
	CU_ASSERT(sends(V3("0001 06000002" GROUP4 SOURCE4("01") SOURCE4("03")), 6) && is_in(3, 1));
	CU_ASSERT_EQUAL(presence.group[0].source[0][3], 2);
	CU_ASSERT(sends(V3("0001 06000001" GROUP4 SOURCE4("02")), 7) && presence.groups == 0);
	/* More than are kept are all. */
	CU_ASSERT(
	    sends(V3("0001 01000009" GROUP4 SOURCE4("01") SOURCE4("02") SOURCE4("03") SOURCE4("04")
			 SOURCE4("05") SOURCE4("06") SOURCE4("07") SOURCE4("08") SOURCE4("09")),
		  8) &&
	    is_in(3, 0));
	CU_ASSERT_EQUAL(presence.group[0].filter, VMFT_FILTER_ANY);
	/* To a group for all, a source more or less is nothing. */
	CU_ASSERT(!sends(V3("0001 06000001" GROUP4 SOURCE4("02")), 9) && is_in(3, 0));
	CU_ASSERT(!sends(V3("0001 09000000" GROUP4), 9) && is_in(3, 0)); /* no such record */
}

static void test_mld(void)
{
	setup();
	CU_ASSERT(sends(MLD1("83"), 1) && is_in(1, 0));
	CU_ASSERT_EQUAL(presence.group[0].ip_version, 6);
	CU_ASSERT_EQUAL(presence.group[0].from[0], 0xfe);
	CU_ASSERT(sends(MLD1("84"), 2) && presence.groups == 0);
	CU_ASSERT(sends(MLD2("0001 04000000" GROUP6), 3) && is_in(2, 0));
	CU_ASSERT(sends(MLD2("0001 03000000" GROUP6), 4) && presence.groups == 0);
	CU_ASSERT(sends(MLD2("0001 05000001" GROUP6 SOURCE6("01")), 5) && is_in(2, 1));
	CU_ASSERT(!sends(MLD2("0001 04000000 ff010000000000000000000000001234"), 6));
	CU_ASSERT(!sends(MLD1("82"), 6));
	/* ICMPv6 without the router alert is none of these. */
	CU_ASSERT(!sends("333300001234" SOURCE
			 "86dd 60000000 0000 3a 01 fe800000000000000000000000000001" ALL_MLD2
			 "8300 0000 0000 0000" GROUP6,
			 6));
	CU_ASSERT_EQUAL(presence.groups, 1);
}

/* What comes in from an address of the guest's was sent elsewhere: unless it is the echo of what
 * the guest sent just now, or the card's own address. */
static void test_moved_away(void)
{
	uint8_t frame[64];
	size_t n = hex(EVERYBODY "02420a070007" TAG7 "0806", frame);

	setup();
	CU_ASSERT(vmft_presence_own(&presence, 1, own));
	CU_ASSERT(vmft_presence_sent(&presence, 1, frame, n, 10 * SECOND));
	CU_ASSERT(!vmft_presence_got(&presence, 1, frame, n, 10 * SECOND + 1000));
	CU_ASSERT(!vmft_presence_got(&presence, 0, frame, n, 20 * SECOND));
	CU_ASSERT(vmft_presence_got(&presence, 1, frame, n, 20 * SECOND));
	CU_ASSERT(!vmft_presence_got(&presence, 1, frame, n, 20 * SECOND));
	n = hex(EVERYBODY SOURCE "0806", frame);
	CU_ASSERT(!vmft_presence_got(&presence, 1, frame, n, 20 * SECOND));
	CU_ASSERT_EQUAL(presence.addresses, 1);
}

static void test_expires(void)
{
	setup();
	CU_ASSERT(vmft_presence_own(&presence, 1, own));
	CU_ASSERT(sends(EVERYBODY "02420a070007 0806", 10));
	CU_ASSERT(sends(V2("16"), 20));
	CU_ASSERT(!vmft_presence_expire(&presence, 10 * SECOND + VMFT_PRESENCE_KEPT_NS));
	CU_ASSERT(vmft_presence_expire(&presence, 11 * SECOND + VMFT_PRESENCE_KEPT_NS));
	CU_ASSERT(presence.addresses == 1 && presence.groups == 1);
	CU_ASSERT(vmft_presence_expire(&presence, 21 * SECOND + VMFT_PRESENCE_KEPT_NS));
	CU_ASSERT(presence.addresses == 1 && presence.groups == 0);
}

static void flood(uint8_t nic, unsigned count, uint64_t now)
{
	uint8_t frame[512];

	for (unsigned i = 0; i < count; i++) {
		size_t n = hex(V2("16"), frame);

		frame[10] = (uint8_t)(i >> 8);
		frame[11] = (uint8_t)i;
		frame[n - 2] = (uint8_t)(i >> 8);
		frame[n - 1] = (uint8_t)i;
		(void)vmft_presence_sent(&presence, nic, frame, n, now + i);
	}
}

/* One card that sends from ever new addresses pushes out its own, not what another one showed. */
static void test_bounded(void)
{
	uint32_t quiet = 0, latest = 0;

	setup();
	CU_ASSERT(vmft_presence_own(&presence, 2, own));
	flood(1, 10, 1);
	flood(2, 5000, 100);
	CU_ASSERT_EQUAL(presence.addresses, VMFT_PRESENCE_ADDRESSES);
	CU_ASSERT_EQUAL(presence.groups, VMFT_PRESENCE_GROUPS);
	for (uint32_t i = 0; i < presence.addresses; i++) {
		quiet += presence.address[i].place.nic == 1;
		latest += presence.address[i].shown_ns == 100 + 4999;
	}
	CU_ASSERT_EQUAL(quiet, 10);
	CU_ASSERT_EQUAL(latest, 1);
	CU_ASSERT(!vmft_presence_own(&presence, 2, own));
}

/* --- as bytes ---------------------------------------------------------------- */

static void test_bytes(void)
{
	static struct vmft_presence got;
	static uint8_t bytes[VMFT_PRESENCE_BYTES_MAX], again[VMFT_PRESENCE_BYTES_MAX];
	size_t n;

	setup();
	CU_ASSERT(vmft_presence_own(&presence, 7, own));
	(void)sends(EVERYBODY SOURCE "88a8 0064 8100 0007 0806", 1);
	(void)sends(V3("0001 03000002" GROUP4 SOURCE4("01") SOURCE4("02")), 2);
	(void)sends(MLD2("0001 05000001" GROUP6 SOURCE6("01")), 3);
	n = vmft_presence_encode(&presence, bytes);
	CU_ASSERT_EQUAL_FATAL(vmft_presence_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(vmft_presence_encode(&got, again), n);
	CU_ASSERT_EQUAL(memcmp(bytes, again, n), 0);
	for (size_t i = 0; i < n; i++)
		CU_ASSERT_EQUAL(vmft_presence_decode(bytes, i, &got), -EBADMSG);
	/* A card, a tag, a family, a filter there is not; more than there is room for. */
	bytes[4] = VMFT_PRESENCE_NICS;
	CU_ASSERT_EQUAL(vmft_presence_decode(bytes, n, &got), -EBADMSG);
	bytes[4] = 7;
	bytes[5] = VMFT_PRESENCE_TAGS + 1;
	CU_ASSERT_EQUAL(vmft_presence_decode(bytes, n, &got), -EBADMSG);
	bytes[5] = 0;
	bytes[2] = 2;
	CU_ASSERT_EQUAL(vmft_presence_decode(bytes, n, &got), -EBADMSG);
	flood(1, 5000, 100);
	CU_ASSERT(vmft_presence_encode(&presence, bytes) <= sizeof(bytes));
}

/* What the other side knew, and this one: counted as shown now, own addresses stay own. */
static void test_merge(void)
{
	static struct vmft_presence other;

	setup();
	CU_ASSERT(vmft_presence_own(&presence, 1, own));
	(void)sends(EVERYBODY "02420a070007 0806", 1);
	(void)sends(V2("16"), 1);
	other = presence;
	setup();
	CU_ASSERT(vmft_presence_own(&presence, 1, own));
	vmft_presence_merge(&presence, &other, 50 * SECOND);
	CU_ASSERT(presence.addresses == 2 && presence.groups == 1);
	CU_ASSERT(presence.address[0].own && !presence.address[1].own);
	CU_ASSERT_EQUAL(presence.address[1].shown_ns, 50 * SECOND);
	CU_ASSERT_EQUAL(presence.group[0].shown_ns, 50 * SECOND);
}

static void test_text(void)
{
	char text[VMFT_PRESENCE_TEXT_MAX];

	setup();
	(void)sends(GROUP_MAC SOURCE TAG7 IPV4_ALERT "1600 0000" GROUP4, 6);
	vmft_address_text(&presence.address[0], text);
	CU_ASSERT_STRING_EQUAL(text, "52:54:00:12:34:56 (VLAN 7)");
	vmft_group_text(&presence.group[0], text);
	CU_ASSERT_STRING_EQUAL(text, "239.1.1.1 (VLAN 7)");
	(void)sends(MLD2("0001 04000000" GROUP6), 3);
	vmft_group_text(&presence.group[1], text);
	CU_ASSERT_STRING_EQUAL(text, "ff0e::1234");
}

/* --- announcements ----------------------------------------------------------- */

static bool sums_up(const uint8_t *bytes, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

static void test_announces_address(void)
{
	uint8_t frame[VMFT_ANNOUNCEMENT_MAX], want[64] = {0};
	struct vmft_address address = {.place = {.nic = 1}};

	memcpy(address.mac, own, 6);
	CU_ASSERT_EQUAL(vmft_announcement_of_address(&address, frame), 60);
	(void)hex(EVERYBODY SOURCE "8035 0001 0800 06 04 0003" SOURCE "00000000" SOURCE "00000000",
		  want);
	CU_ASSERT_EQUAL(memcmp(frame, want, 60), 0);
	address.place.tags = 1;
	address.place.tag[0] = (struct vmft_tag){0x8100, 7};
	CU_ASSERT_EQUAL(vmft_announcement_of_address(&address, frame), 60);
	(void)hex(EVERYBODY SOURCE TAG7 "8035 0001 0800 06 04 0003" SOURCE "00000000" SOURCE, want);
	CU_ASSERT_EQUAL(memcmp(frame, want, 46), 0);
}

/* A report that is made is understood as the one it was made of, checksums and all. */
static void reports_again(const char *text, size_t headers)
{
	uint8_t frame[VMFT_ANNOUNCEMENT_MAX], whole[VMFT_ANNOUNCEMENT_MAX];
	struct vmft_group before;
	size_t n, ip;

	setup();
	(void)sends(text, 1);
	CU_ASSERT_EQUAL_FATAL(presence.groups, 1);
	before = presence.group[0];
	n = vmft_announcement_of_group(&before, frame);
	CU_ASSERT(n >= 60 && n <= sizeof(frame));
	setup();
	CU_ASSERT(vmft_presence_sent(&presence, 1, frame, n, SECOND));
	CU_ASSERT_EQUAL_FATAL(presence.groups, 1);
	CU_ASSERT_EQUAL(memcmp(&presence.group[0], &before, sizeof(before)), 0);
	ip = 14u + 4u * before.place.tags;
	if (before.ip_version == 4) {
		const size_t length = (size_t)frame[ip + 2] << 8 | frame[ip + 3];

		CU_ASSERT(sums_up(frame + ip, 24, 0));
		CU_ASSERT(sums_up(frame + ip + 24, length - 24, 0));
		CU_ASSERT_EQUAL(length, headers);
	} else {
		const size_t length = (size_t)frame[ip + 4] << 8 | frame[ip + 5];
		const uint8_t *mld = frame + ip + 48;

		CU_ASSERT_EQUAL(length, headers);
		CU_ASSERT_EQUAL(memcmp(mld - 8, "\x3a\0\5\2\0\0\1\0", 8), 0);
		/* With a pseudo header: the addresses, the length, the protocol. */
		memcpy(whole, frame + ip + 8, 32);
		memcpy(whole + 32, mld, length - 8);
		CU_ASSERT(sums_up(whole, 32 + length - 8, (uint32_t)(length - 8) + 58));
	}
}

static void test_announces_groups(void)
{
	reports_again(V2("12"), 32);
	reports_again(V2("16"), 32);
	reports_again(GROUP_MAC SOURCE TAG7 IPV4_ALERT "1600 0000" GROUP4, 32);
	reports_again(V3("0001 04000000" GROUP4), 40);
	reports_again(V3("0001 03000002" GROUP4 SOURCE4("01") SOURCE4("02")), 48);
	reports_again(MLD1("83"), 32);
	reports_again(MLD2("0001 04000000" GROUP6), 36);
	reports_again(MLD2("0001 05000001" GROUP6 SOURCE6("01")), 52);
}

static void test_schedule(void)
{
	unsigned made = 0;
	uint64_t pause = 0, last = 0;

	for (uint64_t ms = 0; ms < 600000; ms++) {
		if (!vmft_announcement_is_due(ms * 1000000, made))
			continue;
		CU_ASSERT(ms - last <= 5000);
		CU_ASSERT(made < 5 || ms - last >= pause);
		pause = ms - last;
		last = ms;
		made++;
	}
	CU_ASSERT(made > 10 && made < 50);
	CU_ASSERT_EQUAL(last, 65000);
}

/* --- shared memory ----------------------------------------------------------- */

static void test_exchange(void)
{
	static struct vmft_exchange exchange;
	static uint8_t bytes[VMFT_EXCHANGE_MAX];
	uint32_t version = 0;

	CU_ASSERT_EQUAL(vmft_exchange_read(&exchange, bytes, &version), 0);
	vmft_exchange_write(&exchange, (const uint8_t *)"first", 5);
	CU_ASSERT_EQUAL(vmft_exchange_read(&exchange, bytes, &version), 5);
	CU_ASSERT_EQUAL(version, 1);
	/* A writer that dies while it writes changes nothing. */
	memset(exchange.data[0], 0xaa, 100);
	exchange.bytes[0] = UINT32_MAX;
	CU_ASSERT_EQUAL(vmft_exchange_read(&exchange, bytes, &version), 5);
	CU_ASSERT_EQUAL(memcmp(bytes, "first", 5), 0);
	vmft_exchange_write(&exchange, (const uint8_t *)"two", 3);
	CU_ASSERT_EQUAL(vmft_exchange_read(&exchange, bytes, &version), 3);
	CU_ASSERT_EQUAL(version, 2);
	exchange.bytes[0] = VMFT_EXCHANGE_MAX + 1;
	CU_ASSERT_EQUAL(vmft_exchange_read(&exchange, bytes, &version), -EBADMSG);
}

int vmft_suite_presence(void)
{
	CU_TestInfo tests[] = {
	    {"addresses", test_addresses},
	    {"IGMP", test_igmp},
	    {"IGMPv3", test_igmpv3},
	    {"MLD", test_mld},
	    {"an address that moved away", test_moved_away},
	    {"forgotten in time", test_expires},
	    {"bounded", test_bounded},
	    {"as bytes", test_bytes},
	    {"merged", test_merge},
	    {"as text", test_text},
	    {"an address is announced", test_announces_address},
	    {"groups are reported again", test_announces_groups},
	    {"when", test_schedule},
	    {"shared memory", test_exchange},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"what a guest shows", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
