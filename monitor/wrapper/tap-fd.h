/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a descriptor that was handed over as a tap (fd=) is. */
#ifndef VMFT_TAP_FD_H
#define VMFT_TAP_FD_H

/* A tap_fault of struct vmft_rewrite_options: asks the device, as the agent does later. */
const char *vmft_tap_fault(int fd);

#endif
