/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A command that prints the status of the other side: "ssh HOST vmft --json status NAME". */
#ifndef VMFT_PEER_COMMAND_H
#define VMFT_PEER_COMMAND_H

#include <stdatomic.h>

#include "monitor/common/status-fields.h"

/*
 * Runs command by a shell, and reads the status it prints. 0; -ETIMEDOUT when it has not ended
 * within ms; -ECANCELED when *over became true; -EBADMSG when what it prints is no status; what
 * pipe() and posix_spawn() report. The command, and what it started in its process group, is
 * killed in the first two cases.
 */
int vmft_peer_command(const char *command, unsigned ms, const atomic_bool *over,
		      struct vmft_status *ret);

#endif
