/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which build of QEMU a side of a VM runs: the installed one, or a copy of the one that the guest
 * was started with, from before an upgrade. */
#ifndef VMFT_GUEST_BUILD_H
#define VMFT_GUEST_BUILD_H

#include "monitor/common/error.h"
#include "monitor/common/pair-config.h"
#include "qemu-binary.h"

/*
 * A backup asks the arbiter which build the guest runs. *kept is the program of this host's copy of
 * it; "" if there is none, if no guest runs, or if nobody knows its build. digits is the beginning
 * of its build-id, or "". Returns 0, or a negative errno with *err filled if the arbiter does not
 * answer.
 */
int vmft_guest_build_find(const struct vmft_pair_config *config, const char *pair_file,
			  enum vmft_role role, char kept[static VMFT_PATH_MAX],
			  char digits[static 16], struct vmft_error *err);

/*
 * Before a start: keeps a copy of the build; unless a guest of another build runs, remembers that
 * the VM runs this one, and removes copies that no VM needs any more. Only root can. What does not
 * work costs a line on stderr, not the start.
 */
void vmft_guest_build_keep(const struct vmft_pair_config *config, const char *pair_file,
			   const struct vmft_qemu_binary *qemu);

#endif
