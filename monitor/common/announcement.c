/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "announcement.h"

#include <string.h>

#include "logging-channel/wire.h"

#define FRAME_MIN 60u /* without its checksum */

#define ETHERTYPE_RARP 0x8035u
#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_IPV6 0x86ddu

/* RFC 1112, 2236, 3376 (IGMP), 2710, 3810 (MLD) */
#define IGMP_V1_REPORT	  0x12
#define IGMP_V2_REPORT	  0x16
#define IGMP_V3_REPORT	  0x22
#define MLD_V1_REPORT	  131
#define MLD_V2_REPORT	  143
#define RECORD_IS_INCLUDE 1
#define RECORD_IS_EXCLUDE 2

#define IPV4_HEADER 24u /* with a router alert, as each of these reports has */
#define IPV6_HEADER 40u

static const uint8_t all_igmpv3[4] = {224, 0, 0, 22};
static const uint8_t all_mldv2[16] = {0xff, 2, [15] = 0x16};

static uint8_t *put_bytes(uint8_t *to, const void *bytes, size_t n)
{
	memcpy(to, bytes, n);
	return to + n;
}

static uint8_t *put_ethernet(uint8_t *to, const uint8_t *target, const uint8_t *source,
			     const struct vmft_place *place, uint16_t type)
{
	to = put_bytes(put_bytes(to, target, 6), source, 6);
	for (unsigned i = 0; i < place->tags; i++)
		to = vmft_wire_put_u16(vmft_wire_put_u16(to, place->tag[i].protocol),
				       place->tag[i].control);
	return vmft_wire_put_u16(to, type);
}

/* The end of a frame that ends at to; the bytes after it are zero. */
static size_t frame_end(const uint8_t *frame, const uint8_t *to)
{
	const size_t n = (size_t)(to - frame);

	return n < FRAME_MIN ? FRAME_MIN : n;
}

size_t vmft_announcement_of_address(const struct vmft_address *address,
				    uint8_t frame[static VMFT_ANNOUNCEMENT_MAX])
{
	static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	/* Ethernet, IPv4, their lengths, request reverse. */
	static const uint8_t fixed[] = {0, 1, 8, 0, 6, 4, 0, 3};
	uint8_t *to;

	memset(frame, 0, VMFT_ANNOUNCEMENT_MAX);
	to = put_ethernet(frame, everybody, address->mac, &address->place, ETHERTYPE_RARP);
	to = put_bytes(put_bytes(to, fixed, sizeof(fixed)), address->mac, 6);
	to = put_bytes(to + 4, address->mac, 6);
	return frame_end(frame, to + 4);
}

/* --- reports -------------------------------------------------------------- */

static uint32_t add_up(uint32_t sum, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffffu) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The group record of IGMPv3 and MLDv2, as the guest would answer a query with it. */
static uint8_t *put_record(uint8_t *to, const struct vmft_group *group)
{
	const size_t size = group->ip_version == 4 ? 4 : 16;

	to = vmft_wire_put_u8(to, group->filter == VMFT_FILTER_SOME ? RECORD_IS_INCLUDE
								    : RECORD_IS_EXCLUDE);
	to = vmft_wire_put_u16(vmft_wire_put_u8(to, 0), group->sources);
	to = put_bytes(to, group->group, size);
	for (unsigned i = 0; i < group->sources; i++)
		to = put_bytes(to, group->source[i], size);
	return to;
}

static uint8_t *put_igmp(uint8_t *to, const struct vmft_group *group)
{
	uint8_t *const begin = to;

	if (group->version == 3) {
		to =
		    vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(to, IGMP_V3_REPORT), 0), 0);
		to = put_record(vmft_wire_put_u16(vmft_wire_put_u16(to, 0), 1), group);
	} else {
		to = vmft_wire_put_u8(to, group->version == 1 ? IGMP_V1_REPORT : IGMP_V2_REPORT);
		to = put_bytes(vmft_wire_put_u16(vmft_wire_put_u8(to, 0), 0), group->group, 4);
	}
	(void)vmft_wire_put_u16(begin + 2, fold(add_up(0, begin, (size_t)(to - begin))));
	return to;
}

static uint8_t *igmp_packet(uint8_t *to, const struct vmft_group *group)
{
	static const uint8_t router_alert[4] = {0x94, 4, 0, 0};
	uint8_t *const ip = to;
	uint8_t *end;

	to = vmft_wire_put_u32(
	    vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(to, 0x46), 0xc0), 0),
	    0);									 /* length below */
	to = vmft_wire_put_u16(vmft_wire_put_u8(vmft_wire_put_u8(to, 1), 2), 0); /* TTL, IGMP */
	to = put_bytes(to, group->from, 4);
	to = put_bytes(to, group->version == 3 ? all_igmpv3 : group->group, 4);
	to = put_bytes(to, router_alert, sizeof(router_alert));
	end = put_igmp(to, group);
	(void)vmft_wire_put_u16(ip + 2, (uint16_t)(end - ip));
	(void)vmft_wire_put_u16(ip + 10, fold(add_up(0, ip, IPV4_HEADER)));
	return end;
}

static uint8_t *put_mld(uint8_t *to, const struct vmft_group *group)
{
	to = vmft_wire_put_u8(to, group->version == 2 ? MLD_V2_REPORT : MLD_V1_REPORT);
	to = vmft_wire_put_u16(vmft_wire_put_u8(to, 0), 0);
	if (group->version == 2)
		return put_record(vmft_wire_put_u16(vmft_wire_put_u16(to, 0), 1), group);
	return put_bytes(vmft_wire_put_u32(to, 0), group->group, 16);
}

static uint8_t *mld_packet(uint8_t *to, const struct vmft_group *group)
{
	/* ICMPv6 follows; router alert for MLD, padding. */
	static const uint8_t hop_by_hop[8] = {58, 0, 5, 2, 0, 0, 1, 0};
	uint8_t *const ip = to;
	uint8_t *mld, *end;
	uint32_t sum;

	to = vmft_wire_put_u8(
	    vmft_wire_put_u8(vmft_wire_put_u16(vmft_wire_put_u32(to, 0x60000000u), 0), 0),
	    1); /* next header, limit */
	to = put_bytes(to, group->from, 16);
	to = put_bytes(to, group->version == 2 ? all_mldv2 : group->group, 16);
	mld = put_bytes(to, hop_by_hop, sizeof(hop_by_hop));
	end = put_mld(mld, group);
	(void)vmft_wire_put_u16(ip + 4, (uint16_t)(end - ip - IPV6_HEADER));
	sum = add_up((uint32_t)(end - mld) + 58, ip + 8, 32);
	(void)vmft_wire_put_u16(mld + 2, fold(add_up(sum, mld, (size_t)(end - mld))));
	return end;
}

size_t vmft_announcement_of_group(const struct vmft_group *group,
				  uint8_t frame[static VMFT_ANNOUNCEMENT_MAX])
{
	const bool ipv4 = group->ip_version == 4;
	const uint8_t *to_group = group->group;
	uint8_t target[6] = {0x01, 0x00, 0x5e};
	uint8_t *to;

	memset(frame, 0, VMFT_ANNOUNCEMENT_MAX);
	if (ipv4) {
		to_group = group->version == 3 ? all_igmpv3 : to_group;
		target[3] = to_group[1] & 0x7fu;
		memcpy(target + 4, to_group + 2, 2);
	} else {
		to_group = group->version == 2 ? all_mldv2 : to_group;
		target[0] = target[1] = 0x33;
		memcpy(target + 2, to_group + 12, 4);
	}
	to = put_ethernet(frame, target, group->mac, &group->place,
			  ipv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
	return frame_end(frame, ipv4 ? igmp_packet(to, group) : mld_packet(to, group));
}

/* --- when ----------------------------------------------------------------- */

bool vmft_announcement_is_due(uint64_t since_ns, unsigned made)
{
	static const unsigned at_ms[] = {
	    0,	   50,	  200,	 450,	800,   1300,  2000,  3000,  4500,  6500,  9000,	 12000,
	    16000, 20000, 25000, 30000, 35000, 40000, 45000, 50000, 55000, 60000, 65000,
	};

	return made < sizeof(at_ms) / sizeof(at_ms[0]) &&
	       since_ns >= at_ms[made] * UINT64_C(1000000);
}
