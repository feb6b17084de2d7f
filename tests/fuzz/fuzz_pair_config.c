/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "monitor/common/pair-config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmft_pair_config config;
	struct vmft_error err = {0};
	int r = vmft_pair_config_parse("fuzz", (const char *)data, size, &config, &err);

	/* A refusal says something; what is taken keeps its promises. */
	if (r < 0 && err.text[0] == '\0')
		abort();
	if (r == 0 &&
	    (config.name[0] == '\0' || config.silence_ms < 200 ||
	     (strncmp(config.arbiter, "file:/", 6) != 0 &&
	      strncmp(config.arbiter, "etcd:http", 9) != 0) ||
	     (config.arbiter_ca[0] && strncmp(config.arbiter, "etcd:https://", 13) != 0) ||
	     (config.arbiter_cert[0] == '\0') != (config.arbiter_key[0] == '\0') ||
	     (config.log_bytes & (config.log_bytes - 1)) != 0 || config.stun_ms < 10 ||
	     config.attach_mib_per_s > 100000 || config.strategy >= VMFT_STRATEGY_COUNT ||
	     config.epoch_min_ms < 1 || config.epoch_min_ms > config.epoch_ms ||
	     config.epoch_ms > config.epoch_max_ms || config.epoch_max_ms > 5000 ||
	     config.delta_cache_mib > 4096))
		abort();
	for (int host = 0; r == 0 && host < VMFT_HOST_COUNT; host++)
		if (config.has_host[host] != (config.host[host].channel.addr_len > 0) ||
		    config.host[host].control[0] != '/')
			abort();
	for (enum vmft_host host = 0; r == 0 && host < VMFT_HOST_COUNT; host++) {
		enum vmft_host found;

		/* Each host that is there is found by its name, which is nobody else's. */
		if (config.has_host[host] &&
		    (config.host[host].name[0] == '\0' ||
		     vmft_pair_host_find(&config, config.host[host].name, &found) < 0 ||
		     found != host))
			abort();
	}
	return 0;
}

static const char seed0[] =
    "[pair]\nname = web1\narbiter = file:/a\nsilence-ms = 500 ; x\nlog-bytes = 1048576\n"
    "start = alone\nreprotect = manual\non-stop = hand-over\nstun-ms = 10\nattach-mib-per-s = "
    "100000\n"
    "[primary]\nchannel = 10.9.0.1:7700\ncontrol = /c\n[backup]\nchannel = 10.9.0.2:7700\n"
    "[spare]\nchannel = 10.9.0.3:7700\n";
static const char seed1[] =
    "[pair]\nname:b\narbiter=file:/a\n[primary]\nchannel=[::1]:1\n[backup]\nchannel=[::2]:2\n";

static const char seed2[] =
    "[pair]\nname = c\narbiter = file:/a\nstrategy = checkpoint\nepoch-ms = 40\n"
    "epoch-min-ms = 39\nepoch-max-ms = 41\ndelta-cache-mib = 4096\n"
    "[primary]\nchannel = 10.9.0.1:1\n[backup]\nchannel = 10.9.0.2:1\n";

static const char seed3[] =
    "[pair]\nname = d\narbiter = etcd:https://10.0.0.1:2379,https://[::1]:1,https://a.b-c:99\n"
    "arbiter-ca = /ca\narbiter-cert = /cert\narbiter-key = /key\n"
    "[primary]\nchannel = 10.9.0.1:1\n[backup]\nchannel = 10.9.0.2:1\n";

static const char seed4[] =
    "[pair]\nname = e\narbiter = file:/a\n[host alpha]\nchannel = 10.9.0.1:1\nheartbeat = "
    "10.8.0.1:1\n[host beta]\nchannel = 10.9.0.2:1\nheartbeat = 10.8.0.2:1\n[host gamma]\n"
    "channel = 10.9.0.3:1\nheartbeat = 10.8.0.3:1\n";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {seed0, sizeof(seed0) - 1}, {seed1, sizeof(seed1) - 1}, {seed2, sizeof(seed2) - 1},
    {seed3, sizeof(seed3) - 1}, {seed4, sizeof(seed4) - 1}, {0},
};
