/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "libc.h"

#include <dlfcn.h>

#include "monitor/common/exit-codes.h"

struct vmft_libc vmft_libc_table;

/*
 * The function of this name in the next library after this one. dlsym() may be called from a
 * constructor: it takes the dynamic linker's lock, which is recursive, and glibc allocates memory
 * in it only for the text of an error.
 */
static void *next(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found) {
		(void)dprintf(STDERR_FILENO, "vmft-agent: libc has no %s(): not glibc\n", name);
		_exit(VMFT_EXIT_QEMU);
	}
	return found;
}

void vmft_libc_look_up(void)
{
	struct vmft_libc *libc = &vmft_libc_table;

#define LOOK_UP(type, name, parameters, arguments)                                                 \
	atomic_store_explicit((void *_Atomic *)&libc->name, next(#name), memory_order_relaxed);
	VMFT_LIBC_FUNCTIONS(LOOK_UP)
	LOOK_UP(int, open64, , )
	LOOK_UP(int, ioctl, , )
	LOOK_UP(void, exit, , )
#undef LOOK_UP
	atomic_store_explicit(&libc->ready, true, memory_order_release);
}
