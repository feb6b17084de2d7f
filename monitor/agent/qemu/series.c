/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "series.h"

#include <stdio.h>
#include <string.h>

/* Each in the file of that series. */
extern const struct vmft_qemu_series vmft_qemu_7_2;
extern const struct vmft_qemu_series vmft_qemu_10_0;

/* Oldest first. */
static const struct vmft_qemu_series *const all[] = {
    &vmft_qemu_7_2,
    &vmft_qemu_10_0,
};

const struct vmft_qemu_series *vmft_qemu_series_find(const char *version)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const size_t length = strlen(all[i]->name);

		if (strncmp(version, all[i]->name, length) == 0 && version[length] == '.')
			return all[i];
	}
	return NULL;
}

const char *vmft_qemu_series_names(char *text, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && at < size; i++)
		at += (size_t)snprintf(text + at, size - at, "%s%s", i ? ", " : "", all[i]->name);
	return text;
}
