/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "owner.h"

#include <stdio.h>
#include <string.h>

/* 32 digits, a section of at most 27 bytes, 24 of the node and 40 of the rest: 124 at most. */
#define NODE_MAX 24

static const char before_build[] = " build ";

static void hex(const uint8_t *bytes, size_t count, char *ret)
{
	*ret = '\0';
	for (size_t i = 0; i < count; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

void vmft_owner_format(const struct vmft_owner *owner, char ret[static VMFT_ARBITER_OWNER_MAX])
{
	char token[2 * VMFT_OWNER_TOKEN_BYTES + 1], build[VMFT_OWNER_BUILD_HEX + 1] = "";
	const bool known = owner->build_id_bytes >= VMFT_OWNER_BUILD_HEX / 2;

	hex(owner->token, sizeof(owner->token), token);
	if (known)
		hex(owner->build_id, VMFT_OWNER_BUILD_HEX / 2, build);
	(void)snprintf(ret, VMFT_ARBITER_OWNER_MAX, "%s %.27s on %.*s since %lld%s%s", token,
		       owner->host, NODE_MAX, owner->node, (long long)owner->since,
		       known ? before_build : "", build);
}

bool vmft_owner_build(const char *text, char ret[static VMFT_OWNER_BUILD_HEX + 1])
{
	const size_t n = strlen(text), tail = sizeof(before_build) - 1 + VMFT_OWNER_BUILD_HEX;
	const char *build;

	if (n < tail || strncmp(text + n - tail, before_build, sizeof(before_build) - 1) != 0)
		return false;
	build = text + n - VMFT_OWNER_BUILD_HEX;
	if (strspn(build, "0123456789abcdef") != VMFT_OWNER_BUILD_HEX)
		return false;
	memcpy(ret, build, VMFT_OWNER_BUILD_HEX + 1);
	return true;
}

size_t vmft_owner_host(const char *text, const char **ret)
{
	*ret = text + strcspn(text, " ");
	*ret += **ret == ' ';
	return strcspn(*ret, " ");
}
