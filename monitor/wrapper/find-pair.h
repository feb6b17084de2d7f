/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which side of which VM a command line of libvirt's starts. libvirt starts QEMU without the
 * environment that VMFT_PAIR, VMFT_ROLE and VMFT_HOST are in, and has the same domain on both
 * hosts. So the pair file is found by the domain's name, the host by its address, and the role by
 * what the arbiter has on record.
 *
 * Pure: own-side.c asks this host and the arbiter.
 */
#ifndef VMFT_FIND_PAIR_H
#define VMFT_FIND_PAIR_H

#include <stdbool.h>

#include "monitor/common/error.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/arbiter/arbiter.h"

#define VMFT_DOMAIN_NAME_MAX VMFT_PAIR_NAME_MAX

struct vmft_line_domain {
	char name[VMFT_DOMAIN_NAME_MAX + 1]; /* of -name guest=; "": none is given */
	char uuid[VMFT_UUID_MAX];	     /* of -uuid, as given; "": none */
};

/* Reads the last -name and the last -uuid of the line. 0; -EINVAL with *err filled: the name can be
 * no pair file's. */
int vmft_domain_read(int argc, char *const argv[], struct vmft_line_domain *ret,
		     struct vmft_error *err);

/* The pair file was found by the name. 0; -EINVAL with *err filled: it is another VM's. */
int vmft_domain_check(const struct vmft_line_domain *domain, const char *path,
		      const struct vmft_pair_config *config, struct vmft_error *err);

/* The file's uuid is that of -uuid, or one of the two is not given. The same returns. */
int vmft_domain_check_uuid(const struct vmft_line_domain *domain, const char *path,
			   const struct vmft_pair_config *config, struct vmft_error *err);

/* is_local says of each host of the file whether this host has its channel address. Returns
 * -EINVAL with *err filled if that is not so for just one. */
int vmft_domain_host(const struct vmft_pair_config *config,
		     const bool is_local[static VMFT_HOST_COUNT], enum vmft_host *ret,
		     struct vmft_error *err);

/* Why a side has the role that it has. */
enum vmft_role_reason {
	VMFT_ROLE_VM_IS_NEW,   /* primary: no generation is on record */
	VMFT_ROLE_VM_ENDED,    /* primary: the latest generation ended on this host */
	VMFT_ROLE_VM_DECLARED, /* primary: a person has declared the latest generation dead */
	VMFT_ROLE_VM_LEFT,     /* primary: it ended on a host that the pair file does not have */
	VMFT_ROLE_HELD,	       /* backup: another host has the latest generation */
	VMFT_ROLE_ENDED_THERE, /* backup: it ended on another host, whose image has all of it */
	VMFT_ROLE_LOST_HERE,   /* backup: this host has it, and its guest did not end in order */
};

struct vmft_role_choice {
	enum vmft_role role;
	enum vmft_role_reason reason;
};

/* host is the caller's own. */
struct vmft_role_choice vmft_domain_role(const struct vmft_pair_config *config, enum vmft_host host,
					 const struct vmft_arbiter_latest *latest);

/* One sentence for the VM's log. */
void vmft_domain_role_text(const struct vmft_pair_config *config,
			   const struct vmft_role_choice *choice,
			   const struct vmft_arbiter_latest *latest, char *ret, size_t size);

#endif
