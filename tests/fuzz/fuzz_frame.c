/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes of a peer: the frame itself, and every payload decoder on the same bytes. What is
 * taken keeps within its limits and, encoded again, is the same bytes: there is one way to
 * say a thing, and nothing of it was overlooked.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "logging-channel/frame.h"
#include "logging-channel/hello.h"

static uint8_t again[VMFT_FRAME_HEADER + VMFT_FRAME_PAYLOAD_MAX];

static void must(bool good)
{
	if (!good)
		abort();
}

static void same(size_t n, const uint8_t *data, size_t size)
{
	must(n == size && memcmp(again, data, n) == 0);
}

static void try_frame(const uint8_t *data, size_t size)
{
	struct vmft_frame_info info;
	ssize_t rc = vmft_frame_decode(data, size, &info);

	if (rc <= 0)
		return;
	must((size_t)rc <= size && info.payload + info.length == data + rc);
	must(info.length <= VMFT_FRAME_PAYLOAD_MAX && info.version == VMFT_FRAME_VERSION);
	memcpy(again + VMFT_FRAME_HEADER, info.payload, info.length);
	vmft_frame_seal(again, &info);
	same(VMFT_FRAME_HEADER + info.length, data, (size_t)rc);
}

/* Any payload arrives as it was sent. */
static void try_sealed(const uint8_t *data, size_t size)
{
	struct vmft_frame_info info = {.type = VMFT_FRAME_CHUNK, .position = size}, got;

	if (size > VMFT_FRAME_PAYLOAD_MAX)
		return;
	info.length = (uint32_t)size;
	if (size > 0)
		memcpy(again + VMFT_FRAME_HEADER, data, size);
	vmft_frame_seal(again, &info);
	must(vmft_frame_decode(again, VMFT_FRAME_HEADER + size, &got) ==
	     (ssize_t)(VMFT_FRAME_HEADER + size));
	must(got.type == info.type && got.position == size && got.length == size);
	must(vmft_frame_decode(again, VMFT_FRAME_HEADER + size - 1, &got) == 0);
}

/* What is skipped is not written again, so not the bytes are the same but what they mean. */
static void try_hello(const uint8_t *data, size_t size)
{
	struct vmft_frame_info frame = {.payload = data, .length = (uint32_t)size};
	struct vmft_versions versions;
	struct vmft_hello hello, same_again;

	for (frame.version = 4; frame.version < 7; frame.version++)
		if (vmft_hello_versions(&frame, &versions) == 0)
			must(versions.lowest <= versions.highest);
	if (vmft_hello_decode(data, size, &hello) < 0)
		return;
	must(strlen(hello.name) <= VMFT_HELLO_NAME_MAX && hello.attach <= 1);
	must(hello.build_id_bytes <= VMFT_HELLO_DIGEST_MAX &&
	     hello.machine_bytes <= VMFT_HELLO_DIGEST_MAX &&
	     hello.disk_bytes <= VMFT_HELLO_DIGEST_MAX);
	must(hello.ticket_bytes == 0 || hello.ticket_bytes == VMFT_TICKET_BYTES);
	must(hello.tap_count <= VMFT_HELLO_TAPS_MAX && hello.image_count <= VMFT_HELLO_IMAGES_MAX &&
	     hello.feature_count <= VMFT_HELLO_FEATURES_MAX);
	must(size <= VMFT_HELLO_BYTES_MAX);
	must(vmft_hello_decode(again, vmft_hello_encode(&hello, again), &same_again) == 0);
	hello.versions = same_again.versions; /* what is written is what this vmft speaks */
	must(memcmp(&hello, &same_again, sizeof(hello)) == 0);
}

static void try_beat(const uint8_t *data, size_t size)
{
	struct vmft_beat beat;

	if (vmft_beat_decode(data, size, &beat) < 0)
		return;
	must(size <= VMFT_BEAT_MAX && strlen(beat.name) <= VMFT_HELLO_NAME_MAX && beat.clock != 0);
	same(vmft_beat_encode(&beat, again), data, size);
}

static void try_numbers(const uint8_t *data, size_t size)
{
	struct vmft_ack ack;
	uint64_t value;

	if (vmft_ack_decode(data, size, &ack) == 0) {
		must(ack.formed <= 1);
		same(vmft_ack_encode(&ack, again), data, size);
	}
	if (vmft_u64_decode(data, size, &value) == 0)
		same(vmft_u64_encode(value, again), data, size);
}

static void try_geometry(const uint8_t *data, size_t size)
{
	static struct vmft_geometry geometry;

	if (vmft_geometry_decode(data, size, &geometry) < 0)
		return;
	must(geometry.count <= VMFT_GEOMETRY_REGIONS_MAX && size <= VMFT_FRAME_PAYLOAD_MAX);
	for (uint32_t i = 0; i < geometry.count; i++)
		must(memchr(geometry.region[i].name, 0, sizeof(geometry.region[i].name)));
	same(vmft_geometry_encode(&geometry, again), data, size);
}

static void try_point(const uint8_t *data, size_t size)
{
	struct vmft_point point;

	if (vmft_point_decode(data, size, &point) < 0)
		return;
	must(point.disk_count <= VMFT_POINT_DISKS_MAX);
	same(vmft_point_encode(&point, again), data, size);
}

static void try_blocks(const uint8_t *data, size_t size)
{
	const uint8_t *bytes;
	uint32_t region;
	uint64_t value;
	size_t n;

	if (vmft_chunk_decode(data, size, &region, &bytes, &n) == 0) {
		must(n > 0 && bytes == data + VMFT_CHUNK_HEAD && bytes + n == data + size);
		vmft_chunk_encode(region, again);
		same(VMFT_CHUNK_HEAD, data, VMFT_CHUNK_HEAD);
	}
	if (vmft_zero_decode(data, size, &region, &value) == 0)
		same(vmft_zero_encode(region, value, again), data, size);
	if (vmft_want_decode(data, size, &region, &value) == 0)
		same(vmft_want_encode(region, value, again), data, size);
}

static void try_sums(const uint8_t *data, size_t size)
{
	struct vmft_sums sums;

	if (vmft_sums_decode(data, size, &sums) < 0)
		return;
	must(sums.count >= 1 && sums.count <= VMFT_SUMS_MAX);
	same(vmft_sums_encode(&sums, again), data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_frame(data, size);
	try_sealed(data, size);
	try_hello(data, size);
	try_beat(data, size);
	try_numbers(data, size);
	try_geometry(data, size);
	try_point(data, size);
	try_blocks(data, size);
	try_sums(data, size);
	return 0;
}

/* A sealed ACK, and a payload for each decoder. */
static const uint8_t frame[] = {
    0x56, 0x4d, 0x46, 0x54, 0x00, 0x04, 0x00, 0x04, 0xbf, 0xb8, 0x99, 0xd1, 0xaa, 0xf9, 0x08,
    0x5d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x01,
};
static const uint8_t hello_bytes[] = {
    0,	  1,  0,  4,  0,  5,   0,   5,	  0,	2,  0,	  7,	1,    3, 1, 3,	  't', 'l',
    's',  0,  3,  0,  3,  'v', 'm', '1',  0,	4,  0,	  1,	1,    0, 5, 0,	  1,   1,
    0,	  6,  0,  1,  2,  0,   7,   0,	  4,	0,  0xe0, 0x20, 0x0c, 0, 8, 0,	  2,   1,
    2,	  0,  9,  0,  1,  3,   0,   10,	  0,	1,  4,	  0,	11,   0, 4, 0,	  0,   3,
    0xe8, 0,  12, 0,  4,  0,   0,   0x0b, 0xb8, 0,  13,	  0,	16,   1, 2, 3,	  4,   5,
    6,	  7,  8,  9,  10, 11,  12,  13,	  14,	15, 16,	  0,	14,   0, 3, 'a',  ' ', 'b',
    0,	  15, 0,  12, 1,  2,   'n', '0',  1,	20, 0x1f, 0,	0,    0, 5, 0xdc, 0,   16,
    0,	  9,  1,  1,  2,  3,   4,   5,	  6,	7,  8,	  0,	99,   0, 2, 1,	  2,
};
/* of a later version: its first field, and what nobody knows yet */
static const uint8_t later_bytes[] = {0, 1, 0, 4, 0, 6, 0, 9, 0, 200, 0, 1, 1};
static const uint8_t beat_bytes[] = {
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,  1,	 0,   0,
    0, 0, 0, 0, 0, 9, 0, 0, 0, 0,  0,  0,  0,  8,  3,  'v', 'm', '1',
};
/* two regions */
static const uint8_t geometry_bytes[] = {
    0, 0, 0, 2, 1,   2,	  0,   0,   0,	 0,   1,   2,	0,   0,	  0,   0,   0,	 0, 2,
    0, 0, 0, 6, 'd', 'i', 's', 'k', ' ', '0', 3,   0,	0,   0,	  0,   0,   0,	 1, 0,
    0, 0, 0, 0, 0,   0,	  0,   0,   0,	 7,   'p', 'c', '.', 'b', 'i', 'o', 's',
};
/* two disks */
static const uint8_t point_bytes[] = {
    0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9, 8, 7, 6, 5, 0, 0,
    0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};
/* region 1: also a chunk */
static const uint8_t zero_bytes[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0};
/* two blocks */
static const uint8_t sums_bytes[] = {
    0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 6, 7, 8,
};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {frame, sizeof(frame)},
    {hello_bytes, sizeof(hello_bytes)},
    {later_bytes, sizeof(later_bytes)},
    {beat_bytes, sizeof(beat_bytes)},
    {geometry_bytes, sizeof(geometry_bytes)},
    {point_bytes, sizeof(point_bytes)},
    {zero_bytes, sizeof(zero_bytes)},
    {sums_bytes, sizeof(sums_bytes)},
    {0},
};
