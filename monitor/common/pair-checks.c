/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What must be true of several keys of the pair file together, and what follows from others. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "exit-codes.h"
#include "pair-parser.h"

/* A PEM file that would not be used: the writer believes that a member is verified which is not. */
static int check_arbiter(struct vmft_pair_parser *p)
{
	const struct vmft_pair_config *config = &p->config;
	const int line = vmft_pair_line_of(p, "arbiter-ca|arbiter-cert|arbiter-key");

	if (line == 0)
		return 0;
	p->line = line;
	if (strncmp(config->arbiter, "etcd:https:", 11) != 0)
		return vmft_pair_refuse(
		    p, "no TLS with arbiter", config->arbiter,
		    "arbiter-ca, arbiter-cert and arbiter-key are for etcd:https://");
	if ((config->arbiter_cert[0] == '\0') != (config->arbiter_key[0] == '\0'))
		return vmft_pair_refuse(p, "only one of", "arbiter-cert, arbiter-key",
					"give the certificate and its key, or neither");
	return 0;
}

static int missing(struct vmft_pair_parser *p, const struct vmft_pair_section *section,
		   const char *name, const struct vmft_pair_key *key)
{
	return vmft_error_set(p->err, -EINVAL, VMFT_EXIT_CONFIG,
			      "%s:%d: no '%s' in [%s]; add a line such as '%s'", p->path,
			      section->line ? section->line : p->line + !p->line, key->name, name,
			      key->example);
}

static int check_section(struct vmft_pair_parser *p, const struct vmft_pair_section *section,
			 const char *name, const struct vmft_pair_key *keys)
{
	for (size_t i = 0; keys[i].name; i++)
		if (keys[i].example && section->key_line[i] == 0)
			return missing(p, section, name, &keys[i]);
	return 0;
}

/* The third host need not be there. */
static int check_required(struct vmft_pair_parser *p)
{
	int r = check_section(p, &p->pair, "pair", vmft_pair_keys);

	for (enum vmft_host host = 0; r == 0 && host < VMFT_HOST_COUNT; host++) {
		if (host == VMFT_HOST_THIRD && p->host[host].line == 0)
			continue;
		if (p->named && p->host[host].line == 0)
			return vmft_pair_refuse(p, "only one host:", p->config.host[0].name,
						"add a section for the other, [host NAME]");
		r = check_section(p, &p->host[host], p->config.host[host].section,
				  vmft_pair_host_keys);
	}
	return r;
}

/* The section that comes later in the file's order of hosts is the one refused. */
static int check_channel(struct vmft_pair_parser *p, enum vmft_host first, enum vmft_host second)
{
	const struct vmft_channel_address *a = &p->config.host[first].channel;
	const struct vmft_channel_address *b = &p->config.host[second].channel;

	if (!p->config.has_host[first] || !p->config.has_host[second])
		return 0;
	p->line = p->host[second].line;
	if (a->addr.ss_family != b->addr.ss_family)
		return vmft_pair_refuse(p, "not of the other hosts' address family:", b->text,
					"use IPv4 on all or IPv6 on all");
	if (memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0)
		return vmft_pair_refuse(p, "another host's channel", b->text,
					"give each host an address of its own");
	return 0;
}

/* The address without its port. */
static bool same_host(const struct vmft_channel_address *a, const struct vmft_channel_address *b)
{
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)&a->addr;
	const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)&b->addr;
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)&a->addr;
	const struct sockaddr_in *b4 = (const struct sockaddr_in *)&b->addr;

	if (a->addr.ss_family != b->addr.ss_family)
		return false;
	if (a->addr.ss_family == AF_INET6)
		return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
	return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
}

/* A path of its own, between the same two hosts. */
static int check_heartbeat(struct vmft_pair_parser *p, enum vmft_host first, enum vmft_host second)
{
	const struct vmft_channel_address *a = &p->config.host[first].heartbeat;
	const struct vmft_channel_address *b = &p->config.host[second].heartbeat;

	if (!p->config.has_host[first] || !p->config.has_host[second])
		return 0;
	p->line = p->host[b->addr_len == 0 ? second : first].line;
	if ((a->addr_len == 0) != (b->addr_len == 0))
		return vmft_pair_refuse(p, "no heartbeat in",
					p->config.host[b->addr_len == 0 ? second : first].name,
					"give one to every host or to none");
	p->line = p->host[second].line;
	if (a->addr_len == 0)
		return 0;
	if (a->addr.ss_family != b->addr.ss_family)
		return vmft_pair_refuse(p, "not of the other hosts' address family:", b->text,
					"use IPv4 on all or IPv6 on all");
	if (memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0)
		return vmft_pair_refuse(p, "another host's heartbeat", b->text,
					"give each host an address of its own");
	return 0;
}

/* A heartbeat on the channel's address fails together with the channel: it would be no second
 * path. */
static int check_independence(struct vmft_pair_parser *p, enum vmft_host host)
{
	const struct vmft_pair_side *side = &p->config.host[host];

	if (side->heartbeat.addr_len == 0 || !same_host(&side->channel, &side->heartbeat))
		return 0;
	p->line = p->host[host].line;
	return vmft_pair_refuse(p, "heartbeat on the channel's address", side->heartbeat.text,
				"use another network's, or leave it out on all hosts");
}

static int check_heartbeats(struct vmft_pair_parser *p)
{
	for (enum vmft_host second = 0; second < VMFT_HOST_COUNT; second++) {
		int r = check_independence(p, second);

		for (enum vmft_host first = 0; r == 0 && first < second; first++)
			r = check_heartbeat(p, first, second);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_channels(struct vmft_pair_parser *p)
{
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++)
		p->config.has_host[host] = p->host[host].line != 0;
	for (enum vmft_host second = 1; second < VMFT_HOST_COUNT; second++) {
		for (enum vmft_host first = 0; first < second; first++) {
			int r = check_channel(p, first, second);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Each length is within its own range here. The error names the last of the three lines. */
static int check_epoch(struct vmft_pair_parser *p)
{
	const struct vmft_pair_config *config = &p->config;
	char values[48];

	if (config->epoch_min_ms <= config->epoch_ms && config->epoch_ms <= config->epoch_max_ms)
		return 0;
	(void)snprintf(values, sizeof(values), "%u, %u, %u", config->epoch_min_ms, config->epoch_ms,
		       config->epoch_max_ms);
	p->line = vmft_pair_line_of(p, "epoch-ms|epoch-min-ms|epoch-max-ms");
	return vmft_pair_refuse(p, "epoch-min-ms, epoch-ms and epoch-max-ms out of order:", values,
				"let none be less than the one before it");
}

/* The default is three times silence-ms, which may be on a later line. Why three times:
 * docs/detection.md, "grace-ms". */
static int check_grace(struct vmft_pair_parser *p)
{
	struct vmft_pair_config *config = &p->config;
	char values[32];

	if (config->grace_ms == 0)
		config->grace_ms = 3 * config->silence_ms;
	if (config->grace_ms >= config->silence_ms)
		return 0;
	(void)snprintf(values, sizeof(values), "%u, %u", config->grace_ms, config->silence_ms);
	p->line = vmft_pair_line_of(p, "grace-ms");
	return vmft_pair_refuse(p, "grace-ms less than silence-ms:", values,
				"make it as long at least");
}

/* After the name is known, since the default is made from it. */
static void fill_controls(struct vmft_pair_config *config)
{
	_Static_assert(sizeof(config->host[0].control) >=
			   sizeof("/run/vmft/..sock") + VMFT_PAIR_NAME_MAX + VMFT_HOST_NAME_MAX,
		       "the default control path fits");
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++)
		if (config->host[host].control[0] == '\0')
			(void)snprintf(config->host[host].control,
				       sizeof(config->host[host].control), "/run/vmft/%s.%s.sock",
				       config->name, config->host[host].name);
}

int vmft_pair_check(struct vmft_pair_parser *p)
{
	static int (*const checks[])(struct vmft_pair_parser * p) = {
	    check_required, check_arbiter,  check_epoch,
	    check_grace,    check_channels, check_heartbeats,
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(checks) / sizeof(checks[0]); i++)
		r = checks[i](p);
	fill_controls(&p->config);
	return r;
}
