/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft-dirty: memory that is used, and written to at a rate, for measuring attaches.
 *
 * All of the buffer is filled once, with bytes that are nowhere the same. What happens then
 * is said by clients, a line each: how fast which part of it is written to. Work that a
 * guest was too slow for is not made up for later: the count shows what it got done.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define DIRTY_PORT    7779
#define DIRTY_CLIENTS 8
#define PAGE_BYTES    4096u
#define PAGE_WORDS    (PAGE_BYTES / sizeof(uint64_t))
#define MIB_PAGES     (1024u * 1024 / PAGE_BYTES)
#define MIB_MAX	      (1u << 20)
#define FLAT_OUT      UINT64_MAX
#define BATCH	      1024u /* pages between two looks at the sockets */
#define STEP_MS	      5	    /* sleep of a paced writer */
#define NS_PER_MS     1000000u
#define NS_PER_S      1000000000u
#define LINE_BYTES    128
#define REPLY_BYTES   256

struct dirty_client {
	int fd; /* -1: free */
	size_t in_len;
	char in[LINE_BYTES];
};

struct dirty {
	int listen_fd;
	uint64_t *buffer;
	uint64_t pages;
	uint64_t count; /* pages written to since the start, one more for each time */
	/* what is being done */
	uint64_t set_pages; /* of the buffer, from its beginning */
	uint64_t rate;	    /* pages a second, or FLAT_OUT */
	bool at_random;
	uint64_t next; /* page, in order */
	uint64_t seed;
	uint64_t due_ns; /* when the next page is due */
	struct dirty_client clients[DIRTY_CLIENTS];
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13; /* xorshift64 */
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* ---- work ---- */

static int dirty_fill(struct dirty *dirty, uint64_t mib)
{
	dirty->pages = mib * MIB_PAGES;
	dirty->buffer = mmap(NULL, dirty->pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (dirty->buffer == MAP_FAILED)
		return -errno;
	dirty->seed = 0x9e3779b97f4a7c15u;
	for (uint64_t i = 0; i < dirty->pages * PAGE_WORDS; i++)
		dirty->buffer[i] = random_next(&dirty->seed);
	return 0;
}

static void dirty_touch(struct dirty *dirty, uint64_t pages)
{
	for (; pages > 0; pages--) {
		uint64_t page;

		if (dirty->at_random)
			page = random_next(&dirty->seed) % dirty->set_pages;
		else
			page = dirty->next++ % dirty->set_pages;
		dirty->count++;
		dirty->buffer[page * PAGE_WORDS + dirty->count % PAGE_WORDS] = dirty->count;
	}
}

/* Returns for how many ms there is nothing to do; -1: for ever. */
static int dirty_work(struct dirty *dirty)
{
	uint64_t now, due;

	if (dirty->rate == 0)
		return -1;
	if (dirty->rate == FLAT_OUT) {
		dirty_touch(dirty, BATCH);
		return 0;
	}
	now = now_ns();
	if (now < dirty->due_ns)
		return STEP_MS;
	due = (now - dirty->due_ns) / 1000 * dirty->rate / (NS_PER_S / 1000) + 1;
	if (due > BATCH && now - dirty->due_ns > 10 * STEP_MS * NS_PER_MS) {
		due = BATCH;
		dirty->due_ns = now;
	} else {
		due = due < BATCH ? due : BATCH;
		dirty->due_ns += due * NS_PER_S / dirty->rate;
	}
	dirty_touch(dirty, due);
	return dirty->due_ns > now ? STEP_MS : 0;
}

/* ---- requests ---- */

static bool dirty_obey(struct dirty *dirty, const char *line)
{
	unsigned long long mib, rate;
	char speed[24], order[8], end;

	if (sscanf(line, "TOUCH %llu %23s %7s%c", &mib, speed, order, &end) != 3)
		return false;
	if (mib < 1 || mib > dirty->pages / MIB_PAGES)
		return false;
	if (strcmp(order, "random") != 0 && strcmp(order, "order") != 0)
		return false;
	if (strcmp(speed, "max") == 0)
		rate = FLAT_OUT;
	else if (sscanf(speed, "%llu%c", &rate, &end) != 1 || rate > NS_PER_S)
		return false;
	dirty->set_pages = mib * MIB_PAGES;
	dirty->rate = rate;
	dirty->at_random = order[0] == 'r';
	dirty->due_ns = now_ns();
	return true;
}

static void dirty_answer(struct dirty *dirty, struct dirty_client *client, const char *line)
{
	char reply[REPLY_BYTES];

	if (strcmp(line, "COUNT") == 0)
		(void)snprintf(reply, sizeof(reply), "PAGES %llu NS %llu\n",
			       (unsigned long long)dirty->count, (unsigned long long)now_ns());
	else if (dirty_obey(dirty, line))
		(void)snprintf(reply, sizeof(reply), "OK\n");
	else
		(void)snprintf(reply, sizeof(reply),
			       "ERR use COUNT or TOUCH mib pages-per-second|max order|random, "
			       "mib 1 to %llu\n",
			       (unsigned long long)(dirty->pages / MIB_PAGES));
	/* A client that does not read its answers is left without some. */
	(void)send(client->fd, reply, strlen(reply), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void client_close(struct dirty_client *client)
{
	close(client->fd);
	client->fd = -1;
}

static void client_read(struct dirty *dirty, struct dirty_client *client)
{
	char *end;
	ssize_t n = recv(client->fd, client->in + client->in_len,
			 sizeof(client->in) - client->in_len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(client);
		return;
	}
	client->in_len += (size_t)n;
	while ((end = memchr(client->in, '\n', client->in_len)) != NULL) {
		*end = '\0';
		dirty_answer(dirty, client, client->in);
		client->in_len -= (size_t)(end + 1 - client->in);
		memmove(client->in, end + 1, client->in_len);
	}
	if (client->in_len == sizeof(client->in))
		client_close(client);
}

/* ---- sockets ---- */

static void dirty_accept(struct dirty *dirty)
{
	int fd = accept4(dirty->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (size_t i = 0; i < DIRTY_CLIENTS; i++) {
		if (dirty->clients[i].fd >= 0)
			continue;
		dirty->clients[i] = (struct dirty_client){.fd = fd};
		return;
	}
	close(fd);
}

static int dirty_serve(struct dirty *dirty, int wait_ms)
{
	struct pollfd polls[DIRTY_CLIENTS + 1];

	for (size_t i = 0; i < DIRTY_CLIENTS; i++)
		polls[i] = (struct pollfd){.fd = dirty->clients[i].fd, .events = POLLIN};
	polls[DIRTY_CLIENTS] = (struct pollfd){.fd = dirty->listen_fd, .events = POLLIN};
	if (poll(polls, DIRTY_CLIENTS + 1, wait_ms) < 0)
		return errno == EINTR ? 0 : -errno;
	for (size_t i = 0; i < DIRTY_CLIENTS; i++)
		if (polls[i].revents)
			client_read(dirty, &dirty->clients[i]);
	if (polls[DIRTY_CLIENTS].revents)
		dirty_accept(dirty);
	return 0;
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;
	int ret;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 8) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static int parse_number(const char *text, unsigned long max, unsigned long *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno || *ret_number < 1 ||
	    *ret_number > max)
		return -EINVAL;
	return 0;
}

int main(int argc, char **argv)
{
	struct dirty dirty = {.listen_fd = -1};
	unsigned long mib, port = DIRTY_PORT;
	int ret;

	if (argc < 2 || argc > 3 || parse_number(argv[1], MIB_MAX, &mib) < 0 ||
	    (argc == 3 && parse_number(argv[2], UINT16_MAX, &port) < 0)) {
		fprintf(stderr, "usage: vmft-dirty MIB [PORT]\n");
		return 2;
	}
	for (size_t i = 0; i < DIRTY_CLIENTS; i++)
		dirty.clients[i].fd = -1;
	/* The port is there when the memory is used: whoever can connect need not wait. */
	ret = dirty_fill(&dirty, mib);
	if (ret == 0)
		ret = dirty.listen_fd = listen_on((uint16_t)port);
	while (ret >= 0)
		ret = dirty_serve(&dirty, dirty_work(&dirty));
	fprintf(stderr, "vmft-dirty: %s\n", strerror(-ret));
	return 1;
}
