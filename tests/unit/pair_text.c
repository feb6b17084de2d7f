/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "pair_text.h"

int pair_parse(const char *text, struct vmft_pair_config *config, struct vmft_error *err)
{
	return vmft_pair_config_parse("f", text, strlen(text), config, err);
}
