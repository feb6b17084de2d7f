/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "strategy-kind.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
	const char *name;
	bool moves_to_builds;
} kinds[] = {
    [VMFT_STRATEGY_AUTO] = {"auto", false},
    [VMFT_STRATEGY_LOCKSTEP] = {"lockstep", false},
    [VMFT_STRATEGY_CHECKPOINT] = {"checkpoint", true},
};

static bool is_known(enum vmft_strategy_kind kind)
{
	return (size_t)kind < sizeof(kinds) / sizeof(kinds[0]);
}

const char *vmft_strategy_kind_name(enum vmft_strategy_kind kind)
{
	return is_known(kind) ? kinds[kind].name : "?";
}

int vmft_strategy_kind_parse(const char *name, enum vmft_strategy_kind *ret)
{
	for (enum vmft_strategy_kind kind = 0; kind < VMFT_STRATEGY_COUNT; kind++) {
		if (strcmp(name, kinds[kind].name) != 0)
			continue;
		*ret = kind;
		return 0;
	}
	return -EINVAL;
}

bool vmft_strategy_kind_moves_to_builds(enum vmft_strategy_kind kind)
{
	return is_known(kind) && kinds[kind].moves_to_builds;
}
