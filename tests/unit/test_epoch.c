/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The epoch codec: what a packer sends of a guest, and that an opener has the same over many
 * epochs. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "epoch_codec.h"
#include "logging-channel/epoch.h"
#include "logging-channel/wire.h"
#include "suites.h"

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

/* One page through packer and opener; 1 and *ret as it arrives, or 0: nothing was sent. */
static int pass_page(struct vmft_epoch_packer *packer, struct vmft_epoch_opener *opener,
		     const uint8_t *page, struct vmft_epoch_piece *ret)
{
	struct vmft_epoch_view view;
	size_t n;

	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 3, 7 * PAGE, page, PAGE, true), 1);
	n = vmft_epoch_finish_pieces(packer, codec_payload);
	if (n == 0)
		return 0;
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
	CU_ASSERT_EQUAL(view.kind, VMFT_EPOCH_PIECES);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_next(&view, ret), 1);
	CU_ASSERT_EQUAL(ret->region, 3);
	CU_ASSERT_EQUAL(ret->offset, 7 * PAGE);
	CU_ASSERT_EQUAL(ret->n, PAGE);
	CU_ASSERT_EQUAL(ret->how == VMFT_EPOCH_ZERO, ret->bytes == NULL);
	CU_ASSERT_EQUAL(vmft_epoch_next(&view, &(struct vmft_epoch_piece){0}), 0);
	return 1;
}

/* --- packing ------------------------------------------------------------------- */

/* First whole, then what changed, then nothing, then that it is zero; whole again after that. */
static void test_page_ways(void)
{
	struct vmft_epoch_packer *packer = packer_of(1);
	struct vmft_epoch_opener *opener = codec_opener();
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
	struct vmft_epoch_opener *opener = codec_opener();
	const struct vmft_epoch_counts none = {0};
	static uint8_t page[PAGE];
	struct vmft_epoch_piece piece;

	fill_random(page, PAGE, 3);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 0);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 4, 0, page, PAGE, true), 1);
	vmft_epoch_packer_reset(packer);
	CU_ASSERT_EQUAL(memcmp(vmft_epoch_counts(packer), &none, sizeof(none)), 0);
	CU_ASSERT_EQUAL(vmft_epoch_finish_pieces(packer, codec_payload), 0);
	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

static void test_without_cache(void)
{
	struct vmft_epoch_packer *packer = packer_of(0);
	struct vmft_epoch_opener *opener = codec_opener();
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
	struct vmft_epoch_opener *opener = codec_opener();
	static uint8_t page[PAGE];
	struct vmft_epoch_piece piece;
	struct vmft_epoch_view view;
	size_t n;

	fill_random(page, PAGE, 4);
	CU_ASSERT_EQUAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 3, 7 * PAGE, page + 1, 100, true), 1);
	n = vmft_epoch_finish_pieces(packer, codec_payload);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_next(&view, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	CU_ASSERT_EQUAL_FATAL(piece.n, 100);
	CU_ASSERT_EQUAL(memcmp(piece.bytes, page + 1, 100), 0);
	CU_ASSERT_EQUAL_FATAL(pass_page(packer, opener, page, &piece), 1);
	CU_ASSERT_EQUAL(piece.how, VMFT_EPOCH_AS_IS);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

/* Of each length, whole words or not: all bytes within it, and none after it. */
static void test_xor(void)
{
	uint8_t to[24], difference[24];

	for (size_t n = 0; n <= 20; n++) {
		for (unsigned i = 0; i < sizeof(to); i++) {
			to[i] = (uint8_t)(i * 7);
			difference[i] = (uint8_t)(0x80 + i);
		}
		vmft_epoch_xor(to, difference, n);
		for (unsigned i = 0; i < sizeof(to); i++)
			CU_ASSERT_EQUAL(to[i], (uint8_t)(i * 7) ^ (i < n ? difference[i] : 0));
	}
}

/* What does not fit is refused and leaves no trace: it is taken into the next batch as it would
 * have been into this one. */
static void test_batch_full(void)
{
	struct vmft_epoch_packer *packer = packer_of(1);
	struct vmft_epoch_opener *opener = codec_opener();
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
	n = vmft_epoch_finish_pieces(packer, codec_payload);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
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
	CU_ASSERT(vmft_epoch_finish_pieces(packer, codec_payload) > 0);
	CU_ASSERT_EQUAL(vmft_epoch_pack(packer, 0, 512, range, sizeof(range), false), 1);
	n = vmft_epoch_finish_pieces(packer, codec_payload);
	CU_ASSERT_EQUAL(n, VMFT_EPOCH_HEAD + VMFT_EPOCH_PIECE_HEAD + sizeof(range));
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_next(&view, &piece), 1);
	CU_ASSERT_EQUAL(piece.n, sizeof(range));
	CU_ASSERT_EQUAL(memcmp(piece.bytes, range, sizeof(range)), 0);
	CU_ASSERT_EQUAL(vmft_epoch_finish_pieces(packer, codec_payload), 0);
	vmft_epoch_opener_destroy(opener);
	vmft_epoch_packer_destroy(packer);
}

static void test_input(void)
{
	struct vmft_epoch_packer *packer = packer_of(0);
	struct vmft_epoch_opener *opener = codec_opener();
	static uint8_t frame[VMFT_EPOCH_INPUT_MAX];
	const uint32_t lengths[] = {1, 1514, sizeof(frame)};
	struct vmft_epoch_input input = {.epoch = 1ull << 40, .nic = 7, .bytes = frame}, got;
	struct vmft_epoch_view view;
	size_t n;

	fill_random(frame, sizeof(frame), 7);
	for (size_t i = 0; i < 3; i++) {
		input.n = lengths[i];
		n = vmft_epoch_put_input(packer, &input, codec_payload);
		CU_ASSERT(n <= sizeof(codec_payload));
		CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
		CU_ASSERT_EQUAL(view.kind, VMFT_EPOCH_INPUT);
		CU_ASSERT_EQUAL_FATAL(vmft_epoch_input(&view, &got), 0);
		CU_ASSERT_EQUAL(got.epoch, 1ull << 40);
		CU_ASSERT_EQUAL(got.nic, 7);
		CU_ASSERT_EQUAL_FATAL(got.n, lengths[i]);
		CU_ASSERT_EQUAL(memcmp(got.bytes, frame, got.n), 0);
	}
	memset(frame, 'x', sizeof(frame));
	n = vmft_epoch_put_input(packer, &input, codec_payload);
	CU_ASSERT(n < 256);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
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
	struct vmft_epoch_opener *opener = codec_opener();
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
	(void)vmft_epoch_finish_pieces(packer, codec_payload);
	n = vmft_epoch_put_commit(packer, &commit, codec_payload);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
	CU_ASSERT_EQUAL(view.kind, VMFT_EPOCH_COMMIT);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_commit(&view, &got), 0);
	CU_ASSERT_EQUAL(got.pieces, 2);
	CU_ASSERT_EQUAL(got.bytes, PAGE + 77);
	CU_ASSERT_EQUAL(got.state_bytes, commit.state_bytes);
	CU_ASSERT_EQUAL(got.disk_count, commit.disk_count);
	CU_ASSERT_EQUAL(memcmp(got.disk_bytes, commit.disk_bytes, sizeof(got.disk_bytes)), 0);

	commit.disk_count = 0;
	n = vmft_epoch_put_commit(packer, &commit, codec_payload);
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(opener, codec_payload, n, &view), 0);
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

/* --- both sides over many epochs ----------------------------------------------- */

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
	size_t n = vmft_epoch_finish_pieces(pair->packer, codec_payload);
	int rc;

	if (n == 0)
		return;
	CU_ASSERT_FATAL(n <= sizeof(codec_payload));
	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(pair->opener, codec_payload, n, &view), 0);
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
	size_t n = vmft_epoch_put_commit(pair->packer, &commit, codec_payload);

	CU_ASSERT_EQUAL_FATAL(vmft_epoch_open(pair->opener, codec_payload, n, &view), 0);
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
	struct pair pair = {packer_of(cache_mib), codec_opener(), 8, 0, 0, {NULL}, {NULL}};
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

int vmft_suite_epoch(void)
{
	static CU_TestInfo tests[] = {
	    {"test_page_ways", test_page_ways},
	    {"test_reset", test_reset},
	    {"test_without_cache", test_without_cache},
	    {"test_short_page", test_short_page},
	    {"test_xor", test_xor},
	    {"test_batch_full", test_batch_full},
	    {"test_input", test_input},
	    {"test_commit", test_commit},
	    {"test_create_limits", test_create_limits},
	    {"test_epochs", test_epochs},
	    CU_TEST_INFO_NULL,
	};
	CU_SuiteInfo suites[] = {
	    {"epoch codec", NULL, NULL, NULL, NULL, tests},
	    CU_SUITE_INFO_NULL,
	};

	return CU_register_suites(suites) == CUE_SUCCESS ? 0 : -1;
}
