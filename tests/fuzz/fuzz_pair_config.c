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

#ifdef VMFT_FUZZ_STANDALONE
/* Without libFuzzer: every seed cut off, and with one byte changed, at every byte. */
static const char *const seeds[] = {
    "[pair]\nname = web1\narbiter = file:/a\nsilence-ms = 500 ; x\nlog-bytes = 1048576\n"
    "[primary]\nchannel = 10.9.0.1:7700\ncontrol = /c\n[backup]\nchannel = 10.9.0.2:7700\n",
    "[pair]\nname:b\narbiter=file:/a\n[primary]\nchannel=[::1]:1\n[backup]\nchannel=[::2]:2\n",
};

static void try_changed(const char *seed, size_t size)
{
	static const uint8_t bytes[] = {0, '\n', ' ', ',', '=', '"', '{', ';', ':', 0x80};
	uint8_t copy[1024];

	for (size_t at = 0; at < size; at++) {
		for (size_t b = 0; b < sizeof(bytes); b++) {
			memcpy(copy, seed, size);
			copy[at] = bytes[b];
			(void)LLVMFuzzerTestOneInput(copy, size);
		}
	}
}

int main(void)
{
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
		for (size_t size = 0; size <= strlen(seeds[i]); size++)
			(void)LLVMFuzzerTestOneInput((const uint8_t *)seeds[i], size);
		try_changed(seeds[i], strlen(seeds[i]));
	}
	return 0;
}
#endif
