/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "presence.h"

#include <errno.h>
#include <string.h>

#include "logging-channel/wire.h"

#define ETHERTYPE_IPV4	   0x0800u
#define ETHERTYPE_IPV6	   0x86ddu
#define ETHERTYPE_VLAN	   0x8100u
#define ETHERTYPE_QINQ	   0x88a8u
#define ETHERTYPE_QINQ_OLD 0x9100u

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_IGMP	    2
#define PROTOCOL_ICMPV6	    58

/* IGMP: RFC 1112, 2236, 3376; MLD: RFC 2710, 3810. Records are those of both. */
enum {
	IGMP_V1_REPORT = 0x12,
	IGMP_V2_REPORT = 0x16,
	IGMP_V2_LEAVE = 0x17,
	IGMP_V3_REPORT = 0x22,
	MLD_V1_REPORT = 131,
	MLD_V1_DONE = 132,
	MLD_V2_REPORT = 143,

	RECORD_IS_INCLUDE = 1,
	RECORD_IS_EXCLUDE = 2,
	RECORD_TO_INCLUDE = 3,
	RECORD_TO_EXCLUDE = 4,
	RECORD_ALLOW = 5,
	RECORD_BLOCK = 6,
};

static bool same_place(const struct vmft_place *a, const struct vmft_place *b)
{
	if (a->nic != b->nic || a->tags != b->tags)
		return false;
	/* The priority in a tag may change from frame to frame. */
	for (unsigned i = 0; i < a->tags; i++)
		if (a->tag[i].protocol != b->tag[i].protocol ||
		    ((a->tag[i].control ^ b->tag[i].control) & VMFT_VLAN_MASK) != 0)
			return false;
	return true;
}

/* --- addresses ------------------------------------------------------------ */

static struct vmft_address *address_find(struct vmft_presence *p, const struct vmft_place *place,
					 const uint8_t *mac)
{
	for (uint32_t i = 0; i < p->addresses; i++)
		if (memcmp(p->address[i].mac, mac, 6) == 0 &&
		    same_place(&p->address[i].place, place))
			return &p->address[i];
	return NULL;
}

static void address_drop(struct vmft_presence *p, uint32_t i)
{
	p->address[i] = p->address[--p->addresses];
}

/* Of the entries that may be dropped, the oldest one of the card that has the most is dropped. */
static uint32_t crowded_nic(const uint32_t count[static VMFT_PRESENCE_NICS])
{
	uint32_t nic = 0;

	for (uint32_t i = 1; i < VMFT_PRESENCE_NICS; i++)
		if (count[i] > count[nic])
			nic = i;
	return nic;
}

static void address_make_room(struct vmft_presence *p)
{
	uint32_t count[VMFT_PRESENCE_NICS] = {0}, nic, oldest = UINT32_MAX;

	if (p->addresses < VMFT_PRESENCE_ADDRESSES)
		return;
	for (uint32_t i = 0; i < p->addresses; i++)
		count[p->address[i].place.nic] += !p->address[i].own;
	nic = crowded_nic(count);
	for (uint32_t i = 0; i < p->addresses; i++)
		if (p->address[i].place.nic == nic && !p->address[i].own &&
		    (oldest == UINT32_MAX || p->address[i].shown_ns < p->address[oldest].shown_ns))
			oldest = i;
	address_drop(p, oldest);
}

static struct vmft_address *address_add(struct vmft_presence *p, const struct vmft_place *place,
					const uint8_t *mac, uint64_t now)
{
	struct vmft_address *address;

	address_make_room(p);
	address = &p->address[p->addresses++];
	*address = (struct vmft_address){.place = *place, .shown_ns = now};
	memcpy(address->mac, mac, 6);
	return address;
}

bool vmft_presence_own(struct vmft_presence *p, uint8_t nic, const uint8_t mac[static 6])
{
	const struct vmft_place place = {.nic = nic};
	struct vmft_address *address = address_find(p, &place, mac);

	if (!address)
		address = address_add(p, &place, mac, 0);
	else if (address->own)
		return false;
	address->own = true;
	return true;
}

/* --- groups --------------------------------------------------------------- */

static struct vmft_group *group_find(struct vmft_presence *p, const struct vmft_group *like)
{
	for (uint32_t i = 0; i < p->groups; i++)
		if (p->group[i].ip_version == like->ip_version &&
		    memcmp(p->group[i].group, like->group, sizeof(like->group)) == 0 &&
		    same_place(&p->group[i].place, &like->place))
			return &p->group[i];
	return NULL;
}

static void group_make_room(struct vmft_presence *p)
{
	uint32_t count[VMFT_PRESENCE_NICS] = {0}, nic, oldest = UINT32_MAX;

	if (p->groups < VMFT_PRESENCE_GROUPS)
		return;
	for (uint32_t i = 0; i < p->groups; i++)
		count[p->group[i].place.nic]++;
	nic = crowded_nic(count);
	for (uint32_t i = 0; i < p->groups; i++)
		if (p->group[i].place.nic == nic &&
		    (oldest == UINT32_MAX || p->group[i].shown_ns < p->group[oldest].shown_ns))
			oldest = i;
	p->group[oldest] = p->group[--p->groups];
}

static bool same_group(const struct vmft_group *a, const struct vmft_group *b)
{
	return memcmp(a->mac, b->mac, 6) == 0 && a->version == b->version &&
	       a->filter == b->filter && a->sources == b->sources &&
	       memcmp(a->from, b->from, sizeof(a->from)) == 0 &&
	       memcmp(a->source, b->source, sizeof(a->source)) == 0;
}

static bool group_set(struct vmft_presence *p, const struct vmft_group *group)
{
	struct vmft_group *found = group_find(p, group);
	bool changed = true;

	if (found) {
		changed = !same_group(found, group);
	} else {
		group_make_room(p);
		found = &p->group[p->groups++];
	}
	*found = *group;
	return changed;
}

static bool group_leave(struct vmft_presence *p, const struct vmft_group *like)
{
	struct vmft_group *found = group_find(p, like);

	if (!found)
		return false;
	*found = p->group[--p->groups];
	return true;
}

/* The next size bytes as an address of 16, the rest zeroes. */
static void get_ip(struct vmft_wire_reader *r, size_t size, uint8_t *ret)
{
	memset(ret, 0, 16);
	for (size_t i = 0; i < size; i++)
		ret[i] = (uint8_t)vmft_wire_get(r, 1);
}

/* A group that a switch may keep from a port at which nobody has joined it (RFC 4541, 2.1.2, 3). */
static bool is_pruned(const struct vmft_group *group)
{
	const uint8_t *g = group->group;

	if (group->ip_version == 4)
		return g[0] >= 224 && g[0] <= 239 && !(g[0] == 224 && g[1] == 0 && g[2] == 0);
	/* Interface-local and reserved scopes never leave a host. */
	return g[0] == 0xff && (g[1] & 0x0fu) >= 2;
}

static void source_add(struct vmft_group *group, const uint8_t *source)
{
	for (unsigned i = 0; i < group->sources; i++)
		if (memcmp(group->source[i], source, 16) == 0)
			return;
	/* More than are kept: better too many senders than one too few. */
	if (group->sources == VMFT_PRESENCE_SOURCES) {
		group->filter = VMFT_FILTER_ANY;
		group->sources = 0;
		memset(group->source, 0, sizeof(group->source));
		return;
	}
	memcpy(group->source[group->sources++], source, 16);
}

static void source_remove(struct vmft_group *group, const uint8_t *source)
{
	for (unsigned i = 0; i < group->sources; i++) {
		if (memcmp(group->source[i], source, 16) != 0)
			continue;
		memmove(group->source[i], group->source[i + 1], 16u * (group->sources - i - 1u));
		memset(group->source[--group->sources], 0, 16);
		return;
	}
}

/* For a group that is joined for some senders. It may have become a group for all senders. */
static void take_sources(struct vmft_wire_reader *r, struct vmft_group *group, size_t size,
			 uint64_t count, bool add)
{
	for (uint64_t i = 0; i < count && !r->failed; i++) {
		uint8_t source[16];

		get_ip(r, size, source);
		if (r->failed || group->filter != VMFT_FILTER_SOME)
			continue;
		if (add)
			source_add(group, source);
		else
			source_remove(group, source);
	}
}

/* A group record of a report, IGMPv3 or MLDv2. like has everything except what the record says. */
static bool take_record(struct vmft_presence *p, struct vmft_wire_reader *r,
			struct vmft_group group)
{
	const size_t size = group.ip_version == 4 ? 4 : 16;
	const uint64_t type = vmft_wire_get(r, 1), auxiliary = vmft_wire_get(r, 1),
		       count = vmft_wire_get(r, 2);
	const struct vmft_group *before;
	const bool whole = type != RECORD_ALLOW && type != RECORD_BLOCK;

	get_ip(r, size, group.group);
	before = group_find(p, &group);
	group.filter = VMFT_FILTER_SOME;
	if (type == RECORD_IS_EXCLUDE || type == RECORD_TO_EXCLUDE)
		group.filter = VMFT_FILTER_ANY;
	if (!whole && before) {
		group.filter = before->filter;
		group.sources = before->sources;
		memcpy(group.source, before->source, sizeof(group.source));
	}
	take_sources(r, &group, size, count, type != RECORD_BLOCK);
	for (uint64_t i = 0; i < auxiliary && !r->failed; i++)
		(void)vmft_wire_get(r, 4);
	if (r->failed || type < RECORD_IS_INCLUDE || type > RECORD_BLOCK || !is_pruned(&group))
		return false;
	if (group.filter == VMFT_FILTER_SOME && group.sources == 0)
		return group_leave(p, &group);
	return group_set(p, &group);
}

static bool take_records(struct vmft_presence *p, struct vmft_wire_reader *r,
			 const struct vmft_group *like)
{
	const uint64_t count = vmft_wire_get(r, 2);
	bool changed = false;

	for (uint64_t i = 0; i < count && !r->failed; i++)
		changed |= take_record(p, r, *like);
	return changed;
}

static bool take_igmp(struct vmft_presence *p, struct vmft_wire_reader *r, struct vmft_group group)
{
	const uint64_t type = vmft_wire_get(r, 1);

	(void)vmft_wire_get(r, 3); /* response time or zero, checksum */
	if (type == IGMP_V3_REPORT) {
		group.version = 3;
		(void)vmft_wire_get(r, 2);
		return take_records(p, r, &group);
	}
	if (type != IGMP_V1_REPORT && type != IGMP_V2_REPORT && type != IGMP_V2_LEAVE)
		return false;
	group.version = type == IGMP_V1_REPORT ? 1 : 2;
	get_ip(r, 4, group.group);
	if (r->failed || !is_pruned(&group))
		return false;
	return type == IGMP_V2_LEAVE ? group_leave(p, &group) : group_set(p, &group);
}

static bool take_mld(struct vmft_presence *p, struct vmft_wire_reader *r, struct vmft_group group)
{
	const uint64_t type = vmft_wire_get(r, 1);

	(void)vmft_wire_get(r, 3); /* code, checksum */
	if (type == MLD_V2_REPORT) {
		group.version = 2;
		(void)vmft_wire_get(r, 2);
		return take_records(p, r, &group);
	}
	if (type != MLD_V1_REPORT && type != MLD_V1_DONE)
		return false;
	group.version = 1;
	(void)vmft_wire_get(r, 4);
	get_ip(r, 16, group.group);
	if (r->failed || !is_pruned(&group))
		return false;
	return type == MLD_V1_DONE ? group_leave(p, &group) : group_set(p, &group);
}

static void skip(struct vmft_wire_reader *r, size_t n)
{
	if (n > r->left)
		r->failed = -EBADMSG;
	n = n < r->left ? n : r->left;
	r->at += n;
	r->left -= n;
}

static bool take_ipv4(struct vmft_presence *p, struct vmft_wire_reader *r, struct vmft_group group)
{
	const uint64_t first = vmft_wire_get(r, 1);
	const size_t header = (first & 15u) * 4u;
	uint64_t protocol;

	skip(r, 8);
	protocol = vmft_wire_get(r, 1);
	skip(r, 2);
	get_ip(r, 4, group.from);
	skip(r, 4);
	if (r->failed || first >> 4 != 4 || header < 20 || protocol != PROTOCOL_IGMP)
		return false;
	skip(r, header - 20);
	group.ip_version = 4;
	return take_igmp(p, r, group);
}

/* MLD has a router alert, and nothing else, before it. */
static bool take_ipv6(struct vmft_presence *p, struct vmft_wire_reader *r, struct vmft_group group)
{
	const uint64_t first = vmft_wire_get(r, 1);
	uint64_t next, length;

	skip(r, 5);
	next = vmft_wire_get(r, 1);
	skip(r, 1);
	get_ip(r, 16, group.from);
	skip(r, 16);
	if (r->failed || first >> 4 != 6 || next != PROTOCOL_HOP_BY_HOP)
		return false;
	next = vmft_wire_get(r, 1);
	length = vmft_wire_get(r, 1);
	skip(r, 6 + 8 * (size_t)length);
	if (r->failed || next != PROTOCOL_ICMPV6)
		return false;
	group.ip_version = 6;
	return take_mld(p, r, group);
}

/* --- frames --------------------------------------------------------------- */

static bool is_tag(uint64_t type)
{
	return type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ || type == ETHERTYPE_QINQ_OLD;
}

/*
 * Reads up to the payload. Returns its type, or 0 if there is none or the source belongs to nobody.
 */
static uint64_t take_ethernet(struct vmft_wire_reader *r, struct vmft_place *place,
			      uint8_t mac[static 6])
{
	uint64_t type;

	skip(r, 6);
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)vmft_wire_get(r, 1);
	type = vmft_wire_get(r, 2);
	while (is_tag(type) && place->tags < VMFT_PRESENCE_TAGS && !r->failed) {
		place->tag[place->tags].protocol = (uint16_t)type;
		place->tag[place->tags].control = (uint16_t)vmft_wire_get(r, 2);
		place->tags++;
		type = vmft_wire_get(r, 2);
	}
	if (r->failed || (mac[0] & 1u) != 0 || memcmp(mac, "\0\0\0\0\0", 6) == 0)
		return 0;
	return type;
}

bool vmft_presence_sent(struct vmft_presence *p, uint8_t nic, const uint8_t *frame, size_t n,
			uint64_t now)
{
	struct vmft_wire_reader r = {.at = frame, .left = n};
	struct vmft_group group = {.place.nic = nic, .shown_ns = now};
	struct vmft_address *address;
	bool changed;
	uint64_t type;

	type = take_ethernet(&r, &group.place, group.mac);
	if (type == 0)
		return false;
	address = address_find(p, &group.place, group.mac);
	changed = !address;
	if (!address)
		address = address_add(p, &group.place, group.mac, now);
	address->place = group.place;
	address->shown_ns = now;
	if ((frame[0] & 1u) == 0)
		return changed;
	if (type == ETHERTYPE_IPV4)
		changed |= take_ipv4(p, &r, group);
	else if (type == ETHERTYPE_IPV6)
		changed |= take_ipv6(p, &r, group);
	return changed;
}

bool vmft_presence_got(struct vmft_presence *p, uint8_t nic, const uint8_t *frame, size_t n,
		       uint64_t now)
{
	struct vmft_wire_reader r = {.at = frame, .left = n};
	struct vmft_place place = {.nic = nic};
	struct vmft_address *address;
	uint8_t mac[6];

	if (take_ethernet(&r, &place, mac) == 0)
		return false;
	address = address_find(p, &place, mac);
	if (!address || address->own || now - address->shown_ns < VMFT_PRESENCE_ECHO_NS)
		return false;
	address_drop(p, (uint32_t)(address - p->address));
	return true;
}

bool vmft_presence_expire(struct vmft_presence *p, uint64_t now)
{
	const uint32_t addresses = p->addresses, groups = p->groups;

	for (uint32_t i = p->addresses; i-- > 0;)
		if (!p->address[i].own && now - p->address[i].shown_ns > VMFT_PRESENCE_KEPT_NS)
			address_drop(p, i);
	for (uint32_t i = p->groups; i-- > 0;)
		if (now - p->group[i].shown_ns > VMFT_PRESENCE_KEPT_NS)
			p->group[i] = p->group[--p->groups];
	return p->addresses != addresses || p->groups != groups;
}

void vmft_presence_merge(struct vmft_presence *p, const struct vmft_presence *other, uint64_t now)
{
	for (uint32_t i = 0; i < other->addresses; i++) {
		const struct vmft_address *from = &other->address[i];

		if (!address_find(p, &from->place, from->mac))
			(void)address_add(p, &from->place, from->mac, now);
	}
	for (uint32_t i = 0; i < other->groups; i++) {
		struct vmft_group group = other->group[i];

		group.shown_ns = now;
		(void)group_set(p, &group);
	}
}

/* --- as bytes ------------------------------------------------------------- */

static uint8_t *put_bytes(uint8_t *to, const uint8_t *bytes, size_t n)
{
	memcpy(to, bytes, n);
	return to + n;
}

static uint8_t *put_place(uint8_t *to, const struct vmft_place *place)
{
	to = vmft_wire_put_u8(vmft_wire_put_u8(to, place->nic), place->tags);
	for (unsigned i = 0; i < VMFT_PRESENCE_TAGS; i++)
		to = vmft_wire_put_u16(vmft_wire_put_u16(to, place->tag[i].protocol),
				       place->tag[i].control);
	return to;
}

size_t vmft_presence_encode(const struct vmft_presence *p, uint8_t *bytes)
{
	uint8_t *to = vmft_wire_put_u32(bytes, p->addresses);

	for (uint32_t i = 0; i < p->addresses; i++) {
		to = put_place(to, &p->address[i].place);
		to = vmft_wire_put_u8(put_bytes(to, p->address[i].mac, 6), p->address[i].own);
	}
	to = vmft_wire_put_u32(to, p->groups);
	for (uint32_t i = 0; i < p->groups; i++) {
		const struct vmft_group *group = &p->group[i];

		to = put_bytes(put_place(to, &group->place), group->mac, 6);
		to = vmft_wire_put_u8(vmft_wire_put_u8(to, group->ip_version), group->version);
		to = vmft_wire_put_u8(vmft_wire_put_u8(to, group->filter), group->sources);
		to = put_bytes(put_bytes(to, group->from, 16), group->group, 16);
		to = put_bytes(to, group->source[0], 16u * group->sources);
	}
	return (size_t)(to - bytes);
}

static void get_bytes(struct vmft_wire_reader *r, uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)vmft_wire_get(r, 1);
}

static void get_place(struct vmft_wire_reader *r, struct vmft_place *ret)
{
	ret->nic = (uint8_t)vmft_wire_get(r, 1);
	ret->tags = (uint8_t)vmft_wire_get(r, 1);
	if (ret->nic >= VMFT_PRESENCE_NICS || ret->tags > VMFT_PRESENCE_TAGS)
		r->failed = -EBADMSG;
	for (unsigned i = 0; i < VMFT_PRESENCE_TAGS; i++) {
		ret->tag[i].protocol = (uint16_t)vmft_wire_get(r, 2);
		ret->tag[i].control = (uint16_t)vmft_wire_get(r, 2);
		if (i < ret->tags && !is_tag(ret->tag[i].protocol))
			r->failed = -EBADMSG;
	}
}

static void get_address(struct vmft_wire_reader *r, struct vmft_address *ret)
{
	*ret = (struct vmft_address){0};
	get_place(r, &ret->place);
	get_bytes(r, ret->mac, 6);
	ret->own = vmft_wire_get(r, 1) != 0;
	if ((ret->mac[0] & 1u) != 0)
		r->failed = -EBADMSG;
}

static void get_group(struct vmft_wire_reader *r, struct vmft_group *ret)
{
	uint8_t latest; /* version of the protocol: the one that has senders in it */

	*ret = (struct vmft_group){0};
	get_place(r, &ret->place);
	get_bytes(r, ret->mac, 6);
	ret->ip_version = (uint8_t)vmft_wire_get(r, 1);
	ret->version = (uint8_t)vmft_wire_get(r, 1);
	ret->filter = (uint8_t)vmft_wire_get(r, 1);
	ret->sources = (uint8_t)vmft_wire_get(r, 1);
	get_bytes(r, ret->from, 16);
	get_bytes(r, ret->group, 16);
	latest = ret->ip_version == 4 ? 3 : 2;
	if (ret->sources > VMFT_PRESENCE_SOURCES || ret->filter > VMFT_FILTER_SOME ||
	    (ret->filter == VMFT_FILTER_SOME) != (ret->sources > 0) ||
	    (ret->filter == VMFT_FILTER_SOME && ret->version != latest) ||
	    (ret->ip_version != 4 && ret->ip_version != 6) || ret->version < 1 ||
	    ret->version > latest || !is_pruned(ret) || (ret->mac[0] & 1u) != 0) {
		r->failed = -EBADMSG;
		return;
	}
	get_bytes(r, ret->source[0], 16u * ret->sources);
}

int vmft_presence_decode(const uint8_t *bytes, size_t n, struct vmft_presence *ret)
{
	struct vmft_wire_reader r = {.at = bytes, .left = n};
	uint64_t count = vmft_wire_get(&r, 4);

	if (count > VMFT_PRESENCE_ADDRESSES)
		return -EBADMSG;
	ret->addresses = (uint32_t)count;
	for (uint32_t i = 0; i < count && !r.failed; i++)
		get_address(&r, &ret->address[i]);
	count = vmft_wire_get(&r, 4);
	if (count > VMFT_PRESENCE_GROUPS)
		return -EBADMSG;
	ret->groups = (uint32_t)count;
	for (uint32_t i = 0; i < count && !r.failed; i++)
		get_group(&r, &ret->group[i]);
	return vmft_wire_finish(&r);
}
