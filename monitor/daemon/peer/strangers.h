/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may come to this side's addresses before he has said who he is.
 *
 * Connections that were accepted and are not the pair's have places, a few. Only the pair file's
 * own channel addresses get one. Whoever has one must say hello in time, and the oldest who has
 * not gives way when all places are taken: a primary always finds one. Pure, but for the filter at
 * the end.
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
	VMFT_STRANGER_CALLER,  /* has, and waits for our answer: keeps his place */
	VMFT_STRANGER_REFUSED, /* has his answer, and is being closed */
};

/* What is said of strangers: of each address and each of these once an hour. */
enum vmft_stranger_news {
	VMFT_STRANGER_FOREIGN, /* not an address of the pair file */
	VMFT_STRANGER_LATE,    /* did not say hello in time */
	VMFT_STRANGER_CROWD,   /* gave his place away */
	VMFT_STRANGER_NOISE,   /* what he sent is not the channel's language */
	VMFT_STRANGER_VERSION, /* it is, of another version */
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

/* Of AF_INET or AF_INET6, whatever the ports. */
bool vmft_same_host(const struct sockaddr *a, const struct sockaddr *b);

/* Whether it is the channel's address of one of the pair file's hosts, whatever the port. */
bool vmft_strangers_are_known(const struct vmft_pair_config *config, const struct sockaddr *from);

/* Gives a connection a place. Returns one that is to be closed for it and has no place any more, or
 * NULL. */
struct vmft_conn *vmft_strangers_enter(struct vmft_strangers *s, struct vmft_conn *conn,
				       uint64_t now);
/* Nothing happens if it has no place. */
void vmft_strangers_note(struct vmft_strangers *s, const struct vmft_conn *conn,
			 enum vmft_stranger state);
void vmft_strangers_leave(struct vmft_strangers *s, const struct vmft_conn *conn);
/* One that has been silent for limit_ns, without its place from now on; NULL: none. */
struct vmft_conn *vmft_strangers_overdue(struct vmft_strangers *s, uint64_t now, uint64_t limit_ns);
/* Time that this monitor did not run counts against nobody. */
void vmft_strangers_slept(struct vmft_strangers *s, uint64_t slept);

/*
 * Whether to say it of the address of name, "ADDRESS:PORT"; *ret_bytes is the length of ADDRESS.
 * When many addresses come at once, of some of them nothing is said.
 */
bool vmft_strangers_tell(struct vmft_strangers *s, enum vmft_stranger_news news, const char *name,
			 uint64_t now, int *ret_bytes);

/*
 * Datagrams that do not come from a heartbeat address of the pair file are dropped by the kernel:
 * they take no room in the socket's buffer and wake nobody up. 0 or a negative errno.
 */
int vmft_strangers_filter(int fd, const struct vmft_pair_config *config);

#endif
