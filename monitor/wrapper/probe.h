/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What this host has of what a command line leaves open: functions for struct vmft_rewrite_options.
 */
#ifndef VMFT_PROBE_H
#define VMFT_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "monitor/common/error.h"

/*
 * An image_format. An image without the mark of any format is raw. A qcow2 image is taken for one
 * only if its name says so, too: the guest of a raw image can write that mark. Everything else is
 * -EINVAL. *ret_format is a constant.
 */
int vmft_image_format(const char *path, const char **ret_format, struct vmft_error *err);

/* The same by the first n bytes of the image, at most 512; without looking at a file. */
int vmft_image_format_of(const char *path, const unsigned char *bytes, size_t n,
			 const char **ret_format, struct vmft_error *err);

/* A has_kvm: /dev/kvm can be opened. */
bool vmft_has_kvm(void);

/* A bridge_tap: runs the helper. The descriptor is close-on-exec no more: QEMU inherits it. */
int vmft_bridge_tap(const char *bridge, const char *helper, struct vmft_error *err);

/* A drop_fd. */
void vmft_fd_drop(int fd);

/* For --check: nothing is made. Returns 0 if the bridge and the helper are there. */
int vmft_bridge_look(const char *bridge, const char *helper, struct vmft_error *err);

#endif
