/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "pair-config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "etcd-endpoints.h"
#include "exit-codes.h"
#include "ini.h"

#define DEFAULT_SILENCE_MS   1000u
#define DEFAULT_LAG_MS	     300
#define DEFAULT_STUN_MS	     300
#define DEFAULT_GATE_BYTES   (8u << 20)
#define DEFAULT_LOG_BYTES    (64u << 20)
#define DEFAULT_EPOCH_MS     25
#define DEFAULT_EPOCH_MIN    5
#define DEFAULT_EPOCH_MAX    500
#define DEFAULT_CACHE_MIB    64
#define DEFAULT_STALL_MS     30000
#define DEFAULT_DROP_MS	     60000
#define DEFAULT_DIGEST_MS    1000
#define DEFAULT_DIGEST_PAGES 128

/* What one parse carries from line to line. */
struct parser {
	const char *path;
	const char *text;
	size_t size;
	int tls_line;	     /* where the last of the arbiter's PEM files was given */
	int line;	     /* that a refusal names, counted from 1 */
	const char *section; /* the lines are in; NULL before the first */
	int section_line[4]; /* where each section opened, 0 if it did not */
	int epoch_line;	     /* where the last of the epoch's lengths was given */
	uint64_t seen;	     /* bit i: keys[i] was given */
	int grace_line;
	struct vmft_pair_config config;
	struct vmft_error *err;
	struct vmft_ini ini;
};

typedef int value_fn(struct parser *p, const char *value, void *field);

struct number_range {
	uint64_t min, max;
	bool power_of_two;
};

struct key {
	const char *section;
	const char *name;
	value_fn *set;
	size_t field; /* offset in struct vmft_pair_config */
	bool required;
	const char *example; /* shown when the key is missing or its value is refused */
};

static const char *const sections[] = {"pair", "primary", "backup", "spare"};

#define SPARE_SECTION 3

static int refuse(struct parser *p, const char *what, const char *value, const char *todo)
{
	return vmft_error_set(p->err, -EINVAL, VMFT_EXIT_CONFIG, "%s:%d: %s '%.80s'; %s", p->path,
			      p->line, what, value, todo);
}

static int set_name(struct parser *p, const char *value, void *field)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t len = strlen(value);

	if (len == 0 || len > VMFT_PAIR_NAME_MAX || strspn(value, allowed) != len)
		return refuse(p, "bad name", value, "use 1 to 64 of A-Z a-z 0-9 . _ -");
	/* The name becomes a file name under /run/vmft and in the arbiter. */
	if (value[0] == '.')
		return refuse(p, "bad name", value, "do not start it with a dot");
	memcpy(field, value, len + 1);
	return 0;
}

static int set_path(struct parser *p, const char *value, char *field, size_t size)
{
	if (value[0] != '/')
		return refuse(p, "not an absolute path:", value, "start it with /");
	if (strlen(value) >= size)
		return refuse(p, "path too long:", value, "use a shorter one");
	memcpy(field, value, strlen(value) + 1);
	return 0;
}

static int set_any_path(struct parser *p, const char *value, void *field)
{
	return set_path(p, value, field, VMFT_PATH_MAX);
}

static int set_control(struct parser *p, const char *value, void *field)
{
	return set_path(p, value, field, sizeof(((struct vmft_pair_side *)0)->control));
}

static int set_arbiter(struct parser *p, const char *value, void *field)
{
	struct vmft_etcd_endpoints endpoints;
	const char *todo = "write file:/DIRECTORY, an absolute path both hosts share, or "
			   "etcd:https://HOST:PORT,...";

	if (strncmp(value, "etcd:", 5) == 0) {
		if (vmft_etcd_endpoints_parse(value + 5, &endpoints, &todo) < 0)
			return refuse(p, "unusable arbiter", value, todo);
	} else if (strncmp(value, "file:/", 6) != 0) {
		return refuse(p, "unusable arbiter", value, todo);
	}
	if (strlen(value) >= VMFT_PATH_MAX)
		return refuse(p, "arbiter path too long:", value, "use a shorter one");
	memcpy(field, value, strlen(value) + 1);
	return 0;
}

static int set_arbiter_pem(struct parser *p, const char *value, void *field)
{
	p->tls_line = p->line;
	return set_path(p, value, field, VMFT_PATH_MAX);
}

/* 0 for the first, 1 for the second, or a refusal. */
static int one_of(struct parser *p, const char *key, const char *value, const char *first,
		  const char *second)
{
	char what[48], todo[48];

	if (strcmp(value, first) == 0)
		return 0;
	if (strcmp(value, second) == 0)
		return 1;
	(void)snprintf(what, sizeof(what), "unknown %s", key);
	(void)snprintf(todo, sizeof(todo), "write %s or %s", first, second);
	return refuse(p, what, value, todo);
}

static int set_disk_check(struct parser *p, const char *value, void *field)
{
	int chosen = one_of(p, "disk-check", value, "full", "size");

	if (chosen >= 0)
		*(enum vmft_disk_check *)field =
		    chosen ? VMFT_DISK_CHECK_SIZE : VMFT_DISK_CHECK_FULL;
	return chosen < 0 ? chosen : 0;
}

static int set_start(struct parser *p, const char *value, void *field)
{
	int chosen = one_of(p, "start", value, "pair", "alone");

	if (chosen >= 0)
		*(enum vmft_start *)field = chosen ? VMFT_START_ALONE : VMFT_START_PAIR;
	return chosen < 0 ? chosen : 0;
}

static int set_reprotect(struct parser *p, const char *value, void *field)
{
	int chosen = one_of(p, "reprotect", value, "auto", "manual");

	if (chosen >= 0)
		*(enum vmft_reprotect *)field =
		    chosen ? VMFT_REPROTECT_MANUAL : VMFT_REPROTECT_AUTO;
	return chosen < 0 ? chosen : 0;
}

static int set_on_stop(struct parser *p, const char *value, void *field)
{
	int chosen = one_of(p, "on-stop", value, "end", "hand-over");

	if (chosen >= 0)
		*(enum vmft_on_stop *)field = chosen ? VMFT_ON_STOP_HAND_OVER : VMFT_ON_STOP_END;
	return chosen < 0 ? chosen : 0;
}

static int set_strategy(struct parser *p, const char *value, void *field)
{
	for (enum vmft_strategy_kind kind = 0; kind < VMFT_STRATEGY_COUNT; kind++) {
		if (strcmp(value, vmft_strategy_kind_name(kind)) != 0)
			continue;
		*(enum vmft_strategy_kind *)field = kind;
		return 0;
	}
	return refuse(p, "unknown strategy", value, "write auto, lockstep or checkpoint");
}

/* Plain decimal only: strtoull() alone would take signs, blanks and octal. */
static int parse_number(struct parser *p, const char *value, struct number_range range,
			uint64_t *ret)
{
	char todo[96];
	uint64_t number = 0;
	size_t len = strlen(value);
	bool ok = len > 0 && len <= 19 && strspn(value, "0123456789") == len;

	if (ok)
		number = strtoull(value, NULL, 10);
	if (ok && number >= range.min && number <= range.max &&
	    !(range.power_of_two && (number & (number - 1)) != 0)) {
		*ret = number;
		return 0;
	}
	(void)snprintf(todo, sizeof(todo), "write %s from %llu to %llu, no unit",
		       range.power_of_two ? "a power of two" : "a whole number",
		       (unsigned long long)range.min, (unsigned long long)range.max);
	return refuse(p, "bad number", value, todo);
}

static int set_u32(struct parser *p, const char *value, struct number_range range, void *field)
{
	uint64_t number;
	int r = parse_number(p, value, range, &number);

	if (r < 0)
		return r;
	*(uint32_t *)field = (uint32_t)number;
	return 0;
}

static int set_silence(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 200, .max = 60000}, field);
}

static int set_lag(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 20, .max = 60000}, field);
}

static int set_stun(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 10, .max = 10000}, field);
}

static int set_bandwidth(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 0, .max = 100000}, field);
}

static int set_epoch(struct parser *p, const char *value, void *field)
{
	p->epoch_line = p->line;
	return set_u32(p, value, (struct number_range){.min = 5, .max = 500}, field);
}

static int set_epoch_min(struct parser *p, const char *value, void *field)
{
	p->epoch_line = p->line;
	return set_u32(p, value, (struct number_range){.min = 1, .max = 500}, field);
}

static int set_epoch_max(struct parser *p, const char *value, void *field)
{
	p->epoch_line = p->line;
	return set_u32(p, value, (struct number_range){.min = 5, .max = 5000}, field);
}

static int set_delta_cache(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 0, .max = 4096}, field);
}

static int set_grace(struct parser *p, const char *value, void *field)
{
	p->grace_line = p->line;
	return set_u32(p, value, (struct number_range){.min = 200, .max = 180000}, field);
}

static int set_stall(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 1000, .max = 600000}, field);
}

static int set_lag_drop(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 0, .max = 600000}, field);
}

static int set_digest(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 0, .max = 60000}, field);
}

static int set_digest_pages(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 1, .max = 1024}, field);
}

static int set_gate(struct parser *p, const char *value, void *field)
{
	return set_u32(p, value, (struct number_range){.min = 65536, .max = 1u << 30}, field);
}

static int set_log(struct parser *p, const char *value, void *field)
{
	struct number_range range = {
	    .min = UINT64_C(1) << 20, .max = UINT64_C(1) << 32, .power_of_two = true};

	return parse_number(p, value, range, field);
}

/* 1..65535, or 0 for anything that is no port. */
static uint16_t port_parse(const char *text)
{
	size_t len = strlen(text);
	unsigned long port;

	if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
		return 0;
	port = strtoul(text, NULL, 10);
	return port <= 65535 ? (uint16_t)port : 0;
}

static bool address_parse(const char *host, bool v6, uint16_t port,
			  struct vmft_channel_address *ret)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->addr;
	struct sockaddr_in *in4 = (struct sockaddr_in *)&ret->addr;

	if (v6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		ret->addr_len = sizeof(*in6);
		return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1;
	}
	in4->sin_family = AF_INET;
	in4->sin_port = htons(port);
	ret->addr_len = sizeof(*in4);
	return inet_pton(AF_INET, host, &in4->sin_addr) == 1;
}

/* The peer connects to or from this very address, so "any" and group addresses are no use. */
static bool address_is_one_host(const struct vmft_channel_address *address)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->addr;
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address->addr;
	uint32_t host;

	if (address->addr.ss_family == AF_INET6)
		return !IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) &&
		       !IN6_IS_ADDR_MULTICAST(&in6->sin6_addr) &&
		       !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr);
	host = ntohl(in4->sin_addr.s_addr);
	return host != INADDR_ANY && host != INADDR_BROADCAST && !IN_MULTICAST(host);
}

static int set_channel(struct parser *p, const char *value, void *field)
{
	static const char form[] = "write IPV4:PORT or [IPV6]:PORT, in numbers";
	struct vmft_channel_address address = {0};
	char host[sizeof(address.text)];
	const char *colon = strrchr(value, ':');
	bool v6 = value[0] == '[';
	size_t len;

	if (!colon || colon == value || strlen(value) >= sizeof(host))
		return refuse(p, "bad address", value, form);
	len = (size_t)(colon - value);
	if (v6 && (len < 3 || value[len - 1] != ']'))
		return refuse(p, "bad address", value, form);
	memcpy(host, value + v6, len - 2 * v6);
	host[len - 2 * v6] = '\0';
	if (!port_parse(colon + 1) || !address_parse(host, v6, port_parse(colon + 1), &address))
		return refuse(p, "bad address", value, form);
	if (!address_is_one_host(&address))
		return refuse(p, "unreachable address", value,
			      "write an address of this host that the other host can reach");
	memcpy(address.text, value, strlen(value) + 1);
	*(struct vmft_channel_address *)field = address;
	return 0;
}

#define FIELD(member)	   offsetof(struct vmft_pair_config, member)
#define SIDE(name, member) FIELD(host[name].member)

static const struct key keys[] = {
    {"pair", "name", set_name, FIELD(name), true, "name = web1"},
    {"pair", "arbiter", set_arbiter, FIELD(arbiter), true, "arbiter = file:/mnt/shared/vmft"},
    {"pair", "arbiter-ca", set_arbiter_pem, FIELD(arbiter_ca), false, NULL},
    {"pair", "arbiter-cert", set_arbiter_pem, FIELD(arbiter_cert), false, NULL},
    {"pair", "arbiter-key", set_arbiter_pem, FIELD(arbiter_key), false, NULL},
    {"pair", "silence-ms", set_silence, FIELD(silence_ms), false, NULL},
    {"pair", "lag-ms", set_lag, FIELD(lag_ms), false, NULL},
    {"pair", "disk-check", set_disk_check, FIELD(disk_check), false, NULL},
    {"pair", "gate-bytes", set_gate, FIELD(gate_bytes), false, NULL},
    {"pair", "log-bytes", set_log, FIELD(log_bytes), false, NULL},
    {"pair", "qemu", set_any_path, FIELD(qemu), false, NULL},
    {"pair", "start", set_start, FIELD(start), false, NULL},
    {"pair", "reprotect", set_reprotect, FIELD(reprotect), false, NULL},
    {"pair", "stun-ms", set_stun, FIELD(stun_ms), false, NULL},
    {"pair", "attach-mib-per-s", set_bandwidth, FIELD(attach_mib_per_s), false, NULL},
    {"pair", "strategy", set_strategy, FIELD(strategy), false, NULL},
    {"pair", "epoch-ms", set_epoch, FIELD(epoch_ms), false, NULL},
    {"pair", "epoch-min-ms", set_epoch_min, FIELD(epoch_min_ms), false, NULL},
    {"pair", "epoch-max-ms", set_epoch_max, FIELD(epoch_max_ms), false, NULL},
    {"pair", "delta-cache-mib", set_delta_cache, FIELD(delta_cache_mib), false, NULL},
    {"primary", "channel", set_channel, SIDE(VMFT_HOST_PRIMARY, channel), true,
     "channel = 10.9.0.1:7700"},
    {"pair", "grace-ms", set_grace, FIELD(grace_ms), false, NULL},
    {"pair", "stall-ms", set_stall, FIELD(stall_ms), false, NULL},
    {"pair", "lag-drop-ms", set_lag_drop, FIELD(lag_drop_ms), false, NULL},
    {"pair", "digest-ms", set_digest, FIELD(digest_ms), false, NULL},
    {"pair", "on-stop", set_on_stop, FIELD(on_stop), false, NULL},
    {"pair", "digest-pages", set_digest_pages, FIELD(digest_pages), false, NULL},
    {"pair", "save-log", set_any_path, FIELD(save_log), false, NULL},
    {"pair", "alarm", set_any_path, FIELD(alarm), false, NULL},
    {"primary", "heartbeat", set_channel, SIDE(VMFT_HOST_PRIMARY, heartbeat), false, NULL},
    {"backup", "heartbeat", set_channel, SIDE(VMFT_HOST_BACKUP, heartbeat), false, NULL},
    {"spare", "heartbeat", set_channel, SIDE(VMFT_HOST_SPARE, heartbeat), false, NULL},
    {"primary", "control", set_control, SIDE(VMFT_HOST_PRIMARY, control), false, NULL},
    {"backup", "channel", set_channel, SIDE(VMFT_HOST_BACKUP, channel), true,
     "channel = 10.9.0.2:7700"},
    {"backup", "control", set_control, SIDE(VMFT_HOST_BACKUP, control), false, NULL},
    {"spare", "channel", set_channel, SIDE(VMFT_HOST_SPARE, channel), true,
     "channel = 10.9.0.3:7700"},
    {"spare", "control", set_control, SIDE(VMFT_HOST_SPARE, control), false, NULL},
};

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

_Static_assert(ARRAY_SIZE(keys) <= 8 * sizeof(((struct parser *)0)->seen), "a bit for each key");

static int key_set(struct parser *p, size_t index, const char *value)
{
	const struct key *key = &keys[index];

	if (p->seen & (UINT64_C(1) << index))
		return refuse(p, "second", key->name, "keep one of them");
	p->seen |= UINT64_C(1) << index;
	if (value[0] == '\0')
		return refuse(p, "no value for", key->name, "write one or take the line out");
	return key->set(p, value, (char *)&p->config + key->field);
}

static int take_key(struct parser *p, const char *name, const char *value)
{
	if (!p->section)
		return refuse(p, "key before any section:", name, "put it under [pair]");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(keys[i].section, p->section) == 0 && strcmp(keys[i].name, name) == 0)
			return key_set(p, i, value);
	return refuse(p, "unknown key", name, "see the list of keys in the manual");
}

static int open_section(struct parser *p, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
		if (strcmp(sections[i], name) != 0)
			continue;
		if (p->section_line[i])
			return refuse(p, "second section", name, "put its keys together");
		p->section = sections[i];
		p->section_line[i] = p->line;
		return 0;
	}
	return refuse(p, "unknown section", name,
		      "the sections are [pair], [primary], [backup], [spare]");
}

static int check_bytes(struct parser *p)
{
	int line = 1;

	for (size_t i = 0; i < p->size; i++) {
		unsigned char c = (unsigned char)p->text[i];

		if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f) {
			p->line = line;
			return refuse(p, "control byte in", "the file", "save it as plain text");
		}
		line += c == '\n';
	}
	return 0;
}

/* A file that would not be used is a mistake about who is checked. */
static int check_arbiter(struct parser *p)
{
	const struct vmft_pair_config *config = &p->config;

	if (p->tls_line == 0)
		return 0;
	p->line = p->tls_line;
	if (strncmp(config->arbiter, "etcd:https:", 11) != 0)
		return refuse(p, "no TLS with arbiter", config->arbiter,
			      "arbiter-ca, arbiter-cert and arbiter-key are for etcd:https://");
	if ((config->arbiter_cert[0] == '\0') != (config->arbiter_key[0] == '\0'))
		return refuse(p, "only one of", "arbiter-cert, arbiter-key",
			      "give the certificate and its key, or neither");
	return 0;
}

static int check_required(struct parser *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		size_t s = 0;

		if (!keys[i].required || (p->seen & (UINT64_C(1) << i)))
			continue;
		while (strcmp(sections[s], keys[i].section) != 0)
			s++;
		if (s == SPARE_SECTION && p->section_line[s] == 0)
			continue;
		return vmft_error_set(p->err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%s:%d: no '%s' in [%s]; add a line such as '%s'", p->path,
				      p->section_line[s] ? p->section_line[s] : p->line + !p->line,
				      keys[i].name, keys[i].section, keys[i].example);
	}
	return 0;
}

/* The section that comes later in the file's order of hosts is the one refused. */
static int check_channel(struct parser *p, enum vmft_host first, enum vmft_host second)
{
	const struct vmft_channel_address *a = &p->config.host[first].channel;
	const struct vmft_channel_address *b = &p->config.host[second].channel;

	if (!p->config.has_host[first] || !p->config.has_host[second])
		return 0;
	p->line = p->section_line[1 + second];
	if (a->addr.ss_family != b->addr.ss_family)
		return refuse(p, "not of the other hosts' address family:", b->text,
			      "use IPv4 on all or IPv6 on all");
	if (memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0)
		return refuse(p, "another host's channel", b->text,
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
static int check_heartbeat(struct parser *p, enum vmft_host first, enum vmft_host second)
{
	const struct vmft_channel_address *a = &p->config.host[first].heartbeat;
	const struct vmft_channel_address *b = &p->config.host[second].heartbeat;

	if (!p->config.has_host[first] || !p->config.has_host[second])
		return 0;
	p->line = p->section_line[1 + (b->addr_len == 0 ? second : first)];
	if ((a->addr_len == 0) != (b->addr_len == 0))
		return refuse(p, "no heartbeat in",
			      vmft_host_name(b->addr_len == 0 ? second : first),
			      "give one to every host or to none");
	p->line = p->section_line[1 + second];
	if (a->addr_len == 0)
		return 0;
	if (a->addr.ss_family != b->addr.ss_family)
		return refuse(p, "not of the other hosts' address family:", b->text,
			      "use IPv4 on all or IPv6 on all");
	if (memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0)
		return refuse(p, "another host's heartbeat", b->text,
			      "give each host an address of its own");
	return 0;
}

/* What takes the channel away would take such a path with it, and it would promise what it
 * cannot keep. */
static int check_independence(struct parser *p, enum vmft_host host)
{
	const struct vmft_pair_side *side = &p->config.host[host];

	if (side->heartbeat.addr_len == 0 || !same_host(&side->channel, &side->heartbeat))
		return 0;
	p->line = p->section_line[1 + host];
	return refuse(p, "heartbeat on the channel's address", side->heartbeat.text,
		      "use another network's, or leave it out on all hosts");
}

static int check_heartbeats(struct parser *p)
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

static int check_channels(struct parser *p)
{
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++)
		p->config.has_host[host] = p->section_line[1 + host] != 0;
	for (enum vmft_host second = 1; second < VMFT_HOST_COUNT; second++) {
		for (enum vmft_host first = 0; first < second; first++) {
			int r = check_channel(p, first, second);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Each is within its own range; the error names the line that was changed last. */
static int check_epoch(struct parser *p)
{
	const struct vmft_pair_config *config = &p->config;
	char values[48];

	if (config->epoch_min_ms <= config->epoch_ms && config->epoch_ms <= config->epoch_max_ms)
		return 0;
	(void)snprintf(values, sizeof(values), "%u, %u, %u", config->epoch_min_ms, config->epoch_ms,
		       config->epoch_max_ms);
	p->line = p->epoch_line;
	return refuse(p, "epoch-min-ms, epoch-ms and epoch-max-ms out of order:", values,
		      "let none be less than the one before it");
}

/* The default follows from silence-ms, which may stand behind it; three times, for the reason in
 * docs/detection.md, "grace-ms". */
static int check_grace(struct parser *p)
{
	struct vmft_pair_config *config = &p->config;
	char values[32];

	if (config->grace_ms == 0)
		config->grace_ms = 3 * config->silence_ms;
	if (config->grace_ms >= config->silence_ms)
		return 0;
	(void)snprintf(values, sizeof(values), "%u, %u", config->grace_ms, config->silence_ms);
	p->line = p->grace_line;
	return refuse(p, "grace-ms less than silence-ms:", values, "make it as long at least");
}

static void fill_defaults(struct vmft_pair_config *config)
{
	config->silence_ms = DEFAULT_SILENCE_MS;
	config->lag_ms = DEFAULT_LAG_MS;
	config->disk_check = VMFT_DISK_CHECK_FULL;
	config->stun_ms = DEFAULT_STUN_MS;
	config->gate_bytes = DEFAULT_GATE_BYTES;
	config->log_bytes = DEFAULT_LOG_BYTES;
	config->strategy = VMFT_STRATEGY_AUTO;
	config->epoch_ms = DEFAULT_EPOCH_MS;
	config->epoch_min_ms = DEFAULT_EPOCH_MIN;
	config->epoch_max_ms = DEFAULT_EPOCH_MAX;
	config->delta_cache_mib = DEFAULT_CACHE_MIB;
	config->stall_ms = DEFAULT_STALL_MS;
	config->lag_drop_ms = DEFAULT_DROP_MS;
	config->digest_ms = DEFAULT_DIGEST_MS;
	config->digest_pages = DEFAULT_DIGEST_PAGES;
	memcpy(config->qemu, VMFT_QEMU_DEFAULT, sizeof(VMFT_QEMU_DEFAULT));
}

/* After the name is known, since the default is made from it. */
static void fill_controls(struct vmft_pair_config *config)
{
	_Static_assert(sizeof(config->host[0].control) >
			   sizeof("/run/vmft/.primary.sock") + VMFT_PAIR_NAME_MAX,
		       "the default control path fits");
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++)
		if (config->host[host].control[0] == '\0')
			(void)snprintf(config->host[host].control,
				       sizeof(config->host[host].control), "/run/vmft/%s.%s.sock",
				       config->name, vmft_host_name(host));
}

static int parse_line(struct parser *p, enum vmft_ini_kind kind)
{
	switch (kind) {
	case VMFT_INI_SECTION:
		return open_section(p, p->ini.name);
	case VMFT_INI_KEY:
		return take_key(p, p->ini.name, p->ini.value);
	case VMFT_INI_LONG:
		return vmft_error_set(p->err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%s:%d: line too long; keep lines under %u bytes", p->path,
				      p->line, VMFT_INI_LINE_MAX);
	default:
		return vmft_error_set(p->err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%s:%d: neither KEY = VALUE nor [SECTION]; correct the line",
				      p->path, p->line);
	}
}

static int parse_lines(struct parser *p)
{
	enum vmft_ini_kind kind;
	int r = 0;

	vmft_ini_open(&p->ini, p->text, p->size);
	while (r == 0 && (kind = vmft_ini_next(&p->ini)) != VMFT_INI_END) {
		p->line = p->ini.line;
		r = parse_line(p, kind);
	}
	return r;
}

static int parse(struct parser *p)
{
	int r = check_bytes(p);

	if (r < 0)
		return r;
	p->line = 0;
	fill_defaults(&p->config);
	r = parse_lines(p);
	if (r < 0)
		return r;
	r = check_required(p);
	if (r < 0)
		return r;
	r = check_arbiter(p);
	if (r < 0)
		return r;
	fill_controls(&p->config);
	r = check_epoch(p);
	if (r < 0)
		return r;
	r = check_grace(p);
	if (r < 0)
		return r;
	r = check_channels(p);
	if (r < 0)
		return r;
	return check_heartbeats(p);
}

int vmft_pair_config_parse(const char *path, const char *text, size_t size,
			   struct vmft_pair_config *ret, struct vmft_error *err)
{
	struct parser *p;
	int r;

	if (size > VMFT_PAIR_FILE_MAX)
		return vmft_error_set(err, -E2BIG, VMFT_EXIT_CONFIG,
				      "%s:1: over %u bytes; this is no role/pair file", path,
				      VMFT_PAIR_FILE_MAX);
	p = calloc(1, sizeof(*p));
	if (!p)
		return vmft_error_set(err, -ENOMEM, VMFT_EXIT_INTERNAL, "%s: out of memory", path);
	p->path = path;
	p->text = text;
	p->size = size;
	p->err = err;
	r = parse(p);
	if (r == 0)
		*ret = p->config;
	free(p);
	return r;
}

static int load_fail(const char *path, int err_no, struct vmft_error *err)
{
	return vmft_error_set(err, -err_no, VMFT_EXIT_CONFIG,
			      "%s: cannot read: %s; set VMFT_PAIR to a readable role/pair file",
			      path, strerror(err_no));
}

/* Reads until size bytes or the end of the file. */
static ssize_t read_whole(int fd, char *buffer, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = read(fd, buffer + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

static int load_fd(const char *path, int fd, struct vmft_pair_config *ret, struct vmft_error *err)
{
	struct stat st;
	ssize_t size;
	char *text;
	int r;

	if (fstat(fd, &st) < 0)
		return load_fail(path, errno, err);
	if (!S_ISREG(st.st_mode))
		return load_fail(path, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, err);
	/* One byte more than allowed, to see that a file is too long even while it grows. */
	text = malloc(VMFT_PAIR_FILE_MAX + 1);
	if (!text)
		return load_fail(path, ENOMEM, err);
	size = read_whole(fd, text, VMFT_PAIR_FILE_MAX + 1);
	if (size < 0)
		r = load_fail(path, (int)-size, err);
	else
		r = vmft_pair_config_parse(path, text, (size_t)size, ret, err);
	free(text);
	return r;
}

int vmft_pair_config_load(const char *path, struct vmft_pair_config *ret, struct vmft_error *err)
{
	/* O_NONBLOCK: a FIFO put there by mistake is refused, not waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r;

	if (fd < 0)
		return load_fail(path, errno, err);
	r = load_fd(path, fd, ret, err);
	(void)close(fd);
	return r;
}

int vmft_role_parse(const char *text, enum vmft_role *ret)
{
	for (enum vmft_role role = 0; role < VMFT_ROLE_COUNT; role++) {
		if (strcmp(text, vmft_role_name(role)) == 0) {
			*ret = role;
			return 0;
		}
	}
	return -EINVAL;
}

const char *vmft_role_name(enum vmft_role role)
{
	return role == VMFT_ROLE_PRIMARY ? "primary" : "backup";
}

int vmft_host_parse(const char *text, enum vmft_host *ret)
{
	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++) {
		if (strcmp(text, vmft_host_name(host)) == 0) {
			*ret = host;
			return 0;
		}
	}
	return -EINVAL;
}

const char *vmft_host_name(enum vmft_host host)
{
	static const char *const names[VMFT_HOST_COUNT] = {
	    [VMFT_HOST_PRIMARY] = "primary",
	    [VMFT_HOST_BACKUP] = "backup",
	    [VMFT_HOST_SPARE] = "spare",
	};

	return names[host];
}
