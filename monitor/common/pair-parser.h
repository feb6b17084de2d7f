/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of the pair file's parser share; nobody else includes this. pair-config.c reads
 * lines and sections, pair-keys.c has the keys and what each may hold, pair-checks.c what must
 * be true of several of them together.
 */
#ifndef VMFT_PAIR_PARSER_H
#define VMFT_PAIR_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ini.h"
#include "pair-config.h"

#define VMFT_PAIR_KEYS_MAX 40u /* of one kind of section */

/* A section of the file: [pair], or one of the hosts'. */
struct vmft_pair_section {
	int line;			  /* where it opened; 0: it did not */
	int key_line[VMFT_PAIR_KEYS_MAX]; /* where keys[i] was given; 0: it was not */
};

/* What one parse carries from line to line. */
struct vmft_pair_parser {
	const char *path;
	const char *text;
	size_t size;
	int line; /* that a refusal names, counted from 1 */
	struct vmft_pair_section pair;
	struct vmft_pair_section host[VMFT_HOST_COUNT];
	struct vmft_pair_section *section; /* the lines are in; NULL before the first */
	bool named;			   /* hosts are given as [host NAME] */
	struct vmft_pair_config config;
	struct vmft_error *err;
	struct vmft_ini ini;
};

/* A setting that is a number. */
struct vmft_pair_number {
	uint64_t min, max;
	uint64_t otherwise; /* the default; UINT64_MAX: it follows from another key */
	const char *unit;   /* "ms", "MiB", ...; "" if it is a count */
	bool power_of_two;
};

struct vmft_pair_key;
typedef int vmft_pair_set_fn(struct vmft_pair_parser *p, const struct vmft_pair_key *key,
			     const char *value, void *field);

struct vmft_pair_key {
	const char *name;
	vmft_pair_set_fn *set;
	size_t field; /* offset in struct vmft_pair_config, a host's in struct vmft_pair_side */
	size_t size;  /* of the field */
	struct vmft_pair_number number; /* of a number */
	const char *words;   /* of a choice: "a|b", as the field's enum has them; the first is the
			      * default */
	const char *example; /* a line with it, if the key is required; else NULL */
};

/* Each list ends with a NULL name. */
extern const struct vmft_pair_key vmft_pair_keys[];	 /* of [pair] */
extern const struct vmft_pair_key vmft_pair_host_keys[]; /* of a host's section */

/* -EINVAL: "FILE:LINE: what 'value'; todo". */
int vmft_pair_refuse(struct vmft_pair_parser *p, const char *what, const char *value,
		     const char *todo);

void vmft_pair_fill_defaults(struct vmft_pair_config *config);

/* Where a key of [pair] was given, of several the last; 0: none was. names: "a|b". */
int vmft_pair_line_of(const struct vmft_pair_parser *p, const char *names);

/* After all lines were read: what is missing, and what does not fit together. */
int vmft_pair_check(struct vmft_pair_parser *p);

#endif
