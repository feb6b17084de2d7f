/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the hub does when this side's disks fail or its guest diverges: it says so, tells the peer,
 * and turns the verdict (guest/disk-fault.h, divergence/divergence.h) into an event of the core. */
#ifndef VMFT_FAULTS_H
#define VMFT_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

struct vmft_monitor;

/* The agent may have counted a failure of a disk. Before anything else it says is looked at. */
void vmft_faults_look_at_disks(struct vmft_monitor *m);
/* Backup: the monitor's own writes to the images fail, as text says. True: they are to be tried
 * again in a while, nobody else has this guest any more; false: this backup is given up. */
bool vmft_faults_disk_waits(struct vmft_monitor *m, const char *text);

/* Backup: the agent may have found that the guest has diverged. */
void vmft_faults_look_at_guest(struct vmft_monitor *m);
/* Backup: replay may stand still. beats: its agent does. slept: as for vmft_peer_tick(). */
void vmft_faults_tick(struct vmft_monitor *m, uint64_t now, uint64_t slept, bool beats);

#endif
