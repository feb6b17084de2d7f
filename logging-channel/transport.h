/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A byte stream to a peer, as an operations table. The product has TCP over io_uring; TLS can be
 * another. The transport owns a connection. Its user may use the pointer until on_close has run,
 * which happens exactly once for each connection that was handed out.
 */
#ifndef VMFT_TRANSPORT_H
#define VMFT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "loop.h"

struct vmft_conn;

struct vmft_conn_events {
	/* Connected or accepted. */
	void (*on_open)(void *user, struct vmft_conn *conn);
	/*
	 * n bytes have arrived. Returns how many were used; the rest is handed over again, with
	 * more. A negative errno closes the connection.
	 */
	ssize_t (*on_bytes)(void *user, struct vmft_conn *conn, const uint8_t *bytes, size_t n);
	/* What was queued has been handed to the network: there is room again. */
	void (*on_sent)(void *user, struct vmft_conn *conn);
	/*
	 * Of a listener: it cannot accept, because descriptors or memory are short (error is a
	 * negative errno). Called once when that begins; the listener keeps trying. May be NULL.
	 */
	void (*on_full)(void *user, int error);
	/* The last call. error: 0 when the peer closed, else a negative errno. */
	void (*on_close)(void *user, struct vmft_conn *conn, int error);
};

struct vmft_listener;

/* Whether what fills a packet gets through to the peer. */
enum vmft_large {
	VMFT_LARGE_UNKNOWN, /* nothing large was sent yet, or there is no answer yet */
	VMFT_LARGE_PASSES,
	VMFT_LARGE_LOST, /* sent several times, while the peer was heard, and never acknowledged */
};

struct vmft_transport_ops {
	const char *name;
	/* Accepts until unlisten(). 0, or -EADDRINUSE, -EADDRNOTAVAIL, ... */
	int (*listen)(struct vmft_loop *loop, const struct sockaddr *addr, socklen_t addr_len,
		      const struct vmft_conn_events *events, void *user,
		      struct vmft_listener **ret);
	/*
	 * After that the address is free, except for connections that still exist. Only when the
	 * loop does not run any more: it uses vmft_loop_withdraw(). NULL is fine.
	 */
	void (*unlisten)(struct vmft_listener *listener);
	/* Whether connections may come from that address (the port does not count): 0, or
	 * -EADDRNOTAVAIL, ... */
	int (*is_own)(const struct sockaddr *addr, socklen_t addr_len);
	/*
	 * The answer is on_open or on_close. from may be NULL (any address). addr and from are
	 * copied.
	 */
	int (*connect)(struct vmft_loop *loop, const struct sockaddr *from, socklen_t from_len,
		       const struct sockaddr *addr, socklen_t addr_len,
		       const struct vmft_conn_events *events, void *user);
	/* n bytes of room to write into, or NULL: wait for on_sent. commit() queues them. */
	uint8_t *(*reserve)(struct vmft_conn *conn, size_t n);
	void (*commit)(struct vmft_conn *conn, size_t n);
	bool (*idle)(const struct vmft_conn *conn); /* nothing queued or under way */
	/* Stops and starts reading. The network's flow control slows the peer down. */
	void (*pause)(struct vmft_conn *conn, bool paused);
	/*
	 * on_close follows. flush: what is queued is sent first, and the connection is kept until
	 * the peer closes too, for a second at most. No more bytes are handed over.
	 */
	void (*close)(struct vmft_conn *conn, bool flush);
	bool (*is_accepted)(const struct vmft_conn *conn);	/* the peer connected, not we */
	const char *(*peer_name)(const struct vmft_conn *conn); /* "ADDRESS:PORT" */
	/* *ret_mtu is what packets on the way may have, as far as this host knows. */
	enum vmft_large (*large)(const struct vmft_conn *conn, unsigned *ret_mtu);
	/* AF_INET or AF_INET6. */
	const struct sockaddr *(*peer_addr)(const struct vmft_conn *conn);
};

extern const struct vmft_transport_ops vmft_transport_tcp;

#endif
