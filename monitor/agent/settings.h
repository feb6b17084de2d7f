/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vmft-qemu tells the agent. */
#ifndef VMFT_AGENT_SETTINGS_H
#define VMFT_AGENT_SETTINGS_H

#include <stdbool.h>

#include "monitor/common/error.h"

/*
 * given is the environment's VMFT_AGENT. Maps the shared memory and fills vmft_agent and what the
 * other files take from the settings. 0, or a negative errno with *err filled.
 */
int vmft_agent_settings_load(const char *given, struct vmft_error *err);

/* text: "DEVICE.INODE" of each image in hex, with plus signs between; changed. Returns false if it
 * is not understood. */
bool vmft_agent_settings_parse_disks(char *text);

#endif
