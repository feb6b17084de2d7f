/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether an address of the pair file is one of this host's. */
#ifndef VMFT_LOCAL_ADDRESS_H
#define VMFT_LOCAL_ADDRESS_H

#include <stdbool.h>

#include "pair-config.h"

/* Looks for the address in this network namespace, whatever the port. */
bool vmft_address_is_local(const struct vmft_channel_address *address);

#endif
