/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One thread, one io_uring: operations go in, completions come out through callbacks.
 *
 * An operation is a struct vmft_op inside its owner's memory; it must stay where it is
 * until its callback has run. One completion per start, also after a cancel (-ECANCELED).
 */
#ifndef VMFT_LOOP_H
#define VMFT_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct vmft_loop;

struct vmft_op {
	/* result: as the system call's, a negative errno on failure; timers give 0. */
	void (*done)(struct vmft_op *op, int result);
	void *owner;
	bool pending;
	struct {
		long long seconds, nanoseconds;
	} time; /* where the kernel reads a timer from */
};

/* 0 or a negative errno (-ENOSYS, -EPERM: the kernel has io_uring switched off). */
int vmft_loop_create(struct vmft_loop **ret);
/* Closes the ring; operations still pending are forgotten. NULL is fine. */
void vmft_loop_destroy(struct vmft_loop *loop);

/* Runs callbacks until vmft_loop_stop(), and again if it is called again. 0 or a negative errno
 * of the ring itself. */
int vmft_loop_run(struct vmft_loop *loop);
void vmft_loop_stop(struct vmft_loop *loop);

/* Each starts one operation; op must not be pending. They cannot fail: a full submission
 * queue is flushed to the kernel first. */
void vmft_loop_poll(struct vmft_loop *loop, struct vmft_op *op, int fd, unsigned events);
void vmft_loop_accept(struct vmft_loop *loop, struct vmft_op *op, int fd);
/* addr must live until completion. */
void vmft_loop_connect(struct vmft_loop *loop, struct vmft_op *op, int fd,
		       const struct sockaddr *addr, socklen_t addr_len);
void vmft_loop_recv(struct vmft_loop *loop, struct vmft_op *op, int fd, void *bytes, size_t n);
void vmft_loop_send(struct vmft_loop *loop, struct vmft_op *op, int fd, const void *bytes,
		    size_t n);
/* Of a file, at an offset; short counts as pread() and pwrite() give them. */
void vmft_loop_read(struct vmft_loop *loop, struct vmft_op *op, int fd, void *bytes, size_t n,
		    uint64_t offset);
void vmft_loop_write(struct vmft_loop *loop, struct vmft_op *op, int fd, const void *bytes,
		     size_t n, uint64_t offset);
/* path must live until completion; the result is the descriptor. */
void vmft_loop_open(struct vmft_loop *loop, struct vmft_op *op, const char *path, int flags,
		    unsigned mode);
/* Makes what was written to a file durable, as fdatasync() does. */
void vmft_loop_sync(struct vmft_loop *loop, struct vmft_op *op, int fd);
/* nanoseconds from now, CLOCK_MONOTONIC. */
void vmft_loop_timer(struct vmft_loop *loop, struct vmft_op *op, uint64_t nanoseconds);
/*
 * Hands all operations that were started to the kernel. After that a descriptor they use may be
 * closed. Before that the kernel has not looked the number up yet, and might find another file
 * there.
 */
void vmft_loop_submit(struct vmft_loop *loop);
/* Asks for an early completion; nothing happens if op is not pending. */
void vmft_loop_cancel(struct vmft_loop *loop, struct vmft_op *op);

/*
 * For the end, when the loop does not run any more. Cancels op and waits until the kernel has
 * released its descriptor; closing the ring does that only some time after the process is gone
 * (io_ring_exit_work()). No callback runs, not even of operations that complete meanwhile. Returns
 * op's result, or -ECANCELED if it was not pending.
 */
int vmft_loop_withdraw(struct vmft_loop *loop, struct vmft_op *op);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t vmft_loop_now(void);

/*
 * The time from then to now, ns; 0 if then is later. It can be later: a callback that read the
 * clock may have called a function that read it again and stored the result.
 */
static inline uint64_t vmft_loop_since(uint64_t then, uint64_t now)
{
	return now > then ? now - then : 0;
}

#endif
