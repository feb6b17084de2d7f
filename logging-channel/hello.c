/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hello.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "wire.h"

#define FIELD_HEAD   4u
#define TAGGED_FROM  5u /* version */
#define FEATURE_BITS 64u

/* Text without control characters and zero bytes: it goes into messages and records. */
static bool is_printable(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return true;
}

/* --- values --------------------------------------------------------------- */

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t n)
{
	memcpy(p, bytes, n);
	return p + n;
}

/* A text of at most cap bytes, with a byte that counts them. */
static uint8_t *put_name(uint8_t *p, const char *text, size_t cap)
{
	const size_t n = strnlen(text, cap);

	return put_bytes(vmft_wire_put_u8(p, (uint8_t)n), text, n);
}

/* The next n bytes, of at most cap. False: there are not so many, or they are more than cap. */
static bool get_bytes(struct vmft_wire_reader *r, void *bytes, size_t n, size_t cap)
{
	if (n > cap || n > r->left) {
		r->failed = -EBADMSG;
		r->left = 0;
		return false;
	}
	memcpy(bytes, r->at, n);
	r->at += n;
	r->left -= n;
	return true;
}

/* The rest of a field. */
static uint8_t get_rest(struct vmft_wire_reader *r, void *bytes, size_t cap)
{
	const size_t n = r->left;

	return get_bytes(r, bytes, n, cap) ? (uint8_t)n : 0;
}

static bool get_name(struct vmft_wire_reader *r, char *text, size_t cap)
{
	const size_t n = vmft_wire_get(r, 1);

	return n > 0 && get_bytes(r, text, n, cap) && is_printable(text, n);
}

/* --- fields --------------------------------------------------------------- */

static uint8_t *put_versions(uint8_t *p, const struct vmft_hello *hello)
{
	(void)hello;
	p = vmft_wire_put_u16(p, VMFT_FRAME_VERSION_LOWEST);
	return vmft_wire_put_u16(p, VMFT_FRAME_VERSION);
}

static bool get_versions(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->versions.lowest = (uint16_t)vmft_wire_get(r, 2);
	hello->versions.highest = (uint16_t)vmft_wire_get(r, 2);
	return hello->versions.lowest > 0 && hello->versions.lowest <= hello->versions.highest;
}

static uint8_t *put_features(uint8_t *p, const struct vmft_hello *hello)
{
	if (hello->feature_count == 0)
		return p;
	p = vmft_wire_put_u8(p, hello->feature_count);
	for (uint8_t i = 0; i < hello->feature_count; i++) {
		const struct vmft_feature *feature = &hello->feature[i];

		p = vmft_wire_put_u8(vmft_wire_put_u8(p, feature->bit), feature->required);
		p = put_name(p, feature->name, VMFT_FEATURE_NAME_MAX);
	}
	return p;
}

/* Bits rise: a feature is there once. */
static bool get_features(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	int before = -1;

	hello->feature_count = (uint8_t)vmft_wire_get(r, 1);
	if (hello->feature_count == 0 || hello->feature_count > VMFT_HELLO_FEATURES_MAX)
		return false;
	for (uint8_t i = 0; i < hello->feature_count; i++) {
		struct vmft_feature *feature = &hello->feature[i];

		feature->bit = (uint8_t)vmft_wire_get(r, 1);
		feature->required = (uint8_t)vmft_wire_get(r, 1);
		if (!get_name(r, feature->name, VMFT_FEATURE_NAME_MAX) ||
		    feature->bit >= FEATURE_BITS || feature->bit <= before || feature->required > 1)
			return false;
		before = feature->bit;
	}
	return true;
}

static uint8_t *put_vm(uint8_t *p, const struct vmft_hello *hello)
{
	return put_bytes(p, hello->name, strnlen(hello->name, VMFT_HELLO_NAME_MAX));
}

static bool get_vm(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	const uint8_t n = get_rest(r, hello->name, VMFT_HELLO_NAME_MAX);

	return n > 0 && strlen(hello->name) == n;
}

static uint8_t *put_role(uint8_t *p, const struct vmft_hello *hello)
{
	return vmft_wire_put_u8(p, hello->role);
}

static bool get_role(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->role = (uint8_t)vmft_wire_get(r, 1);
	return true;
}

static uint8_t *put_attach(uint8_t *p, const struct vmft_hello *hello)
{
	return vmft_wire_put_u8(p, hello->attach);
}

static bool get_attach(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->attach = (uint8_t)vmft_wire_get(r, 1);
	return hello->attach <= 1;
}

static uint8_t *put_host(uint8_t *p, const struct vmft_hello *hello)
{
	return vmft_wire_put_u8(p, hello->host);
}

static bool get_host(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->host = (uint8_t)vmft_wire_get(r, 1);
	return true;
}

static uint8_t *put_log_version(uint8_t *p, const struct vmft_hello *hello)
{
	return vmft_wire_put_u32(p, hello->log_version);
}

static bool get_log_version(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->log_version = (uint32_t)vmft_wire_get(r, 4);
	return true;
}

static uint8_t *put_build_id(uint8_t *p, const struct vmft_hello *hello)
{
	return put_bytes(p, hello->build_id, hello->build_id_bytes);
}

static bool get_build_id(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->build_id_bytes = get_rest(r, hello->build_id, sizeof(hello->build_id));
	return true;
}

static uint8_t *put_machine(uint8_t *p, const struct vmft_hello *hello)
{
	return put_bytes(p, hello->machine, hello->machine_bytes);
}

static bool get_machine(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->machine_bytes = get_rest(r, hello->machine, sizeof(hello->machine));
	return true;
}

static uint8_t *put_disks(uint8_t *p, const struct vmft_hello *hello)
{
	return put_bytes(p, hello->disk, hello->disk_bytes);
}

static bool get_disks(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->disk_bytes = get_rest(r, hello->disk, sizeof(hello->disk));
	return true;
}

static uint8_t *put_silence(uint8_t *p, const struct vmft_hello *hello)
{
	return vmft_wire_put_u32(p, hello->silence_ms);
}

static bool get_silence(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->silence_ms = (uint32_t)vmft_wire_get(r, 4);
	return true;
}

static uint8_t *put_grace(uint8_t *p, const struct vmft_hello *hello)
{
	return vmft_wire_put_u32(p, hello->grace_ms);
}

static bool get_grace(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->grace_ms = (uint32_t)vmft_wire_get(r, 4);
	return true;
}

static uint8_t *put_ticket(uint8_t *p, const struct vmft_hello *hello)
{
	return put_bytes(p, hello->ticket, hello->ticket_bytes);
}

static bool get_ticket(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->ticket_bytes = get_rest(r, hello->ticket, sizeof(hello->ticket));
	return hello->ticket_bytes == VMFT_TICKET_BYTES;
}

static uint8_t *put_record(uint8_t *p, const struct vmft_hello *hello)
{
	return put_bytes(p, hello->record, strnlen(hello->record, VMFT_HELLO_RECORD_MAX));
}

static bool get_record(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	return is_printable(hello->record, get_rest(r, hello->record, VMFT_HELLO_RECORD_MAX));
}

static uint8_t *put_tap(uint8_t *p, const struct vmft_tap_facts *tap)
{
	p = put_name(p, tap->netdev, VMFT_TAP_NETDEV_MAX);
	p = vmft_wire_put_u8(vmft_wire_put_u8(p, tap->vnet_hdr), tap->header);
	p = vmft_wire_put_u8(vmft_wire_put_u8(p, tap->offloads), tap->multi_queue);
	return vmft_wire_put_u32(p, tap->mtu);
}

static uint8_t *put_taps(uint8_t *p, const struct vmft_hello *hello)
{
	if (hello->tap_count == 0)
		return p;
	p = vmft_wire_put_u8(p, hello->tap_count);
	for (uint8_t i = 0; i < hello->tap_count; i++)
		p = put_tap(p, &hello->tap[i]);
	return p;
}

static bool is_flag(uint8_t value)
{
	return value <= 1 || value == VMFT_TAP_UNKNOWN;
}

static bool get_tap(struct vmft_wire_reader *r, struct vmft_tap_facts *tap)
{
	if (!get_name(r, tap->netdev, VMFT_TAP_NETDEV_MAX))
		return false;
	tap->vnet_hdr = (uint8_t)vmft_wire_get(r, 1);
	tap->header = (uint8_t)vmft_wire_get(r, 1);
	tap->offloads = (uint8_t)vmft_wire_get(r, 1);
	tap->multi_queue = (uint8_t)vmft_wire_get(r, 1);
	tap->mtu = (uint32_t)vmft_wire_get(r, 4);
	return is_flag(tap->vnet_hdr) && is_flag(tap->multi_queue) &&
	       (tap->offloads <= VMFT_TAP_OFFLOADS || tap->offloads == VMFT_TAP_UNKNOWN);
}

static bool get_taps(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->tap_count = (uint8_t)vmft_wire_get(r, 1);
	if (hello->tap_count == 0 || hello->tap_count > VMFT_HELLO_TAPS_MAX)
		return false;
	for (uint8_t i = 0; i < hello->tap_count; i++)
		if (!get_tap(r, &hello->tap[i]))
			return false;
	return true;
}

static uint8_t *put_images(uint8_t *p, const struct vmft_hello *hello)
{
	if (hello->image_count == 0)
		return p;
	p = vmft_wire_put_u8(p, hello->image_count);
	for (uint8_t i = 0; i < hello->image_count; i++)
		p = vmft_wire_put_u64(p, hello->image_sum[i]);
	return p;
}

static bool get_images(struct vmft_wire_reader *r, struct vmft_hello *hello)
{
	hello->image_count = (uint8_t)vmft_wire_get(r, 1);
	if (hello->image_count == 0 || hello->image_count > VMFT_HELLO_IMAGES_MAX)
		return false;
	for (uint8_t i = 0; i < hello->image_count; i++)
		hello->image_sum[i] = vmft_wire_get(r, 8);
	return true;
}

/*
 * In rising order. put() returns where the value ends; one that is empty is left out. get() is
 * given the value of a field, which may not be empty, and must take all of it; false: it cannot
 * be.
 */
static const struct field {
	uint16_t tag;
	bool always;
	uint8_t *(*put)(uint8_t *p, const struct vmft_hello *hello);
	bool (*get)(struct vmft_wire_reader *r, struct vmft_hello *hello);
} fields[] = {
    {VMFT_HELLO_VERSIONS, true, put_versions, get_versions},
    {VMFT_HELLO_FEATURES, false, put_features, get_features},
    {VMFT_HELLO_VM, true, put_vm, get_vm},
    {VMFT_HELLO_ROLE, true, put_role, get_role},
    {VMFT_HELLO_ATTACH, true, put_attach, get_attach},
    {VMFT_HELLO_HOST, true, put_host, get_host},
    {VMFT_HELLO_LOG_VERSION, true, put_log_version, get_log_version},
    {VMFT_HELLO_BUILD_ID, false, put_build_id, get_build_id},
    {VMFT_HELLO_MACHINE, false, put_machine, get_machine},
    {VMFT_HELLO_DISKS, false, put_disks, get_disks},
    {VMFT_HELLO_SILENCE, true, put_silence, get_silence},
    {VMFT_HELLO_GRACE, true, put_grace, get_grace},
    {VMFT_HELLO_TICKET, false, put_ticket, get_ticket},
    {VMFT_HELLO_RECORD, false, put_record, get_record},
    {VMFT_HELLO_TAPS, false, put_taps, get_taps},
    {VMFT_HELLO_IMAGES, false, put_images, get_images},
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

/* --- the payload ---------------------------------------------------------- */

size_t vmft_hello_encode(const struct vmft_hello *hello, uint8_t *payload)
{
	uint8_t *p = payload;

	for (size_t i = 0; i < FIELDS; i++) {
		uint8_t *value = p + FIELD_HEAD;
		uint8_t *end = fields[i].put(value, hello);

		if (end == value)
			continue;
		p = vmft_wire_put_u16(p, fields[i].tag);
		(void)vmft_wire_put_u16(p, (uint16_t)(end - value));
		p = end;
	}
	return (size_t)(p - payload);
}

/* The next field: its tag, and a reader of its value. False: there is none, or r has failed. */
static bool next_field(struct vmft_wire_reader *r, uint16_t *ret_tag,
		       struct vmft_wire_reader *ret_value)
{
	size_t n;

	if (r->left == 0)
		return false;
	*ret_tag = (uint16_t)vmft_wire_get(r, 2);
	n = vmft_wire_get(r, 2);
	if (n == 0 || n > r->left) {
		r->failed = -EBADMSG;
		r->left = 0;
		return false;
	}
	*ret_value = (struct vmft_wire_reader){.at = r->at, .left = n};
	r->at += n;
	r->left -= n;
	return true;
}

int vmft_hello_versions(const struct vmft_frame_info *frame, struct vmft_versions *ret)
{
	struct vmft_wire_reader r = {.at = frame->payload, .left = frame->length}, value;
	struct vmft_hello hello = {0};
	uint16_t tag;

	if (frame->version < TAGGED_FROM) {
		*ret = (struct vmft_versions){frame->version, frame->version};
		return 0;
	}
	if (!next_field(&r, &tag, &value) || tag != VMFT_HELLO_VERSIONS ||
	    !get_versions(&value, &hello) || vmft_wire_finish(&value) < 0)
		return -EBADMSG;
	*ret = hello.versions;
	return 0;
}

uint16_t vmft_hello_version(const struct vmft_versions *theirs)
{
	const uint16_t most =
	    theirs->highest < VMFT_FRAME_VERSION ? theirs->highest : VMFT_FRAME_VERSION;

	return most >= theirs->lowest && most >= VMFT_FRAME_VERSION_LOWEST ? most : 0;
}

/* Known tags from *i on: passes over those before tag, which are absent. NULL: tag is unknown. */
static const struct field *find(uint16_t tag, size_t *i, struct vmft_wire_reader *r)
{
	for (; *i < FIELDS && fields[*i].tag < tag; (*i)++)
		if (fields[*i].always)
			r->failed = -EBADMSG;
	return *i < FIELDS && fields[*i].tag == tag ? &fields[(*i)++] : NULL;
}

int vmft_hello_decode(const uint8_t *payload, size_t n, struct vmft_hello *ret)
{
	struct vmft_wire_reader r = {.at = payload, .left = n}, value;
	struct vmft_hello hello = {0};
	uint16_t tag, before = 0;
	size_t i = 0;

	if (n > VMFT_HELLO_BYTES_MAX)
		return -EBADMSG;
	while (next_field(&r, &tag, &value)) {
		const struct field *field;

		if (tag <= before)
			return -EBADMSG;
		before = tag;
		field = find(tag, &i, &r);
		if (field && (!field->get(&value, &hello) || vmft_wire_finish(&value) < 0))
			return -EBADMSG;
	}
	(void)find(UINT16_MAX, &i, &r);
	if (r.failed)
		return r.failed;
	*ret = hello;
	return 0;
}

/* --- features ------------------------------------------------------------- */

static uint64_t bits_of(const struct vmft_hello *hello)
{
	uint64_t bits = 0;

	for (uint8_t i = 0; i < hello->feature_count; i++)
		bits |= UINT64_C(1) << hello->feature[i].bit;
	return bits;
}

/* One that a side requires and the other does not have; NULL: there is none. */
static const struct vmft_feature *missing(const struct vmft_hello *from, uint64_t other)
{
	for (uint8_t i = 0; i < from->feature_count; i++)
		if (from->feature[i].required && !(other >> from->feature[i].bit & 1))
			return &from->feature[i];
	return NULL;
}

int vmft_hello_agree(const struct vmft_hello *ours, const struct vmft_hello *theirs,
		     uint64_t *ret_features, const struct vmft_feature **ret_missing)
{
	const struct vmft_feature *feature = missing(theirs, bits_of(ours));

	if (!feature)
		feature = missing(ours, bits_of(theirs));
	if (feature) {
		*ret_missing = feature;
		return -EPROTONOSUPPORT;
	}
	*ret_features = bits_of(ours) & bits_of(theirs);
	return 0;
}
