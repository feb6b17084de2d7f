/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "follow.h"

#define MS		UINT64_C(1000000)
#define ACCEPT_AGAIN_NS (200 * MS) /* without a descriptor accept fails at once, each time */
#define DYING_MS	500	   /* how long a killed monitor may keep its socket */
#define FOLLOW_NS	(50 * MS)  /* how often events are looked for */

#define PLACES (sizeof(((struct vmft_control *)0)->client) / sizeof(struct vmft_control_client *))

struct vmft_control_client {
	struct vmft_control *control;
	struct vmft_control_client **slot; /* its place in control->client */
	int fd;
	struct vmft_op recv_op;
	struct vmft_op send_op;
	uint64_t moved_ns; /* when a byte last came or went */
	bool working;	   /* a request is being carried out: no operation is pending */
	bool leaving;	   /* hung up on; what is pending is about to complete */
	bool follows;	   /* the journal; it is read from all the time, to see it go */
	struct vmft_follower follower;
	size_t in_bytes;
	char *out; /* the answer being sent, owned */
	size_t out_bytes, out_sent;
	char in[VMFT_CONTROL_REQUEST_MAX];
};

static void receive(struct vmft_control_client *client);
static void send_events(struct vmft_control_client *client);

static void client_free(struct vmft_control_client *client)
{
	struct vmft_control *control = client->control;

	if (client->working)
		control->world.forget(control->world.user, client);
	close(client->fd);
	*client->slot = NULL;
	free(client->out);
	free(client);
}

/* What is pending of a client completes at once when its socket is shut down; the last callback
 * frees it. */
static void hang_up(struct vmft_control_client *client)
{
	client->leaving = true;
	if (client->recv_op.pending || client->send_op.pending)
		(void)shutdown(client->fd, SHUT_RDWR);
	else
		client_free(client);
}

/* --- answers ---------------------------------------------------------------- */

static void send_rest(struct vmft_control_client *client)
{
	vmft_loop_send(client->control->world.loop, &client->send_op, client->fd,
		       client->out + client->out_sent, client->out_bytes - client->out_sent);
}

static void on_sent(struct vmft_op *op, int result)
{
	struct vmft_control_client *client = op->owner;

	if (result <= 0 || client->leaving) {
		hang_up(client);
		return;
	}
	client->moved_ns = vmft_loop_now();
	client->out_sent += (size_t)result;
	if (client->out_sent < client->out_bytes) {
		send_rest(client);
		return;
	}
	free(client->out);
	client->out = NULL;
	if (client->follows)
		send_events(client);
	else
		receive(client);
}

void vmft_control_answer(struct vmft_control_client *client, struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
	int n = asprintf(&client->out, "%s\n", text);

	json_object_put(object);
	client->working = false;
	if (n < 0) {
		client->out = NULL;
		hang_up(client);
		return;
	}
	client->out_bytes = (size_t)n;
	client->out_sent = 0;
	client->moved_ns = vmft_loop_now();
	send_rest(client);
}

void *vmft_control_user(const struct vmft_control_client *client)
{
	return client->control->world.user;
}

struct json_object *vmft_control_answer_new(bool ok)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "ok", json_object_new_boolean(ok));
	return object;
}

void vmft_control_accept(struct vmft_control_client *client)
{
	vmft_control_answer(client, vmft_control_answer_new(true));
}

void vmft_control_refuse(struct vmft_control_client *client, const char *why)
{
	struct json_object *object = vmft_control_answer_new(false);

	json_object_object_add(object, "error", json_object_new_string(why));
	vmft_control_answer(client, object);
}

/* --- followers --------------------------------------------------------------- */

/* The next one; the ones after it when this is sent. */
static void send_events(struct vmft_control_client *client)
{
	const struct vmft_control_world *world = &client->control->world;
	struct json_object *event =
	    vmft_follow_next(&client->follower, world->journal, world->side);

	if (event)
		vmft_control_answer(client, event);
}

static void on_follow(struct vmft_op *op, int result)
{
	struct vmft_control *control = op->owner;
	bool any = false;

	(void)result;
	for (size_t i = 0; i < PLACES; i++) {
		struct vmft_control_client *client = control->client[i];

		if (!client || !client->follows || client->leaving)
			continue;
		any = true;
		if (!client->send_op.pending)
			send_events(client);
	}
	if (any)
		vmft_loop_timer(control->world.loop, op, FOLLOW_NS);
}

static unsigned count_followers(const struct vmft_control *control)
{
	unsigned n = 0;

	for (size_t i = 0; i < PLACES; i++)
		if (control->client[i] && !control->client[i]->leaving)
			n += control->client[i]->follows;
	return n;
}

void vmft_control_follow(struct vmft_control_client *client)
{
	struct vmft_control *control = client->control;
	const struct vmft_control_world *world = &control->world;
	struct json_object *now;

	if (count_followers(control) == VMFT_CONTROL_FOLLOWERS) {
		vmft_control_refuse(client, "events: too many clients follow them already");
		return;
	}
	client->follows = true;
	now = vmft_follow_begin(&client->follower, world->journal, world->side);
	json_object_object_add(now, "ok", json_object_new_boolean(true));
	vmft_control_answer(client, now);
	receive(client);
	if (!control->follow_op.pending)
		vmft_loop_timer(world->loop, &control->follow_op, FOLLOW_NS);
}

/* At the monitor's end: what happened last, as far as there is room for it. */
static void send_last_events(struct vmft_control_client *client)
{
	const struct vmft_control_world *world = &client->control->world;
	struct json_object *event;

	while ((event = vmft_follow_next(&client->follower, world->journal, world->side))) {
		const char *text = json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN);

		(void)send(client->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
		(void)send(client->fd, "\n", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		json_object_put(event);
	}
}

/* --- requests ---------------------------------------------------------------- */

static void handle_line(struct vmft_control_client *client, size_t line_bytes)
{
	const struct vmft_control_world *world = &client->control->world;
	char error[128];
	int verb = vmft_control_request_parse(client->in, line_bytes, error, sizeof(error));

	client->in_bytes -= line_bytes + 1;
	memmove(client->in, client->in + line_bytes + 1, client->in_bytes);
	client->working = true;
	if (verb < 0)
		vmft_control_refuse(client, error);
	else
		world->obey(world->user, client, (enum vmft_control_verb)verb);
}

static void on_recv(struct vmft_op *op, int result)
{
	struct vmft_control_client *client = op->owner;

	/* A follower has nothing more to say. */
	if (result <= 0 || client->leaving || client->follows) {
		hang_up(client);
		return;
	}
	client->moved_ns = vmft_loop_now();
	client->in_bytes += (size_t)result;
	receive(client);
}

static void receive(struct vmft_control_client *client)
{
	char *newline = memchr(client->in, '\n', client->in_bytes);

	if (newline && !client->follows) {
		handle_line(client, (size_t)(newline - client->in));
		return;
	}
	if (client->in_bytes == sizeof(client->in)) {
		hang_up(client);
		return;
	}
	vmft_loop_recv(client->control->world.loop, &client->recv_op, client->fd,
		       client->in + client->in_bytes, sizeof(client->in) - client->in_bytes);
}

/* --- clients ---------------------------------------------------------------- */

/* A request is carried out for it, or it follows and takes what it is sent. */
static bool is_busy(const struct vmft_control_client *client)
{
	return client->working || (client->follows && !client->send_op.pending);
}

/* Whether there is, or soon will be, a place for one more: a client that is hung up on keeps its
 * place for a moment only. */
static bool make_room(struct vmft_control *control)
{
	struct vmft_control_client *oldest = NULL;
	unsigned staying = 0;

	for (size_t i = 0; i < PLACES; i++) {
		struct vmft_control_client *client = control->client[i];

		if (!client || client->leaving)
			continue;
		staying++;
		if (!is_busy(client) && (!oldest || client->moved_ns < oldest->moved_ns))
			oldest = client;
	}
	if (staying < VMFT_CONTROL_CLIENTS)
		return true;
	if (!oldest)
		return false;
	hang_up(oldest);
	return true;
}

static struct vmft_control_client **find_place(struct vmft_control *control)
{
	for (size_t i = 0; i < PLACES; i++)
		if (!control->client[i])
			return &control->client[i];
	return NULL;
}

static void client_new(struct vmft_control *control, int fd)
{
	struct vmft_control_client **slot = find_place(control);
	struct vmft_control_client *client = NULL;

	if (slot && make_room(control))
		client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return;
	}
	*slot = client;
	client->slot = slot;
	client->control = control;
	client->fd = fd;
	client->moved_ns = vmft_loop_now();
	client->recv_op = (struct vmft_op){.done = on_recv, .owner = client};
	client->send_op = (struct vmft_op){.done = on_sent, .owner = client};
	receive(client);
}

static void on_accept(struct vmft_op *op, int result)
{
	struct vmft_control *control = op->owner;

	if (result >= 0)
		client_new(control, result);
	if (result >= 0 || result == -ECONNABORTED || result == -EINTR) {
		control->full = control->full && result < 0;
		vmft_loop_accept(control->world.loop, op, control->fd);
		return;
	}
	if (!control->full)
		vmft_journal_say(control->world.journal,
				 "control socket: no connection can be accepted: %s; it is tried "
				 "again five times a second",
				 strerror(-result));
	control->full = true;
	vmft_loop_timer(control->world.loop, &control->retry_op, ACCEPT_AGAIN_NS);
}

static void on_accept_again(struct vmft_op *op, int result)
{
	struct vmft_control *control = op->owner;

	(void)result;
	vmft_loop_accept(control->world.loop, &control->accept_op, control->fd);
}

/* --- the socket -------------------------------------------------------------- */

/* A process that was killed takes a moment to end: the kernel has the guest's memory to free. */
static bool is_gone(pid_t pid)
{
	struct pollfd process = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	bool gone;

	if (process.fd < 0)
		return errno == ESRCH;
	gone = poll(&process, 1, DYING_MS) > 0;
	close(process.fd);
	return gone;
}

/*
 * A socket file is left over from a monitor that was killed if nobody listens on it, or if
 * whoever did is gone: the kernel closes the sockets an io_uring was waiting on a little
 * after the process has died (io_ring_exit_work()), and until then one can connect.
 */
static bool is_left_over(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred listener;
	socklen_t n = sizeof(listener);
	bool dead;

	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		dead = errno == ECONNREFUSED;
	else
		dead = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &n) == 0 &&
		       listener.pid > 0 && is_gone(listener.pid);
	close(fd);
	return dead;
}

static int bind_control(int fd, const struct sockaddr_un *addr, bool *ret_left_over)
{
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return 0;
	if (errno != EADDRINUSE || !is_left_over(addr))
		return -errno;
	*ret_left_over = true;
	(void)unlink(addr->sun_path);
	return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : -errno;
}

/* /run is empty after each boot. Only the last component is made. */
static void make_directory(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return;
	*slash = '\0';
	(void)mkdir(dir, 0755);
}

int vmft_control_open(struct vmft_control *control, const char *path,
		      const struct vmft_control_world *world)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int rc;

	memset(control, 0, sizeof(*control));
	control->world = *world;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	make_directory(path);
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (control->fd < 0)
		return -errno;
	mask = umask(0077); /* who may drill a VM is who runs it */
	rc = bind_control(control->fd, &addr, &control->left_over);
	(void)umask(mask);
	if (rc == 0 && listen(control->fd, 8) < 0)
		rc = -errno;
	if (rc < 0) {
		close(control->fd);
		return rc;
	}
	(void)snprintf(control->path, sizeof(control->path), "%s", path);
	control->accept_op = (struct vmft_op){.done = on_accept, .owner = control};
	control->retry_op = (struct vmft_op){.done = on_accept_again, .owner = control};
	control->follow_op = (struct vmft_op){.done = on_follow, .owner = control};
	vmft_loop_accept(control->world.loop, &control->accept_op, control->fd);
	return 0;
}

/* The monitor has come to its end. A line that was being sent stays cut off. */
static void drop(struct vmft_control_client *client)
{
	struct vmft_loop *loop;
	bool sending;

	if (!client)
		return;
	loop = client->control->world.loop;
	sending = client->send_op.pending;
	(void)vmft_loop_withdraw(loop, &client->recv_op);
	(void)vmft_loop_withdraw(loop, &client->send_op);
	if (client->follows && !client->leaving && !sending)
		send_last_events(client);
	client_free(client);
}

void vmft_control_close(struct vmft_control *control)
{
	for (size_t i = 0; i < PLACES; i++)
		drop(control->client[i]);
	if (control->path[0])
		(void)unlink(control->path);
}
