/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changes the command line of a saved log so that it can run on any host and touches nothing that
 * the first run touched: it gets other disk images and taps, and its consoles write nowhere.
 */
#ifndef VMFT_OFFLINE_H
#define VMFT_OFFLINE_H

#include "cmdline.h"

struct vmft_offline {
	const char *const *disk_from; /* as the line names them */
	const char *const *disk_to;   /* absolute paths */
	size_t disk_count;
	const char *console; /* file for what the first serial port says; NULL: it is not kept */
};

/*
 * Words of a line (argv[0] included) in the arena, NULL-terminated. The line must be one that
 * vmft_cmdline_rewrite() accepts. -EINVAL with *err filled if a word is not understood.
 */
int vmft_offline_rewrite(struct vmft_arena *arena, int argc, char *const argv[],
			 const struct vmft_offline *offline, char ***ret_argv,
			 struct vmft_error *err);

#endif
