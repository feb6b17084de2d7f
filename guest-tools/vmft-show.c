/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-show DEVICE frame HEX...     sends these frames as they are
 * vmft-show DEVICE join GROUP...    joins multicast groups, IPv4 or IPv6, until it is killed
 *
 * What a guest can show of itself on a network, for tests: other source addresses, VLAN tags and
 * memberships, without the kernel modules that would make a real guest show them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MIN 60u
#define FRAME_MAX 1514u

static int fail(const char *what)
{
	fprintf(stderr, "vmft-show: %s: %s\n", what, strerror(errno));
	return 1;
}

static int from_hex(const char *text, uint8_t ret[static FRAME_MAX], size_t *ret_n)
{
	size_t n = 0;

	memset(ret, 0, FRAME_MAX);
	for (; text[0] && text[1] && n < FRAME_MAX; text += 2)
		if (sscanf(text, "%2hhx", &ret[n++]) != 1)
			return -1;
	*ret_n = n < FRAME_MIN ? FRAME_MIN : n;
	return text[0] ? -1 : 0;
}

static int send_frames(unsigned device, char *const frames[])
{
	const struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)device};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	uint8_t frame[FRAME_MAX];
	size_t n;

	if (fd < 0)
		return fail("socket");
	for (; *frames; frames++) {
		errno = EINVAL;
		if (from_hex(*frames, frame, &n) < 0 ||
		    sendto(fd, frame, n, 0, (const struct sockaddr *)&to, sizeof(to)) < 0)
			return fail(*frames);
	}
	return 0;
}

static int join(unsigned device, const char *group)
{
	struct group_req request = {.gr_interface = device};
	struct sockaddr_in *v4 = (void *)&request.gr_group;
	struct sockaddr_in6 *v6 = (void *)&request.gr_group;
	int family = strchr(group, ':') ? AF_INET6 : AF_INET;
	int fd = socket(family, SOCK_DGRAM, 0);

	errno = EINVAL;
	request.gr_group.ss_family = (sa_family_t)family;
	if (inet_pton(family, group,
		      family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr) != 1)
		return -1;
	return fd < 0 ? -1
		      : setsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
				   MCAST_JOIN_GROUP, &request, sizeof(request));
}

int main(int argc, char *argv[])
{
	unsigned device;

	if (argc < 4 || (strcmp(argv[2], "frame") != 0 && strcmp(argv[2], "join") != 0)) {
		fprintf(stderr, "usage: vmft-show DEVICE frame HEX... | join GROUP...\n");
		return 2;
	}
	device = if_nametoindex(argv[1]);
	if (device == 0)
		return fail(argv[1]);
	if (strcmp(argv[2], "frame") == 0)
		return send_frames(device, argv + 3);
	for (char **group = argv + 3; *group; group++)
		if (join(device, *group) < 0)
			return fail(*group);
	for (;;)
		pause();
}
