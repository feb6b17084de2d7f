/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "strangers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <stddef.h>
#include <string.h>

#define SAID_AGAIN_NS UINT64_C(3600000000000)

bool vmft_same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)(const void *)a;
	const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)(const void *)b;
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)(const void *)a;
	const struct sockaddr_in *b4 = (const struct sockaddr_in *)(const void *)b;

	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET6)
		return memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
	return a4->sin_addr.s_addr == b4->sin_addr.s_addr;
}

bool vmft_strangers_are_known(const struct vmft_pair_config *config, const struct sockaddr *from)
{
	for (int host = 0; host < VMFT_HOST_COUNT; host++)
		if (config->has_host[host] &&
		    vmft_same_host((const struct sockaddr *)&config->host[host].channel.addr, from))
			return true;
	return false;
}

/* --- places ---------------------------------------------------------------- */

static int find(const struct vmft_strangers *s, const struct vmft_conn *conn)
{
	for (unsigned i = 0; i < VMFT_STRANGERS_MAX; i++)
		if (s->place[i].conn == conn)
			return (int)i;
	return -1;
}

/* The oldest connection that is not the caller; there is one caller at most. */
static int find_oldest(const struct vmft_strangers *s)
{
	int oldest = -1;

	for (unsigned i = 0; i < VMFT_STRANGERS_MAX; i++)
		if (s->place[i].state != VMFT_STRANGER_CALLER &&
		    (oldest < 0 || s->place[i].since_ns < s->place[oldest].since_ns))
			oldest = (int)i;
	return oldest;
}

struct vmft_conn *vmft_strangers_enter(struct vmft_strangers *s, struct vmft_conn *conn,
				       uint64_t now)
{
	struct vmft_conn *out = NULL;
	int i = find(s, NULL);

	if (i < 0) {
		i = find_oldest(s);
		if (i < 0)
			return conn;
		out = s->place[i].conn;
	}
	s->place[i].conn = conn;
	s->place[i].state = VMFT_STRANGER_SILENT;
	s->place[i].since_ns = now;
	return out;
}

void vmft_strangers_note(struct vmft_strangers *s, const struct vmft_conn *conn,
			 enum vmft_stranger state)
{
	const int i = find(s, conn);

	if (i >= 0)
		s->place[i].state = state;
}

void vmft_strangers_leave(struct vmft_strangers *s, const struct vmft_conn *conn)
{
	const int i = find(s, conn);

	if (i >= 0)
		s->place[i].conn = NULL;
}

struct vmft_conn *vmft_strangers_overdue(struct vmft_strangers *s, uint64_t now, uint64_t limit_ns)
{
	for (unsigned i = 0; i < VMFT_STRANGERS_MAX; i++) {
		struct vmft_conn *conn = s->place[i].conn;

		if (!conn || s->place[i].state != VMFT_STRANGER_SILENT ||
		    now < s->place[i].since_ns || now - s->place[i].since_ns < limit_ns)
			continue;
		s->place[i].conn = NULL;
		return conn;
	}
	return NULL;
}

void vmft_strangers_slept(struct vmft_strangers *s, uint64_t slept)
{
	for (unsigned i = 0; i < VMFT_STRANGERS_MAX; i++)
		s->place[i].since_ns += slept;
}

/* --- what is said ---------------------------------------------------------- */

bool vmft_strangers_tell(struct vmft_strangers *s, enum vmft_stranger_news news, const char *name,
			 uint64_t now, int *ret_bytes)
{
	const char *port = strrchr(name, ':');
	const size_t n = port ? (size_t)(port - name) : strlen(name);
	size_t free_slot = sizeof(s->said) / sizeof(s->said[0]);

	*ret_bytes = (int)n;
	for (size_t i = 0; i < sizeof(s->said) / sizeof(s->said[0]); i++) {
		const bool fresh = s->said[i].at_ns != 0 && now < s->said[i].at_ns + SAID_AGAIN_NS;

		if (!fresh)
			free_slot = i;
		else if (s->said[i].news == news && strncmp(s->said[i].address, name, n) == 0 &&
			 s->said[i].address[n] == '\0')
			return false;
	}
	if (n >= sizeof(s->said[0].address) || free_slot == sizeof(s->said) / sizeof(s->said[0]))
		return false;
	s->said[free_slot].news = news;
	s->said[free_slot].at_ns = now;
	memcpy(s->said[free_slot].address, name, n);
	s->said[free_slot].address[n] = '\0';
	return true;
}

/* --- datagrams ------------------------------------------------------------- */

#define WORDS_MAX   4 /* of an address, 32 bits each */
#define PROGRAM_MAX (VMFT_HOST_COUNT * 2 * WORDS_MAX + VMFT_HOST_COUNT + 1)

/* Returns how many words the address has, their offset in the IP header, and the words. */
static size_t address_words(const struct sockaddr *addr, uint32_t *ret_offset,
			    uint32_t ret[static WORDS_MAX])
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)addr;

	if (addr->sa_family == AF_INET6) {
		*ret_offset = offsetof(struct ip6_hdr, ip6_src);
		memcpy(ret, &in6->sin6_addr, sizeof(in6->sin6_addr));
		return 4;
	}
	*ret_offset = offsetof(struct iphdr, saddr);
	ret[0] = in4->sin_addr.s_addr;
	return 1;
}

/* Accepts the datagram if the sender is addr, else continues after these instructions. Returns how
 * many there are. */
static size_t accept_sender(struct sock_filter *at, const struct sockaddr *addr)
{
	uint32_t offset, word[WORDS_MAX];
	const size_t words = address_words(addr, &offset, word);
	size_t n = 0;

	for (size_t i = 0; i < words; i++) {
		/* Jumps over the words that are still to be compared and the return. */
		const uint8_t no = (uint8_t)(2 * (words - i - 1) + 1);

		at[n++] = (struct sock_filter)BPF_STMT(
		    BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + offset + 4 * (uint32_t)i);
		at[n++] =
		    (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(word[i]), 0, no);
	}
	at[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
	return n;
}

int vmft_strangers_filter(int fd, const struct vmft_pair_config *config)
{
	struct sock_filter program[PROGRAM_MAX];
	struct sock_fprog filter = {.filter = program};
	size_t n = 0;

	for (int host = 0; host < VMFT_HOST_COUNT; host++)
		if (config->host[host].heartbeat.addr_len > 0)
			n += accept_sender(
			    program + n,
			    (const struct sockaddr *)&config->host[host].heartbeat.addr);
	program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	filter.len = (unsigned short)n;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) < 0 ? -errno
											 : 0;
}
