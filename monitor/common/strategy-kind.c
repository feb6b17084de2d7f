/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "strategy-kind.h"

#include <stddef.h>

const char *vmft_strategy_kind_name(enum vmft_strategy_kind kind)
{
	static const char *const names[] = {
	    [VMFT_STRATEGY_AUTO] = "auto",
	    [VMFT_STRATEGY_LOCKSTEP] = "lockstep",
	    [VMFT_STRATEGY_CHECKPOINT] = "checkpoint",
	};

	return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}
