/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "etcd-endpoints.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char form[] = "write etcd:https://HOST:PORT, up to 9 of them with commas between";

static bool is_port(const char *text)
{
	const size_t n = strlen(text);

	return n > 0 && n <= 5 && text[0] != '0' && strspn(text, "0123456789") == n &&
	       strtoul(text, NULL, 10) <= UINT16_MAX;
}

/* A number or a name. It becomes part of a URL: nothing that means something there passes. */
static bool is_host(const char *text, bool brackets)
{
	static const char name[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789.-";
	const size_t n = strlen(text);
	struct in6_addr in6;
	struct in_addr in4;

	if (brackets)
		return inet_pton(AF_INET6, text, &in6) == 1;
	/* Digits and dots only are an address, and must be a good one. */
	if (strspn(text, "0123456789.") == n)
		return inet_pton(AF_INET, text, &in4) == 1;
	return n > 0 && strspn(text, name) == n && text[0] != '-' && text[0] != '.';
}

static bool is_authority(const char *text)
{
	const bool brackets = text[0] == '[';
	const char *colon = strrchr(text, ':');
	char host[VMFT_ETCD_ENDPOINT_MAX];
	size_t n;

	if (!colon || !is_port(colon + 1))
		return false;
	n = (size_t)(colon - text);
	if (brackets && (n < 3 || text[n - 1] != ']'))
		return false;
	memcpy(host, text + brackets, n - 2 * brackets);
	host[n - 2 * brackets] = '\0';
	return is_host(host, brackets);
}

static int add(struct vmft_etcd_endpoints *e, const char *url, const char **ret_todo)
{
	const bool tls = strncmp(url, "https://", 8) == 0;

	if (!tls && strncmp(url, "http://", 7) != 0)
		return -EINVAL;
	if (!is_authority(url + (tls ? 8 : 7)))
		return -EINVAL;
	if (e->count > 0 && tls != e->tls) {
		*ret_todo = "use https for all of them or http for all";
		return -EINVAL;
	}
	for (unsigned i = 0; i < e->count; i++) {
		if (strcmp(e->url[i], url) != 0)
			continue;
		*ret_todo = "name each member once";
		return -EINVAL;
	}
	e->tls = tls;
	memcpy(e->url[e->count++], url, strlen(url) + 1);
	return 0;
}

int vmft_etcd_endpoints_parse(const char *where, struct vmft_etcd_endpoints *ret,
			      const char **ret_todo)
{
	char url[VMFT_ETCD_ENDPOINT_MAX];

	*ret_todo = form;
	memset(ret, 0, sizeof(*ret));
	for (;;) {
		const size_t n = strcspn(where, ",");

		if (n >= sizeof(url) || ret->count == VMFT_ETCD_ENDPOINTS_MAX)
			return -EINVAL;
		memcpy(url, where, n);
		url[n] = '\0';
		if (add(ret, url, ret_todo) < 0)
			return -EINVAL;
		if (where[n] == '\0')
			return 0;
		where += n + 1;
	}
}
