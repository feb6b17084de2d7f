/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The linker sends the monitor's calls here (--wrap). Each kind fails as it does when memory, the
 * disk or descriptors have run out.
 */
#define _GNU_SOURCE
#include "fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "world.h"

/* A loop's calls are one call to this test: of each place in the code the first few count. */
#define PLACES_MAX 1024u
#define EACH_MAX   3u

static struct {
	const void *caller;
	unsigned calls;
} place[PLACES_MAX];
static unsigned left; /* calls until the one that fails; 0: none does */
static const char *failed;
static int failed_with;

void fault_arm(unsigned nth)
{
	left = nth;
	failed = NULL;
	memset(place, 0, sizeof(place));
}

const char *fault_disarm(void)
{
	left = 0;
	return failed;
}

const char *fault_error(void)
{
	return strerror(failed_with);
}

static bool counts(const void *caller)
{
	unsigned i = 0;

	if (world_place)
		caller = world_place;
	while (i < PLACES_MAX - 1 && place[i].caller && place[i].caller != caller)
		i++;
	place[i].caller = caller;
	return place[i].calls++ < EACH_MAX;
}

static bool fails(const char *name, int error, const void *caller)
{
	if (left == 0 || !counts(caller) || --left > 0)
		return false;
	failed = name;
	failed_with = error;
	errno = error;
	return true;
}

/* type, name, what it returns when it fails, with which errno, parameters, arguments */
#define CALLS(X)                                                                                   \
	X(void *, malloc, NULL, ENOMEM, (size_t n), (n))                                           \
	X(void *, calloc, NULL, ENOMEM, (size_t count, size_t n), (count, n))                      \
	X(void *, realloc, NULL, ENOMEM, (void *old, size_t n), (old, n))                          \
	X(char *, strdup, NULL, ENOMEM, (const char *text), (text))                                \
	X(void *, mmap64, MAP_FAILED, ENOMEM,                                                      \
	  (void *at, size_t n, int protection, int flags, int fd, off_t offset),                   \
	  (at, n, protection, flags, fd, offset))                                                  \
	X(ssize_t, pread64, -1, EIO, (int fd, void *bytes, size_t n, off_t at),                    \
	  (fd, bytes, n, at))                                                                      \
	X(ssize_t, pwrite64, -1, ENOSPC, (int fd, const void *bytes, size_t n, off_t at),          \
	  (fd, bytes, n, at))                                                                      \
	X(int, fallocate64, -1, ENOSPC, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))  \
	X(int, ftruncate64, -1, EFBIG, (int fd, off_t n), (fd, n))                                 \
	X(int, fdatasync, -1, EIO, (int fd), (fd))                                                 \
	X(int, fstat64, -1, EIO, (int fd, void *ret), (fd, ret))                                   \
	X(off_t, lseek64, -1, EIO, (int fd, off_t at, int whence), (fd, at, whence))

#define WRAP(type, name, result, error, parameters, arguments)                                     \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fails(#name, error, __builtin_return_address(0)) ? result                   \
									: __real_##name arguments; \
	}
CALLS(WRAP)

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = va_arg(ap, mode_t);
	va_end(ap);
	return fails("open64", EMFILE, __builtin_return_address(0))
		   ? -1
		   : __real_open64(path, flags, mode);
}
