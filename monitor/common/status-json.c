/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "status-json.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1e6

static const char *const quantile_suffix[] = {"_p50", "_p99", "_max"};
static const size_t quantile_offset[] = {
    offsetof(struct vmft_status_quantiles, p50),
    offsetof(struct vmft_status_quantiles, p99),
    offsetof(struct vmft_status_quantiles, max),
};

#define QUANTILES (sizeof(quantile_suffix) / sizeof(quantile_suffix[0]))

static void quantile_key(const struct vmft_status_field *field, size_t i, char *key, size_t size)
{
	(void)snprintf(key, size, "%s%s", field->name, quantile_suffix[i]);
}

/* --- to JSON --------------------------------------------------------------------- */

static void encode_table(const struct vmft_status_field *table, const uint8_t *base, uint32_t parts,
			 struct json_object *object);

static uint64_t number_at(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static struct json_object *span_new(uint64_t nanoseconds)
{
	const double ms = (double)nanoseconds / NS_PER_MS;
	char text[32];

	(void)snprintf(text, sizeof(text), "%.3f", ms);
	return json_object_new_double_s(ms, text);
}

static void encode_quantiles(const struct vmft_status_field *field, const uint8_t *at,
			     struct json_object *object)
{
	char key[64];

	for (size_t i = 0; i < QUANTILES; i++) {
		const uint64_t value = number_at(at + quantile_offset[i]);

		quantile_key(field, i, key, sizeof(key));
		json_object_object_add(object, key,
				       field->type == VMFT_STATUS_QUANTILES
					   ? json_object_new_uint64(value)
					   : span_new(value));
	}
}

static struct json_object *list_new(const struct vmft_status_field *field, const uint8_t *base)
{
	struct json_object *list = json_object_new_array();
	const uint64_t count = number_at(base + field->count_offset);

	for (uint64_t i = 0; i < count && i < field->max; i++) {
		struct json_object *element = json_object_new_object();

		encode_table(field->inside, base + field->offset + i * field->size, 0, element);
		json_object_array_add(list, element);
	}
	return list;
}

static struct json_object *value_new(const struct vmft_status_field *field, const uint8_t *base)
{
	const uint8_t *at = base + field->offset;
	struct json_object *inside;

	switch (field->type) {
	case VMFT_STATUS_TEXT:
		if (field->null && *at == '\0')
			return NULL;
		return json_object_new_string((const char *)at);
	case VMFT_STATUS_BOOL:
		return json_object_new_boolean(*(const bool *)at);
	case VMFT_STATUS_SPAN:
		return span_new(number_at(at));
	case VMFT_STATUS_OBJECT:
		inside = json_object_new_object();
		encode_table(field->inside, at, 0, inside);
		return inside;
	case VMFT_STATUS_LIST:
		return list_new(field, base);
	default:
		return json_object_new_uint64(number_at(at));
	}
}

static void encode_table(const struct vmft_status_field *table, const uint8_t *base, uint32_t parts,
			 struct json_object *object)
{
	for (const struct vmft_status_field *field = table; field->name; field++) {
		const bool there = field->part == 0 || (field->part & parts) != 0;

		if (there && (field->type == VMFT_STATUS_QUANTILES ||
			      field->type == VMFT_STATUS_SPAN_QUANTILES))
			encode_quantiles(field, base + field->offset, object);
		else if (there)
			json_object_object_add(object, field->name, value_new(field, base));
		else if (field->null)
			json_object_object_add(object, field->name, NULL);
	}
}

void vmft_status_encode(const struct vmft_status *status, struct json_object *object)
{
	encode_table(vmft_status_fields, (const uint8_t *)status, status->parts, object);
}

/* --- and back -------------------------------------------------------------------- */

static void decode_table(const struct vmft_status_field *table, struct json_object *object,
			 uint8_t *base, uint32_t *parts);

static uint64_t number_of(struct json_object *value, double factor)
{
	const double number = json_object_get_double(value) * factor;

	/* Also not a number at all. */
	if (!(number > 0))
		return 0;
	if (number >= VMFT_STATUS_NUMBER_MAX)
		return (uint64_t)VMFT_STATUS_NUMBER_MAX;
	/* A double is exact up to 2^53 only. */
	if (factor == 1 && json_object_is_type(value, json_type_int))
		return json_object_get_uint64(value);
	return (uint64_t)(number + 0.5);
}

static void put_number(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void put_text(const struct vmft_status_field *field, struct json_object *value, uint8_t *at)
{
	char *text = (char *)at;

	(void)snprintf(text, field->size, "%s", json_object_get_string(value));
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static bool decode_quantiles(const struct vmft_status_field *field, struct json_object *object,
			     uint8_t *at)
{
	const double factor = field->type == VMFT_STATUS_QUANTILES ? 1 : NS_PER_MS;
	struct json_object *value;
	bool there = false;
	char key[64];

	for (size_t i = 0; i < QUANTILES; i++) {
		quantile_key(field, i, key, sizeof(key));
		if (!json_object_object_get_ex(object, key, &value) || !value)
			continue;
		put_number(at + quantile_offset[i], number_of(value, factor));
		there = true;
	}
	return there;
}

/* The last ones of a list that is too long. */
static void decode_list(const struct vmft_status_field *field, struct json_object *value,
			uint8_t *base)
{
	const size_t n = json_object_array_length(value);
	const size_t first = n > field->max ? n - field->max : 0;

	for (size_t i = first; i < n; i++) {
		struct json_object *element = json_object_array_get_idx(value, i);

		if (json_object_is_type(element, json_type_object))
			decode_table(field->inside, element,
				     base + field->offset + (i - first) * field->size, NULL);
	}
	put_number(base + field->count_offset, n - first);
}

static void decode_value(const struct vmft_status_field *field, struct json_object *value,
			 uint8_t *base)
{
	uint8_t *at = base + field->offset;

	switch (field->type) {
	case VMFT_STATUS_TEXT:
		put_text(field, value, at);
		return;
	case VMFT_STATUS_BOOL:
		*(bool *)at = json_object_get_boolean(value);
		return;
	case VMFT_STATUS_SPAN:
		put_number(at, number_of(value, NS_PER_MS));
		return;
	case VMFT_STATUS_OBJECT:
		if (json_object_is_type(value, json_type_object))
			decode_table(field->inside, value, at, NULL);
		return;
	case VMFT_STATUS_LIST:
		if (json_object_is_type(value, json_type_array))
			decode_list(field, value, base);
		return;
	default:
		put_number(at, number_of(value, 1));
	}
}

static void decode_table(const struct vmft_status_field *table, struct json_object *object,
			 uint8_t *base, uint32_t *parts)
{
	for (const struct vmft_status_field *field = table; field->name; field++) {
		struct json_object *value = NULL;
		bool there;

		if (field->type == VMFT_STATUS_QUANTILES ||
		    field->type == VMFT_STATUS_SPAN_QUANTILES)
			there = decode_quantiles(field, object, base + field->offset);
		else
			there = json_object_object_get_ex(object, field->name, &value) && value;
		if (value)
			decode_value(field, value, base);
		if (there && parts)
			*parts |= field->part;
	}
}

void vmft_status_decode(struct json_object *object, struct vmft_status *ret)
{
	memset(ret, 0, sizeof(*ret));
	decode_table(vmft_status_fields, object, (uint8_t *)ret, &ret->parts);
}
