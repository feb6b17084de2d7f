/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A library whose constructor runs before the agent's and calls each function that the agent
 * stands in for, as libselinux's does with some. Loaded by tests/agent/check; prints one line when
 * all of them have done what libc's do, or leaves with exit status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SELF  "/proc/self/exe"
#define MAGIC 0x7f /* what an ELF file begins with */

static void check(bool right, const char *what)
{
	if (right)
		return;
	(void)dprintf(STDERR_FILENO, "early: %s failed\n", what);
	_exit(1);
}

#define CHECK(expression) check(expression, #expression)

/* All threads at once: nobody has looked libc's functions up yet. */
static void *first_call(void *unused)
{
	unsigned char byte = 0;
	int fd = open64(SELF, O_RDONLY | O_CLOEXEC);

	(void)unused;
	CHECK(fd >= 0);
	CHECK(read(fd, &byte, 1) == 1 && byte == MAGIC);
	CHECK(pread64(fd, &byte, 1, 1) == 1 && byte == 'E');
	(void)close(fd);
	return NULL;
}

static void call_from_threads(void)
{
	pthread_t thread[4];

	for (unsigned i = 0; i < 4; i++)
		CHECK(pthread_create(&thread[i], NULL, first_call, NULL) == 0);
	for (unsigned i = 0; i < 4; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
}

static void call_stdio(void)
{
	FILE *file = fopen64(SELF, "r");

	CHECK(file != NULL);
	CHECK(getc(file) == MAGIC);
	CHECK(fclose(file) == 0);
	file = fopen64("/dev/null", "w");
	CHECK(file != NULL);
	CHECK(putc('x', file) == 'x');
	CHECK(fclose(file) == 0);
}

static void call_on_file(void)
{
	char bytes[8] = "";
	struct iovec out = {.iov_base = (void *)"vec", .iov_len = 3};
	struct iovec in = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	int fd = memfd_create("early", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(pwrite64(fd, "text", 4, 1) == 4);
	CHECK(pwritev64(fd, &out, 1, 2) == 3);
	CHECK(preadv64(fd, &in, 1, 0) == 5 && memcmp(bytes, "\0tvec", 5) == 0);
	CHECK(fdatasync(fd) == 0);
	CHECK(fallocate64(fd, 0, 0, 4096) == 0 && lseek64(fd, 0, SEEK_END) == 4096);
	(void)close(fd);
}

static void call_on_pipe(void)
{
	struct iovec iov = {.iov_base = (void *)"abc", .iov_len = 3};
	const struct timespec at_once = {0};
	struct pollfd wait = {.events = POLLIN};
	int ends[2], waiting = 0;

	CHECK(pipe(ends) == 0);
	CHECK(writev(ends[1], &iov, 1) == 3);
	CHECK(ioctl(ends[0], FIONREAD, &waiting) == 0 && waiting == 3);
	wait.fd = ends[0];
	CHECK(ppoll(&wait, 1, &at_once, NULL) == 1 && wait.revents == POLLIN);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

/* A tenth of a second by CLOCK_REALTIME, as QEMU waits. */
static void call_wait(void)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	struct timespec until;

	CHECK(clock_gettime(CLOCK_REALTIME, &until) == 0);
	until.tv_nsec += 100000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	CHECK(pthread_mutex_lock(&mutex) == 0);
	CHECK(pthread_cond_timedwait(&condition, &mutex, &until) == ETIMEDOUT);
	CHECK(pthread_mutex_unlock(&mutex) == 0);
}

__attribute__((constructor)) static void early(void)
{
	const char *order = getenv("EARLY");

	/* A first call of each kind, in a process of its own. */
	if (order && strcmp(order, "exit") == 0)
		exit(42);
	if (order && strcmp(order, "stdio") == 0)
		call_stdio();
	if (order && strcmp(order, "file") == 0)
		call_on_file();
	if (order && strcmp(order, "pipe") == 0)
		call_on_pipe();
	if (order && strcmp(order, "wait") == 0)
		call_wait();
	call_from_threads();
	call_stdio();
	call_on_file();
	call_on_pipe();
	(void)!write(STDOUT_FILENO, "early calls done\n", 17);
}
