/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vmft-qemu tells the agent: struct vmft_settings of monitor/interface.h, put in place. */
#ifndef VMFT_AGENT_SETTINGS_H
#define VMFT_AGENT_SETTINGS_H

#include "monitor/common/error.h"
#include "monitor/interface.h"

/*
 * given is VMFT_AGENT, the number of a descriptor. Maps the shared memory that it names, checks it
 * and the settings in it and fills vmft_agent and what the other files take from the settings. 0,
 * or a negative errno with *err filled; vmft_agent.iface is NULL then.
 */
int vmft_agent_settings_load(const char *given, struct vmft_error *err);

/* The part that needs no descriptors: settings that vmft_settings_check() has passed. -EPROTO for
 * a QEMU version that this agent does not know. */
int vmft_agent_settings_take(const struct vmft_settings *settings, struct vmft_error *err);

#endif
