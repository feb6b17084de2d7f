/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Payloads of an epoch from a peer: what is taken keeps within its limits and, encoded again,
 * is the same bytes. And a guest whose memory is written to as the input says: what arrives is
 * what it holds.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "driver.h"
#include "logging-channel/epoch.h"
#include "logging-channel/wire.h"

#define PAGES	    6u
#define PAGE_STRIDE 128u /* of a cache of 256 pages: three of a region share a slot */

static struct vmft_epoch_packer *packer;
static struct vmft_epoch_opener *opener;
static volatile uint8_t sink;
static uint8_t again[VMFT_FRAME_PAYLOAD_MAX];

static void must(bool good)
{
	if (!good)
		abort();
}

/* What the packer writes of the same things opens as the same things. */
static struct vmft_epoch_view reopen(size_t n)
{
	static struct vmft_epoch_opener *other;
	struct vmft_epoch_view view = {0};

	if (!other)
		must(vmft_epoch_opener_create(&other) == 0);
	must(n <= sizeof(again) && vmft_epoch_open(other, again, n, &view) == 0);
	return view;
}

static void try_pieces(struct vmft_epoch_view view)
{
	struct vmft_epoch_piece piece;

	for (;;) {
		const uint8_t *was = view.bytes;
		uint8_t head[VMFT_EPOCH_PIECE_HEAD];
		size_t follow;

		if (vmft_epoch_next(&view, &piece) <= 0)
			return;
		follow = piece.how == VMFT_EPOCH_ZERO ? 0 : piece.n;
		must(piece.n > 0 && piece.n <= VMFT_EPOCH_ZERO_MAX);
		must(piece.offset + piece.n > piece.offset);
		must(piece.how != VMFT_EPOCH_XOR ||
		     piece.offset / VMFT_EPOCH_PAGE ==
			 (piece.offset + piece.n - 1) / VMFT_EPOCH_PAGE);
		(void)vmft_wire_put_u32(
		    vmft_wire_put_u32(
			vmft_wire_put_u32(vmft_wire_put_u64(head, piece.offset), piece.region),
			piece.n),
		    (uint32_t)piece.how << 24);
		must(memcmp(head, was, sizeof(head)) == 0);
		must(piece.bytes == (follow > 0 ? was + sizeof(head) : NULL));
		must(view.bytes == was + sizeof(head) + follow);
		for (size_t i = 0; i < follow; i++) /* each of them may be read */
			sink ^= piece.bytes[i];
	}
}

static void try_input(struct vmft_epoch_view view)
{
	struct vmft_epoch_input input, got;

	if (vmft_epoch_input(&view, &input) < 0)
		return;
	must(input.n > 0 && input.n <= VMFT_EPOCH_INPUT_MAX);
	must(input.bytes + input.n == view.bytes + view.n);
	view = reopen(vmft_epoch_put_input(packer, &input, again));
	must(vmft_epoch_input(&view, &got) == 0);
	must(got.epoch == input.epoch && got.nic == input.nic && got.n == input.n);
	must(memcmp(got.bytes, input.bytes, got.n) == 0);
}

static void try_commit(struct vmft_epoch_view view)
{
	struct vmft_epoch_commit commit, got;

	if (vmft_epoch_commit(&view, &commit) < 0)
		return;
	must(commit.disk_count <= VMFT_POINT_DISKS_MAX);
	must(view.n == 28 + 8 * commit.disk_count);
	view = reopen(vmft_epoch_put_commit(packer, &commit, again));
	must(vmft_epoch_commit(&view, &got) == 0 && got.pieces == 0 && got.bytes == 0);
	got.pieces = commit.pieces;
	got.bytes = commit.bytes;
	must(memcmp(&got.disk_bytes, &commit.disk_bytes, sizeof(got.disk_bytes)) == 0);
	must(got.state_bytes == commit.state_bytes && got.disk_count == commit.disk_count);
}

static void try_view(struct vmft_epoch_view view)
{
	try_pieces(view);
	try_input(view);
	try_commit(view);
}

static void try_payload(const uint8_t *data, size_t size)
{
	struct vmft_epoch_view view = {0};

	if (vmft_epoch_open(opener, data, size, &view) < 0) {
		must(view.bytes == NULL);
		return;
	}
	must(view.n > 0 && view.n <= VMFT_EPOCH_RAW_MAX);
	must(data[1] == 1 || view.bytes + view.n == data + size);
	try_view(view);
}

/* The same bytes after a head of each kind, compressed, so that they pass the checks of zstd. */
static void try_raw(const uint8_t *data, size_t size)
{
	static uint8_t payload[VMFT_FRAME_PAYLOAD_MAX];
	struct vmft_epoch_view view;
	size_t n;

	if (size == 0 || size > VMFT_EPOCH_RAW_MAX)
		return;
	(void)vmft_wire_put_u32(
	    vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(payload, 0), 1), 0),
	    (uint32_t)size);
	n = ZSTD_compress(payload + VMFT_EPOCH_HEAD, sizeof(payload) - VMFT_EPOCH_HEAD, data, size,
			  1);
	must(!ZSTD_isError(n));
	for (uint8_t kind = VMFT_EPOCH_PIECES; kind <= VMFT_EPOCH_COMMIT; kind++) {
		payload[0] = kind;
		must(vmft_epoch_open(opener, payload, VMFT_EPOCH_HEAD + n, &view) == 0);
		must(view.n == size && memcmp(view.bytes, data, size) == 0);
		try_view(view);
	}
}

/* --- a guest ---------------------------------------------------------------- */

static uint8_t primary[PAGES][VMFT_EPOCH_PAGE], backup[PAGES][VMFT_EPOCH_PAGE];

static void apply(const struct vmft_epoch_piece *piece)
{
	uint64_t page = piece->offset / VMFT_EPOCH_PAGE / PAGE_STRIDE;

	must(page < PAGES && piece->n <= VMFT_EPOCH_PAGE);
	for (uint32_t i = 0; i < piece->n; i++) {
		uint8_t byte = piece->how == VMFT_EPOCH_ZERO ? 0 : piece->bytes[i];

		backup[page][i] =
		    (uint8_t)(piece->how == VMFT_EPOCH_XOR ? backup[page][i] ^ byte : byte);
	}
}

static void send_batch(void)
{
	size_t n = vmft_epoch_finish_pieces(packer, again);
	struct vmft_epoch_piece piece;
	struct vmft_epoch_view view;
	int rc;

	if (n == 0)
		return;
	view = reopen(n);
	while ((rc = vmft_epoch_next(&view, &piece)) > 0)
		apply(&piece);
	must(rc == 0);
}

static void send_page(size_t page, uint32_t n)
{
	const uint64_t offset = (uint64_t)page * PAGE_STRIDE * VMFT_EPOCH_PAGE;

	while (vmft_epoch_pack(packer, 1, offset, primary[page], n, true) == 0)
		send_batch();
}

/* Four bytes a write: which page, from where, how much, what; the whole page is sent, or only as
 * much as a page cut short has. */
static void try_guest(const uint8_t *data, size_t size)
{
	vmft_epoch_packer_reset(packer);
	memset(primary, 0, sizeof(primary));
	memset(backup, 0, sizeof(backup));
	for (; size >= 4; data += 4, size -= 4) {
		size_t page = data[0] % PAGES;
		uint32_t from = data[1] * 8u, n = data[2] * 16u;

		if (from + n > VMFT_EPOCH_PAGE || data[2] == 0xff) {
			from = 0;
			n = VMFT_EPOCH_PAGE;
		}
		memset(primary[page] + from, data[3], n);
		if (from == 0 && n > 0 && data[0] >= 0x80)
			send_page(page, n);
		else
			send_page(page, VMFT_EPOCH_PAGE);
	}
	send_batch();
	must(memcmp(primary, backup, sizeof(primary)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!packer) {
		must(vmft_epoch_packer_create(1, &packer) == 0);
		must(vmft_epoch_opener_create(&opener) == 0);
	}
	vmft_epoch_packer_reset(packer);
	try_payload(data, size);
	try_raw(data, size);
	try_guest(data, size);
	return 0;
}

/* a piece of each way */
static const uint8_t pieces[] = {1, 0, 0, 0, 0, 0, 0, 65, 0, 0,	 0,  0, 0, 0, 32, 0, 0, 0,  0,
				 1, 0, 0, 0, 2, 0, 0, 0,  0, 97, 98, 0, 0, 0, 0,  0, 0, 16, 0,
				 0, 0, 0, 1, 0, 0, 0, 3,  1, 0,	 0,  0, 1, 2, 3,  0, 0, 0,  0,
				 0, 0, 2, 0, 0, 0, 0, 0,  0, 1,	 0,  0, 2, 0, 0,  0};
/* a page, a change of it, a zero page */
static const uint8_t packed[] = {
    0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3c, 0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x3c, 0x1f,
    0xc5, 0x01, 0x00, 0xe0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x10, 0x78, 0x00, 0x01, 0x7b, 0x01, 0x00, 0x00, 0x10, 0x00, 0x02, 0x00,
    0x00, 0x00, 0x09, 0x00, 0x23, 0xa0, 0x0a, 0x40, 0x7f, 0xe0, 0x21, 0x45, 0x5c, 0x2e, 0x63,
    0x66, 0xbb, 0x0b, 0x38, 0x30, 0x80, 0x70, 0xfc, 0xc7, 0x79, 0x36, 0x84, 0x59, 0x07};
static const uint8_t input[] = {2, 0, 0, 0, 0, 0, 0, 18,  0,   0,   0,	 0,  0,
				0, 0, 1, 0, 0, 0, 0, 100, 101, 118, 105, 99, 101};
/* two disks */
static const uint8_t commit[] = {0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2c, 0x00, 0x00, 0x00,
				 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
				 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00,
				 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00,
				 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01};
/* writes to pages that share a slot and to one that does not, to zero, of part of one */
static const uint8_t guest[] = {0,   0, 255, 120, 0,   9,   1, 1, 2, 0, 255, 5,	 4, 0, 255,
				6,   4, 3,   9,	  0,   128, 0, 9, 7, 2, 100, 20, 9, 1, 0,
				255, 3, 0,   0,	  255, 0,   0, 1, 1, 1, 1,   2,	 1, 1};

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {pieces, sizeof(pieces)},
    {packed, sizeof(packed)},
    {input, sizeof(input)},
    {commit, sizeof(commit)},
    {pieces + VMFT_EPOCH_HEAD, sizeof(pieces) - VMFT_EPOCH_HEAD},
    {input + VMFT_EPOCH_HEAD, sizeof(input) - VMFT_EPOCH_HEAD},
    {commit + VMFT_EPOCH_HEAD, sizeof(commit) - VMFT_EPOCH_HEAD},
    {guest, sizeof(guest)},
    {0},
};
