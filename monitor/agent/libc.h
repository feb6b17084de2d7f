/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libc as it is without this library.
 *
 * interpose.c defines functions with names of libc, so that QEMU calls them. A call by such a name
 * from within the agent would go to interpose.c too. The agent calls vmft_libc_NAME() instead. The
 * plain names do not compile, in all files that include agent.h: see the end of this file.
 */
#ifndef VMFT_AGENT_LIBC_H
#define VMFT_AGENT_LIBC_H

/* All headers that declare one of the names. They are included here because they cannot be included
 * after the macros at the end of this file. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Type, name, parameters, arguments. open64(), ioctl() and exit() are not in this list: two take
 * variable arguments, one returns nothing. */
#define VMFT_LIBC_FUNCTIONS(X)                                                                     \
	X(FILE *, fopen64, (const char *path, const char *mode), (path, mode))                     \
	X(int, putc, (int c, FILE *stream), (c, stream))                                           \
	X(int, getc, (FILE * stream), (stream))                                                    \
	X(ssize_t, read, (int fd, void *bytes, size_t n), (fd, bytes, n))                          \
	X(ssize_t, write, (int fd, const void *bytes, size_t n), (fd, bytes, n))                   \
	X(int, openpty,                                                                            \
	  (int *master, int *slave, char *name, const struct termios *termios,                     \
	   const struct winsize *size),                                                            \
	  (master, slave, name, termios, size))                                                    \
	X(ssize_t, writev, (int fd, const struct iovec *iov, int count), (fd, iov, count))         \
	X(int, ppoll,                                                                              \
	  (struct pollfd * fds, nfds_t count, const struct timespec *timeout,                      \
	   const sigset_t *mask),                                                                  \
	  (fds, count, timeout, mask))                                                             \
	X(ssize_t, pread64, (int fd, void *bytes, size_t n, off64_t at), (fd, bytes, n, at))       \
	X(ssize_t, preadv64, (int fd, const struct iovec *iov, int count, off64_t at),             \
	  (fd, iov, count, at))                                                                    \
	X(ssize_t, pwrite64, (int fd, const void *bytes, size_t n, off64_t at),                    \
	  (fd, bytes, n, at))                                                                      \
	X(ssize_t, pwritev64, (int fd, const struct iovec *iov, int count, off64_t at),            \
	  (fd, iov, count, at))                                                                    \
	X(int, fallocate64, (int fd, int mode, off64_t at, off64_t n), (fd, mode, at, n))          \
	X(void *, mmap64, (void *at, size_t n, int protection, int flags, int fd, off64_t offset), \
	  (at, n, protection, flags, fd, offset))                                                  \
	X(int, fdatasync, (int fd), (fd))                                                          \
	X(int, gettimeofday, (struct timeval * tv, void *tz), (tv, tz))

/* The fields are atomic because two threads may look the functions up at the same time; both store
 * the same values. */
struct vmft_libc {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): these are declarations */
#define VMFT_LIBC_FIELD(type, name, parameters, arguments) type(*_Atomic name) parameters;
	VMFT_LIBC_FUNCTIONS(VMFT_LIBC_FIELD)
#undef VMFT_LIBC_FIELD
	int (*_Atomic open64)(const char *path, int flags, ...);
	int (*_Atomic ioctl)(int fd, unsigned long request, ...);
	void (*_Atomic exit)(int status);
	atomic_bool ready; /* set last */
};

extern struct vmft_libc vmft_libc_table __attribute__((visibility("hidden")));

/* Fills the table. Any thread, at any time; may be called more than once. */
__attribute__((visibility("hidden"))) void vmft_libc_look_up(void);

/*
 * The functions are looked up at the first use. It cannot be left to the constructor: constructors
 * of other libraries run before this one's and call libc (libselinux's reads files with fopen()).
 */
static inline struct vmft_libc *vmft_libc(void)
{
	if (!atomic_load_explicit(&vmft_libc_table.ready, memory_order_acquire))
		vmft_libc_look_up();
	return &vmft_libc_table;
}

#define VMFT_LIBC_CALL(type, name, parameters, arguments)                                          \
	static inline type vmft_libc_##name parameters                                             \
	{                                                                                          \
		return vmft_libc()->name arguments;                                                \
	}
VMFT_LIBC_FUNCTIONS(VMFT_LIBC_CALL)
#undef VMFT_LIBC_CALL

static inline int vmft_libc_open64(const char *path, int flags, mode_t mode)
{
	return vmft_libc()->open64(path, flags, mode);
}

static inline int vmft_libc_ioctl(int fd, unsigned long request, void *argument)
{
	return vmft_libc()->ioctl(fd, request, argument);
}

static inline void vmft_libc_exit(int status)
{
	vmft_libc()->exit(status);
}

/*
 * The names without "64" are listed too: with 64-bit file offsets they mean the functions with
 * "64". The macros are function-like, so that a struct's field may have such a name. Only
 * interpose.c, which defines the functions, and the unit tests, which play QEMU, define
 * VMFT_CALLS_STOOD_IN_NAMES.
 */
#ifndef VMFT_CALLS_STOOD_IN_NAMES
#define fopen(...)	 call_vmft_libc_fopen64_instead
#define fopen64(...)	 call_vmft_libc_fopen64_instead
#define open(...)	 call_vmft_libc_open64_instead
#define open64(...)	 call_vmft_libc_open64_instead
#define putc(...)	 call_vmft_libc_putc_instead
#define getc(...)	 call_vmft_libc_getc_instead
#define read(...)	 call_vmft_libc_read_instead
#define write(...)	 call_vmft_libc_write_instead
#define openpty(...)	 call_vmft_libc_openpty_instead
#define writev(...)	 call_vmft_libc_writev_instead
#define ppoll(...)	 call_vmft_libc_ppoll_instead
#define pread(...)	 call_vmft_libc_pread64_instead
#define pread64(...)	 call_vmft_libc_pread64_instead
#define preadv(...)	 call_vmft_libc_preadv64_instead
#define preadv64(...)	 call_vmft_libc_preadv64_instead
#define pwrite(...)	 call_vmft_libc_pwrite64_instead
#define pwrite64(...)	 call_vmft_libc_pwrite64_instead
#define pwritev(...)	 call_vmft_libc_pwritev64_instead
#define pwritev64(...)	 call_vmft_libc_pwritev64_instead
#define fallocate(...)	 call_vmft_libc_fallocate64_instead
#define fallocate64(...) call_vmft_libc_fallocate64_instead
#define mmap(...)	 call_vmft_libc_mmap64_instead
#define mmap64(...)	 call_vmft_libc_mmap64_instead
#define fdatasync(...)	 call_vmft_libc_fdatasync_instead
#define ioctl(...)	 call_vmft_libc_ioctl_instead
#define exit(...)	 call_vmft_libc_exit_instead

#define gettimeofday(...) call_vmft_libc_gettimeofday_instead
/* It waits by a clock that may be set: interpose.c. */
#define pthread_cond_timedwait(...) call_pthread_cond_clockwait_instead
#endif

#endif
