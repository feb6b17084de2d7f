/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What devices keep that is in no saved state and that a reset leaves as it is. */
#ifndef VMFT_AGENT_UNSAVED_H
#define VMFT_AGENT_UNSAVED_H

#define VMFT_UNSAVED_MAX 64u

struct vmft_unsaved {
	unsigned count;
	unsigned kind[VMFT_UNSAVED_MAX];
	void *device[VMFT_UNSAVED_MAX];
};

/* Finds the devices that keep such things. 0; a negative errno, the reason in area->error, if this
 * build's devices are not laid out as expected. */
int vmft_unsaved_find(struct vmft_unsaved *ret);
/* Sets these things as they are in a QEMU that has just started. The guest is stopped and the
 * machine has been reset. */
void vmft_unsaved_forget(const struct vmft_unsaved *found);

#endif
