/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket and its clients: one JSON object a line in, one a line out.
 *
 * Nobody can keep it busy: a request is no longer than VMFT_CONTROL_REQUEST_MAX, and when all
 * VMFT_CONTROL_CLIENTS places are taken, the client that has been idle for the longest is hung up
 * on for a new one. A client whose request is being carried out is not idle.
 *
 * What the requests do is not known here: the world carries them out (hub/requests.c).
 *
 * A client may follow the journal: it gets each event as a line of its own, and sends nothing any
 * more. No more than VMFT_CONTROL_FOLLOWERS may, so that places are left for others. One that
 * reads too slowly loses events, and its place when others need it.
 */
#ifndef VMFT_CONTROL_H
#define VMFT_CONTROL_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#include "control-request.h"
#include "journal.h"
#include "logging-channel/loop.h"
#include "monitor/common/error.h"

/* At the same time. Each may be followed by another that is just being hung up on. */
#define VMFT_CONTROL_CLIENTS   8u
#define VMFT_CONTROL_FOLLOWERS 4u /* of these */

struct vmft_control_client;

/* All of it outlives the control socket. */
struct vmft_control_world {
	struct vmft_loop *loop;
	struct vmft_journal *journal;
	const char *side; /* who speaks in events: "web1.primary" */
	/* Carries a request out. Answers client once, now or later, by one of the functions
	 * below. */
	void (*obey)(void *user, struct vmft_control_client *client, enum vmft_control_verb verb);
	/* client goes away before it was answered: answering it is forbidden from now on. */
	void (*forget)(void *user, struct vmft_control_client *client);
	void *user;
};

struct vmft_control {
	struct vmft_control_world world;
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct vmft_op accept_op, retry_op;
	struct vmft_op follow_op; /* looks for events while somebody follows them */
	bool full;		  /* the last accept failed, and it was said */
	struct vmft_control_client *client[2 * VMFT_CONTROL_CLIENTS]; /* NULL: free */
	bool left_over; /* a monitor of this side was killed: its sockets may still be open */
};

/*
 * Listens on path, and takes it over from a monitor that is gone. 0, or what socket(), bind() and
 * listen() report, -EADDRINUSE if somebody listens there; then nothing is left behind.
 */
int vmft_control_open(struct vmft_control *control, const char *path,
		      const struct vmft_control_world *world);
/* Once the loop runs no more. Also of one that was not opened, all zeroes. */
void vmft_control_close(struct vmft_control *control);

/* The user of the world that client talks to. */
void *vmft_control_user(const struct vmft_control_client *client);

/* {"ok":true} or false, for more fields; owned by the caller. */
struct json_object *vmft_control_answer_new(bool ok);
/* Takes object over. */
void vmft_control_answer(struct vmft_control_client *client, struct json_object *object);
void vmft_control_accept(struct vmft_control_client *client); /* {"ok":true} */
void vmft_control_refuse(struct vmft_control_client *client, const char *why);
/* Answers with what the side is now; from then on the client follows the journal. Refuses when too
 * many do. */
void vmft_control_follow(struct vmft_control_client *client);

#endif
