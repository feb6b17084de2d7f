/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who runs this QEMU, by its monitors: libvirt, or a person. Decides what they may ask of the
 * guest, and tells them that the guest runs.
 */
#ifndef VMFT_AGENT_OPERATOR_H
#define VMFT_AGENT_OPERATOR_H

#include <stdbool.h>

/* Written by the main thread only. */
struct vmft_operator {
	bool guarded; /* QEMU's monitors are */
};

extern struct vmft_operator vmft_operator;

/* The main thread is about to wait, without locks. Guards the monitors as soon as QEMU has them. */
void vmft_operator_before_wait(void);
/* Any thread. A backup's guest has gone live: those at the monitors are told that it runs. */
void vmft_operator_live(void);

#endif
