/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "optset.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
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
	case json_type_null:
	case json_type_double:
	case json_type_array:
		break;
	}
	*ret_problem = "a JSON value that is no string, bool, integer or object";
	return -EINVAL;
}

static int flatten_object(struct vmft_optset *set, const char *prefix, json_object *object,
			  const char **ret_problem)
{
	json_object_object_foreach(object, name, value)
	{
		int r;

		if (name[0] == '\0' || strchr(name, '.')) {
			*ret_problem = "a JSON key that is empty or has a dot";
			return -EINVAL;
		}
		r = flatten_value(set, vmft_arena_printf(set->arena, "%s%s", prefix, name), value,
				  ret_problem);
		if (r < 0)
			return r;
	}
	return 0;
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
	case VMFT_VALUE_TEXT:
		break;
	}
	return json_object_new_string(opt->value);
}

/* Puts a dotted key back where it came from, making the objects on the way. */
static void json_put(struct vmft_arena *arena, json_object *object, const struct vmft_opt *opt)
{
	const char *key = opt->key, *dot;

	while ((dot = strchr(key, '.')) != NULL) {
		const char *name = vmft_arena_copy(arena, key, (size_t)(dot - key));
		json_object *child;

		if (!json_object_object_get_ex(object, name, &child)) {
			child = json_object_new_object();
			(void)json_object_object_add(object, name, child);
		}
		object = child;
		key = dot + 1;
	}
	(void)json_object_object_add(object, key, json_value(opt));
}

static const char *format_json(const struct vmft_optset *set)
{
	json_object *object = json_object_new_object();
	const char *text;

	for (size_t i = 0; i < set->count; i++)
		json_put(set->arena, object, &set->items[i]);
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
