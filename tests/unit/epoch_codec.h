/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An opener and a batch on its way to it, for the tests of the epoch codec. */
#ifndef VMFT_TEST_EPOCH_CODEC_H
#define VMFT_TEST_EPOCH_CODEC_H

#include <stdint.h>

#include "logging-channel/epoch.h"
#include "logging-channel/wire.h"

#define PAGE VMFT_EPOCH_PAGE

/* The batch that is packed or opened. */
extern uint8_t codec_payload[VMFT_FRAME_PAYLOAD_MAX];

/* A new opener. */
struct vmft_epoch_opener *codec_opener(void);

#endif
