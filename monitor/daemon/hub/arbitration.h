/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hub and the arbiter: what this side asks, and what it makes of the answers. */
#ifndef VMFT_ARBITRATION_H
#define VMFT_ARBITRATION_H

#include <stdint.h>

#include "monitor/common/error.h"

struct vmft_monitor;

/* Opens the arbiter, leaves the mark of a backup there, starts the thread that asks. */
int vmft_arbitration_open(struct vmft_monitor *m, struct vmft_error *err);
/* Primary: takes the generation after the latest, which must have ended. Waits for the answer. */
int vmft_arbitration_first(struct vmft_monitor *m, uint64_t *ret, struct vmft_error *err);
/* The loop is about to run: answers are taken. */
void vmft_arbitration_begin(struct vmft_monitor *m);

/* VMFT_DO_CLAIM: claims a generation, as soon as the agent beats. */
void vmft_arbitration_claim(struct vmft_monitor *m, uint64_t generation);
/* The agent may beat again: makes the claim that waits for it, if any. */
void vmft_arbitration_ask(struct vmft_monitor *m);
/* VMFT_DO_START_RETRY_TIMER. */
void vmft_arbitration_retry(struct vmft_monitor *m);
/* This side's generation has ended: asks that it is recorded. */
void vmft_arbitration_record_end(struct vmft_monitor *m);
/* Says when the arbiter has not answered for long. */
void vmft_arbitration_tick(struct vmft_monitor *m, uint64_t now);

/* Waits until all that was asked has an answer, within a bound. */
void vmft_arbitration_wait(struct vmft_monitor *m);
/* The same once the loop has stopped; says when the end is not on record. */
void vmft_arbitration_end(struct vmft_monitor *m);

#endif
