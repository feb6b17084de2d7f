/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP. There are two send buffers: one is being sent while the other fills. What is logged during a
 * send leaves as one batch with the next one.
 */
#define _GNU_SOURCE
#include "transport.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tcp-info.h"

#define BUFFER_BYTES (256u * 1024)
#define BACKLOG	     16
/* Less than this does not fill a packet on any usual network. */
#define SMALL_BYTES    1200u
#define LARGE_RESENDS  2u
#define STUCK_NS       500000000u
#define STUCK_AGAIN_NS 150000000u
/*
 * A host that is gone does not answer. It is given up after about three seconds instead of the
 * kernel's two minutes, as another host may wait to be tried (tcp(7), TCP_SYNCNT).
 */
#define SYN_RETRIES 1
/* How long a close waits for what is to be flushed. */
#define LINGER_NS 1000000000u
/* Without a free descriptor accept fails at once, also when nobody connects. */
#define ACCEPT_AGAIN_NS 200000000u

struct vmft_conn {
	struct vmft_loop *loop;
	const struct vmft_conn_events *events;
	void *user;
	int fd;
	int error;
	bool open; /* on_open ran */
	bool accepted;
	bool paused;	   /* the user wants no bytes now */
	bool handing_over; /* on_bytes is running: the bytes it looks at must not move */
	bool closing;	   /* on_close is due once no operation is pending */
	bool flush; /* close once all is sent and the peer has closed, or LINGER_NS are over */
	bool ended; /* flush: all is sent, our end is shut */
	struct vmft_op recv_op;
	struct vmft_op send_op;
	struct vmft_op linger_op;
	struct sockaddr_storage addr; /* the peer's */
	size_t in_bytes;
	unsigned filling;    /* the send buffer that commit() adds to */
	size_t out_bytes[2]; /* queued in each */
	size_t out_sent;     /* of the one under way */
	uint64_t sent;	     /* bytes that were given to the kernel */
	/* Whether packets of all sizes get through: the path's MTU may be less than the kernel
	 * believes (a switch drops what is too long and says nothing). */
	enum vmft_large large;
	size_t proved;	    /* bytes of the longest packet that was acknowledged */
	size_t probe;	    /* of a longer one that is under way; 0: none */
	uint64_t probe_end; /* bytes sent with it */
	uint64_t probe_ns;  /* when */
	uint64_t stuck_ns;  /* when it was first found to be late; 0: it was not */
	unsigned mtu;
	char name[80];
	uint8_t in[BUFFER_BYTES]; /* the buffers come last: conn_new() */
	uint8_t out[2][BUFFER_BYTES];
};

struct vmft_listener {
	struct vmft_loop *loop;
	const struct vmft_conn_events *events;
	void *user;
	int fd;
	bool full; /* the last accept failed, and it was said */
	struct vmft_op accept_op;
	struct vmft_op retry_op;
};

static void describe(const struct sockaddr *addr, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (addr->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;

		(void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		(void)snprintf(text, size, "%s:%u", host, ntohs(in->sin_port));
		return;
	}
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;

	(void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
	(void)snprintf(text, size, "[%s]:%u", host, ntohs(in6->sin6_port));
}

static bool conn_idle(const struct vmft_conn *conn)
{
	return conn->out_bytes[0] == 0 && conn->out_bytes[1] == 0;
}

static void finish_if_quiet(struct vmft_conn *conn)
{
	if (!conn->closing || conn->recv_op.pending || conn->send_op.pending ||
	    conn->linger_op.pending)
		return;
	close(conn->fd);
	conn->events->on_close(conn->user, conn, conn->error);
	free(conn);
}

static void fail(struct vmft_conn *conn, int error)
{
	if (conn->closing)
		return;
	conn->closing = true;
	conn->error = error;
	/* Ends a recv and a send under way; the cancels are for a connect. */
	(void)shutdown(conn->fd, SHUT_RDWR);
	vmft_loop_cancel(conn->loop, &conn->recv_op);
	vmft_loop_cancel(conn->loop, &conn->send_op);
	vmft_loop_cancel(conn->loop, &conn->linger_op);
	/* The end comes with the last completion, never inside a caller's call. */
	if (!conn->recv_op.pending && !conn->send_op.pending && !conn->linger_op.pending)
		vmft_loop_timer(conn->loop, &conn->send_op, 0);
}

/*
 * Closing while bytes are unread resets the connection. A reset throws away what the peer has not
 * read yet, such as the last frame, which says why. So this end is shut down for writing, and what
 * still arrives is read and dropped until the peer closes too.
 */
static void end_if_flushed(struct vmft_conn *conn)
{
	if (!conn->flush || conn->ended || conn->closing || !conn_idle(conn))
		return;
	conn->ended = true;
	(void)shutdown(conn->fd, SHUT_WR);
}

static void on_linger(struct vmft_op *op, int result)
{
	struct vmft_conn *conn = op->owner;

	(void)result;
	fail(conn, 0);
	finish_if_quiet(conn);
}

static void receive_more(struct vmft_conn *conn)
{
	if (conn->closing || (conn->paused && !conn->flush) || conn->recv_op.pending ||
	    conn->handing_over)
		return;
	if (conn->flush)
		conn->in_bytes = 0;
	vmft_loop_recv(conn->loop, &conn->recv_op, conn->fd, conn->in + conn->in_bytes,
		       sizeof(conn->in) - conn->in_bytes);
}

static void hand_over(struct vmft_conn *conn)
{
	ssize_t used;

	if (conn->in_bytes == 0 || conn->paused || conn->closing || conn->flush)
		return;
	conn->handing_over = true;
	used = conn->events->on_bytes(conn->user, conn, conn->in, conn->in_bytes);
	conn->handing_over = false;
	if (used < 0) {
		fail(conn, (int)used);
		return;
	}
	conn->in_bytes -= (size_t)used;
	memmove(conn->in, conn->in + used, conn->in_bytes);
	/*
	 * A user that paused left bytes on purpose. Otherwise a full buffer that it cannot use is a
	 * frame over the cap.
	 */
	if (conn->in_bytes == sizeof(conn->in) && !conn->paused && !conn->flush)
		fail(conn, -EMSGSIZE);
}

/*
 * It must have been unacknowledged for long, and be seen so twice with some time in between: after
 * this whole machine stood still, the peer's data arrives first and the acknowledgement a moment
 * later. The kernel does not count what a device of this host drops as sent again
 * (tcp_write_xmit()).
 */
static bool is_stuck(struct vmft_conn *conn, uint64_t now)
{
	if (vmft_loop_since(conn->probe_ns, now) < STUCK_NS)
		return false;
	if (conn->stuck_ns == 0)
		conn->stuck_ns = now;
	return now - conn->stuck_ns >= STUCK_AGAIN_NS;
}

/* The peer was heard, so it would have acknowledged what it has received. */
static void look_at_large(struct vmft_conn *conn)
{
	struct vmft_tcp_info info;

	if (conn->probe == 0 || vmft_tcp_info_get(conn->fd, &info) < 0)
		return;
	if (info.acked >= conn->probe_end) {
		conn->proved = conn->probe;
		conn->probe = 0;
		conn->large = conn->proved >= info.segment ? VMFT_LARGE_PASSES : VMFT_LARGE_UNKNOWN;
	} else if (info.resends >= LARGE_RESENDS || is_stuck(conn, vmft_loop_now())) {
		conn->large = VMFT_LARGE_LOST;
	}
}

static void on_recv(struct vmft_op *op, int result)
{
	struct vmft_conn *conn = op->owner;

	if (!conn->closing && result <= 0 && result != -EINTR && result != -EAGAIN)
		fail(conn, result);
	if (!conn->closing && result > 0) {
		conn->in_bytes += (size_t)result;
		look_at_large(conn);
		hand_over(conn);
	}
	receive_more(conn);
	finish_if_quiet(conn);
}

/*
 * n bytes are about to be sent. The first packet of them is watched, if no other as long was
 * acknowledged yet.
 */
static void probe_large(struct vmft_conn *conn, size_t n)
{
	struct vmft_tcp_info info;

	if (conn->large == VMFT_LARGE_PASSES || conn->probe > 0 || n <= SMALL_BYTES ||
	    n <= conn->proved || vmft_tcp_info_get(conn->fd, &info) < 0)
		return;
	conn->probe = n < info.segment ? n : info.segment;
	conn->probe_end = conn->sent + conn->probe;
	conn->probe_ns = vmft_loop_now();
	conn->stuck_ns = 0;
	conn->mtu = info.mtu;
}

static void send_more(struct vmft_conn *conn)
{
	unsigned other = conn->filling ^ 1u;

	if (conn->closing || conn->send_op.pending || !conn->open)
		return;
	if (conn->out_bytes[other] == 0) {
		if (conn->out_bytes[conn->filling] == 0)
			return;
		conn->filling = other;
		other ^= 1u;
		conn->out_sent = 0;
	}
	probe_large(conn, conn->out_bytes[other] - conn->out_sent);
	vmft_loop_send(conn->loop, &conn->send_op, conn->fd, conn->out[other] + conn->out_sent,
		       conn->out_bytes[other] - conn->out_sent);
}

static void on_send(struct vmft_op *op, int result)
{
	struct vmft_conn *conn = op->owner;
	unsigned under_way = conn->filling ^ 1u;

	if (!conn->closing && result < 0 && result != -EINTR && result != -EAGAIN)
		fail(conn, result);
	if (!conn->closing && result > 0) {
		conn->out_sent += (size_t)result;
		conn->sent += (uint64_t)result;
		if (conn->out_sent == conn->out_bytes[under_way]) {
			conn->out_bytes[under_way] = 0;
			conn->out_sent = 0;
			conn->events->on_sent(conn->user, conn);
		}
	}
	send_more(conn);
	end_if_flushed(conn);
	finish_if_quiet(conn);
}

static struct vmft_conn *conn_new(struct vmft_loop *loop, int fd,
				  const struct vmft_conn_events *events, void *user)
{
	struct vmft_conn *conn = malloc(sizeof(*conn));
	const int on = 1;

	if (!conn)
		return NULL;
	/* All but the buffers: nothing of them is read before it was written. */
	memset(conn, 0, offsetof(struct vmft_conn, in));
	conn->loop = loop;
	conn->fd = fd;
	conn->events = events;
	conn->user = user;
	conn->recv_op = (struct vmft_op){.done = on_recv, .owner = conn};
	conn->send_op = (struct vmft_op){.done = on_send, .owner = conn};
	conn->linger_op = (struct vmft_op){.done = on_linger, .owner = conn};
	/* A batch is complete when it is sent. Waiting for more would only delay the ack. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	/*
	 * After a loss the kernel then tries again every 200 ms instead of half as often each time,
	 * while less than four packets are under way. This is mostly so for what the backup sends
	 * (tcp_timer.c, tcp_stream_is_thin(); it makes no difference with bbr, which sets no
	 * threshold).
	 */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &on, sizeof(on));
	return conn;
}

static void opened(struct vmft_conn *conn)
{
	conn->open = true;
	conn->events->on_open(conn->user, conn);
	receive_more(conn);
	send_more(conn);
}

/* --- the operations ------------------------------------------------------ */

static void on_accept(struct vmft_op *op, int result)
{
	struct vmft_listener *listener = op->owner;
	socklen_t addr_len = sizeof(struct sockaddr_storage);
	struct vmft_conn *conn;

	if (result >= 0) {
		conn = conn_new(listener->loop, result, listener->events, listener->user);
		if (!conn || getpeername(result, (struct sockaddr *)&conn->addr, &addr_len) < 0) {
			free(conn);
			close(result);
		} else {
			conn->accepted = true;
			describe((struct sockaddr *)&conn->addr, conn->name, sizeof(conn->name));
			opened(conn);
			finish_if_quiet(conn);
		}
	}
	if (result >= 0 || result == -ECONNABORTED || result == -EINTR) {
		listener->full = listener->full && result < 0;
		vmft_loop_accept(listener->loop, op, listener->fd);
		return;
	}
	if (!listener->full && listener->events->on_full)
		listener->events->on_full(listener->user, result);
	listener->full = true;
	vmft_loop_timer(listener->loop, &listener->retry_op, ACCEPT_AGAIN_NS);
}

static void on_accept_again(struct vmft_op *op, int result)
{
	struct vmft_listener *listener = op->owner;

	(void)result;
	vmft_loop_accept(listener->loop, &listener->accept_op, listener->fd);
}

static int socket_bound(int family, const struct sockaddr *addr, socklen_t addr_len)
{
	const int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (!addr || bind(fd, addr, addr_len) == 0))
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static int tcp_listen(struct vmft_loop *loop, const struct sockaddr *addr, socklen_t addr_len,
		      const struct vmft_conn_events *events, void *user, struct vmft_listener **ret)
{
	struct vmft_listener *listener;
	int fd = socket_bound(addr->sa_family, addr, addr_len);
	int rc;

	if (fd < 0)
		return fd;
	listener = calloc(1, sizeof(*listener));
	if (!listener || listen(fd, BACKLOG) < 0) {
		rc = listener ? -errno : -ENOMEM;
		free(listener);
		close(fd);
		return rc;
	}
	*listener = (struct vmft_listener){
	    .loop = loop,
	    .events = events,
	    .user = user,
	    .fd = fd,
	    .accept_op = {.done = on_accept, .owner = listener},
	    .retry_op = {.done = on_accept_again, .owner = listener},
	};
	vmft_loop_accept(loop, &listener->accept_op, fd);
	*ret = listener;
	return 0;
}

static void tcp_unlisten(struct vmft_listener *listener)
{
	int accepted;

	if (!listener)
		return;
	(void)vmft_loop_withdraw(listener->loop, &listener->retry_op);
	accepted = vmft_loop_withdraw(listener->loop, &listener->accept_op);
	if (accepted >= 0)
		close(accepted);
	close(listener->fd);
	free(listener);
}

static void on_connect(struct vmft_op *op, int result)
{
	struct vmft_conn *conn = op->owner;

	op->done = on_send;
	if (!conn->closing && result < 0)
		fail(conn, result);
	if (!conn->closing)
		opened(conn);
	finish_if_quiet(conn);
}

static int tcp_is_own(const struct sockaddr *addr, socklen_t addr_len)
{
	struct sockaddr_storage from;
	int fd;

	memcpy(&from, addr, addr_len);
	/* Both families keep the port in the same place. */
	((struct sockaddr_in *)(void *)&from)->sin_port = 0;
	fd = socket_bound(addr->sa_family, (const struct sockaddr *)&from, addr_len);
	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int tcp_connect(struct vmft_loop *loop, const struct sockaddr *from, socklen_t from_len,
		       const struct sockaddr *addr, socklen_t addr_len,
		       const struct vmft_conn_events *events, void *user)
{
	int fd = socket_bound(addr->sa_family, from, from_len);
	const int retries = SYN_RETRIES;
	struct vmft_conn *conn;

	if (fd < 0)
		return fd;
	conn = conn_new(loop, fd, events, user);
	if (!conn) {
		close(fd);
		return -ENOMEM;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &retries, sizeof(retries));
	memcpy(&conn->addr, addr, addr_len);
	describe(addr, conn->name, sizeof(conn->name));
	conn->send_op.done = on_connect;
	vmft_loop_connect(loop, &conn->send_op, fd, (struct sockaddr *)&conn->addr, addr_len);
	return 0;
}

static uint8_t *conn_reserve(struct vmft_conn *conn, size_t n)
{
	if (conn->closing || conn->flush || n > BUFFER_BYTES - conn->out_bytes[conn->filling])
		return NULL;
	return conn->out[conn->filling] + conn->out_bytes[conn->filling];
}

static void conn_commit(struct vmft_conn *conn, size_t n)
{
	conn->out_bytes[conn->filling] += n;
	send_more(conn);
}

static void conn_pause(struct vmft_conn *conn, bool paused)
{
	bool resumed = conn->paused && !paused;

	conn->paused = paused;
	if (!resumed)
		return;
	hand_over(conn);
	receive_more(conn);
}

static void conn_close(struct vmft_conn *conn, bool flush)
{
	if (!flush || !conn->open) {
		fail(conn, 0);
		return;
	}
	if (conn->flush || conn->closing)
		return;
	conn->flush = true;
	vmft_loop_timer(conn->loop, &conn->linger_op, LINGER_NS);
	end_if_flushed(conn);
	receive_more(conn);
}

static const char *conn_name(const struct vmft_conn *conn)
{
	return conn->name;
}

static enum vmft_large conn_large(const struct vmft_conn *conn, unsigned *ret_mtu)
{
	*ret_mtu = conn->mtu;
	return conn->large;
}

static const struct sockaddr *conn_addr(const struct vmft_conn *conn)
{
	return (const struct sockaddr *)&conn->addr;
}

static bool conn_is_accepted(const struct vmft_conn *conn)
{
	return conn->accepted;
}

const struct vmft_transport_ops vmft_transport_tcp = {
    .name = "tcp",
    .listen = tcp_listen,
    .unlisten = tcp_unlisten,
    .is_own = tcp_is_own,
    .connect = tcp_connect,
    .reserve = conn_reserve,
    .commit = conn_commit,
    .idle = conn_idle,
    .pause = conn_pause,
    .close = conn_close,
    .is_accepted = conn_is_accepted,
    .peer_name = conn_name,
    .large = conn_large,
    .peer_addr = conn_addr,
};
