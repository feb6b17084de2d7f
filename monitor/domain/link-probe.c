/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "link-probe.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "logging-channel/now.h"

#define WAIT_MS	  10000
#define ROUNDS	  21 /* odd, for the median */
#define STREAM_NS UINT64_C(500000000)
#define BLOCK	  65536u

/* The connecting side sends a byte and waits for it, ROUNDS times. Then it sends as much as it can
 * for a while and ends its half; the listener answers how many bytes came. */

static int wait_for(int fd, short events)
{
	struct pollfd one = {.fd = fd, .events = events};
	const int n = poll(&one, 1, WAIT_MS);

	return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

static int set_limits(int fd)
{
	const struct timeval limit = {.tv_sec = WAIT_MS / 1000};
	const int one = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		return -errno;
	return 0;
}

/* --- the listener ------------------------------------------------------------- */

static int echo(int fd)
{
	for (int i = 0; i < ROUNDS; i++) {
		char byte;

		if (recv(fd, &byte, 1, 0) != 1 || send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
			return -EPROTO;
	}
	return 0;
}

static int swallow(int fd)
{
	static char block[BLOCK];
	uint64_t count = 0;
	ssize_t n;

	while ((n = recv(fd, block, sizeof(block), 0)) > 0)
		count += (uint64_t)n;
	if (n < 0)
		return -errno;
	return send(fd, &count, sizeof(count), MSG_NOSIGNAL) == sizeof(count) ? 0 : -EPROTO;
}

static int serve(int listener)
{
	int r = wait_for(listener, POLLIN), fd;

	if (r < 0)
		return r;
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = set_limits(fd);
	if (r == 0)
		r = echo(fd);
	if (r == 0)
		r = swallow(fd);
	(void)close(fd);
	return r;
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
	/* Both families keep the port in the same place. */
	return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

/* On the address's port. If that is in use, by the monitor of a VM that runs, on any. */
static int open_listener(const struct vmft_channel_address *address, uint16_t *ret_port)
{
	struct sockaddr_storage own = address->addr;
	socklen_t n = sizeof(own);
	const int one = 1;
	int fd = socket(own.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), r = 0;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&own, address->addr_len) < 0 || listen(fd, 1) < 0) {
		((struct sockaddr_in *)(void *)&own)->sin_port = 0;
		if (errno != EADDRINUSE ||
		    bind(fd, (struct sockaddr *)&own, address->addr_len) < 0 || listen(fd, 1) < 0)
			r = -errno;
	}
	if (r == 0 && getsockname(fd, (struct sockaddr *)&own, &n) < 0)
		r = -errno;
	*ret_port = port_of(&own);
	if (r == 0)
		return fd;
	(void)close(fd);
	return r;
}

int vmft_link_listen(const struct vmft_channel_address *address)
{
	uint16_t port = 0;
	int fd = open_listener(address, &port), r;

	if (fd < 0)
		return fd;
	r = printf("listening %u\n", port) < 0 || fflush(stdout) != 0 ? -EIO : serve(fd);
	(void)close(fd);
	return r;
}

/* --- the measuring side ------------------------------------------------------- */

static int open_from(const struct vmft_channel_address *from, const struct vmft_channel_address *to,
		     uint16_t port)
{
	struct sockaddr_storage own = from->addr, other = to->addr;
	int fd = socket(own.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	/* Both families keep the port in the same place; 0: any that is free. */
	((struct sockaddr_in *)(void *)&own)->sin_port = 0;
	((struct sockaddr_in *)(void *)&other)->sin_port = htons(port);
	r = set_limits(fd);
	if (r == 0 && (bind(fd, (const struct sockaddr *)&own, from->addr_len) < 0 ||
		       connect(fd, (const struct sockaddr *)&other, to->addr_len) < 0))
		r = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	if (r == 0)
		return fd;
	(void)close(fd);
	return r;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int measure_round_trip(int fd, uint64_t *ret)
{
	uint64_t took[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		const uint64_t begun = vmft_monotonic_ns();
		char byte = 0;

		if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
			return -EPROTO;
		took[i] = vmft_monotonic_ns() - begun;
	}
	qsort(took, ROUNDS, sizeof(took[0]), by_size);
	*ret = took[ROUNDS / 2];
	return 0;
}

static int measure_rate(int fd, uint64_t *ret)
{
	static const char block[BLOCK];
	const uint64_t begun = vmft_monotonic_ns();
	uint64_t count, took;

	while (vmft_monotonic_ns() - begun < STREAM_NS)
		if (send(fd, block, sizeof(block), MSG_NOSIGNAL) < 0)
			return -errno;
	if (shutdown(fd, SHUT_WR) < 0)
		return -errno;
	if (recv(fd, &count, sizeof(count), MSG_WAITALL) != sizeof(count))
		return -EPROTO;
	took = vmft_monotonic_ns() - begun;
	*ret = (uint64_t)((double)count * 1e9 / (double)took);
	return 0;
}

int vmft_link_measure(const struct vmft_channel_address *from,
		      const struct vmft_channel_address *to, uint16_t port,
		      struct vmft_link_figures *ret)
{
	struct vmft_link_figures figures;
	int fd = open_from(from, to, port), r;

	if (fd < 0)
		return fd;
	r = measure_round_trip(fd, &figures.round_trip_ns);
	if (r == 0)
		r = measure_rate(fd, &figures.bytes_per_s);
	(void)close(fd);
	if (r == 0)
		*ret = figures;
	return r;
}
