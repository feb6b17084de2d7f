/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A byte stream to a peer, behind an operations table: TCP over io_uring today, TLS or an
 * in-memory pair can take its place without a change above.
 *
 * A connection is owned by the transport; its user holds a pointer until on_close ran,
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
	/* n bytes are here; returns how many were used (the rest comes again with more), or a
	 * negative errno to close the connection. */
	ssize_t (*on_bytes)(void *user, struct vmft_conn *conn, const uint8_t *bytes, size_t n);
	/* What was queued has been handed to the network: there is room again. */
	void (*on_sent)(void *user, struct vmft_conn *conn);
	/* A listener: nobody can be accepted, for want of descriptors or memory (error is a
	 * negative errno). It goes on trying; called when that begins. May be NULL. */
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
	/* Behind it the address is free, as far as connections that are still there go. Only once
	 * the loop runs no more: vmft_loop_withdraw(). NULL is fine. */
	void (*unlisten)(struct vmft_listener *listener);
	/* Whether connections may come from that address (the port does not count): 0, or
	 * -EADDRNOTAVAIL, ... */
	int (*is_own)(const struct sockaddr *addr, socklen_t addr_len);
	/* Comes back through on_open or on_close. from may be NULL (any address). addr and
	 * from are copied. */
	int (*connect)(struct vmft_loop *loop, const struct sockaddr *from, socklen_t from_len,
		       const struct sockaddr *addr, socklen_t addr_len,
		       const struct vmft_conn_events *events, void *user);
	/* n bytes of room to write into, or NULL: wait for on_sent. commit() queues them. */
	uint8_t *(*reserve)(struct vmft_conn *conn, size_t n);
	void (*commit)(struct vmft_conn *conn, size_t n);
	bool (*idle)(const struct vmft_conn *conn); /* nothing queued or under way */
	/* Stops and starts reading: the peer is slowed by the network's own flow control. */
	void (*pause)(struct vmft_conn *conn, bool paused);
	/* on_close follows. flush: what is queued is sent first and the peer waited for until it
	 * closes too, a second at most; no more bytes are handed over. */
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
