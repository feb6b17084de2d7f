/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * logging-channel/loop.h in virtual time: operations on files are done when they come to their
 * turn, timers when world_step() has put the clock on. One thread, the same order in every run.
 */
#define _GNU_SOURCE
#include "logging-channel/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "world.h"

#define OPS_MAX 256u

enum kind { POLL, READ, WRITE, OPEN, SYNC, TIMER };

struct entry {
	struct vmft_op *op;
	enum kind kind;
	int fd;
	short events;
	void *bytes;
	const char *path;
	int flags;
	unsigned mode;
	size_t n;
	uint64_t at; /* offset, or when a timer is due */
	bool cancelled;
};

struct vmft_loop {
	struct entry entry[OPS_MAX]; /* in the order they were started */
	unsigned count;
	bool stopped;
};

static uint64_t now_ns = 1000000000;
const void *world_place;

/* Event counters that were rung and are not waited for yet. */
#define RUNG_MAX 8u
static int rung[RUNG_MAX];
static unsigned rung_count;

int vmft_loop_create(struct vmft_loop **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

void vmft_loop_destroy(struct vmft_loop *loop)
{
	free(loop);
}

static void begin(struct vmft_loop *loop, const struct entry *entry)
{
	if (entry->op->pending || loop->count == OPS_MAX)
		abort();
	entry->op->pending = true;
	loop->entry[loop->count++] = *entry;
}

void vmft_loop_poll(struct vmft_loop *loop, struct vmft_op *op, int fd, unsigned events)
{
	begin(loop, &(struct entry){.op = op, .kind = POLL, .fd = fd, .events = (short)events});
}

void vmft_loop_read(struct vmft_loop *loop, struct vmft_op *op, int fd, void *bytes, size_t n,
		    uint64_t offset)
{
	begin(loop, &(struct entry){
			.op = op, .kind = READ, .fd = fd, .bytes = bytes, .n = n, .at = offset});
}

void vmft_loop_write(struct vmft_loop *loop, struct vmft_op *op, int fd, const void *bytes,
		     size_t n, uint64_t offset)
{
	begin(loop, &(struct entry){.op = op,
				    .kind = WRITE,
				    .fd = fd,
				    .bytes = (void *)(uintptr_t)bytes,
				    .n = n,
				    .at = offset});
}

void vmft_loop_open(struct vmft_loop *loop, struct vmft_op *op, const char *path, int flags,
		    unsigned mode)
{
	begin(loop,
	      &(struct entry){.op = op, .kind = OPEN, .path = path, .flags = flags, .mode = mode});
}

void vmft_loop_sync(struct vmft_loop *loop, struct vmft_op *op, int fd)
{
	begin(loop, &(struct entry){.op = op, .kind = SYNC, .fd = fd});
}

void vmft_loop_timer(struct vmft_loop *loop, struct vmft_op *op, uint64_t nanoseconds)
{
	begin(loop, &(struct entry){.op = op, .kind = TIMER, .at = now_ns + nanoseconds});
}

void vmft_loop_submit(struct vmft_loop *loop)
{
	(void)loop;
}

void vmft_loop_cancel(struct vmft_loop *loop, struct vmft_op *op)
{
	for (unsigned i = 0; i < loop->count; i++)
		if (loop->entry[i].op == op)
			loop->entry[i].cancelled = true;
}

static void drop(struct vmft_loop *loop, unsigned at)
{
	loop->count--;
	for (; at < loop->count; at++)
		loop->entry[at] = loop->entry[at + 1];
}

int vmft_loop_withdraw(struct vmft_loop *loop, struct vmft_op *op)
{
	for (unsigned i = 0; i < loop->count; i++) {
		if (loop->entry[i].op != op)
			continue;
		op->pending = false;
		drop(loop, i);
		break;
	}
	return -ECANCELED;
}

void vmft_loop_stop(struct vmft_loop *loop)
{
	loop->stopped = true;
}

uint64_t vmft_loop_now(void)
{
	return now_ns;
}

/* Sockets are transport.c's here, and there is no heartbeat path. */
void vmft_loop_accept(struct vmft_loop *loop, struct vmft_op *op, int fd)
{
	(void)loop;
	(void)op;
	(void)fd;
	abort();
}

void vmft_loop_connect(struct vmft_loop *loop, struct vmft_op *op, int fd,
		       const struct sockaddr *addr, socklen_t addr_len)
{
	(void)addr;
	(void)addr_len;
	vmft_loop_accept(loop, op, fd);
}

void vmft_loop_recv(struct vmft_loop *loop, struct vmft_op *op, int fd, void *bytes, size_t n)
{
	(void)bytes;
	(void)n;
	vmft_loop_accept(loop, op, fd);
}

void vmft_loop_send(struct vmft_loop *loop, struct vmft_op *op, int fd, const void *bytes, size_t n)
{
	(void)bytes;
	(void)n;
	vmft_loop_accept(loop, op, fd);
}

int vmft_loop_run(struct vmft_loop *loop)
{
	while (!loop->stopped && world_loop_step(loop))
		;
	return 0;
}

static bool is_rung(int fd)
{
	for (unsigned i = 0; i < rung_count; i++)
		if (rung[i] == fd)
			return true;
	return false;
}

void world_ring(int fd)
{
	(void)eventfd_write(fd, 1);
	if (is_rung(fd))
		return;
	if (rung_count == RUNG_MAX)
		abort();
	rung[rung_count++] = fd;
}

void world_hush(int fd)
{
	for (unsigned i = 0; i < rung_count; i++)
		if (rung[i] == fd)
			rung[i] = rung[--rung_count];
}

/* --- steps -------------------------------------------------------------------- */

static bool is_ready(const struct entry *e)
{
	if (e->cancelled)
		return true;
	if (e->kind == TIMER)
		return e->at <= now_ns;
	return e->kind != POLL || is_rung(e->fd);
}

static int errno_of(ssize_t result)
{
	return result < 0 ? -errno : (int)result;
}

static int perform(const struct entry *e)
{
	if (e->cancelled)
		return -ECANCELED;
	switch (e->kind) {
	case POLL:
		world_hush(e->fd);
		return e->events;
	case READ:
		return errno_of(pread(e->fd, e->bytes, e->n, (off_t)e->at));
	case WRITE:
		return errno_of(pwrite(e->fd, e->bytes, e->n, (off_t)e->at));
	case OPEN:
		return errno_of(open(e->path, e->flags, e->mode));
	case SYNC:
		return errno_of(fdatasync(e->fd));
	default:
		return 0;
	}
}

bool world_loop_step(struct vmft_loop *loop)
{
	for (unsigned i = 0; i < loop->count && !loop->stopped; i++) {
		const struct entry e = loop->entry[i];
		int result;

		if (!is_ready(&e))
			continue;
		drop(loop, i);
		e.op->pending = false;
		world_place = (const void *)(uintptr_t)e.op->done;
		result = perform(&e);
		world_place = NULL;
		e.op->done(e.op, result);
		return true;
	}
	return false;
}

bool world_loop_is_stopped(const struct vmft_loop *loop)
{
	return loop->stopped;
}

uint64_t world_loop_next(const struct vmft_loop *loop)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < loop->count; i++)
		if (loop->entry[i].kind == TIMER && loop->entry[i].at < next)
			next = loop->entry[i].at;
	return next;
}

void world_clock_put(uint64_t ns)
{
	if (ns > now_ns)
		now_ns = ns;
}
