/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-monitor --replay: instead of a peer there is a file, a log that a backup saved. QEMU
 * replays it as a backup does, to its end or to where it differs; then it is ended.
 */
#ifndef VMFT_REPLAY_H
#define VMFT_REPLAY_H

#include "monitor/daemon/hub/monitor.h"

/* Says how far it is on stderr and how it went on stdout. Returns the exit code. */
int vmft_replay_run(const struct vmft_monitor_options *options);

#endif
