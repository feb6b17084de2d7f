/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the connections to the other side (peer/) are given of the monitor, and what it makes of
 * their news. */
#ifndef VMFT_PAIRING_H
#define VMFT_PAIRING_H

#include "monitor/common/error.h"

struct vmft_monitor;

/* Opens the addresses of this side. On failure vmft_peer_fini() is to be called, too. */
int vmft_pairing_open(struct vmft_monitor *m, struct vmft_error *err);
/* The hellos are accepted and there is a pair. */
void vmft_pairing_done(struct vmft_monitor *m);

#endif
