/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a backup whose guest differs from the primary's tells its monitor. */
#ifndef VMFT_AGENT_DIVERGE_H
#define VMFT_AGENT_DIVERGE_H

#include <stdint.h>

#include "monitor/interface.h"

/* Lists a page (offset in memory) for the vmft_diverge() that follows. */
void vmft_diverge_page(uint64_t offset);
/* The first call counts. The caller holds QEMU's replay mutex. */
void vmft_diverge(enum vmft_divergence_kind kind, uint64_t at, uint64_t expected, uint64_t found);

#endif
