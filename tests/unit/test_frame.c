/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "logging-channel/frame.h"
#include "suites.h"

static const char payload[] = "log bytes, any bytes";

static size_t sealed(uint8_t *buffer)
{
	const struct vmft_frame_info info = {
	    .type = VMFT_FRAME_LOG,
	    .generation = 7,
	    .position = 0x123456789abcdef0,
	    .length = sizeof(payload),
	};

	memcpy(buffer + VMFT_FRAME_HEADER, payload, sizeof(payload));
	vmft_frame_seal(buffer, &info);
	return VMFT_FRAME_HEADER + sizeof(payload);
}

static void test_round_trip(void)
{
	uint8_t buffer[256];
	size_t n = sealed(buffer);
	struct vmft_frame_info got;

	CU_ASSERT_EQUAL(vmft_frame_decode(buffer, n, &got), (ssize_t)n);
	CU_ASSERT_EQUAL(got.version, VMFT_FRAME_VERSION);
	CU_ASSERT_EQUAL(got.type, VMFT_FRAME_LOG);
	CU_ASSERT_EQUAL(got.generation, 7);
	CU_ASSERT_EQUAL(got.position, 0x123456789abcdef0);
	CU_ASSERT_EQUAL(got.length, sizeof(payload));
	CU_ASSERT_EQUAL(memcmp(got.payload, payload, sizeof(payload)), 0);
}

static void test_torn_at_every_byte(void)
{
	uint8_t buffer[256];
	size_t n = sealed(buffer);
	struct vmft_frame_info got;

	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_frame_decode(buffer, cut, &got), 0);
}

/* Every bit of every field, header and payload, flipped: never taken for good. */
static void test_every_bit_flipped(void)
{
	uint8_t buffer[256];
	size_t n = sealed(buffer);
	struct vmft_frame_info got;

	for (size_t bit = 0; bit < 8 * n; bit++) {
		ssize_t rc;

		buffer[bit / 8] ^= (uint8_t)(1u << bit % 8);
		rc = vmft_frame_decode(buffer, n, &got);
		/* a longer length asks for more bytes than there are */
		CU_ASSERT(rc < 0 || (rc == 0 && bit / 8 >= 32 && bit / 8 < 36));
		if (bit / 8 < 4)
			CU_ASSERT_EQUAL(rc, -EPROTO);
		if (bit / 8 >= 4 && bit / 8 < 6)
			CU_ASSERT_EQUAL(rc, -EPROTONOSUPPORT);
		buffer[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void test_length_is_capped(void)
{
	uint8_t buffer[256];
	struct vmft_frame_info got;

	(void)sealed(buffer);
	buffer[32] = 0x7f;
	CU_ASSERT_EQUAL(vmft_frame_decode(buffer, sizeof(buffer), &got), -EBADMSG);
}

static void test_beat(void)
{
	struct vmft_beat beat = {.ticket = {1, 2, 3}, .host = 1, .clock = 1ull << 63, .echo = 5};
	struct vmft_beat got = {.host = 99};
	uint8_t bytes[VMFT_BEAT_MAX + 1] = {0};
	size_t n;

	memset(beat.name, 'w', VMFT_HELLO_NAME_MAX);
	n = vmft_beat_encode(&beat, bytes);
	CU_ASSERT_EQUAL(n, VMFT_BEAT_MAX);
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_beat_decode(bytes, cut, &got), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_beat_decode(bytes, n + 1, &got), -EBADMSG);
	bytes[n - 3] = '\0'; /* a hole in the name */
	CU_ASSERT_EQUAL(vmft_beat_decode(bytes, n, &got), -EBADMSG);
	bytes[n - 3] = 'w';
	bytes[VMFT_TICKET_BYTES + 1] = 0; /* the clock */
	CU_ASSERT_EQUAL(vmft_beat_decode(bytes, n, &got), -EBADMSG);
	CU_ASSERT_EQUAL(got.host, 99);
	bytes[VMFT_TICKET_BYTES + 1] = 0x80;
	CU_ASSERT_EQUAL(vmft_beat_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(memcmp(&got, &beat, sizeof(beat)), 0);
}

static void test_ack_and_clock(void)
{
	const struct vmft_ack ack = {.replayed = 1ull << 40, .echo = 77, .formed = 1};
	struct vmft_ack got = {0};
	uint8_t bytes[18];
	uint64_t clock;

	CU_ASSERT_EQUAL(vmft_ack_encode(&ack, bytes), 17);
	bytes[17] = 0;
	for (size_t n = 0; n <= sizeof(bytes); n++)
		CU_ASSERT_EQUAL(vmft_ack_decode(bytes, n, &got), n == 17 ? 0 : -EBADMSG);
	CU_ASSERT_EQUAL(got.replayed, ack.replayed);
	CU_ASSERT_EQUAL(got.echo, ack.echo);
	CU_ASSERT_EQUAL(got.formed, 1);
	bytes[16] = 2;
	CU_ASSERT_EQUAL(vmft_ack_decode(bytes, 17, &got), -EBADMSG);
	CU_ASSERT_EQUAL(got.formed, 1);
	bytes[16] = 0;
	CU_ASSERT_EQUAL(vmft_ack_decode(bytes, 17, &got), 0);
	CU_ASSERT_EQUAL(got.formed, 0);
	CU_ASSERT_EQUAL(vmft_u64_encode(5, bytes), 8);
	CU_ASSERT_EQUAL(vmft_u64_decode(bytes, 8, &clock), 0);
	CU_ASSERT_EQUAL(clock, 5);
	CU_ASSERT_EQUAL(vmft_u64_decode(bytes, 9, &clock), -EBADMSG);
}

/* --- an attach ---------------------------------------------------------------- */

/* As many regions as there may be, the first with the longest name, the second with none. */
static void fill_geometry(struct vmft_geometry *geometry)
{
	memset(geometry, 0, sizeof(*geometry));
	geometry->count = VMFT_GEOMETRY_REGIONS_MAX;
	for (uint32_t i = 0; i < geometry->count; i++) {
		struct vmft_geometry_region *region = &geometry->region[i];

		region->kind = (uint8_t)(1 + i % 3);
		region->format = (uint8_t)(i % 2);
		region->bytes = 0x1122334455667700 + i;
		region->guest_bytes = ~region->bytes;
		memset(region->name, 'a' + (int)i % 26, i == 0 ? VMFT_GEOMETRY_NAME_MAX : i % 9);
	}
	geometry->region[1].name[0] = '\0';
}

static void test_geometry(void)
{
	static uint8_t bytes[VMFT_FRAME_PAYLOAD_MAX], again[VMFT_FRAME_PAYLOAD_MAX];
	static struct vmft_geometry geometry, got;
	size_t n;

	fill_geometry(&geometry);
	n = vmft_geometry_encode(&geometry, bytes);
	CU_ASSERT_FATAL(n < sizeof(bytes));
	CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(got.count, geometry.count);
	for (uint32_t i = 0; i < got.count; i++) {
		CU_ASSERT_EQUAL(got.region[i].kind, geometry.region[i].kind);
		CU_ASSERT_EQUAL(got.region[i].format, geometry.region[i].format);
		CU_ASSERT_EQUAL(got.region[i].bytes, geometry.region[i].bytes);
		CU_ASSERT_EQUAL(got.region[i].guest_bytes, geometry.region[i].guest_bytes);
		CU_ASSERT_STRING_EQUAL(got.region[i].name, geometry.region[i].name);
	}
	CU_ASSERT_EQUAL(vmft_geometry_encode(&got, again), n);
	CU_ASSERT_EQUAL(memcmp(again, bytes, n), 0);
	CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, n + 1, &got), -EBADMSG);
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, cut, &got), -EBADMSG);
}

/* One region more than there may be, although its bytes are there; a name with a hole in it, or
 * longer than what is left. */
static void test_geometry_counts(void)
{
	static uint8_t bytes[VMFT_FRAME_PAYLOAD_MAX];
	static struct vmft_geometry geometry = {.count = 1, .region = {{.name = "pc.ram"}}}, got;
	const size_t name_at = 4 + 1 + 1 + 8 + 8;
	size_t n = vmft_geometry_encode(&geometry, bytes);

	CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL_FATAL(bytes[name_at], 6);
	bytes[name_at] = 7;
	CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, n, &got), -EBADMSG);
	bytes[name_at] = 6;
	bytes[name_at + 3] = '\0';
	CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, n, &got), -EBADMSG);

	memset(bytes, 0, sizeof(bytes)); /* a region without a name is 19 zeroes */
	bytes[3] = VMFT_GEOMETRY_REGIONS_MAX;
	n = 4 + VMFT_GEOMETRY_REGIONS_MAX * 19;
	CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, n, &got), 0);
	bytes[3]++;
	CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, n + 19, &got), -EBADMSG);
	bytes[0] = 0x80;
	CU_ASSERT_EQUAL(vmft_geometry_decode(bytes, sizeof(bytes), &got), -EBADMSG);
}

static void test_point(void)
{
	struct vmft_point point = {
	    .state_bytes = 1ull << 40, .guest_ns = -5, .disk_count = VMFT_POINT_DISKS_MAX};
	struct vmft_point got = {.state_bytes = 99};
	uint8_t bytes[512] = {0};
	size_t n;

	for (uint32_t i = 0; i < point.disk_count; i++)
		point.disk_bytes[i] = 0x8000000000000001 + i;
	n = vmft_point_encode(&point, bytes);
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_point_decode(bytes, cut, &got), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_point_decode(bytes, n + 1, &got), -EBADMSG);
	bytes[8 + 8 + 3]++; /* a disk more than there may be */
	CU_ASSERT_EQUAL(vmft_point_decode(bytes, n + 8, &got), -EBADMSG);
	bytes[8 + 8 + 3]--;
	CU_ASSERT_EQUAL(got.state_bytes, 99); /* untouched by all of these */
	CU_ASSERT_EQUAL(vmft_point_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(got.state_bytes, point.state_bytes);
	CU_ASSERT_EQUAL(got.guest_ns, -5);
	CU_ASSERT_EQUAL(got.disk_count, VMFT_POINT_DISKS_MAX);
	CU_ASSERT_EQUAL(memcmp(got.disk_bytes, point.disk_bytes, sizeof(got.disk_bytes)), 0);
}

/* A chunk is a region and at least one byte; where it is torn there is less of it, no more. */
static void test_chunk(void)
{
	uint8_t bytes[VMFT_CHUNK_HEAD + sizeof(payload)];
	const uint8_t *got;
	uint32_t region;
	size_t n;

	vmft_chunk_encode(0x81828384, bytes);
	memcpy(bytes + VMFT_CHUNK_HEAD, payload, sizeof(payload));
	for (size_t cut = 0; cut <= VMFT_CHUNK_HEAD; cut++)
		CU_ASSERT_EQUAL(vmft_chunk_decode(bytes, cut, &region, &got, &n), -EBADMSG);
	for (size_t cut = VMFT_CHUNK_HEAD + 1; cut <= sizeof(bytes); cut++) {
		CU_ASSERT_EQUAL(vmft_chunk_decode(bytes, cut, &region, &got, &n), 0);
		CU_ASSERT_EQUAL(region, 0x81828384);
		CU_ASSERT_PTR_EQUAL(got, bytes + VMFT_CHUNK_HEAD);
		CU_ASSERT_EQUAL(n, cut - VMFT_CHUNK_HEAD);
	}
}

static void test_zero_and_want(void)
{
	uint32_t region = 99;
	uint64_t value = 99;
	uint8_t bytes[13] = {0};

	CU_ASSERT_EQUAL(vmft_zero_encode(0x81828384, 1ull << 63, bytes), 12);
	for (size_t n = 0; n <= sizeof(bytes); n++)
		if (n != 12)
			CU_ASSERT_EQUAL(vmft_zero_decode(bytes, n, &region, &value), -EBADMSG);
	CU_ASSERT_EQUAL(region, 99);
	CU_ASSERT_EQUAL(value, 99);
	CU_ASSERT_EQUAL(vmft_zero_decode(bytes, 12, &region, &value), 0);
	CU_ASSERT_EQUAL(region, 0x81828384);
	CU_ASSERT_EQUAL(value, 1ull << 63);

	CU_ASSERT_EQUAL(vmft_want_encode(3, UINT64_MAX - 1, bytes), 12);
	for (size_t n = 0; n <= sizeof(bytes); n++)
		if (n != 12)
			CU_ASSERT_EQUAL(vmft_want_decode(bytes, n, &region, &value), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_want_decode(bytes, 12, &region, &value), 0);
	CU_ASSERT_EQUAL(region, 3);
	CU_ASSERT_EQUAL(value, UINT64_MAX - 1);
}

/* No digest at all and one more than there may be are refused, as is any torn one. */
static void test_sums(void)
{
	struct vmft_sums sums = {.region = 7, .count = VMFT_SUMS_MAX, .seed = 1ull << 63}, got;
	uint8_t bytes[16 + 16 * (VMFT_SUMS_MAX + 1)] = {0};
	size_t n;

	for (uint32_t i = 0; i < sums.count; i++) {
		sums.sum[i].low = 0xf000000000000000 + i;
		sums.sum[i].high = ~(uint64_t)i;
	}
	n = vmft_sums_encode(&sums, bytes);
	CU_ASSERT_EQUAL(n, sizeof(bytes) - 16);
	CU_ASSERT_EQUAL(vmft_sums_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(got.region, 7);
	CU_ASSERT_EQUAL(got.count, VMFT_SUMS_MAX);
	CU_ASSERT_EQUAL(got.seed, 1ull << 63);
	CU_ASSERT_EQUAL(memcmp(got.sum, sums.sum, sizeof(sums.sum)), 0);
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_sums_decode(bytes, cut, &got), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_sums_decode(bytes, n + 1, &got), -EBADMSG);
	bytes[7]++;
	CU_ASSERT_EQUAL(vmft_sums_decode(bytes, sizeof(bytes), &got), -EBADMSG);
	bytes[7] = 0;
	CU_ASSERT_EQUAL(vmft_sums_decode(bytes, 16, &got), -EBADMSG);
}

int vmft_suite_frame(void)
{
	CU_pSuite suite = CU_add_suite("frame codec", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_round_trip) ||
	    !CU_ADD_TEST(suite, test_torn_at_every_byte) ||
	    !CU_ADD_TEST(suite, test_every_bit_flipped) ||
	    !CU_ADD_TEST(suite, test_length_is_capped) || !CU_ADD_TEST(suite, test_beat) ||
	    !CU_ADD_TEST(suite, test_ack_and_clock) || !CU_ADD_TEST(suite, test_geometry) ||
	    !CU_ADD_TEST(suite, test_geometry_counts) || !CU_ADD_TEST(suite, test_point) ||
	    !CU_ADD_TEST(suite, test_chunk) || !CU_ADD_TEST(suite, test_zero_and_want) ||
	    !CU_ADD_TEST(suite, test_sums))
		return -1;
	return 0;
}
