/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Heartbeats: datagrams between the hosts, which overtake each other; now and then one is lost, or
 * comes twice. */
#define _GNU_SOURCE
#include "shell.h"

#include <errno.h>
#include <string.h>

enum { DATAGRAMS_MAX = 64, DATAGRAM_BYTES = 512, LATE_MS = 2000 };

static struct datagram {
	uint64_t at;
	int8_t to;
	uint16_t n;
	uint8_t bytes[DATAGRAM_BYTES];
} datagrams[DATAGRAMS_MAX];

static void put(const void *bytes, size_t n, int to, uint64_t delay)
{
	struct datagram *d = &datagrams[chance(DATAGRAMS_MAX)];

	*d = (struct datagram){.at = world.now + delay, .to = (int8_t)to, .n = (uint16_t)n};
	memcpy(d->bytes, bytes, n);
	later(delay, DO_ARRIVE, to, ARRIVES_DATAGRAM, 0);
}

ssize_t datagram_send(int fd, const void *bytes, size_t n, const struct sockaddr *addr)
{
	const int from = fd_of(fd)->host, to = host_at(addr);
	const uint64_t delay = world.delay / 2 + chance(world.delay);

	/* One that is lost is lost. */
	if (n > DATAGRAM_BYTES || to < 0 || to >= HOSTS || one_in(50) ||
	    world.path_cut_until[from] > world.now || world.path_cut_until[to] > world.now)
		return (ssize_t)n;
	put(bytes, n, to, delay);
	/* The copy may come long after it, when the sender is gone. */
	if (one_in(20))
		put(bytes, n, to, delay + chance((one_in(4) ? LATE_MS : 1) * MS));
	return (ssize_t)n;
}

/* Those that are due wait in the socket. */
void datagram_deliver(void)
{
	for (int i = 0; i < DATAGRAMS_MAX; i++) {
		const struct datagram *d = &datagrams[i];

		if (d->n == 0 || d->at > world.now)
			continue;
		fd_ring_datagrams(d->to);
	}
}

ssize_t datagram_recv(int fd, void *bytes, size_t n)
{
	struct fd *f = fd_of(fd);

	f->count = 0;
	for (int i = 0; i < DATAGRAMS_MAX; i++) {
		struct datagram *d = &datagrams[i];
		const size_t all = d->n;

		if (all == 0 || d->to != f->host || d->at > world.now)
			continue;
		memcpy(bytes, d->bytes, all < n ? all : n);
		d->n = 0;
		return (ssize_t)all;
	}
	errno = EAGAIN;
	return -1;
}

void datagram_reset(void)
{
	for (int i = 0; i < DATAGRAMS_MAX; i++)
		datagrams[i].n = 0;
}
