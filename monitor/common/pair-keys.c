/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keys of the pair file: what each may hold, and what it is if it is not given. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etcd-endpoints.h"
#include "pair-parser.h"

static int set_name(struct vmft_pair_parser *p, const struct vmft_pair_key *key, const char *value,
		    void *field)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t len = strlen(value);

	if (len == 0 || len >= key->size || strspn(value, allowed) != len)
		return vmft_pair_refuse(p, "bad name", value, "use 1 to 64 of A-Z a-z 0-9 . _ -");
	/* The name becomes a file name under /run/vmft and in the arbiter. */
	if (value[0] == '.')
		return vmft_pair_refuse(p, "bad name", value, "do not start it with a dot");
	memcpy(field, value, len + 1);
	return 0;
}

/* 8-4-4-4-12 hexadecimal digits, as libvirt and QEMU write a UUID. */
static bool is_uuid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(text) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; text[i]; i++)
		if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	return true;
}

static int set_uuid(struct vmft_pair_parser *p, const struct vmft_pair_key *key, const char *value,
		    void *field)
{
	char *to = field;

	(void)key;
	if (!is_uuid(value))
		return vmft_pair_refuse(
		    p, "bad UUID", value,
		    "write 8-4-4-4-12 hexadecimal digits, as virsh domuuid does");
	for (; *value; value++)
		*to++ = (char)tolower((unsigned char)*value);
	*to = '\0';
	return 0;
}

static int set_path(struct vmft_pair_parser *p, const struct vmft_pair_key *key, const char *value,
		    void *field)
{
	if (value[0] != '/')
		return vmft_pair_refuse(p, "not an absolute path:", value, "start it with /");
	if (strlen(value) >= key->size)
		return vmft_pair_refuse(p, "path too long:", value, "use a shorter one");
	memcpy(field, value, strlen(value) + 1);
	return 0;
}

static int set_arbiter(struct vmft_pair_parser *p, const struct vmft_pair_key *key,
		       const char *value, void *field)
{
	struct vmft_etcd_endpoints endpoints;
	const char *todo = "write file:/DIRECTORY, an absolute path both hosts share, or "
			   "etcd:https://HOST:PORT,...";

	if (strncmp(value, "etcd:", 5) == 0) {
		if (vmft_etcd_endpoints_parse(value + 5, &endpoints, &todo) < 0)
			return vmft_pair_refuse(p, "unusable arbiter", value, todo);
	} else if (strncmp(value, "file:/", 6) != 0) {
		return vmft_pair_refuse(p, "unusable arbiter", value, todo);
	}
	if (strlen(value) >= key->size)
		return vmft_pair_refuse(p, "arbiter path too long:", value, "use a shorter one");
	memcpy(field, value, strlen(value) + 1);
	return 0;
}

/* "a|b|c" as a sentence has it: "a, b or c". */
static void spell_words(const char *words, char *ret, size_t size)
{
	size_t at = 0;

	while (*words && at < size) {
		const size_t n = strcspn(words, "|");
		const char *rest = words + n + (words[n] == '|');
		const char *between = *rest == '\0' ? "" : strchr(rest, '|') ? ", " : " or ";

		at += (size_t)snprintf(ret + at, size - at, "%.*s%s", (int)n, words, between);
		words = rest;
	}
}

/* The field is an enum whose values are in the order of the words. */
static int set_choice(struct vmft_pair_parser *p, const struct vmft_pair_key *key,
		      const char *value, void *field)
{
	char what[48], spelled[64], todo[80];
	const size_t len = strlen(value);
	unsigned chosen = 0;

	for (const char *word = key->words; *word; chosen++) {
		const size_t n = strcspn(word, "|");

		if (n == len && memcmp(word, value, n) == 0) {
			*(unsigned *)field = chosen;
			return 0;
		}
		word += n + (word[n] == '|');
	}
	spell_words(key->words, spelled, sizeof(spelled));
	(void)snprintf(what, sizeof(what), "unknown %s", key->name);
	(void)snprintf(todo, sizeof(todo), "write %s", spelled);
	return vmft_pair_refuse(p, what, value, todo);
}

/* A field of four or eight bytes, as its setting is wide. */
static void store(void *field, size_t size, uint64_t number)
{
	if (size == sizeof(uint64_t))
		*(uint64_t *)field = number;
	else
		*(uint32_t *)field = (uint32_t)number;
}

/* Plain decimal only: strtoull() alone would take signs, blanks and octal. */
static int set_number(struct vmft_pair_parser *p, const struct vmft_pair_key *key,
		      const char *value, void *field)
{
	const struct vmft_pair_number *range = &key->number;
	const size_t len = strlen(value);
	bool good = len > 0 && len <= 19 && strspn(value, "0123456789") == len;
	uint64_t number = good ? strtoull(value, NULL, 10) : 0;
	char todo[96];

	if (good && number >= range->min && number <= range->max &&
	    !(range->power_of_two && (number & (number - 1)) != 0)) {
		store(field, key->size, number);
		return 0;
	}
	(void)snprintf(todo, sizeof(todo), "write %s from %llu to %llu, no unit",
		       range->power_of_two ? "a power of two" : "a whole number",
		       (unsigned long long)range->min, (unsigned long long)range->max);
	return vmft_pair_refuse(p, "bad number", value, todo);
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

/* The peer connects to and from this address: it cannot be "any" or a group. */
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

int vmft_channel_address_parse(const char *text, struct vmft_channel_address *ret)
{
	struct vmft_channel_address address = {0};
	char host[sizeof(address.text)];
	const char *colon = strrchr(text, ':');
	bool v6 = text[0] == '[';
	size_t len;

	if (!colon || colon == text || strlen(text) >= sizeof(host))
		return -EINVAL;
	len = (size_t)(colon - text);
	if (v6 && (len < 3 || text[len - 1] != ']'))
		return -EINVAL;
	memcpy(host, text + v6, len - 2 * v6);
	host[len - 2 * v6] = '\0';
	if (!port_parse(colon + 1) || !address_parse(host, v6, port_parse(colon + 1), &address))
		return -EINVAL;
	if (!address_is_one_host(&address))
		return -EADDRNOTAVAIL;
	memcpy(address.text, text, strlen(text) + 1);
	*ret = address;
	return 0;
}

static int set_channel(struct vmft_pair_parser *p, const struct vmft_pair_key *key,
		       const char *value, void *field)
{
	int r = vmft_channel_address_parse(value, field);

	(void)key;
	if (r == -EADDRNOTAVAIL)
		return vmft_pair_refuse(
		    p, "unreachable address", value,
		    "write an address of this host that the other host can reach");
	return r < 0 ? vmft_pair_refuse(p, "bad address", value,
					"write IPV4:PORT or [IPV6]:PORT, in numbers")
		     : 0;
}

#define SIZE_OF(type, member) sizeof(((struct type *)0)->member)

#define PAIR(key, setter, member)                                                                  \
	.name = (key), .set = (setter), .field = offsetof(struct vmft_pair_config, member),        \
	.size = SIZE_OF(vmft_pair_config, member)
#define HOST(key, setter, member)                                                                  \
	.name = (key), .set = (setter), .field = offsetof(struct vmft_pair_side, member),          \
	.size = SIZE_OF(vmft_pair_side, member)

#define NUMBER(key, member, least, most, preset, of)                                               \
	{                                                                                          \
		PAIR(key, set_number, member), .number = {                                         \
			.min = (least),                                                            \
			.max = (most),                                                             \
			.otherwise = (preset),                                                     \
			.unit = (of)                                                               \
		}                                                                                  \
	}
#define CHOICE(key, member, choices)                                                               \
	{                                                                                          \
		PAIR(key, set_choice, member), .words = (choices)                                  \
	}
#define PATH(key, member)                                                                          \
	{                                                                                          \
		PAIR(key, set_path, member)                                                        \
	}

const struct vmft_pair_key vmft_pair_keys[] = {
    {PAIR("name", set_name, name), .example = "name = web1"},
    {PAIR("arbiter", set_arbiter, arbiter), .example = "arbiter = file:/mnt/shared/vmft"},
    {PAIR("uuid", set_uuid, uuid)},
    PATH("arbiter-ca", arbiter_ca),
    PATH("arbiter-cert", arbiter_cert),
    PATH("arbiter-key", arbiter_key),
    /* key, field, least, most, default, unit */
    NUMBER("silence-ms", silence_ms, 200, 60000, 1000, "ms"),
    NUMBER("grace-ms", grace_ms, 200, 180000, UINT64_MAX, "ms"),
    NUMBER("lag-ms", lag_ms, 20, 60000, 300, "ms"),
    NUMBER("lag-drop-ms", lag_drop_ms, 0, 600000, 60000, "ms"),
    PATH("alarm", alarm),
    NUMBER("stall-ms", stall_ms, 1000, 600000, 30000, "ms"),
    NUMBER("digest-ms", digest_ms, 0, 60000, 1000, "ms"),
    NUMBER("digest-pages", digest_pages, 1, 1024, 128, ""),
    CHOICE("disk-check", disk_check, "full|size"),
    NUMBER("gate-bytes", gate_bytes, 65536, 1u << 30, 8u << 20, "bytes"),
    {PAIR("log-bytes", set_number, log_bytes), .number = {.min = 1u << 20,
							  .max = UINT64_C(1) << 32,
							  .otherwise = 64u << 20,
							  .unit = "bytes",
							  .power_of_two = true}},
    PATH("qemu", qemu),
    CHOICE("start", start, "pair|alone"),
    CHOICE("reprotect", reprotect, "auto|manual"),
    CHOICE("on-stop", on_stop, "end|hand-over"),
    NUMBER("stun-ms", stun_ms, 10, 10000, 300, "ms"),
    NUMBER("attach-mib-per-s", attach_mib_per_s, 0, 100000, 0, "MiB/s"),
    CHOICE("strategy", strategy, "auto|lockstep|checkpoint"),
    NUMBER("epoch-ms", epoch_ms, 5, 500, 25, "ms"),
    NUMBER("epoch-min-ms", epoch_min_ms, 1, 500, 5, "ms"),
    NUMBER("epoch-max-ms", epoch_max_ms, 5, 5000, 500, "ms"),
    NUMBER("delta-cache-mib", delta_cache_mib, 0, 4096, 64, "MiB"),
    PATH("save-log", save_log),
    {0},
};

const struct vmft_pair_key vmft_pair_host_keys[] = {
    {HOST("channel", set_channel, channel), .example = "channel = 10.9.0.1:7700"},
    {HOST("heartbeat", set_channel, heartbeat)},
    {HOST("control", set_path, control)},
    {0},
};

void vmft_pair_fill_defaults(struct vmft_pair_config *config)
{
	for (const struct vmft_pair_key *key = vmft_pair_keys; key->name; key++)
		if (key->set == set_number && key->number.otherwise != UINT64_MAX)
			store((char *)config + key->field, key->size, key->number.otherwise);
	memcpy(config->qemu, VMFT_QEMU_DEFAULT, sizeof(VMFT_QEMU_DEFAULT));
}
