/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The arbiter that a pair file names. */
#ifndef VMFT_PAIR_ARBITER_H
#define VMFT_PAIR_ARBITER_H

#include "arbiter.h"
#include "monitor/common/pair-config.h"

/*
 * Opens it; the caller ends with (*ops)->close(*ret). pair_file is for messages. Returns 0, or a
 * negative errno with *err filled. It may block as open() of the backend does.
 */
int vmft_pair_arbiter_open(const struct vmft_pair_config *config, const char *pair_file,
			   const struct vmft_arbiter_ops **ops, struct vmft_arbiter **ret,
			   struct vmft_error *err);

/* The latest generation of the VM: opens the arbiter, asks it, closes it. The same returns. */
int vmft_pair_arbiter_latest(const struct vmft_pair_config *config, const char *pair_file,
			     struct vmft_arbiter_latest *ret, struct vmft_error *err);

#endif
