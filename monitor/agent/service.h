/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The service thread: obeys the monitor, and does what cannot wait for QEMU's main loop. */
#ifndef VMFT_AGENT_SERVICE_H
#define VMFT_AGENT_SERVICE_H

void vmft_service_start(void); /* ends the process if the thread cannot be started */

#endif
