/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "strategy-kind.h"

#include <stddef.h>

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

bool vmft_strategy_kind_moves_to_builds(enum vmft_strategy_kind kind)
{
	return is_known(kind) && kinds[kind].moves_to_builds;
}
