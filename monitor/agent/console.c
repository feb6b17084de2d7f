/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The output of the serial console. It may be that nobody reads it: a pty or pipe that is full, a
 * file on a disk that is full.
 *
 * Without this file QEMU's device would get EAGAIN and try again when the host says that there is
 * room. That breaks lockstep in three ways: the moment of the second try comes from the host and is
 * in no log; a replaying QEMU writes again and again until all is written, and holds the replay
 * mutex meanwhile (qemu_chr_write_buffer() in chardev/char.c); and the errno by which serial_xmit()
 * (hw/char/serial.c) decides is not in the log. So a write to a console always succeeds, at once
 * and in full: it goes to memory, a thread for each console writes it out, and bytes that do not
 * fit are dropped and counted.
 *
 * How a console's descriptor is recognised: a file by its name, which the wrapper has marked; a pty
 * because openpty() returned it; stdio by its number.
 */
#define _GNU_SOURCE
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "ground.h"
#include "monitor/interface.h"

#define BUFFER_BYTES (64u * 1024) /* a power of two */
#define CHUNK_BYTES  4096u
#define RETRY_NS     10000000L
#define FLUSH_NS     200000000L /* QEMU's end waits so long for a reader that reads nothing */
#define SECOND_NS    1000000000L

struct vmft_consoles vmft_consoles;

struct vmft_console {
	int fd;			/* a duplicate: QEMU closes its own before the last flush */
	pthread_mutex_t lock;	/* never held across a call that may wait */
	pthread_cond_t filled;	/* bytes were added */
	pthread_cond_t written; /* bytes were taken out */
	uint64_t head, tail;	/* bytes since the start: added, taken out */
	uint8_t bytes[BUFFER_BYTES];
};

struct vmft_console *vmft_console_of(int fd)
{
	const unsigned count = atomic_load_explicit(&vmft_consoles.count, memory_order_acquire);

	for (unsigned i = 0; i < count; i++)
		if (vmft_consoles.fd[i] == fd)
			return vmft_consoles.console[i];
	return NULL;
}

static void count_dropped(size_t n, int why)
{
	struct vmft_iface *iface = vmft_agent.iface;

	atomic_store(&iface->console_error, (uint32_t)why);
	atomic_fetch_add(&iface->console_dropped, n);
}

/* --- the thread that writes ----------------------------------------------- */

/* Waits for bytes and copies them. They stay in the buffer until they are written, so that a flush
 * waits for them. */
static size_t peek(struct vmft_console *c, uint8_t chunk[static CHUNK_BYTES])
{
	size_t at, n;

	pthread_mutex_lock(&c->lock);
	while (c->head == c->tail)
		pthread_cond_wait(&c->filled, &c->lock);
	at = c->tail % BUFFER_BYTES;
	n = c->head - c->tail;
	if (n > CHUNK_BYTES)
		n = CHUNK_BYTES;
	if (n > BUFFER_BYTES - at)
		n = BUFFER_BYTES - at;
	memcpy(chunk, c->bytes + at, n);
	pthread_mutex_unlock(&c->lock);
	return n;
}

static void take(struct vmft_console *c, size_t n)
{
	pthread_mutex_lock(&c->lock);
	c->tail += n;
	atomic_fetch_sub(&vmft_agent.iface->console_waiting, (uint32_t)n);
	pthread_cond_broadcast(&c->written);
	pthread_mutex_unlock(&c->lock);
}

/*
 * Returns how many of the bytes are written, or lost by an error. An error is not remembered: a
 * full disk may have room for the next byte, and a pty may get a reader. A pty that nobody has open
 * would accept some bytes and show them to whoever opens it an hour later, so POLLHUP is asked for
 * first.
 */
static size_t put(const struct vmft_console *c, const uint8_t *bytes, size_t n)
{
	const struct timespec retry = {.tv_nsec = RETRY_NS};
	struct pollfd room = {.fd = c->fd, .events = POLLOUT};

	for (;;) {
		ssize_t rc;

		errno = EIO;
		rc = -1;
		if (poll(&room, 1, -1) < 1 || !(room.revents & POLLHUP))
			rc = vmft_libc_write(c->fd, bytes, n);
		if (rc > 0)
			return (size_t)rc;
		if (rc < 0 && errno != EAGAIN && errno != EINTR) {
			count_dropped(n, errno);
			return n;
		}
		(void)nanosleep(&retry, NULL);
	}
}

static void *write_out(void *console)
{
	struct vmft_console *c = console;
	uint8_t chunk[CHUNK_BYTES];

	for (;;) {
		const size_t n = peek(c, chunk);

		for (size_t done = 0; done < n;) {
			const size_t more = put(c, chunk + done, n - done);

			take(c, more);
			done += more;
		}
	}
	return NULL;
}

/* --- what QEMU calls ------------------------------------------------------ */

static struct vmft_console *new_console(void)
{
	struct vmft_console *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->filled, NULL);
	(void)pthread_cond_init(&c->written, NULL);
	return c;
}

/* Returns 0 or a negative errno. */
static int add(int fd)
{
	const unsigned count = atomic_load(&vmft_consoles.count);
	struct vmft_console *c;
	pthread_t thread;
	int rc;

	if (count == VMFT_AGENT_CONSOLES)
		return -EMFILE;
	c = new_console();
	if (!c)
		return -ENOMEM;
	c->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (c->fd < 0) {
		rc = -errno;
		goto no_fd;
	}
	rc = -vmft_agent_thread(&thread, write_out, c);
	if (rc < 0)
		goto no_thread;
	vmft_consoles.fd[count] = fd;
	vmft_consoles.console[count] = c;
	atomic_store_explicit(&vmft_consoles.count, count + 1, memory_order_release);
	return 0;

no_thread:
	(void)close(c->fd);
no_fd:
	free(c);
	return rc;
}

bool vmft_console_is_name(const char *path)
{
	return strncmp(path, VMFT_CONSOLE_NAME, sizeof(VMFT_CONSOLE_NAME) - 1) == 0 ||
	       strncmp(path, VMFT_CONSOLE_FD_NAME, sizeof(VMFT_CONSOLE_FD_NAME) - 1) == 0;
}

/* flags and mode are meant for the file that the name stands for. */
static int open_by_name(const char *name, int flags, mode_t mode)
{
	const size_t n = sizeof(VMFT_CONSOLE_NAME) - 1;

	if (strncmp(name, VMFT_CONSOLE_NAME, n) == 0)
		return vmft_libc_open64(name + n, flags, mode);
	return fcntl(atoi(name + sizeof(VMFT_CONSOLE_FD_NAME) - 1), F_DUPFD_CLOEXEC,
		     STDERR_FILENO + 1);
}

int vmft_console_open(const char *name, int flags, mode_t mode)
{
	int fd = open_by_name(name, flags, mode);
	int rc;

	if (fd < 0)
		return fd;
	rc = add(fd);
	if (rc == 0)
		return fd;
	(void)close(fd);
	errno = -rc;
	return -1;
}

int vmft_console_add_pty(int master)
{
	return add(master);
}

/* QEMU does not open stdout. Before the guest runs QEMU does not write to it with writev(). */
struct vmft_console *vmft_console_stdio(int fd)
{
	if (fd != STDOUT_FILENO || add(fd) < 0)
		return NULL;
	return vmft_console_of(fd);
}

static void fill(struct vmft_console *c, const uint8_t *bytes, size_t n)
{
	const size_t at = c->head % BUFFER_BYTES;
	const size_t first = n < BUFFER_BYTES - at ? n : BUFFER_BYTES - at;

	memcpy(c->bytes + at, bytes, first);
	memcpy(c->bytes, bytes + first, n - first);
	c->head += n;
	atomic_fetch_add(&vmft_agent.iface->console_waiting, (uint32_t)n);
}

ssize_t vmft_console_writev(struct vmft_console *c, const struct iovec *iov, int count)
{
	size_t all = 0, dropped = 0;

	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < count; i++) {
		const size_t room = BUFFER_BYTES - (size_t)(c->head - c->tail);
		const size_t n = iov[i].iov_len < room ? iov[i].iov_len : room;

		fill(c, iov[i].iov_base, n);
		dropped += iov[i].iov_len - n;
		all += iov[i].iov_len;
	}
	pthread_cond_signal(&c->filled);
	pthread_mutex_unlock(&c->lock);
	if (dropped > 0)
		count_dropped(dropped, 0);
	return (ssize_t)all;
}

/* --- QEMU's end ----------------------------------------------------------- */

static void flush(struct vmft_console *c)
{
	struct timespec until;
	uint64_t seen;

	pthread_mutex_lock(&c->lock);
	while (c->head != c->tail) {
		seen = c->tail;
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += (until.tv_nsec + FLUSH_NS) / SECOND_NS;
		until.tv_nsec = (until.tv_nsec + FLUSH_NS) % SECOND_NS;
		if (pthread_cond_clockwait(&c->written, &c->lock, CLOCK_MONOTONIC, &until) ==
			ETIMEDOUT &&
		    seen == c->tail)
			break;
	}
	pthread_mutex_unlock(&c->lock);
}

void vmft_console_flush(void)
{
	const unsigned count = atomic_load(&vmft_consoles.count);

	for (unsigned i = 0; i < count; i++)
		flush(vmft_consoles.console[i]);
}
