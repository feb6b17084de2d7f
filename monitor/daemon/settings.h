/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vmft-qemu tells the monitor: struct vmft_settings of monitor/interface.h, as options. */
#ifndef VMFT_DAEMON_SETTINGS_H
#define VMFT_DAEMON_SETTINGS_H

#include "monitor/common/error.h"
#include "monitor/daemon/hub/monitor.h"
#include "monitor/interface.h"

/*
 * Reads the settings from the shared memory ret->iface_fd, checks them and fills all of *ret
 * but pair_file and iface_fd. *ret points into *settings, which must live as long. Returns 0 or a
 * negative errno with *err filled.
 */
int vmft_monitor_settings_load(struct vmft_settings *settings, struct vmft_monitor_options *ret,
			       struct vmft_error *err);

/* The same for settings that vmft_settings_check() has passed. -EPROTO. */
int vmft_monitor_settings_take(const struct vmft_settings *settings,
			       struct vmft_monitor_options *ret, struct vmft_error *err);

#endif
