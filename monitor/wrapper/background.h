/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -daemonize: QEMU and its monitor run in the background, and vmft-qemu ends when QEMU is up. */
#ifndef VMFT_BACKGROUND_H
#define VMFT_BACKGROUND_H

#include "monitor/common/error.h"

/*
 * Forks. Returns in the child only, 0 with *ret_ready the descriptor for vmft_background_ready();
 * or, in the parent, a negative errno with *err filled. The child has a session of its own and no
 * input; what it says on stdout is dropped, and on stderr it is the parent's until the parent ends.
 * The parent ends with 0 when QEMU is up, with the child's exit code if the child ends before that.
 */
int vmft_background(int *ret_ready, struct vmft_error *err);

/* In the child, before it becomes QEMU: gives the parent the memory that shows when QEMU is up. */
void vmft_background_ready(int ready, int iface);

#endif
