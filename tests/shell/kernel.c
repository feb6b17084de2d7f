/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel and libc are to the monitors: the linker sends their calls here (--wrap).
 * Descriptors from FD_BASE on are ours, their files are in memory; a call on any other
 * descriptor, or from outside a monitor, is libc's.
 *
 * Each call is also a place where the monitor's process may be killed (may_die()), and where it may
 * be told that the system has no more memory or disk (runs_out()).
 *
 * This file has more than 600 lines because it is one kernel: all calls share one table of
 * descriptors and one place where a process is killed.
 */
#define _GNU_SOURCE
#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

enum {
	FDS_MAX = 192,
	ARENA_BYTES = 64 << 20,
	SIZES_MAX = 64,
	SMALL_MAP = 64 << 20,
	MAPS_MAX = 16,
};

static struct fd fds[FDS_MAX];

/* Each block has its length in front of it; those that were freed are taken again by length. */
static struct arena {
	uint8_t *bytes;
	size_t used, dirty; /* beyond dirty it has never been written to: zeroes */
	struct {
		size_t bytes;
		void *first;
	} freed[SIZES_MAX];
} arena[HOSTS];

/* Address space that was asked for without a file: kept for the next process. */
static struct map {
	void *at;
	size_t bytes;
	int8_t host; /* -1: free */
} maps[MAPS_MAX];

#define REAL(type, name, ...)                                                                      \
	type __real_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__);                                                           \
	type __wrap_##name(__VA_ARGS__)

/* --- the process -------------------------------------------------------------- */

void may_die(void)
{
	if (!world.current)
		return;
	world.call_no++;
	if (world.current->dies_in > 0 && --world.current->dies_in == 0)
		longjmp(world.dead, 1);
}

bool call_fails(struct host *host, enum call call, const void *place, int error)
{
	if (world.fails)
		return world.fails(call, place, error);
	if (host->fails_in > 0 && host->fails == call && --host->fails_in == 0) {
		note("call %d fails, once: %s", (int)call, strerror(error));
		return true;
	}
	if (!host->ran_out || !one_in(6))
		return false;
	note("call %d fails: %s", (int)call, strerror(error));
	return true;
}

static bool fails_at(const void *place, enum call call, int error)
{
	if (!world.current || !call_fails(world.current, call, place, error))
		return false;
	errno = error;
	return true;
}

/* In the stand-in of a call. */
#define runs_out(call, error) fails_at(__builtin_return_address(0), call, error)

static int current_host(void)
{
	return (int)(world.current - world.host);
}

REAL(void, abort, void)
{
	if (!world.current)
		__real_abort();
	broken("no monitor aborts", "host %d", current_host());
	longjmp(world.dead, 2);
}

/* --- memory --------------------------------------------------------------------- */

void arena_reset(int host)
{
	struct arena *a = &arena[host];

	if (a->used > a->dirty)
		a->dirty = a->used;
	a->used = 0;
	memset(a->freed, 0, sizeof(a->freed));
	for (unsigned i = 0; i < MAPS_MAX; i++)
		if (maps[i].host == host)
			maps[i].host = -1;
}

/* With AddressSanitizer what lies between two blocks, and what was freed, is not to be touched. */
static size_t length_of(const void *block)
{
	const uint8_t *head = (const uint8_t *)block - 16;
	size_t n;

	ASAN_UNPOISON_MEMORY_REGION(head, 16);
	memcpy(&n, head, sizeof(n));
	ASAN_POISON_MEMORY_REGION(head, 16);
	return n;
}

static void *take_freed(struct arena *a, size_t n)
{
	for (unsigned i = 0; i < SIZES_MAX; i++) {
		void *block = a->freed[i].first;

		if (a->freed[i].bytes != n || !block)
			continue;
		ASAN_UNPOISON_MEMORY_REGION(block, n);
		memcpy(&a->freed[i].first, block, sizeof(block));
		return block;
	}
	return NULL;
}

static void give_back(struct arena *a, void *block)
{
	const size_t n = length_of(block);

	for (unsigned i = 0; i < SIZES_MAX && n >= sizeof(block); i++) {
		if (a->freed[i].bytes != n && a->freed[i].bytes != 0)
			continue;
		memcpy(block, &a->freed[i].first, sizeof(block));
		a->freed[i].bytes = n;
		a->freed[i].first = block;
		break;
	}
	ASAN_POISON_MEMORY_REGION(block, n);
}

static void *arena_take(size_t n, bool zeroed)
{
	struct arena *a = &arena[current_host()];
	const size_t all = (n + 31) / 16 * 16;
	uint8_t *at = take_freed(a, n);
	size_t dirty;

	if (at) {
		if (zeroed)
			memset(at, 0, n);
		return at;
	}
	at = a->bytes + a->used;
	dirty = a->used < a->dirty ? a->dirty - a->used : 0;
	if (all > ARENA_BYTES - a->used) {
		(void)fprintf(stderr, "vmft-shell: a monitor has taken %zu bytes\n", a->used);
		__real_abort();
	}
	ASAN_UNPOISON_MEMORY_REGION(at, all);
	if (zeroed && dirty > 0)
		memset(at, 0, dirty < all ? dirty : all);
	memcpy(at, &n, sizeof(n));
	a->used += all;
	ASAN_POISON_MEMORY_REGION(at, 16);
	ASAN_POISON_MEMORY_REGION(at + 16 + n, all - 16 - n);
	return at + 16;
}

REAL(void *, malloc, size_t n)
{
	if (!world.current)
		return __real_malloc(n);
	may_die();
	return runs_out(CALL_MALLOC, ENOMEM) ? NULL : arena_take(n, false);
}

REAL(void *, calloc, size_t count, size_t n)
{
	if (!world.current)
		return __real_calloc(count, n);
	may_die();
	return runs_out(CALL_CALLOC, ENOMEM) ? NULL : arena_take(count * n, true);
}

REAL(void, free, void *block)
{
	for (unsigned i = 0; i < HOSTS; i++)
		if (arena[i].bytes && (uint8_t *)block >= arena[i].bytes &&
		    (uint8_t *)block < arena[i].bytes + ARENA_BYTES) {
			give_back(&arena[i], block);
			return;
		}
	__real_free(block);
}

REAL(void *, realloc, void *old, size_t n)
{
	size_t had = 0;
	void *at;

	if (!world.current)
		return __real_realloc(old, n);
	if (runs_out(CALL_REALLOC, ENOMEM))
		return NULL;
	if (old)
		had = length_of(old);
	at = arena_take(n, false);
	if (old)
		memcpy(at, old, had < n ? had : n);
	return at;
}

REAL(char *, strdup, const char *text)
{
	char *at;

	if (!world.current)
		return __real_strdup(text);
	if (runs_out(CALL_STRDUP, ENOMEM))
		return NULL;
	at = arena_take(strlen(text) + 1, false);
	strcpy(at, text);
	return at;
}

REAL(int, madvise, void *at, size_t n, int advice)
{
	return world.current ? 0 : __real_madvise(at, n, advice);
}

void *__real_mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset);

static void *map_anonymous(size_t n)
{
	struct map *found = NULL;

	for (unsigned i = 0; i < MAPS_MAX; i++) {
		if (maps[i].host == -1 && maps[i].at && maps[i].bytes == n)
			found = &maps[i];
		if (!found && !maps[i].at)
			found = &maps[i];
	}
	if (!found)
		__real_abort();
	if (!found->at) {
		found->at = __real_mmap64(NULL, n, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		found->bytes = n;
	}
	/* Zeroes, but for what keeps an epoch: that is written first, and too large to be cleared.
	 */
	if (n <= SMALL_MAP)
		(void)__real_madvise(found->at, n, MADV_DONTNEED);
	found->host = (int8_t)current_host();
	return found->at;
}

void *__wrap_mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
	struct fd *f = fd_of(fd);

	if (!world.current && !f)
		return __real_mmap64(at, n, protection, flags, fd, offset);
	may_die();
	if (runs_out(CALL_MMAP, ENOMEM))
		return MAP_FAILED;
	return f ? f->file->bytes : map_anonymous(n);
}

REAL(int, munmap, void *at, size_t n)
{
	if (!world.current)
		return __real_munmap(at, n);
	for (unsigned i = 0; i < MAPS_MAX; i++)
		if (maps[i].at == at)
			maps[i].host = -1;
	return 0;
}

REAL(int, munlock, const void *at, size_t n)
{
	return world.current ? 0 : __real_munlock(at, n);
}

/* --- descriptors ------------------------------------------------------------------ */

struct fd *fd_of(int fd)
{
	if (fd < FD_BASE || fd >= FD_BASE + FDS_MAX || fds[fd - FD_BASE].kind == FD_FREE)
		return NULL;
	return &fds[fd - FD_BASE];
}

int fd_new(enum fd_kind kind, int host)
{
	for (int i = 0; i < FDS_MAX; i++) {
		if (fds[i].kind != FD_FREE)
			continue;
		fds[i] = (struct fd){.kind = kind, .host = (int8_t)host, .waiter = -1};
		return FD_BASE + i;
	}
	(void)fprintf(stderr, "vmft-shell: no descriptor is left\n");
	__real_abort();
	return -1;
}

void fd_ring(int fd)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return;
	f->count++;
	if (f->waiter >= 0)
		loop_poll_ready(fd);
}

void fd_ring_datagrams(int host)
{
	for (int i = 0; i < FDS_MAX; i++)
		if (fds[i].kind == FD_DATAGRAM && fds[i].host == host)
			fd_ring(FD_BASE + i);
}

static void fd_drop(struct fd *f, bool reset)
{
	if (f->copy && f->file)
		f->file->locked = false;
	if (f->kind == FD_SOCKET)
		sock_close(f->sock, reset);
	if (f->waiter >= 0)
		loop_complete(f->waiter, -EBADF, 0);
	*f = (struct fd){.kind = FD_FREE};
}

void fd_close_all(int host)
{
	for (unsigned i = 0; i < FDS_MAX; i++)
		if (fds[i].kind != FD_FREE && fds[i].host == host && !fds[i].kept) {
			fds[i].waiter = -1;
			fd_drop(&fds[i], false);
		}
}

REAL(int, close, int fd)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_close(fd);
	may_die();
	fd_drop(f, false);
	return 0;
}

static struct file scratch[HOSTS]; /* what is saved of the log */

/* "/sim/HOST/disk", "/sim/HOST/log/..." */
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	int host, fd;

	if (strncmp(path, "/sim/", 5) != 0)
		return __real_open64(path, flags, 0600);
	may_die();
	if (runs_out(CALL_OPEN, EMFILE))
		return -1;
	host = path[5] - '0';
	fd = fd_new(FD_FILE, current_host());
	fd_of(fd)->file = strcmp(path + 6, "/disk") == 0 ? &world.host[host].disk : &scratch[host];
	return fd;
}

REAL(FILE *, fopen64, const char *path, const char *mode)
{
	return __real_fopen64(world.current ? "/dev/null" : path, mode);
}

REAL(ssize_t, pread64, int fd, void *bytes, size_t n, off_t at)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_pread64(fd, bytes, n, at);
	may_die();
	if (runs_out(CALL_PREAD, EIO))
		return -1;
	if ((uint64_t)at >= f->file->size)
		return 0;
	if (n > f->file->size - (uint64_t)at)
		n = f->file->size - (uint64_t)at;
	memcpy(bytes, f->file->bytes + at, n);
	return (ssize_t)n;
}

REAL(ssize_t, pwrite64, int fd, const void *bytes, size_t n, off_t at)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_pwrite64(fd, bytes, n, at);
	may_die();
	if (runs_out(CALL_PWRITE, ENOSPC))
		return -1;
	if (f->file->broken || (uint64_t)at + n > f->file->room) {
		errno = f->file->broken ? f->file->broken : EFBIG;
		return -1;
	}
	memcpy(f->file->bytes + at, bytes, n);
	file_wrote(f->file, (uint64_t)at, n);
	if ((uint64_t)at + n > f->file->size)
		f->file->size = (uint64_t)at + n;
	return (ssize_t)n;
}

REAL(int, fallocate64, int fd, int mode, off_t at, off_t n)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_fallocate64(fd, mode, at, n);
	may_die();
	if (runs_out(CALL_FALLOCATE, ENOSPC))
		return -1;
	if (f->file->broken) {
		errno = f->file->broken;
		return -1;
	}
	if (f->file->lazy && n > (1 << 20))
		return 0;
	file_wrote(f->file, (uint64_t)at, (uint64_t)n);
	if ((uint64_t)at < f->file->size)
		memset(f->file->bytes + at, 0,
		       (uint64_t)n < f->file->size - (uint64_t)at ? (size_t)n
								  : f->file->size - (uint64_t)at);
	return 0;
}

REAL(int, ftruncate64, int fd, off_t n)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_ftruncate64(fd, n);
	may_die();
	if (runs_out(CALL_FTRUNCATE, EFBIG))
		return -1;
	if (f->file->broken || (uint64_t)n > f->file->room) {
		errno = f->file->broken ? f->file->broken : EFBIG;
		return -1;
	}
	file_wrote(f->file, 0, f->file->room);
	if ((uint64_t)n > f->file->size)
		memset(f->file->bytes + f->file->size, 0, (size_t)n - f->file->size);
	f->file->size = (uint64_t)n;
	return 0;
}

REAL(int, fdatasync, int fd)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_fdatasync(fd);
	may_die();
	return runs_out(CALL_SYNC, EIO) ? -1 : 0;
}

REAL(int, fstat64, int fd, struct stat *ret)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_fstat64(fd, ret);
	may_die();
	if (runs_out(CALL_FSTAT, EIO))
		return -1;
	memset(ret, 0, sizeof(*ret));
	ret->st_mode = S_IFREG;
	ret->st_size = (off_t)f->file->size;
	return 0;
}

static bool is_hole(const struct file *file, uint64_t page)
{
	static const uint8_t zeroes[4096];
	const uint64_t at = page * sizeof(zeroes);
	const size_t n = file->size - at < sizeof(zeroes) ? file->size - at : sizeof(zeroes);

	return file->sparse && memcmp(file->bytes + at, zeroes, n) == 0;
}

static off_t seek(const struct file *file, off_t at, bool hole)
{
	for (uint64_t page = (uint64_t)at / 4096; page * 4096 < file->size; page++)
		if (is_hole(file, page) == hole)
			return (off_t)(page * 4096) > at ? (off_t)(page * 4096) : at;
	if (hole)
		return (off_t)file->size;
	errno = ENXIO;
	return -1;
}

REAL(off_t, lseek64, int fd, off_t at, int whence)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_lseek64(fd, at, whence);
	may_die();
	if (runs_out(CALL_LSEEK, EIO))
		return -1;
	if (whence == SEEK_DATA || whence == SEEK_HOLE)
		return seek(f->file, at, whence == SEEK_HOLE);
	return (off_t)f->file->size;
}

/* The locks of images: only a monitor's copy counts, and QEMU looks at it itself. */
int __real_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
	struct fd *f = fd_of(fd);
	struct flock *lock;
	va_list ap;

	va_start(ap, command);
	lock = va_arg(ap, struct flock *);
	va_end(ap);
	if (!f)
		return __real_fcntl64(fd, command, lock);
	if (command == F_OFD_GETLK) {
		lock->l_type = F_UNLCK;
	} else if (command == F_OFD_SETLK) {
		f->copy = lock->l_type == F_RDLCK;
		f->file->locked = f->copy;
	}
	return 0;
}

REAL(ssize_t, read, int fd, void *bytes, size_t n)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_read(fd, bytes, n);
	may_die();
	if (f->count == 0) {
		errno = EAGAIN;
		return -1;
	}
	if (n >= sizeof(f->count))
		memcpy(bytes, &f->count, sizeof(f->count));
	f->count = 0;
	return (ssize_t)n;
}

REAL(ssize_t, write, int fd, const void *bytes, size_t n)
{
	struct fd *f = fd_of(fd);

	if (!f)
		return __real_write(fd, bytes, n);
	may_die();
	fd_ring(fd);
	for (int i = 0; i < world.hosts; i++)
		if (fd == world.host[i].bell_agent)
			agent_ring(i);
	return (ssize_t)n;
}

/* --- sockets ------------------------------------------------------------------------ */

REAL(int, socket, int family, int type, int protocol)
{
	if (!world.current)
		return __real_socket(family, type, protocol);
	may_die();
	if (family == AF_NETLINK || runs_out(CALL_SOCKET, EMFILE)) {
		errno = EMFILE;
		return -1;
	}
	return fd_new(type & SOCK_DGRAM ? FD_DATAGRAM : FD_SOCKET, current_host());
}

REAL(int, bind, int fd, const struct sockaddr *addr, socklen_t n)
{
	return fd_of(fd) ? 0 : __real_bind(fd, addr, n);
}

REAL(int, setsockopt, int fd, int level, int name, const void *value, socklen_t n)
{
	return fd_of(fd) ? 0 : __real_setsockopt(fd, level, name, value, n);
}

REAL(ssize_t, sendto, int fd, const void *bytes, size_t n, int flags, const struct sockaddr *addr,
     socklen_t addr_len)
{
	if (!fd_of(fd))
		return __real_sendto(fd, bytes, n, flags, addr, addr_len);
	may_die();
	return datagram_send(fd, bytes, n, addr);
}

REAL(ssize_t, recv, int fd, void *bytes, size_t n, int flags)
{
	if (!fd_of(fd))
		return __real_recv(fd, bytes, n, flags);
	may_die();
	return datagram_recv(fd, bytes, n);
}

/* --- the rest ------------------------------------------------------------------------ */

REAL(int, signalfd, int fd, const void *mask, int flags)
{
	return world.current ? fd_new(FD_EVENT, current_host()) : __real_signalfd(fd, mask, flags);
}

REAL(int, sigprocmask, int how, const void *set, void *old)
{
	return world.current ? 0 : __real_sigprocmask(how, set, old);
}

REAL(ssize_t, getrandom, void *bytes, size_t n, unsigned flags)
{
	if (!world.current)
		return __real_getrandom(bytes, n, flags);
	for (size_t i = 0; i < n; i++)
		((uint8_t *)bytes)[i] = (uint8_t)chance(256);
	return (ssize_t)n;
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	if (!world.current) {
		errno = ENOSYS;
		return -1;
	}
	may_die();
	/* Waking the agent: its threads look by themselves. */
	if (number != SYS_pidfd_open)
		return 0;
	world.current->pidfd = fd_new(FD_EVENT, current_host());
	return world.current->pidfd;
}

REAL(int, nanosleep, const struct timespec *time, struct timespec *left)
{
	return world.current ? 0 : __real_nanosleep(time, left);
}

/* A process's number is its host's. */
REAL(int, kill, pid_t pid, int number)
{
	if (!world.current)
		return __real_kill(pid, number);
	may_die();
	qemu_end(pid - 1);
	return 0;
}

REAL(int, vmft_savedlog_prune, const char *directory, const char *name, unsigned keep)
{
	(void)directory;
	(void)name;
	(void)keep;
	return 0;
}

REAL(int, vmft_pair_config_load, const char *path, struct vmft_pair_config *ret,
     struct vmft_error *err)
{
	(void)path;
	(void)err;
	*ret = world.config;
	return 0;
}

/* libzstd takes its memory by itself, and a process that was killed does not give it back. */
enum { CONTEXTS_MAX = 8 };
static ZSTD_CCtx *packers[CONTEXTS_MAX];
static ZSTD_DCtx *openers[CONTEXTS_MAX];
static unsigned packer_at, opener_at;

REAL(ZSTD_CCtx *, ZSTD_createCCtx, void)
{
	ZSTD_CCtx **at = &packers[packer_at++ % CONTEXTS_MAX];

	if (!*at)
		*at = __real_ZSTD_createCCtx();
	(void)ZSTD_CCtx_reset(*at, ZSTD_reset_session_and_parameters);
	/* As fast as it can be: how short a payload becomes is not what is tried here. */
	(void)ZSTD_CCtx_setParameter(*at, ZSTD_c_hashLog, 8);
	(void)ZSTD_CCtx_setParameter(*at, ZSTD_c_targetLength, 256);
	return *at;
}

REAL(size_t, ZSTD_freeCCtx, ZSTD_CCtx *context)
{
	(void)context;
	return 0;
}

REAL(ZSTD_DCtx *, ZSTD_createDCtx, void)
{
	ZSTD_DCtx **at = &openers[opener_at++ % CONTEXTS_MAX];

	if (!*at)
		*at = __real_ZSTD_createDCtx();
	(void)ZSTD_DCtx_reset(*at, ZSTD_reset_session_and_parameters);
	return *at;
}

REAL(size_t, ZSTD_freeDCtx, ZSTD_DCtx *context)
{
	(void)context;
	return 0;
}

void kernel_init(void)
{
	for (unsigned i = 0; i < HOSTS; i++) {
		arena[i].bytes = __real_mmap64(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE,
					       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (arena[i].bytes == MAP_FAILED)
			__real_abort();
		scratch[i] = (struct file){.bytes = __real_malloc(1 << 20), .room = 1 << 20};
	}
	for (unsigned i = 0; i < MAPS_MAX; i++)
		maps[i].host = -1;
}
