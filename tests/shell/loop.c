/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * logging-channel/loop.h in virtual time. What is started is done when its turn comes on the
 * world's agenda: timers when they are due, files after what a disk takes, sockets when sock.c says
 * so. A descriptor is looked up when the kernel would: at vmft_loop_submit(), or when the callback
 * that started the operation has returned to the loop.
 */
#define _GNU_SOURCE
#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES_MAX = 512 };

enum kind { FREE, POLL, READ, WRITE, OPEN, SYNC, TIMER, ACCEPT, CONNECT, RECV, SEND };

static struct entry {
	struct vmft_op *op;
	enum kind kind;
	int8_t host;
	bool unsent;	/* the kernel has not seen it */
	bool cancelled; /* the answer is on its way */
	bool set;	/* result is what it will be */
	int result;
	int fd;
	struct file *file;
	void *bytes;
	const struct sockaddr *addr;
	const char *path;
	size_t n;
	uint64_t at; /* offset; of a timer: how long */
	short events;
	uint32_t serial;
} entries[ENTRIES_MAX];

static int16_t unsent[ENTRIES_MAX];
static unsigned unsent_count;

struct vmft_loop {
	int host;
	bool stopped;
};

int vmft_loop_create(struct vmft_loop **ret)
{
	*ret = calloc(1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	(*ret)->host = (int)(world.current - world.host);
	return 0;
}

void vmft_loop_destroy(struct vmft_loop *loop)
{
	free(loop);
}

static int entry_new(void)
{
	static int next;

	for (int i = 0; i < ENTRIES_MAX; i++) {
		const int at = (next + i) % ENTRIES_MAX;

		if (entries[at].kind != FREE)
			continue;
		next = at + 1;
		return at;
	}
	abort();
}

static void begin(const struct vmft_loop *loop, struct entry start)
{
	const int at = entry_new();
	struct entry *e = &entries[at];

	may_die();
	if (start.op->pending) {
		broken("an operation is started once at a time", "kind %d", start.kind);
		return;
	}
	start.serial = e->serial + 1;
	start.host = (int8_t)loop->host;
	start.unsent = true;
	*e = start;
	e->op->pending = true;
	e->op->time.seconds = at;
	unsent[unsent_count++] = (int16_t)at;
}

void vmft_loop_poll(struct vmft_loop *loop, struct vmft_op *op, int fd, unsigned events)
{
	begin(loop, (struct entry){.op = op, .kind = POLL, .fd = fd, .events = (short)events});
}

void vmft_loop_read(struct vmft_loop *loop, struct vmft_op *op, int fd, void *bytes, size_t n,
		    uint64_t offset)
{
	begin(loop, (struct entry){
			.op = op, .kind = READ, .fd = fd, .bytes = bytes, .n = n, .at = offset});
}

void vmft_loop_write(struct vmft_loop *loop, struct vmft_op *op, int fd, const void *bytes,
		     size_t n, uint64_t offset)
{
	begin(loop, (struct entry){.op = op,
				   .kind = WRITE,
				   .fd = fd,
				   .bytes = (void *)(uintptr_t)bytes,
				   .n = n,
				   .at = offset});
}

void vmft_loop_open(struct vmft_loop *loop, struct vmft_op *op, const char *path, int flags,
		    unsigned mode)
{
	(void)flags;
	(void)mode;
	begin(loop, (struct entry){.op = op, .kind = OPEN, .path = path, .fd = -1});
}

void vmft_loop_sync(struct vmft_loop *loop, struct vmft_op *op, int fd)
{
	begin(loop, (struct entry){.op = op, .kind = SYNC, .fd = fd});
}

void vmft_loop_timer(struct vmft_loop *loop, struct vmft_op *op, uint64_t nanoseconds)
{
	begin(loop, (struct entry){.op = op, .kind = TIMER, .fd = -1, .at = nanoseconds});
}

void vmft_loop_accept(struct vmft_loop *loop, struct vmft_op *op, int fd)
{
	begin(loop, (struct entry){.op = op, .kind = ACCEPT, .fd = fd});
}

void vmft_loop_connect(struct vmft_loop *loop, struct vmft_op *op, int fd,
		       const struct sockaddr *addr, socklen_t addr_len)
{
	(void)addr_len;
	begin(loop, (struct entry){.op = op, .kind = CONNECT, .fd = fd, .addr = addr});
}

void vmft_loop_recv(struct vmft_loop *loop, struct vmft_op *op, int fd, void *bytes, size_t n)
{
	begin(loop, (struct entry){.op = op, .kind = RECV, .fd = fd, .bytes = bytes, .n = n});
}

void vmft_loop_send(struct vmft_loop *loop, struct vmft_op *op, int fd, const void *bytes, size_t n)
{
	begin(loop,
	      (struct entry){
		  .op = op, .kind = SEND, .fd = fd, .bytes = (void *)(uintptr_t)bytes, .n = n});
}

void vmft_loop_stop(struct vmft_loop *loop)
{
	loop->stopped = true;
}

bool loop_is_stopped(const struct vmft_loop *loop)
{
	return loop->stopped;
}

int vmft_loop_run(struct vmft_loop *loop)
{
	(void)loop;
	return -ENOSYS;
}

uint64_t vmft_loop_now(void)
{
	return world.now + (world.current ? world.current->clock : 0);
}

/* --- the kernel sees it ------------------------------------------------------- */

void loop_complete(int entry, int result, uint64_t delay)
{
	struct entry *e = &entries[entry];

	e->result = result;
	e->set = true;
	later(delay, DO_OP, e->host, (uint64_t)entry, e->serial);
}

/* A wake-up of the loop takes a little, now and then much longer. */
static uint64_t wake_up(void)
{
	return 2 * US + chance(one_in(64) ? 2 * MS : 20 * US);
}

static uint64_t disk_time(int host)
{
	const bool slow = world.apply_slow_until > world.now && host != world.recorder;

	return 5 * US + chance(slow ? 100 * world.disk_delay : world.disk_delay);
}

static void start_poll(int at, struct entry *e)
{
	struct fd *f = fd_of(e->fd);

	if (!f) {
		loop_complete(at, -EBADF, 0);
		return;
	}
	f->waiter = at;
	if (f->count > 0)
		loop_poll_ready(e->fd);
}

void loop_poll_ready(int fd)
{
	struct fd *f = fd_of(fd);
	const int at = f->waiter;

	f->waiter = -1;
	loop_complete(at, entries[at].events, wake_up());
}

static void start_file(int at, struct entry *e)
{
	const struct fd *f = fd_of(e->fd);

	if (!f || f->kind != FD_FILE) {
		loop_complete(at, -EBADF, 0);
		return;
	}
	e->file = f->file;
	later(disk_time(e->host), DO_OP, e->host, (uint64_t)at, e->serial);
}

static void start(int at)
{
	struct entry *e = &entries[at];

	e->unsent = false;
	switch (e->kind) {
	case POLL:
		start_poll(at, e);
		break;
	case READ:
	case WRITE:
	case SYNC:
		start_file(at, e);
		break;
	case OPEN:
		later(disk_time(e->host), DO_OP, e->host, (uint64_t)at, e->serial);
		break;
	case TIMER:
		if (world.spoil == SPOIL_NO_RETRY && e->at == 250 * MS)
			break;
		loop_complete(at, 0, e->at + (e->at ? chance(40 * US) : 0));
		break;
	case ACCEPT:
		sock_accept(at, e->fd);
		break;
	case CONNECT:
		sock_connect(at, e->fd, e->addr);
		break;
	case RECV:
		sock_recv(at, e->fd, e->bytes, e->n);
		break;
	default:
		sock_send(at, e->fd, e->bytes, e->n);
	}
}

void vmft_loop_submit(struct vmft_loop *loop)
{
	loop_resolve(loop->host);
}

void loop_resolve(int host)
{
	(void)host; /* of the one that runs */
	for (unsigned i = 0; i < unsent_count; i++)
		if (entries[unsent[i]].unsent && !entries[unsent[i]].cancelled)
			start(unsent[i]);
	unsent_count = 0;
}

static void forget(struct entry *e)
{
	struct fd *f = fd_of(e->fd);
	const int at = (int)(e - entries);

	if (f && f->waiter == at)
		f->waiter = -1;
	if (f && e->kind >= ACCEPT)
		sock_cancel(at, e->fd);
	e->serial++;
}

void vmft_loop_cancel(struct vmft_loop *loop, struct vmft_op *op)
{
	struct entry *e;

	(void)loop;
	if (!op->pending)
		return;
	e = &entries[op->time.seconds];
	if (e->cancelled)
		return;
	forget(e);
	e->cancelled = true;
	loop_complete((int)op->time.seconds, -ECANCELED, 0);
}

int vmft_loop_withdraw(struct vmft_loop *loop, struct vmft_op *op)
{
	struct entry *e;

	(void)loop;
	if (!op->pending)
		return -ECANCELED;
	e = &entries[op->time.seconds];
	forget(e);
	e->kind = FREE;
	op->pending = false;
	return -ECANCELED;
}

/* --- it is done ----------------------------------------------------------------- */

static int perform_read(const struct entry *e)
{
	size_t n = e->n;

	if (e->at >= e->file->size)
		return 0;
	if (n > e->file->size - e->at)
		n = e->file->size - e->at;
	memcpy(e->bytes, e->file->bytes + e->at, n);
	return (int)n;
}

static bool is_image_of_guest(const struct entry *e)
{
	const struct host *h = &world.host[e->host];

	return e->file == &h->disk && h->q.up && (h->q.runs || h->q.replays);
}

static int perform_write(const struct entry *e)
{
	struct file *file = e->file;

	if (file->broken)
		return -file->broken;
	if (is_image_of_guest(e))
		broken("nobody writes to a guest's image", "host %d", e->host);
	if (e->at + e->n > file->room)
		return file == &world.host[e->host].disk ? -EFBIG : (int)e->n;
	if (world.spoil == SPOIL_LOST_WRITE && file == &world.host[e->host].disk && one_in(8))
		return (int)e->n;
	memcpy(file->bytes + e->at, e->bytes, e->n);
	file_wrote(file, e->at, e->n);
	if (e->at + e->n > file->size)
		file->size = e->at + e->n;
	return (int)e->n;
}

static enum call call_of(enum kind kind)
{
	switch (kind) {
	case READ:
		return CALL_LOOP_READ;
	case WRITE:
		return CALL_LOOP_WRITE;
	case OPEN:
		return CALL_LOOP_OPEN;
	default:
		return CALL_LOOP_SYNC;
	}
}

static int perform(const struct entry *e)
{
	int fd;

	if (e->set)
		return e->result;
	if (call_fails(&world.host[e->host], call_of(e->kind), (const void *)(uintptr_t)e->op->done,
		       e->kind == OPEN ? EMFILE : EIO))
		return e->kind == OPEN ? -EMFILE : -EIO;
	switch (e->kind) {
	case READ:
		return perform_read(e);
	case WRITE:
		return perform_write(e);
	case OPEN:
		fd = open(e->path, O_RDWR);
		return fd < 0 ? -errno : fd;
	default:
		return e->file->broken ? -e->file->broken : 0;
	}
}

void loop_do(const struct todo *todo)
{
	struct entry *e = &entries[todo->arg];
	struct vmft_op *op = e->op;
	int result;

	if (e->kind == FREE || e->serial != todo->serial)
		return;
	result = perform(e);
	e->kind = FREE;
	e->serial++;
	op->pending = false;
	op->done(op, result);
}

/* The process is gone. What it had given to the disk may still be written. */
void loop_drop_all(int host)
{
	for (unsigned i = 0; i < ENTRIES_MAX; i++) {
		struct entry *e = &entries[i];

		if (e->kind == FREE || e->host != host)
			continue;
		if (e->kind == WRITE && !e->unsent && !e->set && !world.host[host].q.runs &&
		    one_in(2))
			(void)perform_write(e);
		forget(e);
		e->kind = FREE;
	}
	unsent_count = 0;
}
