/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host-processor.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "monitor/common/exit-codes.h"

#define CPUINFO "/proc/cpuinfo"

/* "model name\t: AMD EPYC" */
static bool take_model(char *line, char ret[static VMFT_PROCESSOR_MAX])
{
	static const char key[] = "model name";
	char *value = strchr(line, ':');

	if (strncmp(line, key, sizeof(key) - 1) != 0 || !value)
		return false;
	value += 1 + strspn(value + 1, " \t");
	value[strcspn(value, "\n")] = '\0';
	(void)snprintf(ret, VMFT_PROCESSOR_MAX, "%s", value);
	return ret[0] != '\0';
}

int vmft_host_processor(char ret[static VMFT_PROCESSOR_MAX], struct vmft_error *err)
{
	FILE *file = fopen(CPUINFO, "re");
	char line[4096];
	bool found = false;

	if (!file)
		return vmft_error_set(err, -errno, VMFT_EXIT_INTERNAL, CPUINFO ": %s",
				      strerror(errno));
	/* All have the same; a line that is longer than the buffer is none of ours. */
	while (!found && fgets(line, sizeof(line), file))
		found = take_model(line, ret);
	(void)fclose(file);
	if (!found)
		return vmft_error_set(err, -ENODATA, VMFT_EXIT_UNPROTECTED,
				      CPUINFO ": no model name to compare with the other host's; "
					      "name a processor with -cpu");
	return 0;
}
