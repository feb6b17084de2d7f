/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "logging-channel/now.h"

uint64_t vmft_probe_now(void)
{
	return vmft_monotonic_ns();
}

int vmft_probe_init(struct vmft_probe *probe, const char *where)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	const char *colon = strrchr(where, ':');
	struct addrinfo *found = NULL;
	char host[256];
	size_t n;

	memset(probe, 0, sizeof(*probe));
	for (size_t i = 0; i < VMFT_PROBE_ATTEMPTS; i++)
		probe->attempt[i].fd = -1;
	probe->kept_fd = -1;
	if (!colon || colon == where || (size_t)(colon - where) >= sizeof(host))
		return -EINVAL;
	n = (size_t)(colon - where);
	if (where[0] == '[' && where[n - 1] == ']') {
		where++;
		n -= 2;
	}
	memcpy(host, where, n);
	host[n] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
		return -EINVAL;
	memcpy(&probe->to, found->ai_addr, found->ai_addrlen);
	probe->to_len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static void give_up(struct vmft_probe *probe, size_t i)
{
	close(probe->attempt[i].fd);
	probe->attempt[i].fd = -1;
}

void vmft_probe_fini(struct vmft_probe *probe)
{
	for (size_t i = 0; i < VMFT_PROBE_ATTEMPTS; i++)
		if (probe->attempt[i].fd >= 0)
			give_up(probe, i);
	if (probe->kept_fd >= 0)
		close(probe->kept_fd);
	probe->kept_fd = -1;
}

static int begin(const struct vmft_probe *probe)
{
	int fd = socket(probe->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&probe->to, probe->to_len) == 0 ||
	    errno == EINPROGRESS)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static void start_one(struct vmft_probe *probe, uint64_t now)
{
	int fd;

	if (now < probe->next_ns)
		return;
	probe->next_ns = now + VMFT_PROBE_STEP_NS;
	for (size_t i = 0; i < VMFT_PROBE_ATTEMPTS; i++) {
		if (probe->attempt[i].fd >= 0)
			continue;
		fd = begin(probe);
		if (fd < 0) {
			probe->bad++;
			return;
		}
		probe->attempt[i].fd = fd;
		probe->attempt[i].began_ns = now;
		return;
	}
}

static void succeeded(struct vmft_probe *probe, uint64_t now)
{
	probe->good++;
	if (probe->last_good_ns > 0 && now - probe->last_good_ns > probe->gap_ns) {
		probe->gap_ns = now - probe->last_good_ns;
		probe->gap_from_ns = probe->last_good_ns;
	}
	probe->last_good_ns = now;
}

static void look_at(struct vmft_probe *probe, size_t i, short revents, uint64_t now)
{
	socklen_t n = sizeof(int);
	int error = 0;

	if (revents != 0) {
		(void)getsockopt(probe->attempt[i].fd, SOL_SOCKET, SO_ERROR, &error, &n);
		if (error == 0)
			succeeded(probe, now);
		else
			probe->bad++;
		give_up(probe, i);
	} else if (now - probe->attempt[i].began_ns > VMFT_PROBE_LIMIT_NS) {
		probe->bad++;
		give_up(probe, i);
	}
}

void vmft_probe_run(struct vmft_probe *probe, int ms)
{
	const uint64_t until = vmft_probe_now() + (uint64_t)ms * 1000000u;
	struct pollfd fds[VMFT_PROBE_ATTEMPTS];
	uint64_t now;

	do {
		start_one(probe, vmft_probe_now());
		for (size_t i = 0; i < VMFT_PROBE_ATTEMPTS; i++)
			fds[i] = (struct pollfd){.fd = probe->attempt[i].fd, .events = POLLOUT};
		(void)poll(fds, VMFT_PROBE_ATTEMPTS, 5);
		now = vmft_probe_now();
		for (size_t i = 0; i < VMFT_PROBE_ATTEMPTS; i++)
			if (probe->attempt[i].fd >= 0)
				look_at(probe, i, fds[i].revents, now);
	} while (now < until);
}

int vmft_probe_keep(struct vmft_probe *probe)
{
	const int one = 1;
	struct pollfd wait = {.events = POLLOUT};
	int error = 0;
	socklen_t n = sizeof(error);

	wait.fd = begin(probe);
	if (wait.fd < 0)
		return wait.fd;
	if (poll(&wait, 1, 10000) <= 0)
		error = ETIMEDOUT;
	else
		(void)getsockopt(wait.fd, SOL_SOCKET, SO_ERROR, &error, &n);
	if (error != 0) {
		close(wait.fd);
		return -error;
	}
	/* A guest that was started anew does not know the connection, and resets it when it is
	 * asked: one keep-alive a second asks. */
	(void)setsockopt(wait.fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(wait.fd, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one));
	(void)setsockopt(wait.fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
	probe->kept_fd = wait.fd;
	return 0;
}

int vmft_probe_kept(struct vmft_probe *probe)
{
	char bytes[4096]; /* for example a banner: it is not looked at */
	ssize_t got;

	if (probe->kept_fd < 0)
		return -ENOTCONN;
	do
		got = recv(probe->kept_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (got > 0);
	if (got == 0)
		return -EPIPE;
	return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}
