/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What travels on the logging channel: a fixed header, then a payload. Big-endian, every
 * length capped, everything from the checksum on covered by it.
 *
 *   0 u32 magic   4 u16 version   6 u16 type      8 u64 checksum
 *  16 u64 generation             24 u64 position 32 u32 length   36 u32 zero
 *
 * This header, and HELLO and REFUSE, are the same in every version: two sides that speak different
 * versions tell each other so.
 *
 * The checksum (XXH3) is seeded with the eight bytes before it. It guards against torn and
 * damaged bytes, not against an enemy: that is what TLS will be for.
 */
#ifndef VMFT_FRAME_H
#define VMFT_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VMFT_FRAME_MAGIC	  0x564d4654u /* "VMFT" */
#define VMFT_FRAME_VERSION	  5u	      /* the highest that this vmft speaks */
#define VMFT_FRAME_VERSION_LOWEST 5u
#define VMFT_FRAME_HEADER	  40u
/* Payload of a HELLO or REFUSE of a version that is not spoken here. */
#define VMFT_FRAME_FOREIGN_MAX 4096u
#define VMFT_FRAME_PAYLOAD_MAX (64u * 1024 + 64) /* a disk block and what says which */

enum vmft_frame_type {
	VMFT_FRAME_HELLO = 1,	  /* both ways, first: hello.h */
	VMFT_FRAME_REFUSE = 2,	  /* text: why the hello was refused; in a pair, why BYE comes */
	VMFT_FRAME_LOG = 3,	  /* primary: log bytes that begin at position */
	VMFT_FRAME_ACK = 4,	  /* backup: all log before position is held; struct vmft_ack */
	VMFT_FRAME_HEARTBEAT = 5, /* primary: position is the end of what was sent; u64 clock */
	VMFT_FRAME_BYE = 6,	  /* the sender's guest is gone; u8 enum vmft_bye */

	/* An attach, in this order; ZERO and CHUNK many times, in rounds. */
	VMFT_FRAME_ATTACH = 7,	/* primary: what will come, struct vmft_geometry */
	VMFT_FRAME_READY = 8,	/* backup: it may come */
	VMFT_FRAME_CHUNK = 9,	/* primary: position in a region; u32 region, then its bytes */
	VMFT_FRAME_ZERO = 10,	/* primary: position in a region; u32 region, u64 bytes, all 0 */
	VMFT_FRAME_ROUND = 11,	/* primary: what follows may replace what came before */
	VMFT_FRAME_STATE = 12,	/* primary: device state bytes that begin at position */
	VMFT_FRAME_POINT = 13,	/* primary: all is there, log goes on at position; struct
				 * vmft_point. LOG and ACK from here on */
	VMFT_FRAME_FORMED = 14, /* primary: there is a pair now; u64 clock as in a heartbeat */
	VMFT_FRAME_ALIVE = 15,	/* backup, before POINT: u64 clock of the last heartbeat */
	VMFT_FRAME_SUMS = 16,	/* primary: position is a disk block; struct vmft_sums */
	VMFT_FRAME_WANT = 17,	/* backup: answers SUMS; u32 region, u64 bits: which differ */
	VMFT_FRAME_OUTPUT = 18, /* primary, before it hands over: a frame of its guest's that it
				 * holds, as a CHUNK: u32 tap, then its bytes; position counts them
				 * from 0 */

	VMFT_FRAME_SHOWN = 19, /* primary, with LOG: all that the guest has shown on its networks,
				* monitor/common/presence.h */

	/* Never on the channel: a datagram of its own, on the heartbeat path. */
	VMFT_FRAME_BEAT = 64, /* both ways, struct vmft_beat */
};

enum vmft_bye {
	VMFT_BYE_GUEST_DIED = 1,
	VMFT_BYE_GUEST_ENDED = 2,
	VMFT_BYE_DIVERGED = 3,	  /* the backup's guest is not what the primary's is */
	VMFT_BYE_STOPPED = 4,	  /* the backup was told to stop */
	VMFT_BYE_HANDED_OVER = 5, /* primary: its guest is stopped, the backup has all: take over */
	VMFT_BYE_TOOK_OVER = 6,	  /* the answer, in the next generation: the guest is live here */
};

struct vmft_frame_info {
	uint16_t version; /* sealing: 0 is VMFT_FRAME_VERSION */
	uint16_t type;
	uint64_t generation;
	uint64_t position;
	uint32_t length;	/* of the payload */
	const uint8_t *payload; /* into the buffer that was decoded */
};

/*
 * Writes the header of a frame whose payload of info->length bytes already follows
 * it, at buffer + VMFT_FRAME_HEADER. info->payload is not looked at.
 */
void vmft_frame_seal(uint8_t *buffer, const struct vmft_frame_info *info);

/*
 * Looks at the frame that begins at bytes. Returns its whole length and fills *ret, or 0
 * when more bytes are needed, or
 *   -EPROTO           not a vmft peer at all (wrong magic)
 *   -EPROTONOSUPPORT  a vmft peer of another version (ret->version says which). A HELLO and a
 *                     REFUSE are decoded all the same, if they are whole and not too long
 *   -EBADMSG          damaged: checksum, length over the cap, bits that must be zero
 */
ssize_t vmft_frame_decode(const uint8_t *bytes, size_t n, struct vmft_frame_info *ret);

#define VMFT_HELLO_NAME_MAX 64u /* of a VM */
#define VMFT_TICKET_BYTES   16u

struct vmft_ack {
	uint64_t replayed; /* log handed to the backup's QEMU */
	uint64_t echo;	   /* the clock of the last heartbeat heard, 0: none yet */
	uint8_t formed;	   /* 1: the backup knows that there is a pair */
};

size_t vmft_ack_encode(const struct vmft_ack *ack, uint8_t *payload);
int vmft_ack_decode(const uint8_t *payload, size_t n, struct vmft_ack *ret);

size_t vmft_u64_encode(uint64_t value, uint8_t *payload);
int vmft_u64_decode(const uint8_t *payload, size_t n, uint64_t *ret);

#define VMFT_BEAT_MAX (VMFT_TICKET_BYTES + 1u + 8u + 8u + 1u + VMFT_HELLO_NAME_MAX)

/* A heartbeat beside the channel. */
struct vmft_beat {
	uint8_t ticket[VMFT_TICKET_BYTES]; /* of the receiver's hello */
	uint8_t host;			   /* enum vmft_host of the sender */
	uint64_t clock; /* the sender's, in ns: rises from one to the next, never 0 */
	uint64_t echo;	/* the clock of the last the sender got, 0: none yet */
	char name[VMFT_HELLO_NAME_MAX + 1]; /* of the VM */
};

/* At most VMFT_BEAT_MAX bytes. */
size_t vmft_beat_encode(const struct vmft_beat *beat, uint8_t *payload);
/* 0, or -EBADMSG and *ret untouched. */
int vmft_beat_decode(const uint8_t *payload, size_t n, struct vmft_beat *ret);

#define VMFT_GEOMETRY_REGIONS_MAX 64u
#define VMFT_GEOMETRY_NAME_MAX	  255u

/* The regions of an attach (monitor/interface.h), disks first. */
struct vmft_geometry {
	uint32_t count;
	struct vmft_geometry_region {
		uint8_t kind;	      /* enum vmft_region_kind */
		uint8_t format;	      /* a disk's: enum vmft_image_format */
		uint64_t bytes;	      /* of memory; of an image's file as it is now */
		uint64_t guest_bytes; /* a disk's, as the guest sees it */
		char name[VMFT_GEOMETRY_NAME_MAX + 1];
	} region[VMFT_GEOMETRY_REGIONS_MAX];
};

/* At most VMFT_FRAME_PAYLOAD_MAX bytes. */
size_t vmft_geometry_encode(const struct vmft_geometry *geometry, uint8_t *payload);
/* 0, or -EBADMSG and *ret garbage. */
int vmft_geometry_decode(const uint8_t *payload, size_t n, struct vmft_geometry *ret);

#define VMFT_POINT_DISKS_MAX 16u

struct vmft_point {
	uint64_t state_bytes; /* of STATE frames before it */
	int64_t guest_ns;     /* the guest's clock there */
	uint32_t disk_count;
	uint64_t disk_bytes[VMFT_POINT_DISKS_MAX]; /* of each image's file; 0: a block device */
};

size_t vmft_point_encode(const struct vmft_point *point, uint8_t *payload);
int vmft_point_decode(const uint8_t *payload, size_t n, struct vmft_point *ret);

#define VMFT_CHUNK_HEAD 4u

/* CHUNK: writes the head; the bytes follow it. */
void vmft_chunk_encode(uint32_t region, uint8_t *payload);
/* *ret_bytes points into payload, at least one byte. */
int vmft_chunk_decode(const uint8_t *payload, size_t n, uint32_t *ret_region,
		      const uint8_t **ret_bytes, size_t *ret_n);

size_t vmft_zero_encode(uint32_t region, uint64_t bytes, uint8_t *payload);
int vmft_zero_decode(const uint8_t *payload, size_t n, uint32_t *ret_region, uint64_t *ret_bytes);

#define VMFT_SUMS_MAX 64u /* blocks; bits of a WANT */

/* Digests of consecutive disk blocks, so that only those that differ are sent. */
struct vmft_sums {
	uint32_t region;
	uint32_t count; /* 1..VMFT_SUMS_MAX */
	uint64_t seed;	/* of the hash: chosen anew for each attach */
	struct {
		uint64_t low, high; /* XXH3, 128 bits */
	} sum[VMFT_SUMS_MAX];
};

size_t vmft_sums_encode(const struct vmft_sums *sums, uint8_t *payload);
int vmft_sums_decode(const uint8_t *payload, size_t n, struct vmft_sums *ret);

size_t vmft_want_encode(uint32_t region, uint64_t bits, uint8_t *payload);
int vmft_want_decode(const uint8_t *payload, size_t n, uint32_t *ret_region, uint64_t *ret_bits);

#endif
