/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * logging-channel/transport.h in memory: takes the place of TCP. A byte that was committed is in
 * the other end's buffer at once; the other end's callbacks run in world_transport_step().
 */
#include "logging-channel/transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define BUFFER_BYTES (256u * 1024)
#define CONNS_MAX    16u

struct vmft_conn {
	const struct vmft_conn_events *events;
	void *user;
	struct vmft_conn *other; /* NULL: gone */
	bool accepted, opened, paused, closing, other_closed, sent_due, busy;
	int error;
	size_t in_bytes, seen; /* seen: handed over already, and left */
	uint8_t in[BUFFER_BYTES], out[BUFFER_BYTES];
};

struct vmft_listener {
	const struct vmft_conn_events *events;
	void *user;
};

static struct vmft_listener *listening;
static struct vmft_conn *conns[CONNS_MAX];

static struct vmft_conn *conn_new(const struct vmft_conn_events *events, void *user)
{
	struct vmft_conn *conn;

	for (unsigned i = 0; i < CONNS_MAX; i++) {
		if (conns[i])
			continue;
		conn = calloc(1, sizeof(*conn));
		if (!conn)
			return NULL;
		conn->events = events;
		conn->user = user;
		conns[i] = conn;
		return conn;
	}
	return NULL;
}

static int fake_listen(struct vmft_loop *loop, const struct sockaddr *addr, socklen_t addr_len,
		       const struct vmft_conn_events *events, void *user,
		       struct vmft_listener **ret)
{
	(void)loop;
	(void)addr;
	(void)addr_len;
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	**ret = (struct vmft_listener){.events = events, .user = user};
	listening = *ret;
	return 0;
}

static void fake_unlisten(struct vmft_listener *listener)
{
	if (listener == listening)
		listening = NULL;
	free(listener);
}

/* What nobody else listens for is refused, as by a host that is there. */
static int fake_connect(struct vmft_loop *loop, const struct sockaddr *from, socklen_t from_len,
			const struct sockaddr *addr, socklen_t addr_len,
			const struct vmft_conn_events *events, void *user)
{
	struct vmft_conn *conn = conn_new(events, user), *other;

	(void)loop;
	(void)from;
	(void)from_len;
	(void)addr;
	(void)addr_len;
	if (!conn)
		return -ENOMEM;
	other = listening && listening->user != user ? conn_new(listening->events, listening->user)
						     : NULL;
	if (!other) {
		conn->closing = true;
		conn->error = -ECONNREFUSED;
		return 0;
	}
	other->accepted = true;
	conn->other = other;
	other->other = conn;
	return 0;
}

/* Only what the other end has room for, or frames would be lost. */
static uint8_t *fake_reserve(struct vmft_conn *conn, size_t n)
{
	if (conn->closing)
		return NULL;
	if (conn->other && n > BUFFER_BYTES - conn->other->in_bytes) {
		conn->other->sent_due = true;
		return NULL;
	}
	return n <= BUFFER_BYTES ? conn->out : NULL;
}

static void fake_commit(struct vmft_conn *conn, size_t n)
{
	struct vmft_conn *other = conn->other;

	if (!other || other->closing)
		return;
	memcpy(other->in + other->in_bytes, conn->out, n);
	other->in_bytes += n;
}

static bool fake_idle(const struct vmft_conn *conn)
{
	return !conn->other || conn->other->in_bytes == 0;
}

static void fake_pause(struct vmft_conn *conn, bool paused)
{
	conn->paused = paused;
	conn->seen = 0;
}

static void fake_close(struct vmft_conn *conn, bool flush)
{
	(void)flush;
	conn->closing = true;
}

static bool fake_is_accepted(const struct vmft_conn *conn)
{
	return conn->accepted;
}

static const char *fake_name(const struct vmft_conn *conn)
{
	return conn->accepted ? "10.9.0.1:40000" : "10.9.0.2:7700";
}

static int fake_is_own(const struct sockaddr *addr, socklen_t addr_len)
{
	(void)addr;
	(void)addr_len;
	return 0;
}

static enum vmft_large fake_large(const struct vmft_conn *conn, unsigned *ret_mtu)
{
	(void)conn;
	*ret_mtu = 1500;
	return VMFT_LARGE_PASSES;
}

/* The pair file's hosts: 10.9.0.1 connects to 10.9.0.2. */
static const struct sockaddr *fake_addr(const struct vmft_conn *conn)
{
	static struct sockaddr_in addr[2] = {{.sin_family = AF_INET}, {.sin_family = AF_INET}};

	addr[0].sin_addr.s_addr = htonl(0x0a090001);
	addr[1].sin_addr.s_addr = htonl(0x0a090002);
	return (const struct sockaddr *)(const void *)&addr[!conn->accepted];
}

const struct vmft_transport_ops world_transport = {
    .name = "memory",
    .listen = fake_listen,
    .unlisten = fake_unlisten,
    .connect = fake_connect,
    .reserve = fake_reserve,
    .commit = fake_commit,
    .idle = fake_idle,
    .pause = fake_pause,
    .close = fake_close,
    .is_accepted = fake_is_accepted,
    .peer_name = fake_name,
    .is_own = fake_is_own,
    .large = fake_large,
    .peer_addr = fake_addr,
};

/* --- steps -------------------------------------------------------------------- */

static void end(unsigned at)
{
	struct vmft_conn *conn = conns[at];

	conns[at] = NULL;
	if (conn->other) {
		conn->other->other_closed = true;
		conn->other->other = NULL;
	}
	conn->events->on_close(conn->user, conn, conn->error);
	free(conn);
}

static void hand_over(struct vmft_conn *conn)
{
	const size_t n = conn->in_bytes;
	uint8_t *bytes = NULL;
	ssize_t used;

	/* A block of exactly that size, so that AddressSanitizer sees one byte too far. Again if
	 * this was the allocation that is to fail: it is the test's. */
	while (!bytes)
		bytes = malloc(n);
	memcpy(bytes, conn->in, n);
	conn->seen = n;
	used = conn->events->on_bytes(conn->user, conn, bytes, n);
	free(bytes);
	if (used < 0) {
		conn->closing = true;
		conn->error = (int)used;
		return;
	}
	conn->in_bytes -= (size_t)used;
	memmove(conn->in, conn->in + used, conn->in_bytes);
	if (conn->seen > 0)
		conn->seen -= (size_t)used;
	if (conn->in_bytes == BUFFER_BYTES && !conn->paused) {
		conn->closing = true;
		conn->error = -EMSGSIZE;
	}
}

static bool conn_step(unsigned at)
{
	struct vmft_conn *conn = conns[at];

	if (conn->closing) {
		end(at);
	} else if (!conn->opened) {
		conn->opened = true;
		conn->events->on_open(conn->user, conn);
	} else if (conn->in_bytes > conn->seen && !conn->paused) {
		hand_over(conn);
	} else if (conn->sent_due && conn->other && conn->in_bytes < BUFFER_BYTES / 2) {
		conn->sent_due = false;
		conn->other->events->on_sent(conn->other->user, conn->other);
	} else if (conn->other_closed && !conn->paused) {
		end(at);
	} else {
		return false;
	}
	return true;
}

bool world_transport_step(void)
{
	for (unsigned i = 0; i < CONNS_MAX; i++)
		if (conns[i] && conn_step(i))
			return true;
	return false;
}

void world_transport_cut(void)
{
	for (unsigned i = 0; i < CONNS_MAX; i++)
		if (conns[i]) {
			conns[i]->closing = true;
			conns[i]->error = -ECONNRESET;
		}
}

void world_transport_forget(void)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		free(conns[i]);
		conns[i] = NULL;
	}
	listening = NULL;
}

void world_transport_leave(const void *user)
{
	if (listening && listening->user == user)
		listening = NULL;
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		struct vmft_conn *conn = conns[i];

		if (!conn || conn->user != user)
			continue;
		conns[i] = NULL;
		if (conn->other) {
			conn->other->other_closed = true;
			conn->other->other = NULL;
		}
		free(conn);
	}
}

/* --- a peer that is a test ------------------------------------------------------ */

static void peer_opened(void *user, struct vmft_conn *conn)
{
	(void)user;
	(void)conn;
}

static ssize_t peer_bytes(void *user, struct vmft_conn *conn, const uint8_t *bytes, size_t n)
{
	(void)user;
	(void)conn;
	(void)bytes;
	return (ssize_t)n;
}

static void peer_closed(void *user, struct vmft_conn *conn, int error)
{
	struct world_peer *peer = user;

	(void)conn;
	(void)error;
	peer->conn = NULL;
}

static const struct vmft_conn_events peer_events = {
    .on_open = peer_opened,
    .on_bytes = peer_bytes,
    .on_sent = peer_opened,
    .on_close = peer_closed,
};

bool world_peer_connect(struct world_peer *peer)
{
	struct vmft_conn *conn = listening ? conn_new(&peer_events, peer) : NULL;
	struct vmft_conn *other = conn ? conn_new(listening->events, listening->user) : NULL;

	if (!other) {
		if (conn)
			conn->closing = true;
		return false;
	}
	other->accepted = true;
	conn->other = other;
	other->other = conn;
	peer->conn = conn;
	return true;
}

static void accept_it(void *user, struct vmft_conn *conn)
{
	struct world_peer *peer = user;

	peer->conn = conn;
}

void world_peer_listen(struct world_peer *peer)
{
	static const struct vmft_conn_events events = {
	    .on_open = accept_it,
	    .on_bytes = peer_bytes,
	    .on_sent = peer_opened,
	    .on_close = peer_closed,
	};

	peer->listener = calloc(1, sizeof(*peer->listener));
	if (!peer->listener)
		abort();
	*peer->listener = (struct vmft_listener){.events = &events, .user = peer};
	listening = peer->listener;
}

void world_peer_end(struct world_peer *peer)
{
	fake_unlisten(peer->listener);
	peer->listener = NULL;
}

bool world_peer_send(struct world_peer *peer, const uint8_t *bytes, size_t n)
{
	uint8_t *room = peer->conn ? fake_reserve(peer->conn, n) : NULL;

	if (!room)
		return false;
	memcpy(room, bytes, n);
	fake_commit(peer->conn, n);
	return true;
}

void world_peer_close(struct world_peer *peer)
{
	if (peer->conn)
		peer->conn->closing = true;
}
