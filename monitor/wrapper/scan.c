/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scan.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

/* 0 when the key is not there. */
static bool read_count(const struct vmft_optset *set, const char *key, unsigned *ret)
{
	const char *value = vmft_optset_get(set, key);
	size_t len;

	*ret = 0;
	if (!value)
		return true;
	len = strlen(value);
	if (len == 0 || len > 3 || strspn(value, "0123456789") != len)
		return false;
	*ret = (unsigned)strtoul(value, NULL, 10);
	return *ret > 0;
}

bool vmft_smp_read(const struct vmft_optset *set, struct vmft_smp *ret)
{
	static const char *const levels[] = {"sockets", "cores", "threads", "dies", "clusters"};
	uint64_t product = 1;
	size_t named = 0; /* of the first three, which QEMU works out when they are not given */

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		unsigned count;

		if (!read_count(set, levels[i], &count))
			return false;
		product *= count ? count : 1;
		named += i < 3 && count;
	}
	if (!read_count(set, "cpus", &ret->cpus) || !read_count(set, "maxcpus", &ret->maxcpus))
		return false;
	if (ret->maxcpus == 0)
		ret->maxcpus = ret->cpus;
	if (ret->maxcpus == 0) {
		ret->maxcpus = product > 999 ? 999 : (unsigned)product;
		named = 3;
	}
	if (ret->cpus == 0)
		ret->cpus = ret->maxcpus;
	ret->fits = named == 3 ? product == ret->maxcpus : ret->maxcpus % product == 0;
	return true;
}

static void scan_machine(const struct vmft_optset *set, struct vmft_scan *ret)
{
	const char *type = vmft_optset_get(set, "type");

	if (type && strcmp(type, "microvm") == 0)
		ret->microvm = true;
	if (type && (strcmp(type, "q35") == 0 || strncmp(type, "pc-q35-", 7) == 0))
		ret->q35 = true;
}

static void scan_accel(const struct vmft_optset *set, struct vmft_scan *ret)
{
	const char *accel = vmft_optset_get(set, "accel");

	/* "kvm:tcg": QEMU takes the first one that works. Which one that is vmft has to know. */
	if (accel && (strcmp(accel, "kvm") == 0 || (strstr(accel, "kvm") && ret->has_kvm)))
		ret->kvm = true;
}

static void scan_smp(const struct vmft_optset *set, struct vmft_scan *ret)
{
	struct vmft_smp smp;

	if (vmft_smp_read(set, &smp))
		ret->processors = smp.maxcpus > smp.cpus ? smp.maxcpus : smp.cpus;
}

static void scan_argument(struct vmft_arena *arena, const struct vmft_option *option,
			  const char *text, struct vmft_scan *ret)
{
	struct vmft_optset set;
	const char *problem;

	if (!vmft_value_in(option->name, "machine|M|accel|smp") ||
	    vmft_optset_parse(arena, text, option->implied_key, &set, &problem) < 0)
		return;
	scan_machine(&set, ret);
	scan_accel(&set, ret);
	if (strcmp(option->name, "smp") == 0)
		scan_smp(&set, ret);
}

void vmft_scan(struct vmft_arena *arena, int argc, char *const argv[], bool has_kvm,
	       struct vmft_scan *ret)
{
	*ret = (struct vmft_scan){.processors = 1, .has_kvm = has_kvm};
	for (int i = 1; i < argc; i++) {
		const char *name = vmft_option_name(argv[i]);
		const struct vmft_option *option = name ? vmft_option_find(name) : NULL;

		if (!option)
			continue;
		if (strcmp(name, "enable-kvm") == 0)
			ret->kvm = true;
		if (option->has_arg && i + 1 < argc)
			scan_argument(arena, option, argv[++i], ret);
	}
}

enum vmft_strategy_kind vmft_strategy_choose(struct vmft_arena *arena, const struct vmft_scan *scan,
					     enum vmft_strategy_kind asked, const char **ret_reason)
{
	*ret_reason = "set in the pair file";
	if (asked != VMFT_STRATEGY_AUTO)
		return asked;
	if (scan->kvm) {
		*ret_reason = "auto: a KVM guest cannot be replayed";
		return VMFT_STRATEGY_CHECKPOINT;
	}
	if (scan->processors > 1) {
		*ret_reason = vmft_arena_printf(arena, "auto: %u processors cannot be replayed",
						scan->processors);
		return VMFT_STRATEGY_CHECKPOINT;
	}
	*ret_reason = "auto: one processor on TCG";
	return VMFT_STRATEGY_LOCKSTEP;
}
