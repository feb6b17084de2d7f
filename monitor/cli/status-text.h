/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A side's status as a person reads it, 80 columns wide. */
#ifndef VMFT_STATUS_TEXT_H
#define VMFT_STATUS_TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include "monitor/common/exit-codes.h"
#include "monitor/common/status-fields.h"

/* A dozen lines. wall_ms: the time of day, ms since 1970, at status->now_ms. */
void vmft_status_print(const struct vmft_status *status, int64_t wall_ms, FILE *to);

/* A headline, and one line for each side. */
void vmft_status_print_headline(FILE *to);
void vmft_status_print_line(const char *side, const struct vmft_status *status, FILE *to);

/* "copying, round 2 [######----] 61 % 52 of 85 MB, ..." of an attach under way. */
bool vmft_status_is_attaching(const struct vmft_status *status);
void vmft_status_print_attach(const struct vmft_status *status, char *text, size_t size);

/* "12 s", "3 min 20 s", "5 h 12 min", "3 d 4 h". */
void vmft_duration_print(uint64_t ms, char *text, size_t size);

/* "2026-11-30 14:02:11", local time. */
void vmft_time_print(int64_t wall_ms, char *text, size_t size);

/* The exit code of vmft status for a state; VMFT_EXIT_INTERNAL for one that is not known. */
enum vmft_exit vmft_status_exit_code(const char *state);

/* Which of two such codes tells more of a host that has both: the worse one. */
enum vmft_exit vmft_status_worse(enum vmft_exit a, enum vmft_exit b);

#endif
