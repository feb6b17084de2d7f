/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>

#include "now.h"

#define ENTRIES 64

struct vmft_loop {
	struct io_uring ring;
	bool stopped;
};

static_assert(sizeof(((struct vmft_op *)0)->time) == sizeof(struct __kernel_timespec),
	      "vmft_op.time is what the kernel reads");

int vmft_loop_create(struct vmft_loop **ret)
{
	struct vmft_loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop)
		return -ENOMEM;
	rc = io_uring_queue_init(ENTRIES, &loop->ring, 0);
	if (rc < 0) {
		free(loop);
		return rc;
	}
	*ret = loop;
	return 0;
}

void vmft_loop_destroy(struct vmft_loop *loop)
{
	if (!loop)
		return;
	io_uring_queue_exit(&loop->ring);
	free(loop);
}

static struct io_uring_sqe *sqe_get(struct vmft_loop *loop)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);

	if (!sqe) {
		/*
		 * The kernel takes all entries when they are submitted, so there is room after
		 * that.
		 */
		(void)io_uring_submit(&loop->ring);
		sqe = io_uring_get_sqe(&loop->ring);
	}
	assert(sqe);
	return sqe;
}

static void begin(struct io_uring_sqe *sqe, struct vmft_op *op)
{
	assert(!op->pending);
	op->pending = true;
	io_uring_sqe_set_data(sqe, op);
}

void vmft_loop_poll(struct vmft_loop *loop, struct vmft_op *op, int fd, unsigned events)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_poll_add(sqe, fd, events);
	begin(sqe, op);
}

void vmft_loop_accept(struct vmft_loop *loop, struct vmft_op *op, int fd)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_accept(sqe, fd, NULL, NULL, SOCK_CLOEXEC);
	begin(sqe, op);
}

void vmft_loop_connect(struct vmft_loop *loop, struct vmft_op *op, int fd,
		       const struct sockaddr *addr, socklen_t addr_len)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_connect(sqe, fd, addr, addr_len);
	begin(sqe, op);
}

void vmft_loop_recv(struct vmft_loop *loop, struct vmft_op *op, int fd, void *bytes, size_t n)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_recv(sqe, fd, bytes, n, 0);
	begin(sqe, op);
}

void vmft_loop_send(struct vmft_loop *loop, struct vmft_op *op, int fd, const void *bytes, size_t n)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_send(sqe, fd, bytes, n, MSG_NOSIGNAL);
	begin(sqe, op);
}

void vmft_loop_read(struct vmft_loop *loop, struct vmft_op *op, int fd, void *bytes, size_t n,
		    uint64_t offset)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_read(sqe, fd, bytes, (unsigned)n, offset);
	begin(sqe, op);
}

void vmft_loop_write(struct vmft_loop *loop, struct vmft_op *op, int fd, const void *bytes,
		     size_t n, uint64_t offset)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_write(sqe, fd, bytes, (unsigned)n, offset);
	begin(sqe, op);
}

void vmft_loop_open(struct vmft_loop *loop, struct vmft_op *op, const char *path, int flags,
		    unsigned mode)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_openat(sqe, AT_FDCWD, path, flags, mode);
	begin(sqe, op);
}

void vmft_loop_sync(struct vmft_loop *loop, struct vmft_op *op, int fd)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	begin(sqe, op);
}

void vmft_loop_timer(struct vmft_loop *loop, struct vmft_op *op, uint64_t nanoseconds)
{
	struct io_uring_sqe *sqe = sqe_get(loop);

	op->time.seconds = (long long)(nanoseconds / 1000000000u);
	op->time.nanoseconds = (long long)(nanoseconds % 1000000000u);
	io_uring_prep_timeout(sqe, (struct __kernel_timespec *)&op->time, 0, 0);
	begin(sqe, op);
}

void vmft_loop_submit(struct vmft_loop *loop)
{
	(void)io_uring_submit(&loop->ring);
}

void vmft_loop_cancel(struct vmft_loop *loop, struct vmft_op *op)
{
	struct io_uring_sqe *sqe;

	if (!op->pending)
		return;
	sqe = sqe_get(loop);
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

static void complete(struct io_uring_cqe *cqe)
{
	struct vmft_op *op = io_uring_cqe_get_data(cqe);
	int result = cqe->res;

	if (!op)
		return;
	op->pending = false;
	op->done(op, result == -ETIME ? 0 : result);
}

int vmft_loop_run(struct vmft_loop *loop)
{
	while (!loop->stopped) {
		struct io_uring_cqe *cqe;
		int rc = io_uring_submit_and_wait(&loop->ring, 1);

		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
			return rc;
		while (!loop->stopped && io_uring_peek_cqe(&loop->ring, &cqe) == 0) {
			struct io_uring_cqe copy = *cqe;

			/*
			 * The completion is marked as seen first, because the callback may submit
			 * and wait for room.
			 */
			io_uring_cqe_seen(&loop->ring, cqe);
			complete(&copy);
		}
	}
	loop->stopped = false;
	return 0;
}

int vmft_loop_withdraw(struct vmft_loop *loop, struct vmft_op *op)
{
	int result = -ECANCELED;

	vmft_loop_cancel(loop, op);
	while (op->pending) {
		struct io_uring_cqe *cqe;
		struct vmft_op *done;
		int rc = io_uring_submit_and_wait(&loop->ring, 1);

		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
			return rc;
		while (io_uring_peek_cqe(&loop->ring, &cqe) == 0) {
			done = io_uring_cqe_get_data(cqe);
			if (done)
				done->pending = false;
			if (done == op)
				result = cqe->res;
			io_uring_cqe_seen(&loop->ring, cqe);
		}
	}
	return result;
}

void vmft_loop_stop(struct vmft_loop *loop)
{
	loop->stopped = true;
}

uint64_t vmft_loop_now(void)
{
	return vmft_monotonic_ns();
}
