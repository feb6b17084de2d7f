/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file that a backup writes when its guest has diverged: docs/divergence.md. */
#ifndef VMFT_REPORT_H
#define VMFT_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "divergence.h"
#include "monitor/daemon/guest/agent-link.h"
#include "monitor/daemon/strategy.h"

/* Nothing is owned. */
struct vmft_report {
	const struct vmft_pair_config *config;
	enum vmft_host host;
	uint64_t generation;
	const struct vmft_divergence_finding *finding;
	const struct vmft_agent_link *link;
	const struct vmft_strategy_ops *ops;
	const struct vmft_strategy *strategy;
};

/* Writes it where the log is saved or, if it is not saved, beside the control socket. ret_path is
 * set in any case. 0 or a negative errno. */
int vmft_report_write(const struct vmft_report *report, char *ret_path, size_t size);

#endif
