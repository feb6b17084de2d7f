/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log-format.h"

/* Each in a file of its own. */
extern const struct vmft_log_format vmft_log_format_7_2;

static const struct vmft_log_format *const all[] = {
    &vmft_log_format_7_2,
};

const struct vmft_log_format *vmft_log_format_find(uint32_t version)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i]->version == version)
			return all[i];
	return NULL;
}
