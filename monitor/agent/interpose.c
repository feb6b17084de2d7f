/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The functions of libc that this library replaces in QEMU's process: all of them, and nothing
 * else. Each decides whom a call concerns; the other files do the work.
 *
 * Constructors of other libraries call these functions before this library's constructor has run.
 * Each function then does what libc does.
 */
#define _GNU_SOURCE
#define VMFT_CALLS_STOOD_IN_NAMES
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "console.h"
#include "disk.h"
#include "feed.h"
#include "gate.h"
#include "ground.h"
#include "libc.h"
#include "monitor/interface.h"
#include "nic.h"
#include "output.h"
#include "ram.h"
#include "signals.h"
#include "strategy.h"
#include "tap.h"
#include "track.h"
#include "wait.h"

#define NS_PER_S 1000000000L
#define EXPORT	 __attribute__((visibility("default")))

EXPORT FILE *fopen64(const char *path, const char *mode)
{
	if (!vmft_agent.strategy || strcmp(path, VMFT_LOG_NAME) != 0)
		return vmft_libc_fopen64(path, mode);
	return vmft_agent.strategy->open_log(mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if (vmft_agent.iface && vmft_output_is_name(path))
		return vmft_output_open(path);
	if (vmft_agent.iface && vmft_console_is_name(path))
		return vmft_console_open(path, flags, mode);
	if (vmft_agent.iface && vmft_ram_is_name(path))
		return vmft_ram_open(path, flags);
	return vmft_libc_open64(path, flags, mode);
}

/* In QEMU only the chardev "pty" calls this (chardev/char-pty.c): the pty is a console's. */
EXPORT int openpty(int *master, int *slave, char *name, const struct termios *termios,
		   const struct winsize *size)
{
	int rc = vmft_libc_openpty(master, slave, name, termios, size);

	if (rc < 0 || !vmft_agent.iface)
		return rc;
	rc = vmft_console_add_pty(*master);
	if (rc == 0)
		return 0;
	(void)close(*master);
	(void)close(*slave);
	errno = -rc;
	return -1;
}

/* replay_put_byte() and replay_get_byte() call these once a byte. They do not go through stdio
 * here: it would take the stream's lock each time. */
EXPORT int putc(int c, FILE *stream)
{
	const uint8_t byte = (uint8_t)c;

	if (stream != vmft_tap.stream)
		return vmft_libc_putc(c, stream);
	vmft_tap_write(&byte, 1);
	return byte;
}

EXPORT int getc(FILE *stream)
{
	if (stream != vmft_feed.stream)
		return vmft_libc_getc(stream);
	return vmft_feed_byte();
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	const int nic = vmft_output_nic(fd);
	struct vmft_console *console = vmft_console_of(fd);

	if (!console && vmft_agent.iface)
		console = vmft_console_stdio(fd);
	if (console)
		return vmft_console_writev(console, iov, count);
	if (nic >= 0)
		return vmft_output_writev((unsigned)nic, iov, count);
	if (!atomic_load_explicit(&vmft_agent.armed, memory_order_relaxed) || !vmft_nic_is_tap(fd))
		return vmft_libc_writev(fd, iov, count);
	return vmft_gate_writev(fd, iov, count);
}

/* QEMU writes a chardev's logfile= with write() (qemu_chr_write_log() in chardev/char.c). */
EXPORT ssize_t write(int fd, const void *bytes, size_t n)
{
	const struct iovec all = {.iov_base = (void *)bytes, .iov_len = n};
	struct vmft_console *console = vmft_console_of(fd);

	return console ? vmft_console_writev(console, &all, 1) : vmft_libc_write(fd, bytes, n);
}

EXPORT ssize_t read(int fd, void *bytes, size_t n)
{
	ssize_t rc;

	if (!atomic_load(&vmft_agent.armed))
		return vmft_libc_read(fd, bytes, n);
	if (vmft_agent.strategy->frame_next(fd, bytes, n, &rc))
		return rc;
	rc = vmft_libc_read(fd, bytes, n);
	if (rc > 0)
		vmft_agent.strategy->frame_read(fd, bytes, (size_t)rc);
	return rc;
}

/* QEMU's main loop waits in ppoll() (qemu_poll_ns() in util/qemu-timer.c). */
EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
		 const sigset_t *mask)
{
	const struct vmft_agent_strategy_ops *strategy = vmft_agent.strategy;

	if (!strategy)
		return vmft_libc_ppoll(fds, count, timeout, mask);
	vmft_signals_before_wait();
	strategy->before_wait();
	vmft_clock_before_wait();
	vmft_nic_before_wait();
	return strategy->wait(fds, count, timeout, mask);
}

/*
 * QEMU calls exit(1) when it finds an error in itself. Its atexit handler then ends the log as
 * after an orderly shutdown, and the backup would shut down instead of taking over. So the end is
 * noted as a crash before the handlers run. After an orderly end QEMU returns from main(), which
 * does not call this function.
 */
EXPORT void exit(int status)
{
	if (status != 0 && atomic_load(&vmft_agent.armed)) {
		atomic_store(&vmft_agent.crashed, true);
		vmft_agent_state_set(VMFT_AGENT_CRASHED);
	}
	vmft_libc_exit(status);
	_exit(status);
}

/* QEMU reads the host's clock with this function (get_clock_realtime()). */
EXPORT int gettimeofday(struct timeval *tv, void *tz)
{
	const int rc = vmft_libc_gettimeofday(tv, tz);

	if (rc == 0 && vmft_agent.strategy)
		vmft_agent.strategy->host_clock_read(tv);
	return rc;
}

/*
 * QEMU 7.2 waits until a time of CLOCK_REALTIME (qemu_cond_timedwait(); its build does not define
 * CONFIG_PTHREAD_CONDATTR_SETCLOCK). If that clock is set back by an hour in the meantime, the wait
 * ends an hour late. One such wait is that of a vCPU which is throttled (cpu_throttle_thread()):
 * the main loop waits for it in run_on_cpu(), so the whole guest stood still for that hour.
 */
EXPORT int pthread_cond_timedwait(pthread_cond_t *restrict condition,
				  pthread_mutex_t *restrict mutex,
				  const struct timespec *restrict until)
{
	struct timespec real, monotonic, end;
	bool whole;
	int rc;

	/* libc refuses it. */
	if (until->tv_nsec < 0 || until->tv_nsec >= NS_PER_S)
		return EINVAL;
	(void)clock_gettime(CLOCK_REALTIME, &real);
	(void)clock_gettime(CLOCK_MONOTONIC, &monotonic);
	whole = vmft_wait_as_monotonic(until, &real, &monotonic, &end);
	rc = pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &end);
	/* The time has not come. POSIX lets a wait return early, as if it was woken. */
	return rc == ETIMEDOUT && !whole ? 0 : rc;
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
	unsigned tries = 0;
	ssize_t rc;

	do
		rc = vmft_libc_pwrite64(fd, bytes, n, offset);
	while (rc < 0 && vmft_disk_again(fd, VMFT_DISK_WRITE, &tries));
	vmft_track_written(fd, (uint64_t)offset, n);
	return rc;
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
	unsigned tries = 0;
	size_t n = 0;
	ssize_t rc;

	do
		rc = vmft_libc_pwritev64(fd, iov, count, offset);
	while (rc < 0 && vmft_disk_again(fd, VMFT_DISK_WRITE, &tries));
	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	vmft_track_written(fd, (uint64_t)offset, n);
	return rc;
}

EXPORT ssize_t pread64(int fd, void *bytes, size_t n, off64_t offset)
{
	unsigned tries = 0;
	ssize_t rc;

	do
		rc = vmft_libc_pread64(fd, bytes, n, offset);
	while (rc < 0 && vmft_disk_again(fd, VMFT_DISK_READ, &tries));
	return rc;
}

EXPORT ssize_t preadv64(int fd, const struct iovec *iov, int count, off64_t offset)
{
	unsigned tries = 0;
	ssize_t rc;

	do
		rc = vmft_libc_preadv64(fd, iov, count, offset);
	while (rc < 0 && vmft_disk_again(fd, VMFT_DISK_READ, &tries));
	return rc;
}

EXPORT int fdatasync(int fd)
{
	const struct vmft_agent_strategy_ops *strategy = vmft_agent.strategy;
	unsigned tries = 0;
	int rc;

	if (!strategy)
		return vmft_libc_fdatasync(fd);
	strategy->flush_begins();
	rc = vmft_libc_fdatasync(fd);
	strategy->flush_ends();
	if (rc < 0)
		(void)vmft_disk_again(fd, VMFT_DISK_FLUSH, &tries);
	return rc;
}

EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t n)
{
	unsigned tries = 0;
	int rc;

	/* The balloon gives memory back in this way (ram_block_discard_range()). */
	offset += (off64_t)vmft_ram_offset(fd);
	do
		rc = vmft_libc_fallocate64(fd, mode, offset, n);
	while (rc < 0 && vmft_disk_again(fd, VMFT_DISK_ALLOCATE, &tries));
	vmft_track_written(fd, (uint64_t)offset, (uint64_t)n);
	return rc;
}

EXPORT void *mmap64(void *at, size_t n, int protection, int flags, int fd, off64_t offset)
{
	return vmft_libc_mmap64(at, n, protection, flags, fd,
				offset + (off64_t)vmft_ram_offset(fd));
}

/*
 * Four kinds of request matter: BLKZEROOUT and BLKDISCARD change a block device (the argument is
 * an offset and a length); KVM_GET_CLOCK and KVM_SET_CLOCK read and set KVM's clock;
 * TUNSETVNETHDRSZ sets the length of the header before each frame of a tap.
 */
EXPORT int ioctl(int fd, unsigned long request, ...)
{
	unsigned tries = 0;
	va_list ap;
	void *argument;
	int rc;

	va_start(ap, request);
	argument = va_arg(ap, void *);
	va_end(ap);
	if (vmft_clock_sets_kvm((uint32_t)request))
		return vmft_clock_set_kvm(fd, argument);
	do
		rc = vmft_libc_ioctl(fd, request, argument);
	while (rc < 0 && (request == BLKZEROOUT || request == BLKDISCARD) &&
	       vmft_disk_again(fd, VMFT_DISK_ALLOCATE, &tries));
	vmft_clock_after_ioctl((uint32_t)request);
	if ((uint32_t)request == TUNSETVNETHDRSZ && rc == 0)
		vmft_nic_header_is(fd, *(const int *)argument);
	if (request == BLKZEROOUT || request == BLKDISCARD) {
		const uint64_t *range = argument;

		vmft_track_written(fd, range[0], range[1]);
	}
	return rc;
}
