/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is this emulator one the agent knows its way around in? Asked before anything is started. */
#ifndef VMFT_QEMU_BINARY_H
#define VMFT_QEMU_BINARY_H

#include <stddef.h>
#include <sys/types.h>

#include "monitor/agent/qemu/series.h"
#include "monitor/common/error.h"

#define VMFT_QEMU_VERSION_MAX 32

struct vmft_qemu_binary {
	char version[VMFT_QEMU_VERSION_MAX];
	char build_id[2 * 64 + 1]; /* hex; both sides must have the same */
	const struct vmft_qemu_series *series;
	struct vmft_qemu_place place[VMFT_QEMU_FIELDS]; /* of the series' fields */
};

/*
 * Reads the ELF file at path: the symbols that the agent needs, of the sizes that it expects, the
 * places of the fields, and the build-id. Needs binary->series. Negative errno with *err filled;
 * *binary is unchanged then.
 */
int vmft_qemu_binary_inspect(const char *path, struct vmft_qemu_binary *binary,
			     struct vmft_error *err);

/* Runs path --version, for at most five seconds, then vmft_qemu_binary_inspect(). */
int vmft_qemu_binary_check(const char *path, struct vmft_qemu_binary *ret, struct vmft_error *err);

/*
 * What path prints on stdout when it is run with these arguments (at most four, then NULL), at most
 * size bytes, within five seconds. Returns how many, or a negative errno.
 */
ssize_t vmft_qemu_output(const char *path, const char *const *arguments, char *buffer, size_t size);

/* "7.2.22" out of "QEMU emulator version 7.2.22 (Debian ...)"; -EINVAL for anything else. */
int vmft_qemu_version_parse(const char *output, size_t size,
			    char ret[static VMFT_QEMU_VERSION_MAX]);

#endif
