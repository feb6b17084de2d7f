/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attach-phase.h"

#include <assert.h>

const char *vmft_attach_phase_name(enum vmft_attach_phase phase)
{
	static const char *const names[] = {
	    [VMFT_ATTACH_IDLE] = "idle",
	    [VMFT_ATTACH_TRACKING] = "tracking",
	    [VMFT_ATTACH_OFFERED] = "offered",
	    [VMFT_ATTACH_COMPARING] = "comparing",
	    [VMFT_ATTACH_COPYING] = "copying",
	    [VMFT_ATTACH_SCANNING] = "scanning",
	    [VMFT_ATTACH_STOPPING] = "stopping",
	    [VMFT_ATTACH_SENDING] = "sending",
	    [VMFT_ATTACH_CATCHING_UP] = "catching-up",
	    [VMFT_ATTACH_SEALING] = "sealing",
	    [VMFT_ATTACH_DROPPING] = "dropping",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == VMFT_ATTACH_PHASES, "a name each");
	return names[phase];
}
