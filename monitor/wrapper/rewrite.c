/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rewrite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/exit-codes.h"

const char *vmft_unknown(const struct vmft_rewrite *rw)
{
	return rw->rules->words(&rw->rules->unknown);
}

static int refuse(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *why,
		  const char *todo, const char *way_out)
{
	struct vmft_error err;

	(void)vmft_error_set(&err, -EINVAL, VMFT_EXIT_UNPROTECTED, "-%s%s%.160s: %s; %s%s",
			     arg->option->name, arg->text ? " " : "", arg->text ? arg->text : "",
			     why, todo, way_out);
	return vmft_report_refuse(rw->report, &err);
}

void vmft_replaced(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *text)
{
	vmft_report_replaced(rw->report, vmft_arena_printf(rw->arena, "-%s%s%.160s: %s",
							   arg->option->name, arg->text ? " " : "",
							   arg->text ? arg->text : "", text));
}

int vmft_refuse(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *why,
		const char *todo)
{
	return refuse(rw, arg, why, todo, "");
}

int vmft_refuse_for(struct vmft_rewrite *rw, const struct vmft_arg *arg,
		    const struct vmft_reason *why, const char *todo)
{
	const bool could = why->checkpoint_can && (rw->scan.kvm || rw->scan.processors > 1);

	return refuse(rw, arg, rw->rules->words(why), todo,
		      could ? ", or write strategy = checkpoint or auto in the pair file" : "");
}

const struct vmft_key_rule *vmft_rule_find(const struct vmft_key_rule *rules, const char *key)
{
	for (; rules->key; rules++)
		if (strcmp(rules->key, key) == 0 ||
		    (strcmp(rules->key, VMFT_ANY_KEY) == 0 && strncmp(key, "x-", 2) != 0))
			return rules;
	return NULL;
}

bool vmft_value_in(const char *value, const char *values)
{
	size_t len = strlen(value);

	for (const char *p = values;; p++) {
		size_t n = strcspn(p, "|");

		if (n == len && strncmp(p, value, n) == 0)
			return true;
		p += n;
		if (*p == '\0')
			return false;
	}
}

/* "a|b" as a sentence has it: "a or b". */
static const char *spell_values(struct vmft_arena *arena, const char *values)
{
	size_t n = strcspn(values, "|");
	const char *first = vmft_arena_copy(arena, values, n);

	if (values[n] == '\0')
		return first;
	return vmft_arena_printf(arena, "%s or %s", first, spell_values(arena, values + n + 1));
}

static int check_key(struct vmft_rewrite *rw, const struct vmft_arg *arg,
		     const struct vmft_opt *opt, const struct vmft_key_rule *rule)
{
	const char *todo = vmft_arena_printf(rw->arena, "leave out %s", opt->key);
	const char *why =
	    vmft_arena_printf(rw->arena, "%s=%s is %s", opt->key, opt->value, vmft_unknown(rw));

	if (!rule)
		return vmft_refuse(rw, arg, why, todo);
	if (!rule->values || vmft_value_in(opt->value, rule->values))
		return 0;
	if (rule->values[0])
		todo = vmft_arena_printf(rw->arena, "use %s=%s", opt->key,
					 spell_values(rw->arena, rule->values));
	if (!rule->reason.text)
		return vmft_refuse(rw, arg, why, todo);
	return vmft_refuse_for(rw, arg, &rule->reason, todo);
}

int vmft_check_keys(struct vmft_rewrite *rw, const struct vmft_arg *arg,
		    const struct vmft_key_rule *rules)
{
	int r = 0;

	for (size_t i = 0; i < arg->set->count; i++) {
		const struct vmft_opt *opt = &arg->set->items[i];
		int one = check_key(rw, arg, opt, vmft_rule_find(rules, opt->key));

		r = r < 0 ? r : one;
	}
	return r;
}

const char *vmft_get(const struct vmft_arg *arg, const char *key)
{
	return vmft_optset_get(arg->set, key);
}

bool vmft_is_on(const struct vmft_arg *arg, const char *key)
{
	const char *value = vmft_get(arg, key);

	return value && vmft_value_in(value, "on|yes|true|y");
}

void vmft_add(struct vmft_rewrite *rw, const char *option, const char *argument)
{
	rw->added[rw->added_count++] = vmft_arena_copy(rw->arena, option, strlen(option));
	if (argument)
		rw->added[rw->added_count++] =
		    vmft_arena_copy(rw->arena, argument, strlen(argument));
}

/* One word per value, so that no value can look like another line or key. */
static const char *escape(struct vmft_arena *arena, const char *value)
{
	static const char hex[] = "0123456789abcdef";
	char *text = vmft_arena_alloc(arena, 3 * strlen(value) + 1, 1);
	char *p = text;

	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		if (c > 0x20 && c < 0x7f && c != '%') {
			*p++ = *value;
			continue;
		}
		*p++ = '%';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	return text;
}

void vmft_fact(struct vmft_rewrite *rw, const char *what, const char *value)
{
	rw->facts[rw->fact_count++] = vmft_arena_printf(
	    rw->arena, "%s%s%s\n", what, value[0] ? " " : "", escape(rw->arena, value));
}

void vmft_fact_ordered(struct vmft_rewrite *rw, const char *line)
{
	rw->ordered[rw->ordered_count++] = vmft_arena_printf(rw->arena, "%s\n", line);
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *join(struct vmft_arena *arena, const char *text, const char **lines,
			size_t count)
{
	for (size_t i = 0; i < count; i++)
		text = vmft_arena_printf(arena, "%s%s", text, lines[i]);
	return text;
}

const char *vmft_fact_keys(struct vmft_rewrite *rw, const char *what, const struct vmft_arg *arg,
			   const struct vmft_key_rule *rules)
{
	const char **words = vmft_arena_alloc(rw->arena, arg->set->count + 1, sizeof(*words));
	size_t count = 0;

	for (size_t i = 0; i < arg->set->count; i++) {
		const struct vmft_opt *opt = &arg->set->items[i];
		const struct vmft_key_rule *rule = vmft_rule_find(rules, opt->key);

		/* A key without a rule is refused already. */
		if (rule && !rule->hidden)
			words[count++] = vmft_arena_printf(rw->arena, " %s=%s", opt->key,
							   escape(rw->arena, opt->value));
	}
	qsort(words, count, sizeof(*words), compare_texts);
	return join(rw->arena, what, words, count);
}

const char *vmft_machine_text(struct vmft_rewrite *rw)
{
	const char *text;

	qsort(rw->facts, rw->fact_count, sizeof(*rw->facts), compare_texts);
	text = join(rw->arena, "vmft machine 1\n", rw->facts, rw->fact_count);
	return join(rw->arena, text, rw->ordered, rw->ordered_count);
}
