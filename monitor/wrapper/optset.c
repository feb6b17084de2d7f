/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "optset.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#define JSON_DEPTH_MAX 8

static struct vmft_opt *find(const struct vmft_optset *set, const char *key)
{
	for (size_t i = 0; i < set->count; i++)
		if (strcmp(set->items[i].key, key) == 0)
			return &set->items[i];
	return NULL;
}

static void append(struct vmft_optset *set, const char *key, const char *value,
		   enum vmft_value_type type)
{
	struct vmft_opt *items;

	if (set->count == set->capacity) {
		set->capacity = set->capacity ? 2 * set->capacity : 8;
		items = vmft_arena_alloc(set->arena, set->capacity, sizeof(*items));
		if (set->count)
			memcpy(items, set->items, set->count * sizeof(*items));
		set->items = items;
	}
	set->items[set->count++] = (struct vmft_opt){.key = key, .value = value, .type = type};
}

static int append_new(struct vmft_optset *set, const char *key, const char *value,
		      enum vmft_value_type type, const char **ret_problem)
{
	if (find(set, key)) {
		*ret_problem = "a key is given twice";
		return -EINVAL;
	}
	append(set, key, value, type);
	return 0;
}

/* Takes a value up to a lone comma, ",," being one comma of the value; returns what follows. */
static const char *take_value(struct vmft_arena *arena, const char *p, const char **ret)
{
	char *value = vmft_arena_alloc(arena, strlen(p) + 1, 1);
	size_t len = 0;

	for (; *p; p++) {
		if (*p == ',' && *++p != ',')
			break;
		value[len++] = *p;
	}
	*ret = value;
	return p;
}

/* QEMU's short form of a flag: "server" is server=on, "nowait" is wait=off. */
static int append_flag(struct vmft_optset *set, const char *p, size_t len, const char **ret_problem)
{
	bool off = len > 2 && strncmp(p, "no", 2) == 0;
	const char *key = vmft_arena_copy(set->arena, p + 2 * off, len - 2 * off);

	return append_new(set, key, off ? "off" : "on", VMFT_VALUE_BOOL, ret_problem);
}

static int parse_item(struct vmft_optset *set, const char **p, const char *implied_key,
		      const char **ret_problem)
{
	size_t len = strcspn(*p, "=,");
	const char *start = *p, *value;
	bool bare = start[len] != '=';

	if (bare && set->count == 0 && implied_key) {
		*p = take_value(set->arena, start, &value);
		set->bare_first = true;
		return append_new(set, implied_key, value, VMFT_VALUE_TEXT, ret_problem);
	}
	if (len == 0) {
		*ret_problem = "an empty key";
		return -EINVAL;
	}
	if (bare) {
		*p = start + len + (start[len] == ',');
		return append_flag(set, start, len, ret_problem);
	}
	*p = take_value(set->arena, start + len + 1, &value);
	return append_new(set, vmft_arena_copy(set->arena, start, len), value, VMFT_VALUE_TEXT,
			  ret_problem);
}

static int parse_text(struct vmft_optset *set, const char *text, const char *implied_key,
		      const char **ret_problem)
{
	while (*text) {
		int r = parse_item(set, &text, implied_key, ret_problem);

		if (r < 0)
			return r;
	}
	return 0;
}

static int flatten_object(struct vmft_optset *set, const char *prefix, json_object *object,
			  const char **ret_problem);
static int flatten_array(struct vmft_optset *set, const char *key, json_object *array,
			 const char **ret_problem);

static int flatten_string(struct vmft_optset *set, const char *key, json_object *value,
			  const char **ret_problem)
{
	size_t len = (size_t)json_object_get_string_len(value);
	const char *text = json_object_get_string(value);

	/* \u0000 would end the value early here but not in the JSON QEMU is given. */
	if (strlen(text) != len) {
		*ret_problem = "a zero byte in a JSON string";
		return -EINVAL;
	}
	return append_new(set, key, vmft_arena_copy(set->arena, text, len), VMFT_VALUE_TEXT,
			  ret_problem);
}

static int flatten_value(struct vmft_optset *set, const char *key, json_object *value,
			 const char **ret_problem)
{
	const char *text;

	switch (json_object_get_type(value)) {
	case json_type_object:
		if (json_object_object_length(value) == 0)
			return append_new(set, key, "{}", VMFT_VALUE_EMPTY_OBJECT, ret_problem);
		return flatten_object(set, vmft_arena_printf(set->arena, "%s.", key), value,
				      ret_problem);
	case json_type_string:
		return flatten_string(set, key, value, ret_problem);
	case json_type_boolean:
		text = json_object_get_boolean(value) ? "on" : "off";
		return append_new(set, key, text, VMFT_VALUE_BOOL, ret_problem);
	case json_type_int:
		text = vmft_arena_printf(set->arena, "%" PRId64, json_object_get_int64(value));
		return append_new(set, key, text, VMFT_VALUE_INT, ret_problem);
	case json_type_array:
		return flatten_array(set, key, value, ret_problem);
	case json_type_null:
		return append_new(set, key, "null", VMFT_VALUE_NULL, ret_problem);
	case json_type_double:
		break;
	}
	*ret_problem = "a JSON number that is no integer";
	return -EINVAL;
}

static int flatten_object(struct vmft_optset *set, const char *prefix, json_object *object,
			  const char **ret_problem)
{
	json_object_object_foreach(object, name, value)
	{
		int r;

		if (name[0] == '\0' || strpbrk(name, ".|")) {
			*ret_problem = "a JSON key that is empty, or has a dot or a bar";
			return -EINVAL;
		}
		r = flatten_value(set, vmft_arena_printf(set->arena, "%s%s", prefix, name), value,
				  ret_problem);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The key of the array itself is kept: format_json() makes an array again of what is below it. */
static int flatten_array(struct vmft_optset *set, const char *key, json_object *array,
			 const char **ret_problem)
{
	const size_t count = json_object_array_length(array);
	int r = 0;

	if (count == 0)
		return append_new(set, key, "[]", VMFT_VALUE_EMPTY_ARRAY, ret_problem);
	set->arrays = vmft_arena_printf(set->arena, "%s|%s", set->arrays ? set->arrays : "", key);
	for (size_t i = 0; i < count && r == 0; i++)
		r = flatten_value(set, vmft_arena_printf(set->arena, "%s.%zu", key, i),
				  json_object_array_get_idx(array, i), ret_problem);
	return r;
}

static int parse_json(struct vmft_optset *set, const char *text, const char **ret_problem)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH_MAX);
	json_object *object;
	int r = -EINVAL;

	set->json = true;
	*ret_problem = "bad JSON";
	if (!tokener)
		return -ENOMEM;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With its terminating zero: that is how json-c knows a trailing byte from more input. */
	object = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
	if (object && json_object_is_type(object, json_type_object))
		r = flatten_object(set, "", object, ret_problem);
	(void)json_object_put(object);
	json_tokener_free(tokener);
	return r;
}

int vmft_optset_parse(struct vmft_arena *arena, const char *text, const char *implied_key,
		      struct vmft_optset *ret, const char **ret_problem)
{
	struct vmft_optset set = {.arena = arena};
	int r;

	if (text[0] == '{')
		r = parse_json(&set, text, ret_problem);
	else
		r = parse_text(&set, text, implied_key, ret_problem);
	if (r < 0)
		return r;
	*ret = set;
	return 0;
}

const char *vmft_optset_get(const struct vmft_optset *set, const char *key)
{
	const struct vmft_opt *opt = find(set, key);

	return opt ? opt->value : NULL;
}

static void set_typed(struct vmft_optset *set, const char *key, const char *value,
		      enum vmft_value_type type)
{
	struct vmft_opt *opt = find(set, key);

	if (!opt) {
		append(set, key, value, type);
		return;
	}
	opt->value = value;
	opt->type = type;
}

void vmft_optset_set(struct vmft_optset *set, const char *key, const char *value)
{
	set_typed(set, key, value, VMFT_VALUE_TEXT);
}

void vmft_optset_set_int(struct vmft_optset *set, const char *key, int64_t value)
{
	set_typed(set, key, vmft_arena_printf(set->arena, "%" PRId64, value), VMFT_VALUE_INT);
}

void vmft_optset_set_opt(struct vmft_optset *set, const struct vmft_opt *opt)
{
	set_typed(set, opt->key, opt->value, opt->type);
}

void vmft_optset_set_bool(struct vmft_optset *set, const char *key, bool value)
{
	set_typed(set, key, value ? "on" : "off", VMFT_VALUE_BOOL);
}

void vmft_optset_remove(struct vmft_optset *set, const char *key)
{
	struct vmft_opt *opt = find(set, key);
	size_t index;

	if (!opt)
		return;
	index = (size_t)(opt - set->items);
	if (index == 0)
		set->bare_first = false;
	set->count--;
	memmove(opt, opt + 1, (set->count - index) * sizeof(*opt));
}

static json_object *json_value(const struct vmft_opt *opt)
{
	switch (opt->type) {
	case VMFT_VALUE_BOOL:
		return json_object_new_boolean(strcmp(opt->value, "on") == 0);
	case VMFT_VALUE_INT:
		return json_object_new_int64(strtoimax(opt->value, NULL, 10));
	case VMFT_VALUE_NULL:
		return NULL;
	case VMFT_VALUE_EMPTY_ARRAY:
		return json_object_new_array();
	case VMFT_VALUE_EMPTY_OBJECT:
		return json_object_new_object();
	case VMFT_VALUE_TEXT:
		break;
	}
	return json_object_new_string(opt->value);
}

/* True if the first len bytes of key are the name of an array. */
static bool is_array(const struct vmft_optset *set, const char *key, size_t len)
{
	for (const char *p = set->arrays; p && *p; p += strcspn(p, "|")) {
		p++;
		if (strcspn(p, "|") == len && strncmp(p, key, len) == 0)
			return true;
	}
	return false;
}

static json_object *json_child(json_object *parent, const char *name)
{
	json_object *child = NULL;

	if (json_object_is_type(parent, json_type_array))
		return json_object_array_get_idx(parent, strtoul(name, NULL, 10));
	(void)json_object_object_get_ex(parent, name, &child);
	return child;
}

/* The elements of an array come in the order of their numbers. */
static void json_store(json_object *parent, const char *name, json_object *value)
{
	if (json_object_is_type(parent, json_type_array))
		(void)json_object_array_add(parent, value);
	else
		(void)json_object_object_add(parent, name, value);
}

/* Puts a dotted key back where it came from, making the objects and arrays on the way. */
static void json_put(const struct vmft_optset *set, json_object *object, const struct vmft_opt *opt)
{
	const char *key = opt->key, *dot;

	while ((dot = strchr(key, '.')) != NULL) {
		const char *name = vmft_arena_copy(set->arena, key, (size_t)(dot - key));
		json_object *child = json_child(object, name);

		if (!child) {
			child = is_array(set, opt->key, (size_t)(dot - opt->key))
				    ? json_object_new_array()
				    : json_object_new_object();
			json_store(object, name, child);
		}
		object = child;
		key = dot + 1;
	}
	json_store(object, key, json_value(opt));
}

static const char *format_json(const struct vmft_optset *set)
{
	json_object *object = json_object_new_object();
	const char *text;

	for (size_t i = 0; i < set->count; i++)
		json_put(set, object, &set->items[i]);
	text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
							  JSON_C_TO_STRING_NOSLASHESCAPE);
	text = vmft_arena_copy(set->arena, text, strlen(text));
	(void)json_object_put(object);
	return text;
}

static const char *escape_commas(struct vmft_arena *arena, const char *value)
{
	char *escaped = vmft_arena_alloc(arena, 2 * strlen(value) + 1, 1);
	size_t len = 0;

	for (; *value; value++) {
		escaped[len++] = *value;
		if (*value == ',')
			escaped[len++] = ',';
	}
	return escaped;
}

const char *vmft_optset_format(const struct vmft_optset *set)
{
	const char *text = "";

	if (set->json)
		return format_json(set);
	for (size_t i = 0; i < set->count; i++) {
		const char *value = escape_commas(set->arena, set->items[i].value);
		const char *comma = i ? "," : "";

		if (i == 0 && set->bare_first)
			text = value;
		else
			text = vmft_arena_printf(set->arena, "%s%s%s=%s", text, comma,
						 set->items[i].key, value);
	}
	return text;
}
