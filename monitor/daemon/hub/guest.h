/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this side's QEMU and its agent do: the bell, beats, QEMU's end, and what the hub reports of
 * them to the core. */
#ifndef VMFT_GUEST_H
#define VMFT_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "monitor/common/error.h"

struct vmft_monitor;

/* Prepares to be told when QEMU ends. 0 or a negative errno. */
int vmft_guest_watch(struct vmft_monitor *m, struct vmft_error *err);
/* The loop is about to run. */
void vmft_guest_begin(struct vmft_monitor *m);

/* Takes in all that the agent may have to say; called every tick. */
void vmft_guest_look(struct vmft_monitor *m, uint64_t now);
/* Backup: its QEMU may have left before the goodbye of the primary came; called every tick. */
void vmft_guest_wait_for_goodbye(struct vmft_monitor *m, uint64_t now);
/* A takeover is under way: looks at the agent often. */
void vmft_guest_hurry(struct vmft_monitor *m);
/* The agent has beaten just now. */
bool vmft_guest_beats(const struct vmft_monitor *m, uint64_t now);
/* Backup: the guest may have applied more. */
void vmft_guest_report_replay(struct vmft_monitor *m);

#endif
