/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a domain is protected: what "vmft protect" writes into the domain's metadata and into the
 * pair file of both hosts. Pure.
 */
#ifndef VMFT_PROTECTION_H
#define VMFT_PROTECTION_H

#include <stddef.h>

#include "domain-xml.h"
#include "monitor/common/pair-config.h"

#define VMFT_METADATA_URI    "https://vmft.org/xmlns/protection/1"
#define VMFT_METADATA_PREFIX "vmft"
#define VMFT_PAIR_TEXT_MAX   8192u
/* The first line of a pair file that this wrote: one with another first line is somebody's own. */
#define VMFT_PAIR_MARK "; written by vmft protect, the same on both hosts"

enum { VMFT_PROTECTION_HOSTS = 2 };

struct vmft_protection {
	const char *vm, *uuid, *arbiter, *strategy;
	char host[VMFT_PROTECTION_HOSTS][VMFT_HOST_NAME_MAX + 1]; /* the domain's, the backup's */
	char channel[VMFT_PROTECTION_HOSTS][64];
	const char *uri; /* libvirt on the backup's host */
};

/* The name of a pair file's section for a host that calls itself node: its domain is left out, and
 * what may not stand in a name becomes "-". */
void vmft_protection_host_name(const char *node, char ret[static VMFT_HOST_NAME_MAX + 1]);

/*
 * The pair file's text, read back and found to be right. Returns its length, or a negative errno
 * with *err filled: the VM's name, an address or the arbiter cannot stand in a pair file.
 */
int vmft_protection_pair_text(const struct vmft_protection *protection,
			      char ret[static VMFT_PAIR_TEXT_MAX], struct vmft_error *err);

/*
 * The domain's XML with another emulator, and with the protection in its metadata; the emulator it
 * had is kept there. The caller frees the text. NULL with *err filled: the XML is not a domain's.
 */
char *vmft_protection_domain(const char *xml, const struct vmft_protection *protection,
			     const char *emulator, struct vmft_error *err);

/* What a protected domain's XML says of the host that was the backup's when it was protected: the
 * URI of libvirt there, which the caller frees, and the channel's address. NULL with *err filled:
 * the domain is not protected. */
char *vmft_protection_backup(const char *xml, char ret_channel[static 64], struct vmft_error *err);

/* The domain's XML as it was before: its emulator, and without the protection. The same returns.
 */
char *vmft_protection_undo(const char *xml, struct vmft_error *err);

#endif
