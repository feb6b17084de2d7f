/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pair-arbiter.h"

#include <errno.h>

#include "monitor/common/exit-codes.h"

int vmft_pair_arbiter_open(const struct vmft_pair_config *config, const char *pair_file,
			   const struct vmft_arbiter_ops **ops, struct vmft_arbiter **ret,
			   struct vmft_error *err)
{
	struct vmft_arbiter_settings settings = {
	    .vm = config->name,
	    .ca = config->arbiter_ca,
	    .cert = config->arbiter_cert,
	    .key = config->arbiter_key,
	};

	*ops = vmft_arbiter_find(config->arbiter, &settings.where);
	if (!*ops)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%.100s: arbiter = %.200s: unknown kind; use file:/DIRECTORY",
				      pair_file, config->arbiter);
	return (*ops)->open(&settings, ret, err);
}

int vmft_pair_arbiter_latest(const struct vmft_pair_config *config, const char *pair_file,
			     struct vmft_arbiter_latest *ret, struct vmft_error *err)
{
	const struct vmft_arbiter_ops *ops;
	struct vmft_arbiter *arbiter;
	int r = vmft_pair_arbiter_open(config, pair_file, &ops, &arbiter, err);

	if (r < 0)
		return r;
	r = ops->latest(arbiter, ret, err);
	ops->close(arbiter);
	return r;
}
