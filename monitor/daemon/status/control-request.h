/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What may be asked on the control socket. It is parsed in a file of its own, which is fuzzed. */
#ifndef VMFT_CONTROL_REQUEST_H
#define VMFT_CONTROL_REQUEST_H

#include <stddef.h>

#define VMFT_CONTROL_REQUEST_MAX 4096u

enum vmft_control_verb {
	VMFT_CONTROL_STATUS,
	VMFT_CONTROL_FREEZE,
	VMFT_CONTROL_THAW,
	VMFT_CONTROL_DIGEST,
	VMFT_CONTROL_HOLD_ACKS,
	VMFT_CONTROL_RELEASE_ACKS,
	VMFT_CONTROL_ATTACH,
	VMFT_CONTROL_START,
	VMFT_CONTROL_HOLD_ATTACH,
	VMFT_CONTROL_STEP_ATTACH,
	VMFT_CONTROL_RELEASE_ATTACH,
	VMFT_CONTROL_SWITCHOVER, /* answered when it is over */
	VMFT_CONTROL_EVENTS,	 /* answered by a line, then a line for each event */
	VMFT_CONTROL_VERBS,
};

/* As written in {"cmd":"..."}; NULL past the last. */
const char *vmft_control_verb_name(enum vmft_control_verb verb);

/* The verb in a line of n bytes (no newline), or -EBADMSG with a reason in error. */
int vmft_control_request_parse(const char *line, size_t n, char *error, size_t error_bytes);

#endif
