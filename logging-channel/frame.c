/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "frame.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <xxhash.h>

#include "wire.h"

#define CHECKED_FROM 16u /* offset of the first byte the checksum covers */

static uint8_t *put_block(uint8_t *p, const void *bytes, uint8_t n)
{
	p = vmft_wire_put_u8(p, n);
	memcpy(p, bytes, n);
	return p + n;
}

/* A counted block of at most cap bytes into bytes; returns the count. */
static uint8_t get_block(struct vmft_wire_reader *r, void *bytes, size_t cap)
{
	uint8_t n = (uint8_t)vmft_wire_get(r, 1);

	if (n > cap || n > r->left) {
		r->failed = -EBADMSG;
		r->left = 0;
		return 0;
	}
	memcpy(bytes, r->at, n);
	r->at += n;
	r->left -= n;
	return n;
}

/* --- frames ------------------------------------------------------------- */

static uint64_t checksum(const uint8_t *frame, uint32_t length)
{
	struct vmft_wire_reader seed = {.at = frame, .left = 8};

	return XXH3_64bits_withSeed(frame + CHECKED_FROM, VMFT_FRAME_HEADER - CHECKED_FROM + length,
				    vmft_wire_get(&seed, 8));
}

void vmft_frame_seal(uint8_t *buffer, const struct vmft_frame_info *info)
{
	uint8_t *sum =
	    vmft_wire_put_u16(vmft_wire_put_u16(vmft_wire_put_u32(buffer, VMFT_FRAME_MAGIC),
						info->version ? info->version : VMFT_FRAME_VERSION),
			      info->type);
	uint8_t *p =
	    vmft_wire_put_u64(vmft_wire_put_u64(sum + 8, info->generation), info->position);

	(void)vmft_wire_put_u32(vmft_wire_put_u32(p, info->length), 0);
	(void)vmft_wire_put_u64(sum, checksum(buffer, info->length));
}

/* HELLO and REFUSE have the same form in every version: two sides that speak different ones can
 * tell each other so. */
static bool is_for_all_versions(uint16_t type)
{
	return type == VMFT_FRAME_HELLO || type == VMFT_FRAME_REFUSE;
}

static bool is_spoken(uint16_t version)
{
	return version >= VMFT_FRAME_VERSION_LOWEST && version <= VMFT_FRAME_VERSION;
}

/* The header without its magic, from r; false: it cannot be. */
static bool get_header(struct vmft_wire_reader *r, struct vmft_frame_info *ret, uint64_t *ret_sum)
{
	ret->version = (uint16_t)vmft_wire_get(r, 2);
	ret->type = (uint16_t)vmft_wire_get(r, 2);
	*ret_sum = vmft_wire_get(r, 8);
	ret->generation = vmft_wire_get(r, 8);
	ret->position = vmft_wire_get(r, 8);
	ret->length = (uint32_t)vmft_wire_get(r, 4);
	return ret->length <= VMFT_FRAME_PAYLOAD_MAX && vmft_wire_get(r, 4) == 0;
}

ssize_t vmft_frame_decode(const uint8_t *bytes, size_t n, struct vmft_frame_info *ret)
{
	struct vmft_wire_reader r = {.at = bytes, .left = n};
	uint64_t sum;
	bool good;
	int bad;

	if (n < 4)
		return 0;
	if (vmft_wire_get(&r, 4) != VMFT_FRAME_MAGIC)
		return -EPROTO;
	if (n < VMFT_FRAME_HEADER)
		return 0;
	good = get_header(&r, ret, &sum);
	/* What another version sends cannot be judged: it is not damaged. */
	bad = is_spoken(ret->version) ? -EBADMSG : -EPROTONOSUPPORT;
	if (!is_spoken(ret->version) &&
	    (!is_for_all_versions(ret->type) || ret->length > VMFT_FRAME_FOREIGN_MAX))
		return -EPROTONOSUPPORT;
	if (!good)
		return bad;
	if (r.left < ret->length)
		return 0;
	if (checksum(bytes, ret->length) != sum)
		return bad;
	ret->payload = r.at;
	return (ssize_t)(VMFT_FRAME_HEADER + ret->length);
}

/* --- payloads ------------------------------------------------------------ */

size_t vmft_ack_encode(const struct vmft_ack *ack, uint8_t *payload)
{
	uint8_t *p = vmft_wire_put_u64(vmft_wire_put_u64(payload, ack->replayed), ack->echo);

	return (size_t)(vmft_wire_put_u8(p, ack->formed) - payload);
}

int vmft_ack_decode(const uint8_t *payload, size_t n, struct vmft_ack *ret)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};
	struct vmft_ack ack = {.replayed = vmft_wire_get(&r, 8)};

	ack.echo = vmft_wire_get(&r, 8);
	ack.formed = (uint8_t)vmft_wire_get(&r, 1);
	if (vmft_wire_finish(&r) < 0 || ack.formed > 1)
		return -EBADMSG;
	*ret = ack;
	return 0;
}

size_t vmft_u64_encode(uint64_t value, uint8_t *payload)
{
	return (size_t)(vmft_wire_put_u64(payload, value) - payload);
}

int vmft_u64_decode(const uint8_t *payload, size_t n, uint64_t *ret)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};
	uint64_t value = vmft_wire_get(&r, 8);

	if (vmft_wire_finish(&r) < 0)
		return -EBADMSG;
	*ret = value;
	return 0;
}

size_t vmft_beat_encode(const struct vmft_beat *beat, uint8_t *payload)
{
	uint8_t *p = payload;

	memcpy(p, beat->ticket, sizeof(beat->ticket));
	p = vmft_wire_put_u8(p + sizeof(beat->ticket), beat->host);
	p = vmft_wire_put_u64(vmft_wire_put_u64(p, beat->clock), beat->echo);
	p = put_block(p, beat->name, (uint8_t)strnlen(beat->name, VMFT_HELLO_NAME_MAX));
	return (size_t)(p - payload);
}

int vmft_beat_decode(const uint8_t *payload, size_t n, struct vmft_beat *ret)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};
	struct vmft_beat beat = {0};
	uint8_t name_bytes;

	if (n < sizeof(beat.ticket))
		return -EBADMSG;
	memcpy(beat.ticket, r.at, sizeof(beat.ticket));
	r.at += sizeof(beat.ticket);
	r.left -= sizeof(beat.ticket);
	beat.host = (uint8_t)vmft_wire_get(&r, 1);
	beat.clock = vmft_wire_get(&r, 8);
	beat.echo = vmft_wire_get(&r, 8);
	name_bytes = get_block(&r, beat.name, VMFT_HELLO_NAME_MAX);
	if (vmft_wire_finish(&r) < 0 || strlen(beat.name) != name_bytes || beat.clock == 0)
		return -EBADMSG;
	*ret = beat;
	return 0;
}

/* --- an attach ------------------------------------------------------------ */

size_t vmft_geometry_encode(const struct vmft_geometry *geometry, uint8_t *payload)
{
	uint8_t *p = vmft_wire_put_u32(payload, geometry->count);

	for (uint32_t i = 0; i < geometry->count; i++) {
		const struct vmft_geometry_region *region = &geometry->region[i];

		p = vmft_wire_put_u8(vmft_wire_put_u8(p, region->kind), region->format);
		p = vmft_wire_put_u64(vmft_wire_put_u64(p, region->bytes), region->guest_bytes);
		p = put_block(p, region->name,
			      (uint8_t)strnlen(region->name, VMFT_GEOMETRY_NAME_MAX));
	}
	return (size_t)(p - payload);
}

int vmft_geometry_decode(const uint8_t *payload, size_t n, struct vmft_geometry *ret)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};

	memset(ret, 0, sizeof(*ret));
	ret->count = (uint32_t)vmft_wire_get(&r, 4);
	if (ret->count > VMFT_GEOMETRY_REGIONS_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < ret->count; i++) {
		struct vmft_geometry_region *region = &ret->region[i];

		region->kind = (uint8_t)vmft_wire_get(&r, 1);
		region->format = (uint8_t)vmft_wire_get(&r, 1);
		region->bytes = vmft_wire_get(&r, 8);
		region->guest_bytes = vmft_wire_get(&r, 8);
		if (get_block(&r, region->name, VMFT_GEOMETRY_NAME_MAX) != strlen(region->name))
			return -EBADMSG;
	}
	return vmft_wire_finish(&r);
}

size_t vmft_point_encode(const struct vmft_point *point, uint8_t *payload)
{
	uint8_t *p = vmft_wire_put_u64(vmft_wire_put_u64(payload, point->state_bytes),
				       (uint64_t)point->guest_ns);

	p = vmft_wire_put_u32(p, point->disk_count);
	for (uint32_t i = 0; i < point->disk_count; i++)
		p = vmft_wire_put_u64(p, point->disk_bytes[i]);
	return (size_t)(p - payload);
}

int vmft_point_decode(const uint8_t *payload, size_t n, struct vmft_point *ret)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};
	struct vmft_point point = {.state_bytes = vmft_wire_get(&r, 8)};

	point.guest_ns = (int64_t)vmft_wire_get(&r, 8);
	point.disk_count = (uint32_t)vmft_wire_get(&r, 4);
	if (point.disk_count > VMFT_POINT_DISKS_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < point.disk_count; i++)
		point.disk_bytes[i] = vmft_wire_get(&r, 8);
	if (vmft_wire_finish(&r) < 0)
		return -EBADMSG;
	*ret = point;
	return 0;
}

void vmft_chunk_encode(uint32_t region, uint8_t *payload)
{
	(void)vmft_wire_put_u32(payload, region);
}

int vmft_chunk_decode(const uint8_t *payload, size_t n, uint32_t *ret_region,
		      const uint8_t **ret_bytes, size_t *ret_n)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};
	uint32_t region = (uint32_t)vmft_wire_get(&r, VMFT_CHUNK_HEAD);

	if (r.failed || r.left == 0)
		return -EBADMSG;
	*ret_region = region;
	*ret_bytes = r.at;
	*ret_n = r.left;
	return 0;
}

/* ZERO and WANT: a region and a number. */
static size_t encode_pair(uint32_t region, uint64_t value, uint8_t *payload)
{
	return (size_t)(vmft_wire_put_u64(vmft_wire_put_u32(payload, region), value) - payload);
}

static int decode_pair(const uint8_t *payload, size_t n, uint32_t *ret_region, uint64_t *ret_value)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};
	uint32_t region = (uint32_t)vmft_wire_get(&r, 4);
	uint64_t value = vmft_wire_get(&r, 8);

	if (vmft_wire_finish(&r) < 0)
		return -EBADMSG;
	*ret_region = region;
	*ret_value = value;
	return 0;
}

size_t vmft_zero_encode(uint32_t region, uint64_t bytes, uint8_t *payload)
{
	return encode_pair(region, bytes, payload);
}

int vmft_zero_decode(const uint8_t *payload, size_t n, uint32_t *ret_region, uint64_t *ret_bytes)
{
	return decode_pair(payload, n, ret_region, ret_bytes);
}

size_t vmft_want_encode(uint32_t region, uint64_t bits, uint8_t *payload)
{
	return encode_pair(region, bits, payload);
}

int vmft_want_decode(const uint8_t *payload, size_t n, uint32_t *ret_region, uint64_t *ret_bits)
{
	return decode_pair(payload, n, ret_region, ret_bits);
}

size_t vmft_sums_encode(const struct vmft_sums *sums, uint8_t *payload)
{
	uint8_t *p = vmft_wire_put_u32(vmft_wire_put_u32(payload, sums->region), sums->count);

	p = vmft_wire_put_u64(p, sums->seed);
	for (uint32_t i = 0; i < sums->count; i++)
		p = vmft_wire_put_u64(vmft_wire_put_u64(p, sums->sum[i].low), sums->sum[i].high);
	return (size_t)(p - payload);
}

int vmft_sums_decode(const uint8_t *payload, size_t n, struct vmft_sums *ret)
{
	struct vmft_wire_reader r = {.at = payload, .left = n};

	ret->region = (uint32_t)vmft_wire_get(&r, 4);
	ret->count = (uint32_t)vmft_wire_get(&r, 4);
	ret->seed = vmft_wire_get(&r, 8);
	if (ret->count == 0 || ret->count > VMFT_SUMS_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < ret->count; i++) {
		ret->sum[i].low = vmft_wire_get(&r, 8);
		ret->sum[i].high = vmft_wire_get(&r, 8);
	}
	return vmft_wire_finish(&r);
}
