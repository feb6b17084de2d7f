/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing and reading struct vmft_settings of monitor/interface.h. */
#ifndef VMFT_SETTINGS_H
#define VMFT_SETTINGS_H

#include "error.h"
#include "monitor/interface.h"

/*
 * Whether every count, number and descriptor is in its range and every text ends in its field.
 * 0, or -EPROTO with *err filled: which field it is. Whether a path or a digest makes sense is for
 * its reader to say.
 */
int vmft_settings_check(const struct vmft_settings *settings, struct vmft_error *err);

/* Checks them and writes them into the memfd of vmft_iface_create(). 0 or a negative errno. */
int vmft_settings_write(int iface_fd, const struct vmft_settings *settings, struct vmft_error *err);

/* Copies them out of a mapped header, then checks the copy. On failure *ret is not to be used. */
int vmft_settings_read(const struct vmft_iface *iface, struct vmft_settings *ret,
		       struct vmft_error *err);

/*
 * Puts text, its end included, into a field of size bytes. -E2BIG if it does not fit: *err names
 * what it is, the field is untouched.
 */
int vmft_settings_put(char *field, size_t size, const char *text, const char *what,
		      struct vmft_error *err);

#endif
