/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making and mapping the memory that monitor/interface.h describes. */
#ifndef VMFT_IFACE_SETUP_H
#define VMFT_IFACE_SETUP_H

#include <stddef.h>

#include "error.h"
#include "logging-channel/ring.h"
#include "monitor/interface.h"

/* A memfd with an initialised header, its size sealed. Returns the descriptor (no
 * close-on-exec: QEMU and the monitor inherit it) or a negative errno. */
int vmft_iface_create(size_t ring_bytes, struct vmft_error *err);

/*
 * Maps it and checks magic, version and sizes. *ret_iface stays mapped until the process
 * ends; *ret_ring points into it. Negative errno: -EPROTO for another version or garbage.
 */
int vmft_iface_map(int fd, struct vmft_iface **ret_iface, struct vmft_ring *ret_ring,
		   struct vmft_error *err);

#endif
