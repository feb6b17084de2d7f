/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs "vmft host" on the host that a libvirt URI names: here for a URI without a host, otherwise
 * through ssh, as libvirt's qemu+ssh does. A URI's "command" is taken in the place of ssh,
 * "keyfile" is given to it, as libvirt does. Other transports reach no shell.
 */
#ifndef VMFT_REACH_H
#define VMFT_REACH_H

#include <json-c/json.h>
#include <stdbool.h>
#include <sys/types.h>

#include "monitor/common/error.h"

#define VMFT_REACH_TEXT_MAX 256u

struct vmft_reach {
	bool is_here;	/* no other host */
	bool no_verify; /* the host's key is not compared */
	char host[VMFT_REACH_TEXT_MAX], user[64], port[12];
	char command[VMFT_REACH_TEXT_MAX], keyfile[VMFT_REACH_TEXT_MAX];
};

/*
 * Reads a URI as virConnectOpen() takes it. Returns 0; -ENOTSUP with *err filled if no command can
 * be run on its host; -EINVAL if it is no URI of QEMU's driver.
 */
int vmft_reach_parse(const char *uri, struct vmft_reach *ret, struct vmft_error *err);

/*
 * Asks that host to do one of the verbs of vmft_serve(): request is sent, the answer is an object
 * that the caller frees. A negative errno with *err filled: the host cannot be reached within
 * timeout_ms, or what it answers makes no sense.
 */
int vmft_reach_ask(const struct vmft_reach *reach, const char *verb, struct json_object *request,
		   unsigned timeout_ms, struct json_object **ret, struct vmft_error *err);

/* A process on that host: "vmft host WORD...". */
struct vmft_reach_process {
	pid_t pid;
	int in, out; /* its stdin and stdout */
};

int vmft_reach_start(const struct vmft_reach *reach, const char *const *words,
		     struct vmft_reach_process *ret, struct vmft_error *err);
/* Closes, ends and waits. All zeroes with pid 0 is fine. Returns the exit status. */
int vmft_reach_end(struct vmft_reach_process *process);

#endif
