/* SPDX-License-Identifier: GPL-2.0-or-later */
/* read() and pread() that come back with less only at the end of the file. */
#ifndef VMFT_READ_WHOLE_H
#define VMFT_READ_WHOLE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VMFT_READ_FOREVER UINT64_MAX

/*
 * Reads until there are size bytes or the file or pipe ends. until_ns: CLOCK_MONOTONIC ns, or
 * VMFT_READ_FOREVER; -ETIMEDOUT if neither has come by then. Returns the bytes that were read, or a
 * negative errno.
 */
ssize_t vmft_read_whole(int fd, void *buffer, size_t size, uint64_t until_ns);

/* The same from a position of a file, without a time. */
ssize_t vmft_pread_whole(int fd, void *buffer, size_t size, uint64_t position);

#endif
