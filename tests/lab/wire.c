/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-wire TAP DELAY_MS: makes that tap, and gives each frame it is handed back DELAY_MS later,
 * in order. Frames come in by a forwarding rule (nftables' fwd) and go up the stack of the same
 * namespace: the tap has the address of the device they were taken from. So a link is slow
 * without sch_netem, which not every kernel has.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS    1000000ull
#define NS_PER_S     1000000000ull
#define DELAY_MAX_MS 60000ul
/* What a link that long could hold; TCP takes what is dropped beyond for a loss. */
#define HELD_MAX_BYTES (256u << 20)

struct frame {
	struct frame *next;
	uint64_t due_ns;
	size_t bytes;
	uint8_t data[];
};

struct wire {
	int fd;
	uint64_t delay_ns;
	struct frame *first;
	struct frame **end; /* where the next one is linked */
	size_t held_bytes;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Returns a non-blocking descriptor, or a negative errno. */
static int open_tap(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	memcpy(request.ifr_name, name, strlen(name) + 1);
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		int err = -errno;

		(void)close(fd);
		return err;
	}
	return fd;
}

/* Returns 0, or a negative errno when the tap is gone. */
static int take_in(struct wire *wire)
{
	uint8_t data[1 << 16];
	ssize_t got;

	while ((got = read(wire->fd, data, sizeof(data))) > 0) {
		size_t bytes = (size_t)got;
		struct frame *frame;

		if (wire->held_bytes + bytes > HELD_MAX_BYTES)
			continue;
		frame = malloc(sizeof(*frame) + bytes);
		if (!frame)
			continue;
		*frame = (struct frame){.due_ns = now_ns() + wire->delay_ns, .bytes = bytes};
		memcpy(frame->data, data, bytes);
		*wire->end = frame;
		wire->end = &frame->next;
		wire->held_bytes += bytes;
	}
	return got < 0 && errno != EAGAIN && errno != EINTR ? -errno : 0;
}

static void give_back(struct wire *wire)
{
	uint64_t now = now_ns();

	while (wire->first && wire->first->due_ns <= now) {
		struct frame *frame = wire->first;

		/* A frame the stack does not take is lost, as on any link. */
		if (write(wire->fd, frame->data, frame->bytes) < 0 && errno == EBADFD)
			(void)fprintf(stderr, "vmft-wire: the tap is down\n");
		wire->held_bytes -= frame->bytes;
		wire->first = frame->next;
		if (!wire->first)
			wire->end = &wire->first;
		free(frame);
	}
}

static int relay(struct wire *wire)
{
	for (;;) {
		struct pollfd wanted = {.fd = wire->fd, .events = POLLIN};
		uint64_t now = now_ns(), due = wire->first ? wire->first->due_ns : 0;
		uint64_t left = due > now ? due - now : 0;
		struct timespec timeout = {.tv_sec = (time_t)(left / NS_PER_S),
					   .tv_nsec = (long)(left % NS_PER_S)};
		int r;

		if (ppoll(&wanted, 1, wire->first ? &timeout : NULL, NULL) < 0 && errno != EINTR)
			return -errno;
		r = take_in(wire);
		if (r < 0)
			return r;
		give_back(wire);
	}
}

static bool parse_delay(const char *text, uint64_t *ret_ns)
{
	char *end;
	unsigned long ms = strtoul(text, &end, 10);

	if (end == text || *end || ms > DELAY_MAX_MS)
		return false;
	*ret_ns = ms * NS_PER_MS;
	return true;
}

int main(int argc, char **argv)
{
	struct wire wire = {.fd = -1};
	int r;

	wire.end = &wire.first;
	if (argc != 3 || strlen(argv[1]) >= IFNAMSIZ || !parse_delay(argv[2], &wire.delay_ns)) {
		(void)fprintf(stderr, "usage: vmft-wire TAP DELAY_MS (0 to %lu)\n", DELAY_MAX_MS);
		return 2;
	}
	wire.fd = open_tap(argv[1]);
	if (wire.fd < 0) {
		(void)fprintf(stderr, "vmft-wire: %s: %s\n", argv[1], strerror(-wire.fd));
		return 1;
	}
	(void)printf("ready\n");
	(void)fflush(stdout);
	r = relay(&wire);
	(void)fprintf(stderr, "vmft-wire: %s: %s\n", argv[1], strerror(-r));
	return 1;
}
