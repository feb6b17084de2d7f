/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies of what is marked, taken while the guest is stopped. Main loop. */
#ifndef VMFT_AGENT_STAGE_H
#define VMFT_AGENT_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/interface.h"

/* Marks what is dirty and counts it. 0 or a negative errno, the reason in area->error. */
int vmft_stage_scan(struct vmft_area *area);
bool vmft_stage_fits(const struct vmft_area *area); /* what is marked, into budget_bytes */
/* 0; -ENOBUFS: staging is full, what was not copied is still marked; or another negative errno,
 * the reason in area->error. */
int vmft_stage_copy(struct vmft_area *area);
/* Marks again what was copied and will not be sent: the first used bytes of staging. */
void vmft_stage_undo(struct vmft_area *area, uint64_t used);

#endif
