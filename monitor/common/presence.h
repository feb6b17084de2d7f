/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a guest has shown of itself on its networks: the source addresses it sends from, with their
 * VLAN tags, and the multicast groups it is in. Switches know the guest by this, so they must be
 * told when the guest goes live on another host (announcement.h). The agent on the side that runs
 * the guest learns it frame by frame, and the monitors carry it to the backup. Pure: no clock, no
 * I/O, tables of fixed size. When a table is full, a new entry replaces the oldest entry of the
 * card that has the most entries; so no card can displace all entries of another.
 */
#ifndef VMFT_PRESENCE_H
#define VMFT_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VMFT_PRESENCE_NICS	8u
#define VMFT_PRESENCE_ADDRESSES 256u /* of all cards, their own among them */
#define VMFT_PRESENCE_GROUPS	256u
#define VMFT_PRESENCE_SOURCES	8u /* of a group that is joined for some senders only */
#define VMFT_PRESENCE_TAGS	2u
/*
 * An entry that was not shown for this long is forgotten. It is longer than switches keep what they
 * have learnt (300 s by most defaults, 1800 s by some).
 */
#define VMFT_PRESENCE_KEPT_NS UINT64_C(3600000000000)
/*
 * If a frame with the guest's source address arrives this long after the guest last sent from it,
 * it is not an echo of the guest's own frame.
 */
#define VMFT_PRESENCE_ECHO_NS UINT64_C(1000000000)
/*
 * So much of a frame is looked at: as much as a report can need. Of a frame to a single receiver
 * only what comes before its payload.
 */
#define VMFT_PRESENCE_FRAME_MAX	 1600u
#define VMFT_PRESENCE_HEAD_BYTES (14u + 4u * VMFT_PRESENCE_TAGS)

/* Of a tag's control: the VLAN's number. */
#define VMFT_VLAN_MASK 0x0fffu

struct vmft_tag {
	uint16_t protocol; /* 0x8100 and its like */
	uint16_t control;  /* priority, drop eligible, 12 bits of VLAN */
};

/* A place on a wire: a card and VLAN tags, outermost first; unused tags are zero. */
struct vmft_place {
	uint8_t nic;
	uint8_t tags;
	struct vmft_tag tag[VMFT_PRESENCE_TAGS];
};

struct vmft_address {
	struct vmft_place place;
	uint8_t mac[6];
	bool own; /* the card's configured one: never forgotten */
	uint64_t shown_ns;
};

enum vmft_filter {
	VMFT_FILTER_ANY = 0,  /* all senders, or all but some: which are not kept */
	VMFT_FILTER_SOME = 1, /* the listed senders only */
};

struct vmft_group {
	struct vmft_place place;
	uint8_t mac[6];	    /* who reported it */
	uint8_t ip_version; /* 4: IGMP, 6: MLD */
	uint8_t version;    /* of the protocol: IGMP 1 to 3, MLD 1 to 2 */
	uint8_t filter;	    /* enum vmft_filter */
	uint8_t sources;
	uint8_t from[16]; /* the reporter's IP address; of IPv4 the first four bytes of each */
	uint8_t group[16];
	uint8_t source[VMFT_PRESENCE_SOURCES][16];
	uint64_t shown_ns;
};

struct vmft_presence {
	uint32_t addresses, groups;
	struct vmft_address address[VMFT_PRESENCE_ADDRESSES];
	struct vmft_group group[VMFT_PRESENCE_GROUPS];
};

/* Each returns whether what is to be told to others has changed. */

/* The card's configured address; nic < VMFT_PRESENCE_NICS. */
bool vmft_presence_own(struct vmft_presence *p, uint8_t nic, const uint8_t mac[static 6]);
/* The guest sends this frame. The first VMFT_PRESENCE_FRAME_MAX bytes are enough. */
bool vmft_presence_sent(struct vmft_presence *p, uint8_t nic, const uint8_t *frame, size_t n,
			uint64_t now);
/*
 * The guest is given this frame. If its source is an address of the guest, that address lives
 * elsewhere now.
 */
bool vmft_presence_got(struct vmft_presence *p, uint8_t nic, const uint8_t *frame, size_t n,
		       uint64_t now);
bool vmft_presence_expire(struct vmft_presence *p, uint64_t now);

/*
 * Takes over what the other side knew, when the guest goes live here. All of it counts as shown
 * now.
 */
void vmft_presence_merge(struct vmft_presence *p, const struct vmft_presence *other, uint64_t now);

#define VMFT_PRESENCE_PLACE_BYTES (2u + 4u * VMFT_PRESENCE_TAGS)
#define VMFT_PRESENCE_BYTES_MAX                                                                    \
	(8u + VMFT_PRESENCE_ADDRESSES * (VMFT_PRESENCE_PLACE_BYTES + 7u) +                         \
	 VMFT_PRESENCE_GROUPS *                                                                    \
	     (VMFT_PRESENCE_PLACE_BYTES + 10u + 32u + 16u * VMFT_PRESENCE_SOURCES))

/* On the channel and in shared memory. Big-endian:
 *   u32 addresses, each { place, u8 mac[6], u8 own }
 *   u32 groups, each { place, u8 mac[6], u8 ip version, u8 version, u8 filter, u8 sources,
 *                      u8 from[16], u8 group[16], u8 source[16] of each }
 * where a place is { u8 nic, u8 tags, { u16 protocol, u16 control } twice }.
 * Writes at most VMFT_PRESENCE_BYTES_MAX bytes and returns how many. */
size_t vmft_presence_encode(const struct vmft_presence *p, uint8_t *bytes);
/* 0, or -EBADMSG and *ret garbage. */
int vmft_presence_decode(const uint8_t *bytes, size_t n, struct vmft_presence *ret);

/* "52:54:00:12:34:56", "239.1.1.1 (VLAN 7)": for people. */
#define VMFT_PRESENCE_TEXT_MAX 96u
void vmft_address_text(const struct vmft_address *address, char ret[static VMFT_PRESENCE_TEXT_MAX]);
void vmft_group_text(const struct vmft_group *group, char ret[static VMFT_PRESENCE_TEXT_MAX]);

#endif
