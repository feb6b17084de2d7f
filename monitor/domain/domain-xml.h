/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a domain's XML says of the parts that both hosts must have: its disks and networks. QEMU's
 * command line, which libvirt makes of the XML, is checked as a command line
 * (monitor/wrapper/cmdline.h).
 */
#ifndef VMFT_DOMAIN_XML_H
#define VMFT_DOMAIN_XML_H

#include <stdbool.h>
#include <stddef.h>

#include "monitor/common/error.h"

#define VMFT_DOMAIN_XML_MAX   (1024u * 1024)
#define VMFT_DOMAIN_TEXT_MAX  256u
#define VMFT_DOMAIN_PATH_MAX  1024u
#define VMFT_DOMAIN_DISKS_MAX 16u
#define VMFT_DOMAIN_NICS_MAX  8u

struct vmft_domain_disk {
	char path[VMFT_DOMAIN_PATH_MAX]; /* "": no file or block device of the host, as an empty
					  * drive has none */
	char target[16];		 /* "vda" */
	char format[16];		 /* "raw", "qcow2"...; "": not given */
	bool is_remote;			 /* of a network or a storage pool: no path is known */
	bool read_only;
};

/* How the domain's card is connected: <interface type=...>. */
struct vmft_domain_nic {
	char type[16];	 /* "bridge", "network", "ethernet", "direct", "user"... */
	char source[64]; /* of that: the bridge, the network, the host's device */
	char target[16]; /* the tap's name; "": libvirt gives it one */
};

struct vmft_domain_definition {
	char name[VMFT_DOMAIN_TEXT_MAX], uuid[40];
	char emulator[VMFT_DOMAIN_PATH_MAX]; /* "": libvirt's default */
	bool is_kvm;
	struct vmft_domain_disk disk[VMFT_DOMAIN_DISKS_MAX];
	size_t disk_count;
	struct vmft_domain_nic nic[VMFT_DOMAIN_NICS_MAX];
	size_t nic_count;
};

/*
 * Reads the XML of a domain, n bytes. Nothing that it names is opened. Returns 0, or a negative
 * errno with *err filled: -EINVAL it is no domain's, -E2BIG it has more disks or networks than can
 * be protected, or a text that is too long. *ret is unchanged then.
 */
int vmft_domain_parse(const char *xml, size_t n, struct vmft_domain_definition *ret,
		      struct vmft_error *err);

#endif
