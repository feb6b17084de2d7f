/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "logging-channel/epoch.h"
#include "logging-channel/wire.h"
#include "suites.h"

#define PAGE VMFT_EPOCH_PAGE

static uint8_t payload[VMFT_FRAME_PAYLOAD_MAX];

static uint64_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

static void fill_random(uint8_t *bytes, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)next_random(&seed);
}

static struct vmft_epoch_packer *packer_of(uint32_t cache_mib)
{
	struct vmft_epoch_packer *packer = NULL;

	CU_ASSERT_EQUAL_FATAL(vmft_epoch_packer_create(cache_mib, &packer), 0);
	return packer;
}

static struct vmft_epoch_opener *opener_new(void)
{
	struct vmft_epoch_opener *opener = NULL;

	CU_ASSERT_EQUAL_FATAL(vmft_epoch_opener_create(&opener), 0);
	return opener;
}

/* One page through packer and opener; 1 and *ret as it arrives, or 0: nothing was sent. */
static int pass_page(struct vmft_epoch_packer *packer, struct vmft_epoch_opener *opener,
		     const uint8_t *page, struct vmft_epoch_piece *ret)
{
	struct vmft_epoch_view view;
	size_t n;

	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 3, 7 * PAGE, page, PAGE, true), 1);
	n = vmft_epoch_finish_pieces(packer, payload);
	if (n == 0)
		return 0;
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL(view.kind, VMFT_EPOCH_PIECES);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_next(&view, ret), 1);
	CU_ASSERT_EQUAL(ret->region, 3);
	CU_ASSERT_EQUAL(ret->offset, 7 * PAGE);
	CU_ASSERT_EQUAL(ret->n, PAGE);
	CU_ASSERT_EQUAL(ret->how == VMFT_EPOCH_ZERO, ret->bytes == NULL);
	CU_ASSERT_EQUAL(vmft_epoch_next(&view, &(struct vmft_epoch_piece){0}), 0);
	return 1;
}

/* --- packing -------------------------------------------------------------- */

/* First whole, then what changed, then nothing, then that it is zero; whole again behind that. */
static void test_page_ways(void)
{
	struct vmft_epoch_packer *packer = packer_of(1);
	struct vmft_epoch_opener *opener = opener_new();
	const struct vmft_epoch_counts *counts = vmft_epoch_counts(packer);
	static uint8_t page[PAGE], zero[PAGE];
	struct vmft_epoch_piece piece;

	fill_random(page, PAGE, 1);
	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	CU_ASSERT_EQUAL(memcmp(piece.bytes, page, PAGE), 0);

	page[PAGE - 1] ^= 0x55;
	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_XOR);
	CU_ASSERT_EQUAL(piece.bytes[PAGE - 1], 0x55);
	CU_ASSERT_EQUAL(memcmp(piece.bytes, zero, PAGE - 1), 0);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 0);

	fill_random(page, PAGE, 2); /* all of it: no shorter as a change */
	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	CU_ASSERT_EQUAL(memcmp(piece.bytes, page, PAGE), 0);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 0);

	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, zero, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_ZERO);
	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);

	CU_ASSERT_EQUAL(counts->pages, 7);
	CU_ASSERT_EQUAL(counts->zero, 1);
	CU_ASSERT_EQUAL(counts->unchanged, 2);
	CU_ASSERT_EQUAL(counts->delta, 1);
	CU_ASSERT_EQUAL(counts->whole, 3);
	CU_ASSERT_EQUAL(counts->raw_bytes, 7 * PAGE);
	CU_ASSERT(counts->sent_bytes > 3 * PAGE && counts->sent_bytes < 3 * PAGE + 512);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

/* After a reset nothing is taken as known, and what was not finished is gone. */
static void test_reset(void)
{
	struct vmft_epoch_packer *packer = packer_of(1);
	struct vmft_epoch_opener *opener = opener_new();
	const struct vmft_epoch_counts none = {0};
	static uint8_t page[PAGE];
	struct vmft_epoch_piece piece;

	fill_random(page, PAGE, 3);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 0);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 4, 0, page, PAGE, true), 1);
	vmft_epoch_packer_reset(packer);
	CU_ASSERT_EQUAL(memcmp(vmft_epoch_counts(packer), &none, sizeof(none)), 0);
	CU_ASSERT_EQUAL(vmft_epoch_finish_pieces(packer, payload), 0);
	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

static void test_without_cache(void)
{
	struct vmft_epoch_packer *packer = packer_of(0);
	struct vmft_epoch_opener *opener = opener_new();
	static uint8_t page[PAGE] = {1};
	struct vmft_epoch_piece piece;

	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
		CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	}
	vmft_epoch_packer_reset(packer);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 1);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

/* Part of a page changes what the receiver has of it: the whole page is not known any more. */
static void test_short_page(void)
{
	struct vmft_epoch_packer *packer = packer_of(1);
	struct vmft_epoch_opener *opener = opener_new();
	static uint8_t page[PAGE];
	struct vmft_epoch_piece piece;
	struct vmft_epoch_view view;
	size_t n;

	fill_random(page, PAGE, 4);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 3, 7 * PAGE, page + 1, 100, true), 1);
	n = vmft_epoch_finish_pieces(packer, payload);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_next(&view, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	CU_ASSERT_EQUAL_FATAL(piece.n, 100);
	CU_ASSERT_EQUAL(memcmp(piece.bytes, page + 1, 100), 0);
	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

/* What does not fit is refused and leaves no trace: it is taken into the next batch as it would
 * have been into this one. */
static void test_batch_full(void)
{
	struct vmft_epoch_packer *packer = packer_of(1);
	struct vmft_epoch_opener *opener = opener_new();
	static uint8_t page[PAGE], range[VMFT_EPOCH_RANGE_MAX];
	struct vmft_epoch_piece piece;
	struct vmft_epoch_view view;
	uint64_t taken = 0;
	size_t n;

	fill_random(page, PAGE, 5);
	while (vmft_epoch_pack(packer, 1, taken * PAGE, page, PAGE, true) == 1)
		taken++;
	CU_ASSERT_EQUAL(taken, VMFT_EPOCH_RAW_MAX / (VMFT_EPOCH_PIECE_HEAD + PAGE));
	CU_ASSERT_EQUAL(vmft_epoch_counts(packer)->pages, taken);
	n = vmft_epoch_finish_pieces(packer, payload);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, payload, n, &view), 0);
	for (uint64_t i = 0; i < taken; i++) {
		CU_ASSERT_EQUAL_FATAL(vmft_epoch_next(&view, &piece), 1);
		CU_ASSERT_EQUAL(piece.offset, i * PAGE);
	}
	CU_ASSERT_EQUAL(vmft_epoch_next(&view, &piece), 0);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 1, taken * PAGE, page, PAGE, true), 1);
	CU_ASSERT_EQUAL(vmft_epoch_counts(packer)->whole, taken + 1);

	/* the longest range fits an empty batch, whatever is in it */
	fill_random(range, sizeof(range), 6);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 0, 512, range, sizeof(range), false), 0);
	CU_ASSERT(vmft_epoch_finish_pieces(packer, payload) > 0);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 0, 512, range, sizeof(range), false), 1);
	n = vmft_epoch_finish_pieces(packer, payload);
	CU_ASSERT_EQUAL(n, VMFT_EPOCH_HEAD + VMFT_EPOCH_PIECE_HEAD + sizeof(range));
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_next(&view, &piece), 1);
	CU_ASSERT_EQUAL(piece.n, sizeof(range));
	CU_ASSERT_EQUAL(memcmp(piece.bytes, range, sizeof(range)), 0);
	CU_ASSERT_EQUAL(vmft_epoch_finish_pieces(packer, payload), 0);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

static void test_input(void)
{
	struct vmft_epoch_packer *packer = packer_of(0);
	struct vmft_epoch_opener *opener = opener_new();
	static uint8_t frame[VMFT_EPOCH_INPUT_MAX];
	const uint32_t lengths[] = {1, 1514, sizeof(frame)};
	struct vmft_epoch_input input = {.epoch = 1ull << 40, .nic = 7, .bytes = frame}, got;
	struct vmft_epoch_view view;
	size_t n;

	fill_random(frame, sizeof(frame), 7);
	for (size_t i = 0; i < 3; i++) {
		input.n = lengths[i];
		n = vmft_epoch_put_input(packer, &input, payload);
		CU_ASSERT(n <= sizeof(payload));
		CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, payload, n, &view), 0);
		CU_ASSERT_EQUAL(view.kind, VMFT_EPOCH_INPUT);
		CU_ASSERT_EQUAL_FATAL(vmft_epoch_input(&view, &got), 0);
		CU_ASSERT_EQUAL(got.epoch, 1ull << 40);
		CU_ASSERT_EQUAL(got.nic, 7);
		CU_ASSERT_EQUAL_FATAL(got.n, lengths[i]);
		CU_ASSERT_EQUAL(memcmp(got.bytes, frame, got.n), 0);
	}
	memset(frame, 'x', sizeof(frame));
	n = vmft_epoch_put_input(packer, &input, payload);
	CU_ASSERT(n < 256);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL(vmft_epoch_input(&view, &got), 0);
	CU_ASSERT_EQUAL_FATAL(got.n, sizeof(frame));
	CU_ASSERT_EQUAL(memcmp(got.bytes, frame, got.n), 0);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

/* The packer counts for the commit, from commit to commit. */
static void test_commit(void)
{
	struct vmft_epoch_packer *packer = packer_of(0);
	struct vmft_epoch_opener *opener = opener_new();
	struct vmft_epoch_commit commit = {.pieces = 99, .bytes = 99, .state_bytes = 1ull << 33},
				 got;
	static uint8_t bytes[PAGE] = {1};
	struct vmft_epoch_view view;
	size_t n;

	commit.disk_count = VMFT_POINT_DISKS_MAX;
	for (uint32_t i = 0; i < commit.disk_count; i++)
		commit.disk_bytes[i] = 0x8000000000000001 + i;
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 1, 0, bytes, PAGE, true), 1);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 0, 1000, bytes + 1, 77, false), 1); /* zero */
	(void)vmft_epoch_finish_pieces(packer, payload);
	n = vmft_epoch_put_commit(packer, &commit, payload);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL(view.kind, VMFT_EPOCH_COMMIT);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_commit(&view, &got), 0);
	CU_ASSERT_EQUAL(got.pieces, 2);
	CU_ASSERT_EQUAL(got.bytes, PAGE + 77);
	CU_ASSERT_EQUAL(got.state_bytes, commit.state_bytes);
	CU_ASSERT_EQUAL(got.disk_count, commit.disk_count);
	CU_ASSERT_EQUAL(memcmp(got.disk_bytes, commit.disk_bytes, sizeof(got.disk_bytes)), 0);

	commit.disk_count = 0;
	n = vmft_epoch_put_commit(packer, &commit, payload);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL(vmft_epoch_commit(&view, &got), 0);
	CU_ASSERT_EQUAL(got.pieces, 0);
	CU_ASSERT_EQUAL(got.bytes, 0);
	CU_ASSERT_EQUAL(got.disk_count, 0);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

static void test_create_limits(void)
{
	struct vmft_epoch_packer *packer = NULL;

	CU_ASSERT_EQUAL(vmft_epoch_packer_create(VMFT_EPOCH_CACHE_MAX + 1, &packer), -EINVAL);
	CU_ASSERT_PTR_NULL(packer);
	vmft_epoch_packer_destroy(NULL);
	vmft_epoch_opener_destroy(NULL);
}

/* --- both sides over many epochs ------------------------------------------- */

enum {
	DISK,
	MEMORY_1,
	MEMORY_2,
	REGIONS,
	REGION_PAGES = 300, /* more than the 256 of the cache */
	REGION_BYTES = REGION_PAGES * (int)PAGE,
};

/* On the wire. The same page of the two of memory is in the same slot of the cache. */
static const uint32_t numbers[REGIONS] = {0, 1, 1 + 256};

struct pair {
	struct vmft_epoch_packer *packer;
	struct vmft_epoch_opener *opener;
	uint64_t random;
	uint64_t pieces, bytes; /* that arrived in this epoch */
	uint8_t *primary[REGIONS], *backup[REGIONS];
};

static void apply(struct pair *pair, const struct vmft_epoch_piece *piece)
{
	uint32_t region = DISK;
	uint8_t *at;

	while (region < REGIONS && numbers[region] != piece->region)
		region++;
	CU_ASSERT_FATAL(region < REGIONS && piece->offset + piece->n <= REGION_BYTES);
	at = pair->backup[region] + piece->offset;
	pair->pieces++;
	pair->bytes += piece->n;
	switch (piece->how) {
	case VMFT_EPOCH_AS_IS:
		memcpy(at, piece->bytes, piece->n);
		return;
	case VMFT_EPOCH_ZERO:
		memset(at, 0, piece->n);
		return;
	case VMFT_EPOCH_XOR:
		CU_ASSERT_NOT_EQUAL(region, DISK);
		for (uint32_t i = 0; i < piece->n; i++)
			at[i] ^= piece->bytes[i];
		return;
	}
	CU_FAIL("unknown piece");
}

static void send_batch(struct pair *pair)
{
	struct vmft_epoch_piece piece;
	struct vmft_epoch_view view;
	size_t n = vmft_epoch_finish_pieces(pair->packer, payload);
	int rc;

	if (n == 0)
		return;
	CU_ASSERT_FATAL(n <= sizeof(payload));
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(pair->opener, payload, n, &view), 0);
	while ((rc = vmft_epoch_next(&view, &piece)) > 0)
		apply(pair, &piece);
	CU_ASSERT_EQUAL(rc, 0);
}

static void send_changed(struct pair *pair, uint32_t region, size_t offset, uint32_t n)
{
	const uint8_t *bytes = pair->primary[region] + offset;

	while (vmft_epoch_pack(pair->packer, numbers[region], offset, bytes, n, region != DISK) ==
	       0)
		send_batch(pair);
}

/* Nothing, a little, a lot, all, or all zero: each of the ways a page is packed. */
static void change(struct pair *pair, uint8_t *bytes, size_t n)
{
	switch (next_random(&pair->random) % 6) {
	case 0:
		return;
	case 1:
		bytes[next_random(&pair->random) % n] ^= 1;
		return;
	case 2:
		fill_random(bytes + n / 2, n / 4, next_random(&pair->random));
		return;
	case 3:
		fill_random(bytes, n - n / 8, next_random(&pair->random));
		return;
	case 4:
		memset(bytes, (int)next_random(&pair->random), n);
		return;
	default:
		memset(bytes, 0, n);
	}
}

/* Now and then the last page of a region is cut short, and a page is sent twice. */
static void run_epoch(struct pair *pair)
{
	unsigned changes = (unsigned)(next_random(&pair->random) % 400);

	while (changes-- > 0) {
		uint32_t region = (uint32_t)(next_random(&pair->random) % REGIONS);
		size_t offset = next_random(&pair->random) % REGION_PAGES * PAGE;
		uint32_t n = PAGE;

		if (region == DISK && offset + VMFT_EPOCH_RANGE_MAX <= REGION_BYTES)
			n = 1 + (uint32_t)(next_random(&pair->random) % VMFT_EPOCH_RANGE_MAX);
		else if (offset == REGION_BYTES - PAGE && next_random(&pair->random) % 4 == 0)
			n = 1234;
		change(pair, pair->primary[region] + offset, n);
		send_changed(pair, region, offset, n);
	}
	send_batch(pair);
}

static void check_epoch(struct pair *pair)
{
	const struct vmft_epoch_commit commit = {0};
	struct vmft_epoch_commit got;
	struct vmft_epoch_view view;
	size_t n = vmft_epoch_put_commit(pair->packer, &commit, payload);

	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(pair->opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_commit(&view, &got), 0);
	CU_ASSERT_EQUAL(got.pieces, pair->pieces);
	CU_ASSERT_EQUAL(got.bytes, pair->bytes);
	pair->pieces = 0;
	pair->bytes = 0;
	for (uint32_t i = 0; i < REGIONS; i++)
		CU_ASSERT_EQUAL(memcmp(pair->primary[i], pair->backup[i], REGION_BYTES), 0);
}

static void run_epochs(uint32_t cache_mib)
{
	struct pair pair = {packer_of(cache_mib), opener_new(), 8, 0, 0, {NULL}, {NULL}};
	const struct vmft_epoch_counts *counts = vmft_epoch_counts(pair.packer);

	for (uint32_t i = 0; i < REGIONS; i++) {
		pair.primary[i] = calloc(1, REGION_BYTES);
		pair.backup[i] = calloc(1, REGION_BYTES);
		CU_ASSERT_FATAL(pair.primary[i] && pair.backup[i]);
	}
	for (unsigned epoch = 0; epoch < 80; epoch++) {
		if (epoch % 32 == 31)
			vmft_epoch_packer_reset(pair.packer);
		run_epoch(&pair);
		check_epoch(&pair);
	}
	CU_ASSERT_EQUAL(counts->pages,
			counts->zero + counts->unchanged + counts->delta + counts->whole);
	CU_ASSERT(counts->zero > 100 && counts->whole > 100);
	CU_ASSERT_EQUAL(counts->delta > 50, cache_mib > 0);
	CU_ASSERT_EQUAL(counts->unchanged > 50, cache_mib > 0);
	CU_ASSERT(counts->sent_bytes < counts->raw_bytes);
	for (uint32_t i = 0; i < REGIONS; i++) {
		free(pair.primary[i]);
		free(pair.backup[i]);
	}
	vmft_epoch_opener_destroy(pair.opener);
	vmft_epoch_packer_destroy(pair.packer);
}

static void test_epochs(void)
{
	run_epochs(1);
	run_epochs(0);
}

/* --- what a peer may say wrongly -------------------------------------------- */

/* Head and body as they are; the length of both. */
static size_t plain(uint8_t *to, uint8_t kind, const uint8_t *raw, size_t n)
{
	(void)vmft_wire_put_u32(
	    vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(to, kind), 0), 0), (uint32_t)n);
	memcpy(to + VMFT_EPOCH_HEAD, raw, n);
	return VMFT_EPOCH_HEAD + n;
}

static void test_bad_head(void)
{
	struct vmft_epoch_opener *opener = opener_new();
	static uint8_t raw[VMFT_EPOCH_RAW_MAX + 1];
	struct vmft_epoch_view view = {.kind = 99};
	size_t n = plain(payload, VMFT_EPOCH_INPUT, raw, 20);

	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, cut, &view), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n + 1, &view), -EBADMSG);
	for (size_t at = 0; at < VMFT_EPOCH_HEAD; at++) { /* kind, packed, zero, length */
		uint8_t was = payload[at];

		payload[at] = 4;
		CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
		payload[at] = was;
	}
	payload[0] = 0;
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
	n = plain(payload, VMFT_EPOCH_PIECES, raw, 0);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
	n = plain(payload, VMFT_EPOCH_PIECES, raw, VMFT_EPOCH_RAW_MAX + 1);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
	CU_ASSERT_EQUAL(view.kind, 99);
	n = plain(payload, VMFT_EPOCH_PIECES, raw, VMFT_EPOCH_RAW_MAX);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL(view.n, VMFT_EPOCH_RAW_MAX);
	vmft_epoch_opener_destroy(opener);
}

/* n raw bytes of 'x' in a zstd frame behind a head that claims some number; the length. */
static size_t packed(uint32_t claim, size_t n)
{
	static uint8_t raw[2 * VMFT_EPOCH_RAW_MAX];
	uint8_t *body = vmft_wire_put_u32(
	    vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(payload, VMFT_EPOCH_INPUT), 1), 0),
	    claim);

	memset(raw, 'x', n);
	return VMFT_EPOCH_HEAD + ZSTD_compress(body, sizeof(payload) - VMFT_EPOCH_HEAD, raw, n, 1);
}

static void test_bad_packed(void)
{
	struct vmft_epoch_opener *opener = opener_new();
	const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'};
	struct vmft_epoch_view view;
	size_t n = packed(5000, 5000), twice;

	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), 0);
	CU_ASSERT_EQUAL(view.n, 5000);
	CU_ASSERT_EQUAL(view.bytes[4999], 'x');
	for (size_t cut = 0; cut < n; cut++)
		CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, cut, &view), -EBADMSG);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n + 1, &view), -EBADMSG);
	twice = n - VMFT_EPOCH_HEAD; /* libzstd would join the two */
	memcpy(payload + n, payload + VMFT_EPOCH_HEAD, twice);
	(void)vmft_wire_put_u32(payload + 4, 10000);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n + twice, &view), -EBADMSG);
	(void)vmft_wire_put_u32(payload + 4, 5000);
	memcpy(payload + n, skippable, sizeof(skippable));
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n + sizeof(skippable), &view), -EBADMSG);

	n = packed(4999, 5000);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
	n = packed(5001, 5000);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
	n = packed(VMFT_EPOCH_RAW_MAX + 1, VMFT_EPOCH_RAW_MAX + 1);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
	n = packed(VMFT_EPOCH_RAW_MAX, 2 * VMFT_EPOCH_RAW_MAX);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
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
	struct vmft_epoch_opener *opener = opener_new();
	struct vmft_epoch_view view;

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		(void)packed(1, 1);
		memcpy(payload + VMFT_EPOCH_HEAD, frames[i].body, frames[i].n);
		CU_ASSERT_EQUAL(
		    vmft_epoch_open(opener, payload, VMFT_EPOCH_HEAD + frames[i].n, &view),
		    frames[i].rc);
	}
	vmft_epoch_opener_destroy(opener);
}

/* The frame says how long it becomes; what it becomes is another matter. */
static void test_lying_frame(void)
{
	struct vmft_epoch_opener *opener = opener_new();
	struct vmft_epoch_view view;
	size_t n = packed(5000, 5000);
	uint8_t *size = payload + VMFT_EPOCH_HEAD + 5; /* 2 bytes, less 256, little-endian */

	CU_ASSERT_EQUAL_FATAL(size[0] + 256 * size[1], 5000 - 256);
	size[0]++;
	(void)vmft_wire_put_u32(payload + 4, 5001);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
	size[0] = (uint8_t)(size[0] - 2);
	(void)vmft_wire_put_u32(payload + 4, 4999);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), -EBADMSG);
	size[0]++;
	(void)vmft_wire_put_u32(payload + 4, 5000);
	CU_ASSERT_EQUAL(vmft_epoch_open(opener, payload, n, &view), 0);
	vmft_epoch_opener_destroy(opener);
}

/* One piece with left bytes behind its head: what comes of it. */
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

int vmft_suite_epoch(void)
{
	CU_pSuite suite = CU_add_suite("epoch codec", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, test_page_ways) || !CU_ADD_TEST(suite, test_reset) ||
	    !CU_ADD_TEST(suite, test_without_cache) || !CU_ADD_TEST(suite, test_short_page) ||
	    !CU_ADD_TEST(suite, test_batch_full) || !CU_ADD_TEST(suite, test_input) ||
	    !CU_ADD_TEST(suite, test_commit) || !CU_ADD_TEST(suite, test_create_limits) ||
	    !CU_ADD_TEST(suite, test_epochs) || !CU_ADD_TEST(suite, test_bad_head) ||
	    !CU_ADD_TEST(suite, test_bad_packed) || !CU_ADD_TEST(suite, test_frame_formats) ||
	    !CU_ADD_TEST(suite, test_lying_frame) || !CU_ADD_TEST(suite, test_bad_pieces) ||
	    !CU_ADD_TEST(suite, test_bad_input) || !CU_ADD_TEST(suite, test_bad_commit) ||
	    !CU_ADD_TEST(suite, test_wrong_kind))
		return -1;
	return 0;
}
