/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest writes to a serial port never waits for the reader at the other end. */
#ifndef VMFT_AGENT_CONSOLE_H
#define VMFT_AGENT_CONSOLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

#define VMFT_AGENT_CONSOLES 16 /* four ports, a log file for each, and as many again */

struct vmft_console;

struct vmft_consoles {
	int fd[VMFT_AGENT_CONSOLES]; /* as QEMU knows them */
	struct vmft_console *console[VMFT_AGENT_CONSOLES];
	atomic_uint count; /* stored after fd and console of the new one */
};

extern struct vmft_consoles vmft_consoles;

bool vmft_console_is_name(const char *path);
/* Opens the file that the name stands for, as a console's. Returns a descriptor, or -1 and errno.
 */
int vmft_console_open(const char *name, int flags, mode_t mode);
int vmft_console_add_pty(int master);	      /* 0 or a negative errno */
struct vmft_console *vmft_console_of(int fd); /* NULL: fd is no console */
/* The console for the first write to stdout by writev(); NULL: fd is not stdout. */
struct vmft_console *vmft_console_stdio(int fd);
/* Returns the length of all, always. Any thread, with any locks. */
ssize_t vmft_console_writev(struct vmft_console *console, const struct iovec *iov, int count);
/* QEMU ends: waits until readers that still read have all, 200 ms for one that does not. */
void vmft_console_flush(void);

#endif
