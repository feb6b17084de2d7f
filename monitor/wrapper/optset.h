/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The argument of one QEMU option, in either of QEMU's two spellings: key=value,key=value
 * with ",," for a comma, or a JSON object. Nested objects are flattened to dotted keys, and so are
 * arrays: their elements have the keys 0, 1, ... as in QEMU's own dotted form.
 */
#ifndef VMFT_OPTSET_H
#define VMFT_OPTSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

enum vmft_value_type {
	VMFT_VALUE_TEXT,
	VMFT_VALUE_BOOL, /* value is "on" or "off" */
	VMFT_VALUE_INT,
	VMFT_VALUE_NULL,	 /* value is "null" */
	VMFT_VALUE_EMPTY_ARRAY,	 /* value is "[]" */
	VMFT_VALUE_EMPTY_OBJECT, /* value is "{}" */
};

struct vmft_opt {
	const char *key;
	const char *value;
	enum vmft_value_type type; /* how JSON spells it; key=value has one spelling */
};

struct vmft_optset {
	struct vmft_arena *arena; /* of everything below, and of what is set later */
	struct vmft_opt *items;
	size_t count;
	size_t capacity;
	const char *arrays; /* "|KEY|KEY": the keys of JSON arrays that are not empty; or NULL */
	bool json;
	bool bare_first; /* the first key was implied, not written */
};

/*
 * implied_key names the first value when it has no key ("driver" for -device), or is NULL.
 * Returns -EINVAL with *ret_problem a string constant on bad syntax, a repeated key, a number
 * that is no integer.
 */
int vmft_optset_parse(struct vmft_arena *arena, const char *text, const char *implied_key,
		      struct vmft_optset *ret, const char **ret_problem);

/* NULL when the key is not there. */
const char *vmft_optset_get(const struct vmft_optset *set, const char *key);

/* Replaces the value or appends the key. The strings are not copied. */
void vmft_optset_set(struct vmft_optset *set, const char *key, const char *value);
void vmft_optset_set_int(struct vmft_optset *set, const char *key, int64_t value);
/* The same with a value of another set, and its type. */
void vmft_optset_set_opt(struct vmft_optset *set, const struct vmft_opt *opt);
void vmft_optset_set_bool(struct vmft_optset *set, const char *key, bool value);

void vmft_optset_remove(struct vmft_optset *set, const char *key);

/* In the spelling it was parsed from; in the set's arena. */
const char *vmft_optset_format(const struct vmft_optset *set);

#endif
