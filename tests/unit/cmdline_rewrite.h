/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A command line rewritten with made-up facts of this host: files, processor and taps. */
#ifndef VMFT_TEST_CMDLINE_REWRITE_H
#define VMFT_TEST_CMDLINE_REWRITE_H

#include <stdbool.h>

#include "monitor/wrapper/cmdline.h"

/* The path "/missing" does not exist, descriptor 99 is no tap, there is no bridge br9. Returns what
 * vmft_cmdline_rewrite() does. */
int cmdline_rewrite(int argc, char *const argv[], enum vmft_strategy_kind strategy, bool backup,
		    struct vmft_report *report, struct vmft_cmdline *ret);

#endif
