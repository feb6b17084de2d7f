/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-clock [PORT]: tells the time of the tiny guest. Answers each UDP datagram, of which at most
 * 32 bytes are read, with those bytes and the guest's CLOCK_REALTIME and CLOCK_MONOTONIC in ns,
 * read once the datagram is there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CLOCK_PORT    7780
#define REQUEST_BYTES 32
#define ANSWER_BYTES  128

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int listen_on(unsigned port)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
					    .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	fprintf(stderr, "vmft-clock: UDP port %u: %s\n", port, strerror(errno));
	return -1;
}

static void answer(int fd)
{
	char request[REQUEST_BYTES], text[ANSWER_BYTES];
	struct sockaddr_in from;
	socklen_t from_bytes = sizeof(from);
	ssize_t n =
	    recvfrom(fd, request, sizeof(request), 0, (struct sockaddr *)&from, &from_bytes);
	const int64_t real = clock_ns(CLOCK_REALTIME), monotonic = clock_ns(CLOCK_MONOTONIC);
	int length;

	if (n < 0)
		return;
	length = snprintf(text, sizeof(text), "%.*s %" PRId64 " %" PRId64, (int)n, request, real,
			  monotonic);
	(void)sendto(fd, text, (size_t)length, 0, (struct sockaddr *)&from, from_bytes);
}

int main(int argc, char **argv)
{
	const unsigned long port = argc > 1 ? strtoul(argv[1], NULL, 10) : CLOCK_PORT;
	int fd;

	if (argc > 2 || port < 1 || port > 65535) {
		fprintf(stderr, "usage: vmft-clock [PORT]\n");
		return 2;
	}
	fd = listen_on((unsigned)port);
	if (fd < 0)
		return 1;
	for (;;)
		answer(fd);
}
