/* SPDX-License-Identifier: GPL-2.0-or-later */
/* epoch_pair.h: payloads that a test makes by itself and sends to the backup. */
#ifndef VMFT_TEST_EPOCH_PAYLOADS_H
#define VMFT_TEST_EPOCH_PAYLOADS_H

#include "epoch_pair.h"

uint8_t *pair_payload_head(enum vmft_epoch_kind kind, size_t raw);
/* A payload of one piece. */
int pair_send_piece(uint32_t region, uint64_t offset, uint32_t n, enum vmft_epoch_how how);
struct vmft_epoch_commit pair_commit_of(uint64_t pieces, uint64_t bytes);
int pair_send_commit(const struct vmft_epoch_commit *commit);
int pair_send_plain_commit(uint64_t pieces, uint64_t bytes);
/* Nothing has become of what was sent. */
void pair_nothing_applied(void);

#endif
