/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text by which an arbiter's record names who holds a generation. A person can read it, and a
 * host that starts a side of the VM reads from it which build of QEMU the guest runs:
 *
 *   4f...a1 alpha on vmhost1 since 1796026173 build 2f5ea8fdde03
 *
 * It begins with a token that no other process has, so no two are equal. Pure.
 */
#ifndef VMFT_OWNER_H
#define VMFT_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arbiter.h"

#define VMFT_OWNER_TOKEN_BYTES 16u
#define VMFT_OWNER_BUILD_HEX   12u /* digits of the build-id; a host tells its few builds apart */

struct vmft_owner {
	uint8_t token[VMFT_OWNER_TOKEN_BYTES];
	const char *host;	 /* the section of the pair file */
	const char *node;	 /* the host's own name; 24 bytes of it are kept */
	int64_t since;		 /* seconds since 1970 */
	const uint8_t *build_id; /* of the guest's QEMU */
	size_t build_id_bytes;	 /* 0: not known, it is left out */
};

void vmft_owner_format(const struct vmft_owner *owner, char ret[static VMFT_ARBITER_OWNER_MAX]);

/* The first digits of the build-id. False: the text has none, as one of an earlier version has
 * not, or one that a person wrote. */
bool vmft_owner_build(const char *text, char ret[static VMFT_OWNER_BUILD_HEX + 1]);

/* The section of the pair file, as what text has after the token. Returns its length; 0: it has
 * none. */
size_t vmft_owner_host(const char *text, const char **ret);

#endif
