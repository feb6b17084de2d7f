/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The check of a domain on two hosts: vmft check prints it, vmft protect begins with it. */
#ifndef VMFT_CHECKING_H
#define VMFT_CHECKING_H

#include <argp.h>
#include <libvirt/libvirt.h>

#include "monitor/common/pair-config.h"
#include "monitor/domain/conditions.h"
#include "monitor/domain/reach.h"

#define VMFT_CHECKING_HERE_URI "qemu:///system"

/* All zeroes but for the first line's defaults before the options are read. */
struct vmft_checking {
	const char *name, *uri[VMFT_BOTH], *strategy, *arbiter;
	char channel[VMFT_BOTH][64]; /* "": not given */
	virConnectPtr connection[VMFT_BOTH];
	struct vmft_reach reach[VMFT_BOTH];
	char host[VMFT_BOTH][VMFT_REACH_TEXT_MAX]; /* for people */
	char *xml;
	struct vmft_domain_definition domain;
	struct json_object *request[VMFT_BOTH], *facts[VMFT_BOTH];
	struct vmft_error unanswered[VMFT_BOTH];
	struct vmft_conditions found;
	char pair_arbiter[VMFT_PATH_MAX]; /* of the domain's pair file */
};

#define VMFT_CHECKING_INIT                                                                         \
	{                                                                                          \
		.uri = {VMFT_CHECKING_HERE_URI, NULL}, .strategy = "auto"                          \
	}

/* The options that both commands have: a child whose input is a struct vmft_checking. */
extern const struct argp vmft_checking_argp;

/* Connects, reads the domain and judges: found. 0, or a negative errno with *err filled if libvirt
 * or the domain cannot be reached. */
int vmft_checking_run(struct vmft_checking *checking, struct vmft_error *err);

/* The conditions, a line each; only those that failed, if so asked. */
void vmft_checking_print(const struct vmft_checking *checking, bool failures_only);

void vmft_checking_fini(struct vmft_checking *checking);

#endif
