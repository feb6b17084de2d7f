/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "ram.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "libc.h"
#include "monitor/interface.h"

/* QEMU opens the parts while it makes its machine, and never closes them. */
struct part {
	int fd;
	uint64_t at;
};

static struct vmft_ram {
	struct part part[VMFT_RAM_PARTS_MAX];
	_Atomic unsigned count; /* of the parts that are filled */
} vmft_ram;

bool vmft_ram_is_name(const char *path)
{
	return strncmp(path, VMFT_RAM_NAME, strlen(VMFT_RAM_NAME)) == 0;
}

int vmft_ram_open(const char *path, int flags)
{
	const unsigned count = atomic_load(&vmft_ram.count);
	char name[sizeof("/proc/self/fd/") + 10];
	struct part *part = &vmft_ram.part[count];

	if (count == VMFT_RAM_PARTS_MAX) {
		errno = EMFILE;
		return -1;
	}
	/* QEMU tries to open the file by a function that is not replaced (__open64_2()), finds
	 * none, and makes one (file_ram_open()). */
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", vmft_agent.ram_fd);
	part->at = strtoull(path + strlen(VMFT_RAM_NAME), NULL, 10);
	part->fd = vmft_libc_open64(name, flags & ~(O_CREAT | O_EXCL), 0);
	if (part->fd >= 0)
		atomic_store(&vmft_ram.count, count + 1);
	return part->fd;
}

uint64_t vmft_ram_offset(int fd)
{
	const unsigned count = atomic_load(&vmft_ram.count);

	for (unsigned i = 0; i < count; i++)
		if (vmft_ram.part[i].fd == fd)
			return vmft_ram.part[i].at;
	return 0;
}
