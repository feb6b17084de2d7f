/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>

#include "epoch_codec.h"

uint8_t codec_payload[VMFT_FRAME_PAYLOAD_MAX];

struct vmft_epoch_opener *codec_opener(void)
{
	struct vmft_epoch_opener *opener = NULL;

	CU_ASSERT_EQUAL_FATAL(vmft_epoch_opener_create(&opener), 0);
	return opener;
}
