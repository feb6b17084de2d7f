/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hello: what a side says of itself, and of the channel it speaks, before all else.
 *
 * A HELLO frame of any version can be read by any version: the 40 bytes of the frame's header, the
 * checksum and the first field never change. The payload is a row of tagged fields:
 *
 *   0 u16 tag   2 u16 length   4 value of length bytes
 *
 * in rising order of tags, each tag once. A tag that is not known is skipped. A field never changes
 * its form: what is new gets a new tag. The first field is VERSIONS, the versions of the channel
 * that the sender speaks; a pair uses the highest that both speak. FEATURES names what the sender
 * can do beyond that version; a feature is used if both have it. The sender may require one: then
 * a side that does not have it refuses, by the name in the hello. docs/wire.md has the table, and
 * says how a feature is added.
 */
#ifndef VMFT_CHANNEL_HELLO_H
#define VMFT_CHANNEL_HELLO_H

#include <stddef.h>
#include <stdint.h>

#include "frame.h"

#define VMFT_HELLO_BYTES_MAX	4096u /* of any version */
#define VMFT_HELLO_DIGEST_MAX	32u
#define VMFT_HELLO_RECORD_MAX	127u
#define VMFT_HELLO_TAPS_MAX	8u
#define VMFT_HELLO_IMAGES_MAX	16u
#define VMFT_HELLO_FEATURES_MAX 16u
#define VMFT_FEATURE_NAME_MAX	15u

#define VMFT_TAP_NETDEV_MAX 63u
#define VMFT_TAP_UNKNOWN    0xffu
#define VMFT_TAP_OFFLOADS   0x7fu /* TUN_F_CSUM to TUN_F_USO6 (linux/if_tun.h): QEMU 10.0's */

enum vmft_hello_tag {
	VMFT_HELLO_VERSIONS = 1,    /* u16 lowest, u16 highest; always, and first */
	VMFT_HELLO_FEATURES = 2,    /* u8 count; each: u8 bit, u8 required (0, 1), u8 n, name */
	VMFT_HELLO_VM = 3,	    /* its name; always */
	VMFT_HELLO_ROLE = 4,	    /* u8 enum vmft_role; always */
	VMFT_HELLO_ATTACH = 5,	    /* u8 0 or 1; always */
	VMFT_HELLO_HOST = 6,	    /* u8 enum vmft_host; always */
	VMFT_HELLO_LOG_VERSION = 7, /* u32; always */
	VMFT_HELLO_BUILD_ID = 8,
	VMFT_HELLO_MACHINE = 9,
	VMFT_HELLO_DISKS = 10,
	VMFT_HELLO_SILENCE = 11, /* u32 ms; always */
	VMFT_HELLO_GRACE = 12,	 /* u32 ms; always */
	VMFT_HELLO_TICKET = 13,	 /* VMFT_TICKET_BYTES; absent: no heartbeat path */
	VMFT_HELLO_RECORD = 14,	 /* text */
	VMFT_HELLO_TAPS = 15,	 /* u8 count; each: u8 n, id of the netdev, u8 vnet_hdr, u8 header,
				  * u8 offloads, u8 multi_queue, u32 mtu */
	VMFT_HELLO_IMAGES = 16,	 /* u8 count; each: u64 sum */
};

/* What the tap of a network card can do. Some of it is part of the state of QEMU's card. */
struct vmft_tap_facts {
	char netdev[VMFT_TAP_NETDEV_MAX + 1]; /* its id on the command line */
	uint8_t vnet_hdr;		      /* IFF_VNET_HDR: 0, 1 or VMFT_TAP_UNKNOWN */
	uint8_t header;	     /* the longest such header it takes, bytes; or VMFT_TAP_UNKNOWN */
	uint8_t offloads;    /* TUN_F_*; or VMFT_TAP_UNKNOWN */
	uint8_t multi_queue; /* IFF_MULTI_QUEUE: 0, 1 or VMFT_TAP_UNKNOWN */
	uint32_t mtu;	     /* 0: unknown */
};

/* Versions of the channel, both included. */
struct vmft_versions {
	uint16_t lowest, highest;
};

struct vmft_feature {
	uint8_t bit;			      /* 0..63; never used for something else again */
	uint8_t required;		      /* 1: the sender refuses a peer without it */
	char name[VMFT_FEATURE_NAME_MAX + 1]; /* for messages; printable, not empty */
};

/* What both sides must agree on before a byte of log is sent. */
struct vmft_hello {
	struct vmft_versions versions;
	uint8_t feature_count;
	struct vmft_feature feature[VMFT_HELLO_FEATURES_MAX];
	uint8_t role;	      /* enum vmft_role of the sender */
	uint8_t attach;	      /* 1: primary: its guest runs, the state will be sent */
	uint32_t log_version; /* of QEMU's record/replay */
	uint32_t silence_ms;
	uint8_t build_id_bytes, machine_bytes, disk_bytes;
	uint8_t build_id[VMFT_HELLO_DIGEST_MAX]; /* of the QEMU binary */
	uint8_t machine[VMFT_HELLO_DIGEST_MAX];	 /* digest of the machine configuration */
	uint8_t disk[VMFT_HELLO_DIGEST_MAX];	 /* digest of the disks before the start */
	char name[VMFT_HELLO_NAME_MAX + 1];	 /* of the VM */
	uint8_t host;				 /* enum vmft_host of the sender */
	uint32_t grace_ms;
	uint8_t ticket_bytes;		   /* 0: no heartbeat path, or VMFT_TICKET_BYTES */
	uint8_t ticket[VMFT_TICKET_BYTES]; /* what the receiver is to put into its BEATs */
	/* Of the primary: what the arbiter has on record for the generation it lives on. Of the
	 * backup: what it has left at the arbiter. The receiver must find it there. Printable. */
	char record[VMFT_HELLO_RECORD_MAX + 1];
	uint8_t tap_count, image_count;
	struct vmft_tap_facts tap[VMFT_HELLO_TAPS_MAX]; /* in the order of -netdev */
	uint64_t image_sum[VMFT_HELLO_IMAGES_MAX];	/* of each disk before the start */
};

/* Payload bytes written (at most VMFT_HELLO_BYTES_MAX). VERSIONS is what this vmft speaks,
 * hello->versions is not looked at. */
size_t vmft_hello_encode(const struct vmft_hello *hello, uint8_t *payload);

/*
 * Which versions the sender of a HELLO frame speaks; the rest of the payload is not looked at, it
 * may be of a version that this vmft does not know. Before version 5 a hello had no tags and its
 * sender spoke one version. 0, or -EBADMSG and *ret untouched.
 */
int vmft_hello_versions(const struct vmft_frame_info *frame, struct vmft_versions *ret);
/* The highest version that this vmft and the other both speak; 0: there is none. */
uint16_t vmft_hello_version(const struct vmft_versions *theirs);

/* Of a sender that speaks a version of this vmft's. 0, or -EBADMSG and *ret untouched. */
int vmft_hello_decode(const uint8_t *payload, size_t n, struct vmft_hello *ret);

/*
 * The features that both have, as bits. A feature that one side requires and the other does not
 * have: -EPROTONOSUPPORT, and *ret_missing is that feature (in ours or theirs).
 */
int vmft_hello_agree(const struct vmft_hello *ours, const struct vmft_hello *theirs,
		     uint64_t *ret_features, const struct vmft_feature **ret_missing);

#endif
