/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's RAM. It is one memfd, which the agent shares with its monitor (vmft_agent.ram_fd). If
 * the guest has several memories (nodes of NUMA), each is a part of it: QEMU is given the file name
 * VMFT_RAM_NAME and the part's first byte. QEMU 7.2 maps each file from its beginning, and 10.0 has
 * an option for the offset, so the agent adds the offset to what QEMU asks of such a descriptor.
 */
#ifndef VMFT_AGENT_RAM_H
#define VMFT_AGENT_RAM_H

#include <stdbool.h>
#include <stdint.h>

#define VMFT_RAM_PARTS_MAX 16u

/* Any thread. */
bool vmft_ram_is_name(const char *path);
/* QEMU opens that name. Returns a descriptor, or -1 with errno. */
int vmft_ram_open(const char *path, int flags);
/* Where the part of the memfd begins that fd was opened for; 0: fd is no such descriptor. */
uint64_t vmft_ram_offset(int fd);

#endif
