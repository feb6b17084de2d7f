/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rewrite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/common/exit-codes.h"

bool vmft_is_checkpoint(const struct vmft_rewrite *rw)
{
	return rw->out.strategy == VMFT_STRATEGY_CHECKPOINT;
}

static const struct {
	const char *lockstep, *checkpoint;
} wordings[] = {
    {VMFT_UNKNOWN, "not known to work with vmft"},
    {"on the list of replay-safe", "on the list of known"},
    {VMFT_UNLOGGED, "operations that come from outside would change the guest behind vmft's back"},
    {"a monitor's commands are not in the log",
     "a monitor's commands would change the guest behind vmft's back"},
    {VMFT_ONE_QUEUE, "vmft holds back the output of one queue only"},
    {"work in a thread of its own is not recorded",
     "work in a thread of its own is not known to work with vmft"},
    {"the device would be unplugged by the host, which is not recorded",
     "the device would be unplugged by the host when the guest's state is taken"},
    {"SCSI commands would pass the log by", "what SCSI commands write would not reach the backup"},
    {"another writer's changes are not in the log",
     "another writer's changes would not reach the backup"},
    {"the parallel port is not recorded", "the parallel port is not on the list"},
    {"a guest that is replayed", "a guest that is protected"},
    {"QEMU cannot record local time or a fixed date",
     "local time or a fixed date may be another one on the other host"},
    {"guest time must go on from the log when the backup goes live",
     "both hosts must take the time from the same clock"},
    {"vmft sets it, to record or to replay",
     "guest time from counted instructions is not known to work with vmft"},
    {"the log starts with the guest's first instruction", "vmft itself loads the guest's state"},
    {"nothing but the log may start or stop the guest", "vmft starts the guest when it may run"},
    {"without if= it is an IDE disk, not on the list",
     "without if= the board chooses the controller"},
};

const char *vmft_reworded(const struct vmft_rewrite *rw, const char *why)
{
	for (size_t i = 0; vmft_is_checkpoint(rw) && i < sizeof(wordings) / sizeof(wordings[0]);
	     i++) {
		const char *found = strstr(why, wordings[i].lockstep);

		if (found)
			return vmft_arena_printf(rw->arena, "%.*s%s%s", (int)(found - why), why,
						 wordings[i].checkpoint,
						 found + strlen(wordings[i].lockstep));
	}
	return why;
}

/* What only lockstep cannot do is not the end of it. */
static const char *way_out(const struct vmft_rewrite *rw, const char *why)
{
	if (strcmp(why, VMFT_NO_KVM) != 0 && strcmp(why, VMFT_ONE_CPU) != 0)
		return "";
	if (!rw->scan.kvm && rw->scan.processors <= 1)
		return "";
	return ", or write strategy = checkpoint or auto in the pair file";
}

int vmft_refuse(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *why,
		const char *todo)
{
	return vmft_error_set(rw->err, -EINVAL, VMFT_EXIT_UNPROTECTED, "-%s%s%.160s: %s; %s%s",
			      arg->option->name, arg->text ? " " : "", arg->text ? arg->text : "",
			      vmft_reworded(rw, why), todo, way_out(rw, why));
}

const struct vmft_key_rule *vmft_rule_find(const struct vmft_key_rule *rules, const char *key)
{
	for (; rules->key; rules++)
		if (strcmp(rules->key, key) == 0)
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

int vmft_check_keys(struct vmft_rewrite *rw, const struct vmft_arg *arg,
		    const struct vmft_key_rule *rules)
{
	for (size_t i = 0; i < arg->set->count; i++) {
		const struct vmft_opt *opt = &arg->set->items[i];
		const struct vmft_key_rule *rule = vmft_rule_find(rules, opt->key);
		const char *todo = vmft_arena_printf(rw->arena, "leave out %s", opt->key);
		const char *why = vmft_arena_printf(rw->arena, "%s=%s is %s", opt->key, opt->value,
						    vmft_reworded(rw, VMFT_UNKNOWN));

		if (!rule)
			return vmft_refuse(rw, arg, why, todo);
		if (!rule->values || vmft_value_in(opt->value, rule->values))
			continue;
		if (rule->values[0])
			todo = vmft_arena_printf(rw->arena, "use %s=%s", opt->key,
						 spell_values(rw->arena, rule->values));
		return vmft_refuse(rw, arg, rule->reason ? rule->reason : why, todo);
	}
	return 0;
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

		if (!vmft_rule_find(rules, opt->key)->hidden)
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
