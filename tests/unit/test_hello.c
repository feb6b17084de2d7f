/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hello: its bytes, what is skipped and what is refused, versions and features. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "logging-channel/hello.h"
#include "monitor/daemon/peer/hello-check.h"
#include "suites.h"

#define RECORD "0123456789abcdef primary on a since 1"

static const struct vmft_hello hello = {
    .versions = {VMFT_FRAME_VERSION_LOWEST, VMFT_FRAME_VERSION},
    .feature_count = 2,
    .feature = {{.bit = 0, .required = 1, .name = "tls"}, {.bit = 63, .name = "zstd"}},
    .role = 1,
    .attach = 1,
    .log_version = 0xe0200c,
    .silence_ms = 1000,
    .build_id_bytes = 20,
    .machine_bytes = 16,
    .disk_bytes = 8,
    .build_id = {1, 2, 3},
    .machine = {4, 5},
    .disk = {6},
    .name = "web1",
    .host = 2,
    .grace_ms = 3000,
    .ticket_bytes = VMFT_TICKET_BYTES,
    .ticket = {7, 8, 9},
    .record = RECORD,
    .tap_count = 2,
    .image_count = 3,
    .tap = {{.netdev = "n0", .vnet_hdr = 1, .header = 20, .offloads = 0x1f, .mtu = 1500},
	    {.netdev = "net1",
	     .vnet_hdr = VMFT_TAP_UNKNOWN,
	     .header = VMFT_TAP_UNKNOWN,
	     .offloads = VMFT_TAP_UNKNOWN,
	     .multi_queue = VMFT_TAP_UNKNOWN}},
    .image_sum = {1, 0, UINT64_MAX},
};

/* Where the field of a tag begins; n: there is none. */
static size_t find(const uint8_t *bytes, size_t n, unsigned tag)
{
	size_t at = 0;

	while (at < n && (bytes[at] << 8 | bytes[at + 1]) != (int)tag)
		at += 4u + (size_t)(bytes[at + 2] << 8 | bytes[at + 3]);
	return at;
}

static int decode(const uint8_t *bytes, size_t n)
{
	struct vmft_hello got = {.role = 99};
	int rc = vmft_hello_decode(bytes, n, &got);

	CU_ASSERT(rc == 0 || got.role == 99); /* untouched */
	return rc;
}

/* A field, in the place where its tag belongs. */
static size_t put_field(uint8_t *bytes, size_t n, size_t at, unsigned tag, uint8_t value,
			uint8_t count)
{
	memmove(bytes + at + 4 + count, bytes + at, n - at);
	bytes[at] = (uint8_t)(tag >> 8);
	bytes[at + 1] = (uint8_t)tag;
	bytes[at + 2] = 0;
	bytes[at + 3] = count;
	memset(bytes + at + 4, value, count);
	return n + 4u + count;
}

static size_t cut_field(uint8_t *bytes, size_t n, unsigned tag)
{
	const size_t at = find(bytes, n, tag), field = 4u + bytes[at + 3];

	memmove(bytes + at, bytes + at + field, n - at - field);
	return n - field;
}

static void round_trip(void)
{
	uint8_t bytes[VMFT_HELLO_BYTES_MAX];
	const size_t n = vmft_hello_encode(&hello, bytes);
	struct vmft_hello got;
	unsigned good = 0;

	CU_ASSERT_EQUAL(vmft_hello_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(memcmp(&got, &hello, sizeof(hello)), 0);
	/* Cut between two fields, after all that must be there: what is absent is optional. */
	for (size_t cut = 0; cut < n; cut++)
		good += decode(bytes, cut) == 0;
	CU_ASSERT_EQUAL(good, 4);
	CU_ASSERT_EQUAL(decode(bytes, find(bytes, n, VMFT_HELLO_TICKET)), 0);
	CU_ASSERT_EQUAL(decode(bytes, find(bytes, n, VMFT_HELLO_GRACE)), -EBADMSG);
}

/* The bytes of a hello are the same in every release. */
static void golden(void)
{
	static const uint8_t want[] = {
	    0, 1,    0,	   4,  0,    5,	   0,	 5,		      /* versions */
	    0, 2,    0,	   7,  1,    3,	   1,	 3,    't', 'l', 's', /* features */
	    0, 3,    0,	   3,  'v',  'm',  '1',			      /* VM */
	    0, 4,    0,	   1,  1,    0,	   5,	 0,    1,   1,	 0,    6, 0,
	    1, 2,				       /* role, attach, host */
	    0, 7,    0,	   4,  0,    0xe0, 0x20, 0x0c, /* log version */
	    0, 8,    0,	   2,  0xaa, 0xbb, 0,	 9,    0,   1,	 0xcc, 0, 10,
	    0, 1,    0xdd, /* digests */
	    0, 11,   0,	   4,  0,    0,	   3,	 0xe8, 0,   12,	 0,    4, 0,
	    0, 0x0b, 0xb8,			/* silence, grace */
	    0, 14,   0,	   3,  'a',  ' ',  'b', /* record */
	    0, 15,   0,	   12, 1,    2,	   'n',	 '0',  1,   20,	 0x1f, 0, 0,
	    0, 5,    0xdc,						     /* taps */
	    0, 16,   0,	   9,  1,    1,	   2,	 3,    4,   5,	 6,    7, 8, /* images */
	};
	const struct vmft_hello small = {
	    .feature_count = 1,
	    .feature = {{.bit = 3, .required = 1, .name = "tls"}},
	    .role = 1,
	    .attach = 1,
	    .log_version = 0xe0200c,
	    .silence_ms = 1000,
	    .build_id_bytes = 2,
	    .machine_bytes = 1,
	    .disk_bytes = 1,
	    .build_id = {0xaa, 0xbb},
	    .machine = {0xcc},
	    .disk = {0xdd},
	    .name = "vm1",
	    .host = 2,
	    .grace_ms = 3000,
	    .record = "a b",
	    .tap_count = 1,
	    .image_count = 1,
	    .tap = {{.netdev = "n0", .vnet_hdr = 1, .header = 20, .offloads = 0x1f, .mtu = 1500}},
	    .image_sum = {0x0102030405060708},
	};
	uint8_t bytes[512];

	CU_ASSERT_EQUAL_FATAL(vmft_hello_encode(&small, bytes), sizeof(want));
	CU_ASSERT_EQUAL(memcmp(bytes, want, sizeof(want)), 0);
}

/* A later vmft may say more: what is not known is skipped, in the middle and at the end. */
static void unknown_tags(void)
{
	uint8_t bytes[VMFT_HELLO_BYTES_MAX];
	size_t n = vmft_hello_encode(&hello, bytes);
	struct vmft_hello got;

	n = put_field(bytes, n, n, 17, 0xee, 5);
	n = put_field(bytes, n, n, 60000, 0, 200);
	CU_ASSERT_EQUAL(vmft_hello_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(memcmp(&got, &hello, sizeof(hello)), 0);
	n = cut_field(bytes, n, VMFT_HELLO_DISKS);
	CU_ASSERT_EQUAL(vmft_hello_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(got.disk_bytes, 0);
	CU_ASSERT_EQUAL(decode(bytes, VMFT_HELLO_BYTES_MAX + 1), -EBADMSG);
}

static void tags_rise(void)
{
	uint8_t bytes[VMFT_HELLO_BYTES_MAX];
	const size_t n = vmft_hello_encode(&hello, bytes);
	size_t m;

	m = put_field(bytes, n, find(bytes, n, VMFT_HELLO_VM), VMFT_HELLO_ROLE, 1, 1);
	CU_ASSERT_EQUAL(decode(bytes, m), -EBADMSG); /* falls */
	(void)vmft_hello_encode(&hello, bytes);
	m = put_field(bytes, n, find(bytes, n, VMFT_HELLO_ROLE), VMFT_HELLO_ROLE, 1, 1);
	CU_ASSERT_EQUAL(decode(bytes, m), -EBADMSG); /* twice */
	(void)vmft_hello_encode(&hello, bytes);
	m = put_field(bytes, n, 0, 0, 1, 1);
	CU_ASSERT_EQUAL(decode(bytes, m), -EBADMSG); /* there is no tag 0 */
}

static void fields_missing(void)
{
	static const struct {
		unsigned tag;
		int want;
	} cases[] = {
	    {VMFT_HELLO_VERSIONS, -EBADMSG},
	    {VMFT_HELLO_FEATURES, 0},
	    {VMFT_HELLO_VM, -EBADMSG},
	    {VMFT_HELLO_ROLE, -EBADMSG},
	    {VMFT_HELLO_ATTACH, -EBADMSG},
	    {VMFT_HELLO_HOST, -EBADMSG},
	    {VMFT_HELLO_LOG_VERSION, -EBADMSG},
	    {VMFT_HELLO_BUILD_ID, 0},
	    {VMFT_HELLO_MACHINE, 0},
	    {VMFT_HELLO_DISKS, 0},
	    {VMFT_HELLO_SILENCE, -EBADMSG},
	    {VMFT_HELLO_GRACE, -EBADMSG},
	    {VMFT_HELLO_TICKET, 0},
	    {VMFT_HELLO_RECORD, 0},
	    {VMFT_HELLO_TAPS, 0},
	    {VMFT_HELLO_IMAGES, 0},
	};
	uint8_t bytes[VMFT_HELLO_BYTES_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const size_t n = vmft_hello_encode(&hello, bytes);

		CU_ASSERT_EQUAL(decode(bytes, cut_field(bytes, n, cases[i].tag)), cases[i].want);
	}
}

/* Each value within its bounds: a byte of a field is changed. */
static void values(void)
{
	static const struct {
		unsigned tag;
		unsigned at; /* in the field; its head is 4 bytes */
		uint8_t value;
		int want;
	} cases[] = {
	    {VMFT_HELLO_VERSIONS, 4, 9, -EBADMSG},    /* the lowest above the highest */
	    {VMFT_HELLO_VERSIONS, 3, 0, -EBADMSG},    /* an empty field */
	    {VMFT_HELLO_VERSIONS, 3, 3, -EBADMSG},    /* its end is another field's beginning */
	    {VMFT_HELLO_VERSIONS, 2, 0xff, -EBADMSG}, /* past the end */
	    {VMFT_HELLO_FEATURES, 4, VMFT_HELLO_FEATURES_MAX + 1, -EBADMSG},
	    {VMFT_HELLO_FEATURES, 4, 0, -EBADMSG},
	    {VMFT_HELLO_FEATURES, 4, 1, -EBADMSG},  /* fewer than there are */
	    {VMFT_HELLO_FEATURES, 5, 63, -EBADMSG}, /* the same bit twice */
	    {VMFT_HELLO_FEATURES, 5, 64, -EBADMSG},
	    {VMFT_HELLO_FEATURES, 5, 62, 0},
	    {VMFT_HELLO_FEATURES, 6, 2, -EBADMSG},
	    {VMFT_HELLO_FEATURES, 7, 0, -EBADMSG}, /* no name */
	    {VMFT_HELLO_FEATURES, 7, VMFT_FEATURE_NAME_MAX + 1, -EBADMSG},
	    {VMFT_HELLO_FEATURES, 8, '\n', -EBADMSG},
	    {VMFT_HELLO_VM, 5, '\0', -EBADMSG}, /* a hole in the name */
	    {VMFT_HELLO_ATTACH, 4, 0, 0},
	    {VMFT_HELLO_ATTACH, 4, 2, -EBADMSG},
	    {VMFT_HELLO_RECORD, 9, '\n', -EBADMSG},
	    {VMFT_HELLO_RECORD, 9, '\0', -EBADMSG},
	    {VMFT_HELLO_RECORD, 9, 0xff, -EBADMSG},
	    {VMFT_HELLO_TAPS, 4, VMFT_HELLO_TAPS_MAX + 1, -EBADMSG},
	    {VMFT_HELLO_TAPS, 5, VMFT_TAP_NETDEV_MAX + 1, -EBADMSG},
	    {VMFT_HELLO_TAPS, 5, 0, -EBADMSG},
	    {VMFT_HELLO_TAPS, 6, '\0', -EBADMSG},
	    {VMFT_HELLO_TAPS, 7, '\n', -EBADMSG},
	    {VMFT_HELLO_TAPS, 8, 2, -EBADMSG}, /* vnet_hdr */
	    {VMFT_HELLO_TAPS, 8, VMFT_TAP_UNKNOWN, 0},
	    {VMFT_HELLO_TAPS, 9, 12, 0},
	    {VMFT_HELLO_TAPS, 10, VMFT_TAP_OFFLOADS + 1, -EBADMSG},
	    {VMFT_HELLO_TAPS, 11, 2, -EBADMSG}, /* multi_queue */
	    {VMFT_HELLO_TAPS, 11, 1, 0},
	    {VMFT_HELLO_IMAGES, 4, VMFT_HELLO_IMAGES_MAX + 1, -EBADMSG},
	    {VMFT_HELLO_IMAGES, 4, 4, -EBADMSG}, /* one more than there are */
	    {VMFT_HELLO_IMAGES, 4, 2, -EBADMSG},
	};
	uint8_t bytes[VMFT_HELLO_BYTES_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const size_t n = vmft_hello_encode(&hello, bytes);

		bytes[find(bytes, n, cases[i].tag) + cases[i].at] = cases[i].value;
		CU_ASSERT_EQUAL(decode(bytes, n), cases[i].want);
		if (decode(bytes, n) != cases[i].want)
			printf("case %zu\n", i);
	}
}

/* A known field that is longer than it may be. */
static void too_long(void)
{
	static const struct {
		unsigned tag;
		uint8_t most;
	} cases[] = {
	    {VMFT_HELLO_VM, VMFT_HELLO_NAME_MAX},
	    {VMFT_HELLO_ROLE, 1},
	    {VMFT_HELLO_HOST, 1},
	    {VMFT_HELLO_LOG_VERSION, 4},
	    {VMFT_HELLO_BUILD_ID, VMFT_HELLO_DIGEST_MAX},
	    {VMFT_HELLO_MACHINE, VMFT_HELLO_DIGEST_MAX},
	    {VMFT_HELLO_DISKS, VMFT_HELLO_DIGEST_MAX},
	    {VMFT_HELLO_SILENCE, 4},
	    {VMFT_HELLO_GRACE, 4},
	    {VMFT_HELLO_TICKET, VMFT_TICKET_BYTES},
	    {VMFT_HELLO_RECORD, VMFT_HELLO_RECORD_MAX},
	};
	uint8_t bytes[VMFT_HELLO_BYTES_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (uint8_t more = 0; more < 2; more++) {
			size_t n = vmft_hello_encode(&hello, bytes);
			const size_t at = find(bytes, n, cases[i].tag);

			n = cut_field(bytes, n, cases[i].tag);
			n = put_field(bytes, n, at, cases[i].tag, 'x',
				      (uint8_t)(cases[i].most + more));
			CU_ASSERT_EQUAL(decode(bytes, n), more ? -EBADMSG : 0);
		}
}

/* All that may be in it, as long as it can be, fits. */
static void longest(void)
{
	static uint8_t bytes[VMFT_HELLO_BYTES_MAX];
	struct vmft_hello most = hello, got;

	most.feature_count = VMFT_HELLO_FEATURES_MAX;
	for (uint8_t i = 0; i < VMFT_HELLO_FEATURES_MAX; i++) {
		most.feature[i].bit = i;
		memset(most.feature[i].name, 'f', VMFT_FEATURE_NAME_MAX);
	}
	most.build_id_bytes = most.machine_bytes = most.disk_bytes = VMFT_HELLO_DIGEST_MAX;
	memset(most.name, 'n', VMFT_HELLO_NAME_MAX);
	memset(most.record, 'r', VMFT_HELLO_RECORD_MAX);
	most.tap_count = VMFT_HELLO_TAPS_MAX;
	for (unsigned i = 0; i < VMFT_HELLO_TAPS_MAX; i++)
		memset(most.tap[i].netdev, 'a', VMFT_TAP_NETDEV_MAX);
	most.image_count = VMFT_HELLO_IMAGES_MAX;
	CU_ASSERT_EQUAL(vmft_hello_decode(bytes, vmft_hello_encode(&most, bytes), &got), 0);
	CU_ASSERT_EQUAL(memcmp(&got, &most, sizeof(got)), 0);
}

/* --- versions --------------------------------------------------------------- */

/* A hello frame of that version, with that payload. */
static ssize_t frame_of(uint8_t *frame, uint16_t version, uint16_t type, const uint8_t *payload,
			uint32_t n, struct vmft_frame_info *ret)
{
	const struct vmft_frame_info info = {.version = version, .type = type, .length = n};

	memcpy(frame + VMFT_FRAME_HEADER, payload, n);
	vmft_frame_seal(frame, &info);
	return vmft_frame_decode(frame, VMFT_FRAME_HEADER + n, ret);
}

/* A hello and a refusal are read whatever their version is, all else is not. */
static void foreign_frames(void)
{
	static uint8_t frame[VMFT_FRAME_HEADER + VMFT_FRAME_FOREIGN_MAX + 1];
	static const uint8_t payload[VMFT_FRAME_FOREIGN_MAX + 1] = {1, 1, 0xe0};
	struct vmft_frame_info got;

	for (unsigned i = 0; i < 2; i++) {
		const uint16_t version = i ? 999 : 4;

		CU_ASSERT_EQUAL(frame_of(frame, version, VMFT_FRAME_HELLO, payload, 3, &got),
				(ssize_t)VMFT_FRAME_HEADER + 3);
		CU_ASSERT_EQUAL(got.version, version);
		CU_ASSERT_EQUAL(frame_of(frame, version, VMFT_FRAME_REFUSE, payload, 3, &got),
				(ssize_t)VMFT_FRAME_HEADER + 3);
		CU_ASSERT_EQUAL(frame_of(frame, version, VMFT_FRAME_LOG, payload, 3, &got),
				-EPROTONOSUPPORT);
		CU_ASSERT_EQUAL(frame_of(frame, version, VMFT_FRAME_HELLO, payload,
					 VMFT_FRAME_FOREIGN_MAX + 1, &got),
				-EPROTONOSUPPORT);
		(void)frame_of(frame, version, VMFT_FRAME_HELLO, payload, 3, &got);
		CU_ASSERT_EQUAL(vmft_frame_decode(frame, VMFT_FRAME_HEADER + 2, &got), 0);
		frame[VMFT_FRAME_HEADER] ^= 1; /* damaged, or that version has another checksum */
		CU_ASSERT_EQUAL(vmft_frame_decode(frame, VMFT_FRAME_HEADER + 3, &got),
				-EPROTONOSUPPORT);
	}
	CU_ASSERT_EQUAL(frame_of(frame, 0, VMFT_FRAME_LOG, payload, 3, &got),
			(ssize_t)VMFT_FRAME_HEADER + 3);
	CU_ASSERT_EQUAL(got.version, VMFT_FRAME_VERSION);
}

static void versions(void)
{
	static const uint8_t later[] = {0, 1, 0, 4, 0, 6, 0, 9, 0xff, 0xff, 0xff};
	static const uint8_t none[] = {0, 2, 0, 4, 0, 6, 0, 9};
	struct vmft_frame_info frame = {.version = 4, .payload = later, .length = 3};
	struct vmft_versions got = {0};

	/* The hello of version 4 had no tags. */
	CU_ASSERT_EQUAL(vmft_hello_versions(&frame, &got), 0);
	CU_ASSERT(got.lowest == 4 && got.highest == 4 && vmft_hello_version(&got) == 0);
	/* What follows the first field of a later version is not looked at. */
	frame = (struct vmft_frame_info){.version = 9, .payload = later, .length = sizeof(later)};
	CU_ASSERT_EQUAL(vmft_hello_versions(&frame, &got), 0);
	CU_ASSERT(got.lowest == 6 && got.highest == 9 && vmft_hello_version(&got) == 0);
	for (frame.length = 0; frame.length < 8; frame.length++)
		CU_ASSERT_EQUAL(vmft_hello_versions(&frame, &got), -EBADMSG);
	frame = (struct vmft_frame_info){.version = 9, .payload = none, .length = sizeof(none)};
	CU_ASSERT_EQUAL(vmft_hello_versions(&frame, &got), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_hello_version(&(struct vmft_versions){1, 5}), 5);
	CU_ASSERT_EQUAL(vmft_hello_version(&(struct vmft_versions){5, 9}), VMFT_FRAME_VERSION);
}

/* --- features --------------------------------------------------------------- */

static void features(void)
{
	struct vmft_hello ours = {0}, theirs = {0};
	const struct vmft_feature *missing = NULL;
	uint64_t got = 99;

	CU_ASSERT_EQUAL(vmft_hello_agree(&ours, &theirs, &got, &missing), 0);
	CU_ASSERT_EQUAL(got, 0);
	theirs.feature[0] = (struct vmft_feature){.bit = 63, .name = "later"};
	theirs.feature_count = 1;
	CU_ASSERT_EQUAL(vmft_hello_agree(&ours, &theirs, &got, &missing), 0);
	CU_ASSERT_EQUAL(got, 0); /* only one side has it, and does without */
	theirs.feature[0].required = 1;
	CU_ASSERT_EQUAL(vmft_hello_agree(&ours, &theirs, &got, &missing), -EPROTONOSUPPORT);
	CU_ASSERT_PTR_EQUAL(missing, &theirs.feature[0]);
	CU_ASSERT_EQUAL(vmft_hello_agree(&theirs, &ours, &got, &missing), -EPROTONOSUPPORT);
	ours = theirs;
	CU_ASSERT_EQUAL(vmft_hello_agree(&ours, &theirs, &got, &missing), 0);
	CU_ASSERT_EQUAL(got, UINT64_C(1) << 63);
}

/* What people read: the versions, and the feature by the name that the hello gives it. */
static void named(void)
{
	static struct vmft_pair_config config;
	struct vmft_hello theirs = hello, ours = hello;
	const struct vmft_hello_terms terms = {.ours = &ours, .config = &config};
	char text[VMFT_HELLO_WHY_MAX + 1];
	const char *why;

	why = vmft_hello_foreign(&(struct vmft_versions){4, 4}, text);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "versions 4 to 4 of the channel"));
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "speaks 5 to 5: install the same vmft"));
	ours.feature_count = 0;
	why = vmft_hello_mismatch(&terms, &theirs, text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(why);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "a need for the feature \"tls\""));
	ours = hello;
	theirs.feature_count = 0;
	why = vmft_hello_mismatch(&terms, &theirs, text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(why);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, "no feature \"tls\""));
	theirs = hello;
	theirs.name[0] = 'x';
	CU_ASSERT_STRING_EQUAL(vmft_hello_mismatch(&terms, &theirs, text), "another VM's name");
}

/* Another QEMU build: if the strategy can do with it, and the machine is the same one there. */
static void builds(void)
{
	static struct vmft_pair_config config;
	struct vmft_hello ours = hello, theirs = hello;
	struct vmft_hello_terms terms = {.ours = &ours, .config = &config, .primary = true};
	char text[VMFT_HELLO_WHY_MAX + 1];

	theirs.role = VMFT_ROLE_BACKUP;
	ours.role = VMFT_ROLE_PRIMARY;
	theirs.build_id[0] ^= 1;
	CU_ASSERT_STRING_EQUAL(
	    vmft_hello_mismatch(&terms, &theirs, text),
	    "another QEMU build: install the same package version on both hosts");
	terms.versioned_machine = true;
	CU_ASSERT_PTR_NOT_NULL(strstr(vmft_hello_mismatch(&terms, &theirs, text), "same package"));
	terms.versioned_machine = false;
	terms.other_builds = true;
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(vmft_hello_mismatch(&terms, &theirs, text), "-machine pc-i440fx-7.2"));
	/* What differs besides is found. */
	terms.versioned_machine = true;
	theirs.machine[0] ^= 1;
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(vmft_hello_mismatch(&terms, &theirs, text), "another machine"));
}

int vmft_suite_hello(void)
{
	CU_pSuite suite = CU_add_suite("hello", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, round_trip) || !CU_ADD_TEST(suite, builds) ||
	    !CU_ADD_TEST(suite, golden) || !CU_ADD_TEST(suite, unknown_tags) ||
	    !CU_ADD_TEST(suite, tags_rise) || !CU_ADD_TEST(suite, fields_missing) ||
	    !CU_ADD_TEST(suite, values) || !CU_ADD_TEST(suite, too_long) ||
	    !CU_ADD_TEST(suite, longest) || !CU_ADD_TEST(suite, foreign_frames) ||
	    !CU_ADD_TEST(suite, versions) || !CU_ADD_TEST(suite, features) ||
	    !CU_ADD_TEST(suite, named))
		return -1;
	return 0;
}
