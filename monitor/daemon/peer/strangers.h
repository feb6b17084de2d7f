/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections to this side's addresses from senders that have not said hello yet.
 *
 * There are a few places for accepted connections that are not the pair's. Only connections from
 * the channel addresses of the pair file get a place. A connection with a place must say hello in
 * time. When all places are taken, the oldest connection that has not said hello loses its place,
 * so a primary always finds one. These functions do no input or output, except the filter at the
 * end.
 */
#ifndef VMFT_STRANGERS_H
#define VMFT_STRANGERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "monitor/common/pair-config.h"

#define VMFT_STRANGERS_MAX 8u

struct vmft_conn;

enum vmft_stranger {
	VMFT_STRANGER_SILENT,  /* has not said hello */
	VMFT_STRANGER_CALLER,  /* has said hello and waits for our answer: keeps its place */
	VMFT_STRANGER_REFUSED, /* has been refused, and is being closed */
};

/* What the journal says of strangers: each of these once an hour for each address. */
enum vmft_stranger_news {
	VMFT_STRANGER_FOREIGN, /* not an address of the pair file */
	VMFT_STRANGER_LATE,    /* did not say hello in time */
	VMFT_STRANGER_CROWD,   /* lost its place to a newer connection */
	VMFT_STRANGER_NOISE,   /* sent something that is no frame */
	VMFT_STRANGER_VERSION, /* sent a frame of another version */
};

struct vmft_strangers {
	struct {
		struct vmft_conn *conn; /* NULL: free */
		enum vmft_stranger state;
		uint64_t since_ns;
	} place[VMFT_STRANGERS_MAX];
	struct {
		enum vmft_stranger_news news;
		uint64_t at_ns; /* 0: free */
		char address[64];
	} said[2 * VMFT_STRANGERS_MAX];
};

/* Compares addresses of AF_INET or AF_INET6 without their ports. */
bool vmft_same_host(const struct sockaddr *a, const struct sockaddr *b);

/* Whether from is the channel address of a host in the pair file, with any port. */
bool vmft_strangers_are_known(const struct vmft_pair_config *config, const struct sockaddr *from);

/* Gives a connection a place. Returns the connection that lost its place for it, which the caller
 * must close, or NULL. */
struct vmft_conn *vmft_strangers_enter(struct vmft_strangers *s, struct vmft_conn *conn,
				       uint64_t now);
/* These two do nothing if the connection has no place. */
void vmft_strangers_note(struct vmft_strangers *s, const struct vmft_conn *conn,
			 enum vmft_stranger state);
void vmft_strangers_leave(struct vmft_strangers *s, const struct vmft_conn *conn);
/* Takes its place from a connection that has been silent for limit_ns, and returns it; NULL: none.
 */
struct vmft_conn *vmft_strangers_overdue(struct vmft_strangers *s, uint64_t now, uint64_t limit_ns);
/* This monitor did not run for slept ns: that time does not count as silence of a connection. */
void vmft_strangers_slept(struct vmft_strangers *s, uint64_t slept);

/*
 * Whether the journal should say the news about the address of name, "ADDRESS:PORT"; *ret_bytes is
 * the length of ADDRESS. When many addresses come at the same time, it is false for some of them.
 */
bool vmft_strangers_tell(struct vmft_strangers *s, enum vmft_stranger_news news, const char *name,
			 uint64_t now, int *ret_bytes);

/*
 * Makes the kernel drop datagrams that do not come from a heartbeat address of the pair file: they
 * take no room in the socket's buffer and do not wake the monitor. 0 or a negative errno.
 */
int vmft_strangers_filter(int fd, const struct vmft_pair_config *config);

#endif
