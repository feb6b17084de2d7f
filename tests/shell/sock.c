/* SPDX-License-Identifier: GPL-2.0-or-later *
 * This file has more than 600 lines because it is one kernel's sockets: calls, connections and what
 * is on its way share their lists.
 */
/*
 * TCP between the hosts, below the real transport. Bytes keep their order within a
 * connection, and take each their time; two connections overtake each other. A path that is cut
 * keeps what was sent until it is back, as TCP does by sending again, and keeps what says that a
 * connection has ended as well. A host that is switched off says nothing: its peer's connection is
 * half open, until it sends something to a host that is up again.
 *
 * This file has more than 600 lines because it is one kernel's sockets: calls, connections and what
 * is on its way share their lists.
 */
#define _GNU_SOURCE
#include "shell.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "logging-channel/tcp-info.h"

enum {
	SOCKS_MAX = 64,
	WINDOW = 96 << 10, /* bytes on their way and unread */
	CHUNKS_MAX = 256,
	BACKLOG_MAX = 8,
	RESEND_MS = 200,
	SYN_MS = 3000, /* a connection that is not answered is given up */
};

/* What is on its way to a socket. */
struct chunk {
	uint64_t at; /* not before */
	uint32_t bytes;
	enum what { BYTES, END, RESET } what;
};

static struct sock {
	bool used, listens, connected, shut, peer_shut, reset;
	int8_t host;   /* whose */
	int8_t remote; /* the other end's host */
	int other;     /* socket; -1: gone */
	uint32_t serial;
	int accept, connect, recv, send; /* entries that wait; -1 */
	void *recv_bytes;
	size_t recv_n;
	const uint8_t *send_bytes;
	size_t send_n;
	int backlog[BACKLOG_MAX];
	unsigned waiting;
	uint64_t gives_up_at;
	/* what comes in */
	struct chunk chunk[CHUNKS_MAX];
	unsigned first, chunks;
	uint64_t last_at;
	size_t used_bytes, here; /* in the buffer; of these, arrived */
	uint8_t buffer[WINDOW];
} socks[SOCKS_MAX];

static int listener_of(int host)
{
	for (int i = 0; i < SOCKS_MAX; i++)
		if (socks[i].used && socks[i].listens && socks[i].host == host)
			return i;
	return -1;
}

static int sock_new(int host, int remote)
{
	for (int i = 0; i < SOCKS_MAX; i++) {
		struct sock *s = &socks[i];

		if (s->used)
			continue;
		s->used = true;
		s->listens = s->connected = s->shut = s->peer_shut = s->reset = false;
		s->host = (int8_t)host;
		s->remote = (int8_t)remote;
		s->other = s->accept = s->connect = s->recv = s->send = -1;
		s->serial++;
		s->waiting = s->first = s->chunks = 0;
		s->last_at = 0;
		s->used_bytes = s->here = 0;
		return i;
	}
	broken("connections come to an end", "%d are open", SOCKS_MAX);
	return -1;
}

static bool is_cut(int from, int to)
{
	return world.cut_until[from][to] > world.now;
}

/* How long something takes from one host to another. */
static uint64_t travel(int from, int to)
{
	uint64_t at = world.now + world.delay / 2 + chance(world.delay);

	if (world.slow_until > world.now)
		at += chance(one_in(8) ? 2 * RESEND_MS * MS : 20 * MS);
	if (is_cut(from, to))
		at = world.cut_until[from][to] + chance(RESEND_MS * MS);
	return at - world.now;
}

/* --- what arrives ------------------------------------------------------------- */

static void put(int at, uint32_t bytes, enum what what)
{
	struct sock *to = &socks[at];
	const uint64_t due = world.now + travel(to->remote, to->host);
	struct chunk *c;

	if (to->last_at < due)
		to->last_at = due;
	/* What says something else than the last does is a packet of its own. */
	if (to->chunks > 0 && what == BYTES) {
		c = &to->chunk[(to->first + to->chunks - 1) % CHUNKS_MAX];
		if (c->what == BYTES && (to->chunks == CHUNKS_MAX || one_in(8))) {
			c->bytes += bytes;
			return;
		}
	}
	if (to->chunks == CHUNKS_MAX)
		return;
	c = &to->chunk[(to->first + to->chunks++) % CHUNKS_MAX];
	*c = (struct chunk){.at = to->last_at, .bytes = bytes, .what = what};
	later(to->last_at - world.now, DO_ARRIVE, to->host, (uint64_t)at, to->serial);
}

static void try_recv(struct sock *s)
{
	size_t n = s->here < s->recv_n ? s->here : s->recv_n;
	const int entry = s->recv;

	if (entry < 0)
		return;
	if (s->reset || (n == 0 && s->peer_shut)) {
		s->recv = -1;
		loop_complete(entry, s->reset ? -ECONNRESET : 0, 2 * US);
		return;
	}
	if (n == 0)
		return;
	/* As much as is there, but for a read that comes in between two packets. */
	if (n > 1 && one_in(16))
		n = 1 + chance(n - 1);
	memcpy(s->recv_bytes, s->buffer, n);
	memmove(s->buffer, s->buffer + n, s->used_bytes - n);
	s->used_bytes -= n;
	s->here -= n;
	s->recv = -1;
	loop_complete(entry, (int)n, 2 * US + chance(20 * US));
}

/* The last byte that gets through: both ends hear of it some time after that byte. */
static void tear(struct sock *s, size_t n)
{
	if (world.tear_in == 0)
		return;
	world.tear_in -= n;
	if (world.tear_in > 0)
		return;
	note("a connection between hosts %d and %d is torn", s->host, s->remote);
	put(s->other, 0, RESET);
	put((int)(s - socks), 0, RESET);
}

static void try_send(struct sock *s)
{
	struct sock *to = s->other >= 0 ? &socks[s->other] : NULL;
	const int entry = s->send;
	size_t room, n = s->send_n;

	if (entry < 0)
		return;
	if (s->reset) {
		s->send = -1;
		loop_complete(entry, -EPIPE, 2 * US);
		return;
	}
	room = to ? WINDOW - to->used_bytes : n;
	if (room == 0)
		return;
	if (n > room)
		n = room;
	if (n > 1 && one_in(16))
		n = 1 + chance(n - 1);
	s->send = -1;
	if (world.tear_in > 0 && to && n >= world.tear_in)
		n = (size_t)world.tear_in;
	if (to && !to->shut) {
		memcpy(to->buffer + to->used_bytes, s->send_bytes, n);
		if (world.damage) {
			to->buffer[to->used_bytes + chance(n)] ^= (uint8_t)(1 + chance(255));
			world.damage = false;
			note("bytes to host %d are damaged", to->host);
		}
		to->used_bytes += n;
		put(s->other, (uint32_t)n, BYTES);
		tear(s, n);
	} else if (!to && !is_cut(s->host, s->remote) &&
		   world.host[(int)s->remote].down_until <= world.now) {
		/* Nobody knows of this connection there any more. */
		s->reset = true;
		try_recv(s);
	}
	loop_complete(entry, (int)n, 2 * US + chance(30 * US));
}

static void arrived(struct sock *s, const struct chunk *c)
{
	if (c->what == BYTES)
		s->here += c->bytes;
	else if (c->what == END)
		s->peer_shut = true;
	else
		s->reset = true;
	try_recv(s);
	if (s->reset)
		try_send(s);
	if (s->other >= 0)
		try_send(&socks[s->other]);
}

void sock_arrive(unsigned at, uint32_t serial)
{
	struct sock *s = &socks[at];

	if (!s->used || s->serial != serial)
		return;
	while (s->chunks > 0 && s->chunk[s->first].at <= world.now) {
		const struct chunk c = s->chunk[s->first];
		const int host = s->host;

		/* The path was cut while it was under way. */
		if (is_cut(s->remote, host)) {
			const uint64_t wait = world.cut_until[(int)s->remote][host] - world.now +
					      chance(RESEND_MS * MS);

			for (unsigned i = 0; i < s->chunks; i++) {
				struct chunk *late = &s->chunk[(s->first + i) % CHUNKS_MAX];

				if (late->at < world.now + wait)
					late->at = world.now + wait;
			}
			if (s->last_at < world.now + wait)
				s->last_at = world.now + wait;
			later(wait, DO_ARRIVE, host, at, serial);
			return;
		}
		s->first = (s->first + 1) % CHUNKS_MAX;
		s->chunks--;
		arrived(s, &c);
	}
}

/* --- the calls ------------------------------------------------------------------- */

static struct sock *sock_of(int fd)
{
	struct fd *f = fd_of(fd);

	if (!f || f->kind != FD_SOCKET)
		return NULL;
	if (f->sock == 0) {
		const int at = sock_new(f->host, -1);

		if (at < 0)
			return NULL;
		f->sock = (unsigned)at + 1;
	}
	return &socks[f->sock - 1];
}

int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog)
{
	struct sock *s = sock_of(fd);

	if (!s)
		return __real_listen(fd, backlog);
	s->listens = true;
	return 0;
}

int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how)
{
	struct sock *s = sock_of(fd);

	if (!s)
		return __real_shutdown(fd, how);
	if (!s->shut && s->other >= 0 && s->connected)
		put(s->other, 0, END);
	s->shut = true;
	if (how == SHUT_RDWR) {
		s->peer_shut = true;
		s->here = 0;
		s->used_bytes = 0;
		s->chunks = 0;
		try_recv(s);
	}
	return 0;
}

static void address_of(int host, struct sockaddr_in *ret)
{
	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(7700)};
	ret->sin_addr.s_addr = htonl(0x0a090001u + (uint32_t)host);
}

int host_at(const struct sockaddr *addr)
{
	const struct sockaddr_in *in = (const void *)addr;

	/* 10.9.0.N: the channel; 10.9.1.N: heartbeats */
	return (int)(ntohl(in->sin_addr.s_addr) & 0xff) - 1;
}

int __real_getpeername(int fd, struct sockaddr *addr, socklen_t *n);
int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *n);
int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *n)
{
	struct sock *s = sock_of(fd);

	if (!s)
		return __real_getpeername(fd, addr, n);
	address_of(s->remote, (struct sockaddr_in *)(void *)addr);
	*n = sizeof(struct sockaddr_in);
	return 0;
}

int vmft_tcp_info_get(int fd, struct vmft_tcp_info *ret)
{
	(void)fd;
	(void)ret;
	return -ENOSYS;
}

static void try_accept(struct sock *s)
{
	const int entry = s->accept;
	int fd;

	if (entry < 0 || s->waiting == 0)
		return;
	s->accept = -1;
	fd = fd_new(FD_SOCKET, s->host);
	fd_of(fd)->sock = (unsigned)s->backlog[0] + 1;
	s->waiting--;
	memmove(s->backlog, s->backlog + 1, s->waiting * sizeof(s->backlog[0]));
	loop_complete(entry, fd, 5 * US + chance(20 * US));
}

void sock_accept(int entry, int fd)
{
	struct sock *s = sock_of(fd);

	s->accept = entry;
	try_accept(s);
}

void sock_connect(int entry, int fd, const struct sockaddr *addr)
{
	struct sock *s = sock_of(fd);

	s->connect = entry;
	s->remote = (int8_t)host_at(addr);
	s->gives_up_at = world.now + SYN_MS * MS;
	later(2 * travel(s->host, s->remote), DO_CONNECT, s->host, (uint64_t)(s - socks),
	      s->serial);
}

static void connect_fails(struct sock *s, int error)
{
	const int entry = s->connect;

	s->connect = -1;
	if (entry >= 0)
		loop_complete(entry, error, 2 * US);
}

/* Both ends are there, and the other's monitor may take its time to accept. */
static void join(struct sock *s, int at, int listener)
{
	struct sock *l = &socks[listener];
	const int other = sock_new(l->host, s->host);
	const int entry = s->connect;

	if (other < 0)
		return;
	s->other = other;
	socks[other].other = at;
	s->connected = socks[other].connected = true;
	l->backlog[l->waiting++] = other;
	s->connect = -1;
	if (entry >= 0)
		loop_complete(entry, 0, 2 * US);
	try_accept(l);
}

void sock_connect_do(unsigned at, uint32_t serial)
{
	struct sock *s = &socks[at];
	int listener;

	if (!s->used || s->serial != serial || s->connect < 0)
		return;
	listener = listener_of(s->remote);
	if (is_cut(s->host, s->remote) || is_cut(s->remote, s->host) ||
	    world.host[(int)s->remote].down_until > world.now) {
		if (world.now >= s->gives_up_at)
			connect_fails(s, -ETIMEDOUT);
		else
			later(1000 * MS, DO_CONNECT, s->host, at, serial);
		return;
	}
	if (listener < 0)
		connect_fails(s, -ECONNREFUSED);
	else if (socks[listener].waiting == BACKLOG_MAX)
		later(1000 * MS, DO_CONNECT, s->host, at, serial);
	else
		join(s, (int)at, listener);
}

void sock_recv(int entry, int fd, void *bytes, size_t n)
{
	struct sock *s = sock_of(fd);

	if (!s) {
		loop_complete(entry, -EBADF, 0);
		return;
	}
	s->recv = entry;
	s->recv_bytes = bytes;
	s->recv_n = n;
	try_recv(s);
	if (s->other >= 0)
		try_send(&socks[s->other]);
}

void sock_send(int entry, int fd, const void *bytes, size_t n)
{
	struct sock *s = sock_of(fd);

	if (!s) {
		loop_complete(entry, -EBADF, 0);
		return;
	}
	s->send = entry;
	s->send_bytes = bytes;
	s->send_n = n;
	try_send(s);
}

void sock_cancel(int entry, int fd)
{
	struct sock *s = sock_of(fd);

	if (!s)
		return;
	if (s->accept == entry)
		s->accept = -1;
	if (s->connect == entry)
		s->connect = -1;
	if (s->recv == entry)
		s->recv = -1;
	if (s->send == entry)
		s->send = -1;
}

/* --- ends -------------------------------------------------------------------------- */

static void let_go(struct sock *s)
{
	if (s->other >= 0)
		socks[s->other].other = -1;
	s->used = false;
	s->serial++;
}

/* Bytes that nobody has read make a reset of it, which the peer may hear of before the rest. */
void sock_close(unsigned number, bool reset)
{
	struct sock *s = number > 0 ? &socks[number - 1] : NULL;

	if (!s || !s->used)
		return;
	for (unsigned i = 0; s->listens && i < s->waiting; i++)
		sock_close((unsigned)s->backlog[i] + 1, true);
	if (s->other >= 0 && s->connected) {
		if (reset || s->used_bytes > 0)
			put(s->other, 0, RESET);
		else if (!s->shut)
			put(s->other, 0, END);
	}
	let_go(s);
}

void sock_host_died(int host)
{
	for (int i = 0; i < SOCKS_MAX; i++)
		if (socks[i].used && socks[i].host == host)
			let_go(&socks[i]);
}

void sock_break(void)
{
	for (int i = 0; i < SOCKS_MAX; i++)
		if (socks[i].used && socks[i].connected) {
			socks[i].reset = true;
			try_recv(&socks[i]);
			try_send(&socks[i]);
		}
}

void sock_reset(void)
{
	for (int i = 0; i < SOCKS_MAX; i++) {
		socks[i].used = false;
		socks[i].serial++;
	}
}

/* --- a peer that a test plays -------------------------------------------------------- */

static struct sock *sock_of_peer(const struct peer *peer)
{
	struct sock *s = peer->sock > 0 ? &socks[peer->sock - 1] : NULL;

	return s && s->used && s->serial == peer->serial ? s : NULL;
}

static void peer_is(struct peer *peer, int sock)
{
	peer->sock = sock + 1;
	peer->serial = socks[sock].serial;
}

void peer_listen(int host)
{
	socks[sock_new(host, -1)].listens = true;
}

bool peer_accept(struct peer *peer, int host)
{
	const int listener = listener_of(host);
	struct sock *l = &socks[listener];

	if (listener < 0 || l->waiting == 0)
		return false;
	peer_is(peer, l->backlog[0]);
	l->waiting--;
	memmove(l->backlog, l->backlog + 1, l->waiting * sizeof(l->backlog[0]));
	return true;
}

bool peer_connect(struct peer *peer, int host, int to)
{
	const int listener = listener_of(to);
	int at;

	if (listener < 0 || socks[listener].waiting == BACKLOG_MAX)
		return false;
	at = sock_new(host, to);
	join(&socks[at], at, listener);
	peer_is(peer, at);
	return true;
}

/* What the monitor sends is not looked at. */
bool peer_send(struct peer *peer, const uint8_t *bytes, size_t n)
{
	struct sock *s = sock_of_peer(peer), *to;

	if (!s || s->other < 0 || s->reset)
		return false;
	s->used_bytes -= s->here;
	s->here = 0;
	to = &socks[s->other];
	try_send(to);
	if (n > WINDOW - to->used_bytes || to->shut)
		return false;
	memcpy(to->buffer + to->used_bytes, bytes, n);
	to->used_bytes += n;
	if (n > 0)
		put(s->other, (uint32_t)n, BYTES);
	return true;
}

bool peer_is_there(const struct peer *peer)
{
	const struct sock *s = sock_of_peer(peer);

	return s && s->other >= 0 && !s->reset && !s->peer_shut;
}

void peer_close(struct peer *peer)
{
	if (sock_of_peer(peer))
		sock_close((unsigned)peer->sock, false);
	peer->sock = 0;
}
