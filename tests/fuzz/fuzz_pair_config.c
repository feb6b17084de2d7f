/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../monitor/common/pair-config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmft_pair_config config;
	struct vmft_error err = {0};
	int r = vmft_pair_config_parse("fuzz", (const char *)data, size, &config, &err);

	/* A refusal says something; what is taken keeps its promises. */
	if (r < 0 && err.text[0] == '\0')
		abort();
	if (r == 0 && (config.name[0] == '\0' || config.silence_ms < 200 ||
		       vmft_pair_config_arbiter_dir(&config)[0] != '/' ||
		       (config.log_bytes & (config.log_bytes - 1)) != 0))
		abort();
	return 0;
}
