/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "epoch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

#include "wire.h"

/*
 * Measured on pages of text and of pointers, whole and xored. Level -1 is a tenth to a third faster
 * than level 1 and its output for whole text is half again as long. Level -5 is half again as fast
 * and its output for text is twice as long. So level 1 gets the most text through 1 Gbit/s. For
 * changes of a few words the levels hardly differ.
 */
#define LEVEL 1

/*
 * If more than this many of a page's 512 words have changed, the page is sent instead of the
 * change. The page then tends to be shorter, because a change of text or pointers looks like noise.
 */
#define CHANGED_WORDS_MAX 256u

#define SLOTS_PER_MIB (1024u * 1024 / VMFT_EPOCH_PAGE)

static_assert(VMFT_EPOCH_HEAD + VMFT_EPOCH_RAW_MAX <= VMFT_FRAME_PAYLOAD_MAX, "fits a frame");
static_assert(VMFT_EPOCH_PIECE_HEAD + VMFT_EPOCH_RANGE_MAX <= VMFT_EPOCH_RAW_MAX, "fits a batch");

/* --- packing -------------------------------------------------------------- */

/* Which page a slot of the cache holds; it holds none unless age is the packer's. */
struct slot {
	uint64_t page;
	uint32_t region;
	uint32_t age;
};

struct vmft_epoch_packer {
	ZSTD_CCtx *zstd;
	uint8_t *cache; /* slot_count pages, then a struct slot for each */
	struct slot *slots;
	uint64_t slot_count;
	uint32_t age; /* one more with every reset, so that a reset need not touch the slots */
	struct vmft_epoch_counts counts;
	uint64_t pieces, bytes; /* since the last commit */
	size_t used;		/* of batch */
	uint8_t batch[VMFT_EPOCH_RAW_MAX];
	uint8_t other[VMFT_EPOCH_RAW_MAX]; /* raw bytes that are not pieces */
};

static size_t cache_bytes(const struct vmft_epoch_packer *p)
{
	return (size_t)p->slot_count * (VMFT_EPOCH_PAGE + sizeof(struct slot));
}

/* Zeroed, and nothing of it there before it is written. */
static int map_cache(struct vmft_epoch_packer *p, uint32_t cache_mib)
{
	void *cache;

	p->slot_count = (uint64_t)cache_mib * SLOTS_PER_MIB;
	if (cache_mib == 0)
		return 0;
	cache = mmap(NULL, cache_bytes(p), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (cache == MAP_FAILED)
		return -errno;
	p->cache = cache;
	p->slots = (struct slot *)(p->cache + p->slot_count * VMFT_EPOCH_PAGE);
	return 0;
}

int vmft_epoch_packer_create(uint32_t cache_mib, struct vmft_epoch_packer **ret)
{
	struct vmft_epoch_packer *p;
	int rc;

	if (cache_mib > VMFT_EPOCH_CACHE_MAX)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->age = 1;
	p->zstd = ZSTD_createCCtx();
	rc = p->zstd ? map_cache(p, cache_mib) : -ENOMEM;
	if (rc < 0) {
		vmft_epoch_packer_destroy(p);
		return rc;
	}
	(void)ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_compressionLevel, LEVEL);
	*ret = p;
	return 0;
}

void vmft_epoch_packer_destroy(struct vmft_epoch_packer *p)
{
	if (!p)
		return;
	if (p->cache)
		(void)munmap(p->cache, cache_bytes(p));
	(void)ZSTD_freeCCtx(p->zstd);
	free(p);
}

void vmft_epoch_packer_reset(struct vmft_epoch_packer *p)
{
	p->age++;
	p->counts = (struct vmft_epoch_counts){0};
	p->pieces = 0;
	p->bytes = 0;
	p->used = 0;
}

const struct vmft_epoch_counts *vmft_epoch_counts(const struct vmft_epoch_packer *p)
{
	return &p->counts;
}

static bool all_zero(const uint8_t *bytes, uint32_t n)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* The bytes of a piece that is not ZERO follow its head already. */
static void add_piece(struct vmft_epoch_packer *p, uint32_t region, uint64_t offset, uint32_t n,
		      enum vmft_epoch_how how)
{
	uint8_t *head = vmft_wire_put_u64(p->batch + p->used, offset);

	head = vmft_wire_put_u32(vmft_wire_put_u32(head, region), n);
	(void)vmft_wire_put_u32(head, (uint32_t)how << 24);
	p->used += VMFT_EPOCH_PIECE_HEAD + (how == VMFT_EPOCH_ZERO ? 0 : n);
	p->pieces++;
	p->bytes += n;
}

static uint8_t *piece_bytes(struct vmft_epoch_packer *p)
{
	return p->batch + p->used + VMFT_EPOCH_PIECE_HEAD;
}

/*
 * The slot in which a page may be cached; NULL: there is no cache. Neighbouring pages get
 * neighbouring slots. So one range of memory as large as the cache fits without two pages in one
 * slot; with a hash that mixes, a third of its pages would evict each other.
 */
static struct slot *slot_of(const struct vmft_epoch_packer *p, uint32_t region, uint64_t page)
{
	if (p->slot_count == 0)
		return NULL;
	return &p->slots[(page + region * UINT64_C(0x9e3779b97f4a7c15)) % p->slot_count];
}

static uint8_t *cached_page(const struct vmft_epoch_packer *p, const struct slot *slot)
{
	return p->cache + (size_t)(slot - p->slots) * VMFT_EPOCH_PAGE;
}

void vmft_epoch_xor(uint8_t *restrict to, const uint8_t *restrict difference, size_t n)
{
	size_t i = 0;

	/* Words: gcc does not vectorize a loop over bytes of unknown length at -O2. */
	for (; i + 8 <= n; i += 8) {
		uint64_t x, y;

		memcpy(&x, to + i, 8);
		memcpy(&y, difference + i, 8);
		x ^= y;
		memcpy(to + i, &x, 8);
	}
	for (; i < n; i++)
		to[i] ^= difference[i];
}

/* out = a ^ b; returns how many of their words differ. */
static uint32_t xor_page(uint8_t *restrict out, const uint8_t *restrict a,
			 const uint8_t *restrict b)
{
	uint32_t differ = 0;

	for (size_t i = 0; i < VMFT_EPOCH_PAGE; i += 8) {
		uint64_t x, y;

		memcpy(&x, a + i, 8);
		memcpy(&y, b + i, 8);
		x ^= y;
		memcpy(out + i, &x, 8);
		differ += x != 0;
	}
	return differ;
}

/*
 * A page that the receiver has in an older form. The cache is updated from the bytes that are sent
 * and not by reading the page again: if the guest writes to the page meanwhile, both sides still
 * agree.
 */
static void pack_held(struct vmft_epoch_packer *p, const struct slot *slot, uint64_t offset,
		      const uint8_t *bytes)
{
	uint8_t *cached = cached_page(p, slot);
	uint8_t *out = piece_bytes(p);
	uint32_t differ = xor_page(out, cached, bytes);

	if (differ == 0) {
		p->counts.unchanged++;
		return;
	}
	if (differ > CHANGED_WORDS_MAX) {
		memcpy(out, bytes, VMFT_EPOCH_PAGE);
		memcpy(cached, out, VMFT_EPOCH_PAGE);
		p->counts.whole++;
		add_piece(p, slot->region, offset, VMFT_EPOCH_PAGE, VMFT_EPOCH_AS_IS);
		return;
	}
	vmft_epoch_xor(cached, out, VMFT_EPOCH_PAGE);
	p->counts.delta++;
	add_piece(p, slot->region, offset, VMFT_EPOCH_PAGE, VMFT_EPOCH_XOR);
}

/*
 * A page that the receiver may not have. It is not cached if it is the last of its region and cut
 * short.
 */
static void pack_new(struct vmft_epoch_packer *p, struct slot *slot, uint32_t region,
		     uint64_t offset, const uint8_t *bytes, uint32_t n)
{
	uint8_t *out = piece_bytes(p);

	memcpy(out, bytes, n);
	if (slot && n == VMFT_EPOCH_PAGE) {
		*slot = (struct slot){offset / VMFT_EPOCH_PAGE, region, p->age};
		memcpy(cached_page(p, slot), out, n);
	}
	p->counts.whole++;
	add_piece(p, region, offset, n, VMFT_EPOCH_AS_IS);
}

static void pack_page(struct vmft_epoch_packer *p, uint32_t region, uint64_t offset,
		      const uint8_t *bytes, uint32_t n)
{
	const uint64_t page = offset / VMFT_EPOCH_PAGE;
	struct slot *slot = slot_of(p, region, page);
	bool held = slot && slot->page == page && slot->region == region && slot->age == p->age;
	bool zero = all_zero(bytes, n);

	p->counts.pages++;
	if (held && !zero && n == VMFT_EPOCH_PAGE) {
		pack_held(p, slot, offset, bytes);
		return;
	}
	if (held)
		slot->age = 0;
	if (!zero) {
		pack_new(p, slot, region, offset, bytes, n);
		return;
	}
	/*
	 * Not cached: a change from zeroes is as long as the page, and caching it would evict
	 * another page.
	 */
	p->counts.zero++;
	add_piece(p, region, offset, n, VMFT_EPOCH_ZERO);
}

static void pack_range(struct vmft_epoch_packer *p, uint32_t region, uint64_t offset,
		       const uint8_t *bytes, uint32_t n)
{
	if (all_zero(bytes, n)) {
		add_piece(p, region, offset, n, VMFT_EPOCH_ZERO);
		return;
	}
	memcpy(piece_bytes(p), bytes, n);
	add_piece(p, region, offset, n, VMFT_EPOCH_AS_IS);
}

int vmft_epoch_pack(struct vmft_epoch_packer *p, uint32_t region, uint64_t offset,
		    const uint8_t *bytes, uint32_t n, bool page)
{
	assert(n > 0 && n <= (page ? VMFT_EPOCH_PAGE : VMFT_EPOCH_RANGE_MAX));
	assert(!page || offset % VMFT_EPOCH_PAGE == 0);
	/* Checked before anything else: that a batch ends one page early costs nothing. */
	if (sizeof(p->batch) - p->used < VMFT_EPOCH_PIECE_HEAD + n)
		return 0;
	p->counts.raw_bytes += n;
	if (page)
		pack_page(p, region, offset, bytes, n);
	else
		pack_range(p, region, offset, bytes, n);
	return 1;
}

/* n, at least 8, raw bytes as one payload. */
static size_t put_payload(struct vmft_epoch_packer *p, enum vmft_epoch_kind kind,
			  const uint8_t *raw, size_t n, uint8_t *payload)
{
	uint8_t *body = payload + VMFT_EPOCH_HEAD;
	size_t length = ZSTD_compress2(p->zstd, body, n - 1, raw, n);
	bool packed = !ZSTD_isError(length);

	if (!packed) { /* it would not be shorter */
		memcpy(body, raw, n);
		length = n;
	}
	payload = vmft_wire_put_u16(
	    vmft_wire_put_u8(vmft_wire_put_u8(payload, (uint8_t)kind), packed), 0);
	(void)vmft_wire_put_u32(payload, (uint32_t)n);
	p->counts.sent_bytes += VMFT_EPOCH_HEAD + length;
	return VMFT_EPOCH_HEAD + length;
}

size_t vmft_epoch_finish_pieces(struct vmft_epoch_packer *p, uint8_t *payload)
{
	size_t n = p->used;

	p->used = 0;
	return n > 0 ? put_payload(p, VMFT_EPOCH_PIECES, p->batch, n, payload) : 0;
}

size_t vmft_epoch_put_input(struct vmft_epoch_packer *p, const struct vmft_epoch_input *input,
			    uint8_t *payload)
{
	assert(input->n > 0 && input->n <= VMFT_EPOCH_INPUT_MAX);
	memcpy(vmft_wire_put_u32(vmft_wire_put_u64(p->other, input->epoch), input->nic),
	       input->bytes, input->n);
	p->counts.raw_bytes += input->n;
	return put_payload(p, VMFT_EPOCH_INPUT, p->other, VMFT_EPOCH_INPUT_HEAD + input->n,
			   payload);
}

size_t vmft_epoch_put_commit(struct vmft_epoch_packer *p, const struct vmft_epoch_commit *commit,
			     uint8_t *payload)
{
	uint8_t *at = vmft_wire_put_u64(vmft_wire_put_u64(p->other, p->pieces), p->bytes);

	assert(p->used == 0 && commit->disk_count <= VMFT_POINT_DISKS_MAX);
	at = vmft_wire_put_u32(vmft_wire_put_u64(at, commit->state_bytes), commit->disk_count);
	for (uint32_t i = 0; i < commit->disk_count; i++)
		at = vmft_wire_put_u64(at, commit->disk_bytes[i]);
	p->pieces = 0;
	p->bytes = 0;
	return put_payload(p, VMFT_EPOCH_COMMIT, p->other, (size_t)(at - p->other), payload);
}

/* --- opening -------------------------------------------------------------- */

struct vmft_epoch_opener {
	ZSTD_DCtx *zstd;
	uint8_t raw[VMFT_EPOCH_RAW_MAX];
};

int vmft_epoch_opener_create(struct vmft_epoch_opener **ret)
{
	struct vmft_epoch_opener *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->zstd = ZSTD_createDCtx();
	if (!o->zstd) {
		free(o);
		return -ENOMEM;
	}
	*ret = o;
	return 0;
}

void vmft_epoch_opener_destroy(struct vmft_epoch_opener *o)
{
	if (!o)
		return;
	(void)ZSTD_freeDCtx(o->zstd);
	free(o);
}

/*
 * The body must be one whole frame with nothing after it, of the size that both heads name. The
 * magic is checked because Debian's libzstd also accepts formats from before 1.0, with older
 * decoders.
 */
static int unpack(struct vmft_epoch_opener *o, const uint8_t *body, size_t n, size_t raw_bytes)
{
	static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};

	if (n < sizeof(magic) || memcmp(body, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	if (ZSTD_getFrameContentSize(body, n) != raw_bytes ||
	    ZSTD_findFrameCompressedSize(body, n) != n)
		return -EBADMSG;
	if (ZSTD_decompressDCtx(o->zstd, o->raw, raw_bytes, body, n) != raw_bytes)
		return -EBADMSG;
	return 0;
}

int vmft_epoch_open(struct vmft_epoch_opener *o, const uint8_t *payload, size_t n,
		    struct vmft_epoch_view *ret)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};
	uint8_t kind = (uint8_t)vmft_wire_get(&r, 1);
	uint8_t packed = (uint8_t)vmft_wire_get(&r, 1);
	uint64_t reserved = vmft_wire_get(&r, 2);
	size_t raw_bytes = (size_t)vmft_wire_get(&r, 4);

	if (r.failed || kind < VMFT_EPOCH_PIECES || kind > VMFT_EPOCH_COMMIT || packed > 1 ||
	    reserved != 0 || raw_bytes == 0 || raw_bytes > VMFT_EPOCH_RAW_MAX)
		return -EBADMSG;
	if (packed ? unpack(o, r.at, r.left, raw_bytes) < 0 : r.left != raw_bytes)
		return -EBADMSG;
	*ret = (struct vmft_epoch_view){kind, packed ? o->raw : r.at, raw_bytes};
	return 0;
}

/* 0: there is no such way. */
static uint32_t piece_max(uint64_t how)
{
	switch (how) {
	case VMFT_EPOCH_AS_IS:
		return VMFT_EPOCH_RANGE_MAX;
	case VMFT_EPOCH_XOR:
		return VMFT_EPOCH_PAGE;
	case VMFT_EPOCH_ZERO:
		return VMFT_EPOCH_ZERO_MAX;
	default:
		return 0;
	}
}

int vmft_epoch_next(struct vmft_epoch_view *view, struct vmft_epoch_piece *ret)
{
	struct vmft_wire_reader r = {.at = view->bytes, .left = view->n};
	struct vmft_epoch_piece piece = {0};
	size_t follow;
	uint64_t how;

	if (view->kind != VMFT_EPOCH_PIECES)
		return -EBADMSG;
	if (r.left == 0)
		return 0;
	piece.offset = vmft_wire_get(&r, 8);
	piece.region = (uint32_t)vmft_wire_get(&r, 4);
	piece.n = (uint32_t)vmft_wire_get(&r, 4);
	how = vmft_wire_get(&r, 1);
	if (vmft_wire_get(&r, 3) != 0 || r.failed || piece.n == 0 || piece.n > piece_max(how) ||
	    piece.offset > UINT64_MAX - piece.n)
		return -EBADMSG;
	piece.how = (enum vmft_epoch_how)how;
	if (piece.how == VMFT_EPOCH_XOR && piece.offset % VMFT_EPOCH_PAGE != 0)
		return -EBADMSG;
	follow = piece.how == VMFT_EPOCH_ZERO ? 0 : piece.n;
	if (follow > r.left)
		return -EBADMSG;
	piece.bytes = follow > 0 ? r.at : NULL;
	view->bytes = r.at + follow;
	view->n = r.left - follow;
	*ret = piece;
	return 1;
}

int vmft_epoch_input(const struct vmft_epoch_view *view, struct vmft_epoch_input *ret)
{
	struct vmft_wire_reader r = {.at = view->bytes, .left = view->n};
	const uint64_t epoch = vmft_wire_get(&r, 8);
	const uint32_t nic = (uint32_t)vmft_wire_get(&r, 4);

	if (view->kind != VMFT_EPOCH_INPUT || r.left == 0)
		return -EBADMSG;
	*ret = (struct vmft_epoch_input){
	    .epoch = epoch,
	    .nic = nic,
	    .n = (uint32_t)r.left,
	    .bytes = r.at,
	};
	return 0;
}

int vmft_epoch_commit(const struct vmft_epoch_view *view, struct vmft_epoch_commit *ret)
{
	struct vmft_wire_reader r = {.at = view->bytes, .left = view->n};
	struct vmft_epoch_commit commit = {.pieces = vmft_wire_get(&r, 8)};

	commit.bytes = vmft_wire_get(&r, 8);
	commit.state_bytes = vmft_wire_get(&r, 8);
	commit.disk_count = (uint32_t)vmft_wire_get(&r, 4);
	if (view->kind != VMFT_EPOCH_COMMIT || commit.disk_count > VMFT_POINT_DISKS_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < commit.disk_count; i++)
		commit.disk_bytes[i] = vmft_wire_get(&r, 8);
	if (vmft_wire_finish(&r) < 0)
		return -EBADMSG;
	*ret = commit;
	return 0;
}
