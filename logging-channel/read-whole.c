/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "read-whole.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <unistd.h>

#include "now.h"

/* Waits until read() will not wait; false: that was not by until_ns. */
static bool comes_by(int fd, uint64_t until_ns)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	int n;

	do {
		const uint64_t now = vmft_monotonic_ns();

		if (now >= until_ns)
			return false;
		/* Rounded up: a rest of less than a millisecond is waited for, too. */
		n = poll(&pfd, 1, (int)((until_ns - now) / 1000000u) + 1);
	} while (n < 0 && errno == EINTR);
	return n != 0;
}

ssize_t vmft_read_whole(int fd, void *buffer, size_t size, uint64_t until_ns)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n;

		if (until_ns != VMFT_READ_FOREVER && !comes_by(fd, until_ns))
			return -ETIMEDOUT;
		n = read(fd, (char *)buffer + got, size - got);
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

ssize_t vmft_pread_whole(int fd, void *buffer, size_t size, uint64_t position)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = pread(fd, (char *)buffer + got, size - got, (off_t)(position + got));

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
