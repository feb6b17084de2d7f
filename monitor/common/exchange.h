/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A block of bytes that the agent or the monitor changes now and then and the other one reads:
 * struct vmft_exchange in monitor/interface.h. One writer, any number of readers. */
#ifndef VMFT_EXCHANGE_H
#define VMFT_EXCHANGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "monitor/interface.h"

/* The guest's presence: as the agent knows it, and as the peer told the monitor. */
struct vmft_exchange *vmft_exchange_shown(struct vmft_area *area);
struct vmft_exchange *vmft_exchange_told(struct vmft_area *area);

/* n is at most VMFT_EXCHANGE_MAX. */
void vmft_exchange_write(struct vmft_exchange *exchange, const uint8_t *bytes, size_t n);

/*
 * Returns how many bytes there are; 0: nothing was written yet; -EAGAIN: it changes too fast, try
 * later; -EBADMSG: the writer's memory makes no sense. *ret_version rises with each change.
 */
ssize_t vmft_exchange_read(const struct vmft_exchange *exchange,
			   uint8_t bytes[static VMFT_EXCHANGE_MAX], uint32_t *ret_version);

#endif
