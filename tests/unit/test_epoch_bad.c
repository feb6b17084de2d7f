/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The epoch codec and a peer that sends what no packer makes: each is refused. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "epoch_codec.h"
#include "logging-channel/epoch.h"
#include "logging-channel/wire.h"
#include "suites.h"

/* Head and body as they are; the length of both. */
static size_t epoch_plain(uint8_t *to, uint8_t kind, const uint8_t *raw, size_t n)
{
	(void)vmft_wire_put_u32(
	    vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(to, kind), 0), 0), (uint32_t)n);
	memcpy(to + VMFT_EPOCH_HEAD, raw, n);
	return VMFT_EPOCH_HEAD + n;
}

static void test_bad_head(void)
{
	struct vmft_epoch_opener *opener = codec_opener();
	static uint8_t raw[VMFT_EPOCH_RAW_MAX + 1];
	struct vmft_epoch_view view = {.kind = 99};
	size_t n = epoch_plain(codec_payload, VMFT_EPOCH_INPUT, raw, 20);

	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, cut, &view), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n + 1, &view), -EBADMSG);
	for (size_t at = 0; at < VMFT_EPOCH_HEAD; at++) { /* kind, packed, zero, length */
		uint8_t was = codec_payload[at];

		codec_payload[at] = 4;
		CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
		codec_payload[at] = was;
	}
	codec_payload[0] = 0;
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	n = epoch_plain(codec_payload, VMFT_EPOCH_PIECES, raw, 0);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	n = epoch_plain(codec_payload, VMFT_EPOCH_PIECES, raw, VMFT_EPOCH_RAW_MAX + 1);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	CU_ASSERT_EQUAL(view.kind, 99);
	n = epoch_plain(codec_payload, VMFT_EPOCH_PIECES, raw, VMFT_EPOCH_RAW_MAX);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
	CU_ASSERT_EQUAL(view.n, VMFT_EPOCH_RAW_MAX);
	vmft_epoch_opener_destroy(opener);
}

/* n raw bytes of 'x' in a zstd frame after a head that claims some number; the length. */
static size_t packed(uint32_t claim, size_t n)
{
	static uint8_t raw[2 * VMFT_EPOCH_RAW_MAX];
	uint8_t *body = vmft_wire_put_u32(
	    vmft_wire_put_u16(
		vmft_wire_put_u8(vmft_wire_put_u8(codec_payload, VMFT_EPOCH_INPUT), 1), 0),
	    claim);

	memset(raw, 'x', n);
	return VMFT_EPOCH_HEAD +
	       ZSTD_compress(body, sizeof(codec_payload) - VMFT_EPOCH_HEAD, raw, n, 1);
}

static void test_bad_packed(void)
{
	struct vmft_epoch_opener *opener = codec_opener();
	const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'};
	struct vmft_epoch_view view;
	size_t n = packed(5000, 5000), twice;

	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
	CU_ASSERT_EQUAL(view.n, 5000);
	CU_ASSERT_EQUAL(view.bytes[4999], 'x');
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, cut, &view), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n + 1, &view), -EBADMSG);
	twice = n - VMFT_EPOCH_HEAD; /* libzstd would join the two */
	memcpy(codec_payload + n, codec_payload + VMFT_EPOCH_HEAD, twice);
	(void)vmft_wire_put_u32(codec_payload + 4, 10000);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n + twice, &view), -EBADMSG);
	(void)vmft_wire_put_u32(codec_payload + 4, 5000);
	memcpy(codec_payload + n, skippable, sizeof(skippable));
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n + sizeof(skippable), &view),
			-EBADMSG);

	n = packed(4999, 5000);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	n = packed(5001, 5000);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	n = packed(VMFT_EPOCH_RAW_MAX + 1, VMFT_EPOCH_RAW_MAX + 1);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	n = packed(VMFT_EPOCH_RAW_MAX, 2 * VMFT_EPOCH_RAW_MAX);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	vmft_epoch_opener_destroy(opener);
}

/* Frames of the one byte 'x', and what is not one. */
static void test_frame_formats(void)
{
	static const struct {
		int rc;
		size_t n;
		uint8_t body[16];
	} frames[] = {
	    {0, 10, {0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 9, 0, 0, 'x'}},
	    /* does not say how long it becomes */
	    {-EBADMSG, 10, {0x28, 0xb5, 0x2f, 0xfd, 0, 0, 9, 0, 0, 'x'}},
	    /* asks for a dictionary */
	    {-EBADMSG, 11, {0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 1, 9, 0, 0, 'x'}},
	    /* to be skipped */
	    {-EBADMSG, 9, {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}},
	    /* as zstd 0.7 wrote it */
	    {-EBADMSG, 13, {0x27, 0xb5, 0x2f, 0xfd, 0x20, 1, 0x40, 0, 1, 'x', 0xc0, 0, 0}},
	};
	struct vmft_epoch_opener *opener = codec_opener();
	struct vmft_epoch_view view;

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		(void)packed(1, 1);
		memcpy(codec_payload + VMFT_EPOCH_HEAD, frames[i].body, frames[i].n);
		CU_ASSERT_EQUAL(
		    vmft_epoch_open(opener, codec_payload, VMFT_EPOCH_HEAD + frames[i].n, &view),
		    frames[i].rc);
	}
	vmft_epoch_opener_destroy(opener);
}

/* The frame says how long it becomes; what it becomes is another matter. */
static void test_lying_frame(void)
{
	struct vmft_epoch_opener *opener = codec_opener();
	struct vmft_epoch_view view;
	size_t n = packed(5000, 5000);
	uint8_t *size = codec_payload + VMFT_EPOCH_HEAD + 5; /* 2 bytes, less 256, little-endian */

	CU_ASSERT_EQUAL_FATAL(size[0] + 256 * size[1], 5000 - 256);
	size[0]++;
	(void)vmft_wire_put_u32(codec_payload + 4, 5001);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	size[0] = (uint8_t)(size[0] - 2);
	(void)vmft_wire_put_u32(codec_payload + 4, 4999);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), -EBADMSG);
	size[0]++;
	(void)vmft_wire_put_u32(codec_payload + 4, 5000);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
	vmft_epoch_opener_destroy(opener);
}

/* One piece with left bytes after its head: what comes of it. */
static int next_of(uint64_t offset, uint32_t n, uint32_t how_and_zero, size_t left)
{
	static uint8_t raw[VMFT_EPOCH_PIECE_HEAD + VMFT_EPOCH_RAW_MAX];
	struct vmft_epoch_view view = {VMFT_EPOCH_PIECES, raw, VMFT_EPOCH_PIECE_HEAD + left};
	struct vmft_epoch_piece piece = {.n = 99};
	int rc;

	(void)vmft_wire_put_u32(
	    vmft_wire_put_u32(vmft_wire_put_u32(vmft_wire_put_u64(raw, offset), 1), n),
	    how_and_zero);
	rc = vmft_epoch_next(&view, &piece);
	if (rc == 1) {
		CU_ASSERT_EQUAL(piece.n, n);
		CU_ASSERT_EQUAL(piece.offset, offset);
		return rc;
	}
	CU_ASSERT_EQUAL(piece.n, 99);
	CU_ASSERT_PTR_EQUAL(view.bytes, raw);
	CU_ASSERT_EQUAL(vmft_epoch_next(&view, &piece), rc); /* it gets no better */
	return rc;
}

static void test_bad_pieces(void)
{
	const uint32_t as_is = VMFT_EPOCH_AS_IS << 24, xor = VMFT_EPOCH_XOR << 24,
		       zero = VMFT_EPOCH_ZERO << 24;
	uint8_t raw[VMFT_EPOCH_PIECE_HEAD] = {0};
	struct vmft_epoch_view view = {.kind = VMFT_EPOCH_PIECES, .bytes = raw};
	struct vmft_epoch_piece piece;

	(void)vmft_wire_put_u32(vmft_wire_put_u32(raw + 12, 8), zero);
	for (view.n = 1; view.n < sizeof(raw); view.n++)
		CU_ASSERT_EQUAL(vmft_epoch_next(&view, &piece), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_epoch_next(&view, &piece), 1);
	CU_ASSERT_EQUAL(next_of(5, 10, as_is, 10), 1);
	CU_ASSERT_EQUAL(next_of(5, 10, as_is, 9), -EBADMSG);
	CU_ASSERT_EQUAL(next_of(5, VMFT_EPOCH_RANGE_MAX, as_is, VMFT_EPOCH_RAW_MAX), 1);
	CU_ASSERT_EQUAL(next_of(5, VMFT_EPOCH_RANGE_MAX + 1, as_is, VMFT_EPOCH_RAW_MAX), -EBADMSG);
	CU_ASSERT_EQUAL(next_of(5, UINT32_MAX, as_is, VMFT_EPOCH_RAW_MAX), -EBADMSG);
	CU_ASSERT_EQUAL(next_of(PAGE, PAGE, xor, PAGE), 1);
	CU_ASSERT_EQUAL(next_of(PAGE, PAGE, xor, PAGE - 1), -EBADMSG);
	CU_ASSERT_EQUAL(next_of(PAGE, PAGE + 1, xor, PAGE + 1), -EBADMSG);
	CU_ASSERT_EQUAL(next_of(PAGE + 8, 8, xor, 8), -EBADMSG);
	CU_ASSERT_EQUAL(next_of(5, VMFT_EPOCH_ZERO_MAX, zero, 0), 1);
	CU_ASSERT_EQUAL(next_of(5, VMFT_EPOCH_ZERO_MAX + 1, zero, 0), -EBADMSG);
	for (uint32_t how = 0; how < 256; how++) {
		CU_ASSERT_EQUAL(next_of(0, 8, how << 24, 8), how <= 2 ? 1 : -EBADMSG);
		CU_ASSERT_EQUAL(next_of(0, 0, how << 24, 8), -EBADMSG);
	}
	for (unsigned bit = 0; bit < 24; bit++)
		CU_ASSERT_EQUAL(next_of(0, 8, as_is | 1u << bit, 8), -EBADMSG);
	CU_ASSERT_EQUAL(next_of(UINT64_MAX - 8, 8, as_is, 8), 1);
	CU_ASSERT_EQUAL(next_of(UINT64_MAX - 7, 8, as_is, 8), -EBADMSG);
	CU_ASSERT_EQUAL(next_of(UINT64_MAX, 8, zero, 0), -EBADMSG);
}

static void test_bad_input(void)
{
	const uint8_t raw[VMFT_EPOCH_INPUT_HEAD + 1] = {0};
	struct vmft_epoch_view view = {.kind = VMFT_EPOCH_INPUT, .bytes = raw};
	struct vmft_epoch_input got = {.n = 99};

	for (view.n = 0; view.n < sizeof(raw); view.n++)
		CU_ASSERT_EQUAL(vmft_epoch_input(&view, &got), -EBADMSG);
	CU_ASSERT_EQUAL(got.n, 99);
	CU_ASSERT_EQUAL(vmft_epoch_input(&view, &got), 0);
	CU_ASSERT_EQUAL(got.n, 1);
}

static void test_bad_commit(void)
{
	uint8_t raw[3 * 8 + 4 + (VMFT_POINT_DISKS_MAX + 1) * 8] = {0};
	struct vmft_epoch_view view = {.kind = VMFT_EPOCH_COMMIT, .bytes = raw};
	struct vmft_epoch_commit got = {.pieces = 99};
	const size_t whole = sizeof(raw) - 8;

	(void)vmft_wire_put_u32(raw + 3 * 8, VMFT_POINT_DISKS_MAX);
	for (view.n = 0; view.n <= sizeof(raw); view.n++)
		if (view.n != whole)
			CU_ASSERT_EQUAL(vmft_epoch_commit(&view, &got), -EBADMSG);
	(void)vmft_wire_put_u32(raw + 3 * 8, VMFT_POINT_DISKS_MAX + 1);
	view.n = sizeof(raw);
	CU_ASSERT_EQUAL(vmft_epoch_commit(&view, &got), -EBADMSG);
	CU_ASSERT_EQUAL(got.pieces, 99);
	(void)vmft_wire_put_u32(raw + 3 * 8, VMFT_POINT_DISKS_MAX);
	view.n = whole;
	CU_ASSERT_EQUAL(vmft_epoch_commit(&view, &got), 0);
	CU_ASSERT_EQUAL(got.disk_count, VMFT_POINT_DISKS_MAX);
}

/* Bytes good for one kind are not taken for another. */
static void test_wrong_kind(void)
{
	const uint8_t raw[28] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8};
	struct vmft_epoch_commit commit;
	struct vmft_epoch_input input;
	struct vmft_epoch_piece piece;

	for (uint8_t kind = VMFT_EPOCH_PIECES; kind <= VMFT_EPOCH_COMMIT; kind++) {
		struct vmft_epoch_view view = {kind, raw, sizeof(raw)};

		CU_ASSERT_EQUAL(vmft_epoch_input(&view, &input),
				kind == VMFT_EPOCH_INPUT ? 0 : -EBADMSG);
		CU_ASSERT_EQUAL(vmft_epoch_commit(&view, &commit),
				kind == VMFT_EPOCH_COMMIT ? 0 : -EBADMSG);
		CU_ASSERT_EQUAL(vmft_epoch_next(&view, &piece),
				kind == VMFT_EPOCH_PIECES ? 1 : -EBADMSG);
	}
}

int vmft_suite_epoch_bad(void)
{
	static CU_TestInfo tests[] = {
	    {"test_bad_head", test_bad_head},
	    {"test_bad_packed", test_bad_packed},
	    {"test_frame_formats", test_frame_formats},
	    {"test_lying_frame", test_lying_frame},
	    {"test_bad_pieces", test_bad_pieces},
	    {"test_bad_input", test_bad_input},
	    {"test_bad_commit", test_bad_commit},
	    {"test_wrong_kind", test_wrong_kind},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"epoch codec: a wrong peer", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
