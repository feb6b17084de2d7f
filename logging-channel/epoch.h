/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One epoch of a guest - the memory pages and disk ranges it changed, its devices' state among
 * them - and the network frames it was given, as payloads of frames, and back. Big-endian, every
 * length capped:
 *
 *   0 u8 kind   1 u8 packed: 0 as it is, 1 zstd   2 u16 zero   4 u32 raw bytes   8 body
 *
 * where the raw bytes are
 *   PIECES  pieces of { u64 offset, u32 region, u32 n, u8 how, u8 zero[3] }, then n bytes
 *           unless how is ZERO
 *   INPUT   u64 epoch, u32 nic, then one frame that came in then and there
 *   COMMIT  u64 pieces, u64 bytes, u64 state bytes, u32 disks, u64 file length of each
 *
 * No I/O, no clock: what is sent when is for others to say. Damage is the frame's to find;
 * what is checked here is that nothing a peer says leads out of bounds.
 */
#ifndef VMFT_EPOCH_H
#define VMFT_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The device state goes as a region of its own, so that only what changed in it is sent. */
#define VMFT_EPOCH_STATE_REGION UINT32_MAX

#include "frame.h"

#define VMFT_EPOCH_HEAD	      8u
#define VMFT_EPOCH_PIECE_HEAD 20u
#define VMFT_EPOCH_RAW_MAX    (60u * 1024)
#define VMFT_EPOCH_PAGE	      4096u
#define VMFT_EPOCH_RANGE_MAX  (56u * 1024) /* of a disk, in one piece */
#define VMFT_EPOCH_ZERO_MAX   (64u * 1024)
#define VMFT_EPOCH_INPUT_HEAD 12u
#define VMFT_EPOCH_INPUT_MAX  (VMFT_EPOCH_RAW_MAX - VMFT_EPOCH_INPUT_HEAD)
#define VMFT_EPOCH_CACHE_MAX  (1u << 24) /* MiB */

enum vmft_epoch_kind {
	VMFT_EPOCH_PIECES = 1,
	VMFT_EPOCH_INPUT = 2,
	VMFT_EPOCH_COMMIT = 3, /* all of the epoch came before it */
};

enum vmft_epoch_how {
	VMFT_EPOCH_AS_IS = 0,
	VMFT_EPOCH_XOR = 1, /* with what the receiver has there: memory only */
	VMFT_EPOCH_ZERO = 2,
};

struct vmft_epoch_commit {
	uint64_t pieces; /* of the epoch; the packer fills in these two */
	uint64_t bytes;	 /* they set: the sum of their n */
	uint64_t state_bytes;
	uint32_t disk_count;
	uint64_t disk_bytes[VMFT_POINT_DISKS_MAX]; /* of each image's file; 0: a block device */
};

struct vmft_epoch_input {
	uint64_t epoch; /* the first whose state has seen it */
	uint32_t nic;	/* which of the guest's cards, by the order of -netdev */
	uint32_t n;	/* 1..VMFT_EPOCH_INPUT_MAX */
	const uint8_t *bytes;
};

/* --- the primary's side --------------------------------------------------- */

/* Since create or reset. pages = zero + unchanged + delta + whole. */
struct vmft_epoch_counts {
	uint64_t pages; /* of memory, taken */
	uint64_t zero;
	uint64_t unchanged; /* nothing was sent */
	uint64_t delta;
	uint64_t whole;
	uint64_t raw_bytes;  /* of pages, ranges and input, taken */
	uint64_t sent_bytes; /* of the payloads made of them */
};

struct vmft_epoch_packer;

/*
 * cache_mib: size of the cache of pages as they were last sent, MiB; with it a page that is sent
 * again costs only what changed. 0: no cache. Memory is used as the cache fills. Returns 0, -EINVAL
 * over VMFT_EPOCH_CACHE_MAX, or -ENOMEM.
 */
int vmft_epoch_packer_create(uint32_t cache_mib, struct vmft_epoch_packer **ret);
void vmft_epoch_packer_destroy(struct vmft_epoch_packer *packer);

/*
 * For a new pair: nothing is known of what the receiver holds, and nothing was packed. Also needed
 * when a payload made here was not sent.
 */
void vmft_epoch_packer_reset(struct vmft_epoch_packer *packer);

/*
 * Adds a page of memory (offset a multiple of VMFT_EPOCH_PAGE, n at most that) or a range of a disk
 * (n at most VMFT_EPOCH_RANGE_MAX). 1: added, and bytes may change now. 0: the batch is full;
 * finish it and call again with the same piece.
 */
int vmft_epoch_pack(struct vmft_epoch_packer *packer, uint32_t region, uint64_t offset,
		    const uint8_t *bytes, uint32_t n, bool page);

/*
 * Each writes one payload of at most VMFT_FRAME_PAYLOAD_MAX bytes and returns its length. The
 * batch is empty afterwards; 0 if it was before.
 */
size_t vmft_epoch_finish_pieces(struct vmft_epoch_packer *packer, uint8_t *payload);
size_t vmft_epoch_put_input(struct vmft_epoch_packer *packer, const struct vmft_epoch_input *input,
			    uint8_t *payload);
/* The batch must be empty. commit->pieces and commit->bytes are not looked at. */
size_t vmft_epoch_put_commit(struct vmft_epoch_packer *packer,
			     const struct vmft_epoch_commit *commit, uint8_t *payload);

const struct vmft_epoch_counts *vmft_epoch_counts(const struct vmft_epoch_packer *packer);

/* --- the backup's side ----------------------------------------------------- */

/* to ^= difference: what VMFT_EPOCH_XOR means. The two do not overlap. */
void vmft_epoch_xor(uint8_t *restrict to, const uint8_t *restrict difference, size_t n);

struct vmft_epoch_opener;

int vmft_epoch_opener_create(struct vmft_epoch_opener **ret);
void vmft_epoch_opener_destroy(struct vmft_epoch_opener *opener);

/* Points into the payload or the opener; valid until either of them changes. */
struct vmft_epoch_view {
	uint8_t kind;
	const uint8_t *bytes; /* raw bytes not taken yet */
	size_t n;
};

/* 0, or -EBADMSG and *ret untouched. */
int vmft_epoch_open(struct vmft_epoch_opener *opener, const uint8_t *payload, size_t n,
		    struct vmft_epoch_view *ret);

struct vmft_epoch_piece {
	uint64_t offset; /* offset + n does not overflow; whether it is there is not known here */
	uint32_t region;
	uint32_t n; /* never 0; of a XOR: within one page */
	enum vmft_epoch_how how;
	const uint8_t *bytes; /* n of them; NULL: how is ZERO */
};

/* 1: a piece; 0: there are no more; -EBADMSG: the rest makes no sense, *ret untouched. */
int vmft_epoch_next(struct vmft_epoch_view *view, struct vmft_epoch_piece *ret);

/* 0, or -EBADMSG, also when the view is of another kind; then nothing is set. */
int vmft_epoch_input(const struct vmft_epoch_view *view, struct vmft_epoch_input *ret);
int vmft_epoch_commit(const struct vmft_epoch_view *view, struct vmft_epoch_commit *ret);

#endif
