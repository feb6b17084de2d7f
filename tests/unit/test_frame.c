/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "../../logging-channel/frame.h"
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

static const struct vmft_hello hello = {
    .role = 1,
    .log_version = 0xe0200c,
    .silence_ms = 1000,
    .build_id_bytes = 20,
    .machine_bytes = 16,
    .disk_bytes = 8,
    .build_id = {1, 2, 3},
    .machine = {4, 5},
    .disk = {6},
    .name = "web1",
};

static void test_hello(void)
{
	uint8_t bytes[512];
	size_t n = vmft_hello_encode(&hello, bytes);
	struct vmft_hello got;

	CU_ASSERT_EQUAL(vmft_hello_decode(bytes, n, &got), 0);
	CU_ASSERT_EQUAL(memcmp(&got, &hello, sizeof(hello)), 0);
	CU_ASSERT_EQUAL(vmft_hello_decode(bytes, n + 1, &got), -EBADMSG);
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_hello_decode(bytes, cut, &got), -EBADMSG);
}

/* Counts that point past the end or over the cap, and a name with a hole in it. */
static void test_hello_counts(void)
{
	uint8_t bytes[512];
	size_t n = vmft_hello_encode(&hello, bytes);
	struct vmft_hello got = {.role = 99};

	bytes[9] = 200;
	CU_ASSERT_EQUAL(vmft_hello_decode(bytes, n, &got), -EBADMSG);
	bytes[9] = 20;
	bytes[n - 2] = '\0';
	CU_ASSERT_EQUAL(vmft_hello_decode(bytes, n, &got), -EBADMSG);
	CU_ASSERT_EQUAL(got.role, 99);
}

static void test_ack_and_clock(void)
{
	const struct vmft_ack ack = {.replayed = 1ull << 40, .echo = 77};
	struct vmft_ack got;
	uint8_t bytes[16];
	uint64_t clock;

	CU_ASSERT_EQUAL(vmft_ack_encode(&ack, bytes), 16);
	CU_ASSERT_EQUAL(vmft_ack_decode(bytes, 16, &got), 0);
	CU_ASSERT_EQUAL(got.replayed, ack.replayed);
	CU_ASSERT_EQUAL(got.echo, ack.echo);
	CU_ASSERT_EQUAL(vmft_ack_decode(bytes, 15, &got), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_u64_encode(5, bytes), 8);
	CU_ASSERT_EQUAL(vmft_u64_decode(bytes, 8, &clock), 0);
	CU_ASSERT_EQUAL(clock, 5);
	CU_ASSERT_EQUAL(vmft_u64_decode(bytes, 9, &clock), -EBADMSG);
}

int vmft_suite_frame(void)
{
	CU_pSuite suite = CU_add_suite("frame codec", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_round_trip) ||
	    !CU_ADD_TEST(suite, test_torn_at_every_byte) ||
	    !CU_ADD_TEST(suite, test_every_bit_flipped) ||
	    !CU_ADD_TEST(suite, test_length_is_capped) || !CU_ADD_TEST(suite, test_hello) ||
	    !CU_ADD_TEST(suite, test_hello_counts) || !CU_ADD_TEST(suite, test_ack_and_clock))
		return -1;
	return 0;
}
