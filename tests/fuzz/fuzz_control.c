/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A line on the control socket. */
#include <stdlib.h>

#include "driver.h"
#include "monitor/daemon/status/control-request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[128] = "";
	int verb = vmft_control_request_parse((const char *)data, size, error, sizeof(error));

	if (verb >= VMFT_CONTROL_VERBS || (verb < 0 && error[0] == '\0'))
		abort();
	return 0;
}

static const char status[] = "{\"cmd\":\"status\"}";
static const char nested[] = "{\"x\":[1,{\"y\":\"\\u00e9\"}],\"cmd\":\"digest\"}";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {status, sizeof(status) - 1},
    {nested, sizeof(nested) - 1},
    {0},
};
