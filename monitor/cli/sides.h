/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sides of VMs that run on this host, by their control sockets. */
#ifndef VMFT_SIDES_H
#define VMFT_SIDES_H

#include <stddef.h>
#include <sys/un.h>

#include "monitor/common/error.h"

#define VMFT_SOCKET_PATH_MAX  sizeof(((struct sockaddr_un *)0)->sun_path)
#define VMFT_SOCKET_DIRECTORY "/run/vmft" /* where a pair file has them that does not say */

/*
 * word is the path of a socket, or a VM's name: then it is the socket in directory of the one side
 * of that VM that is there, NAME.HOST.sock; or NAME.HOST, for that side. 0, or -ENOENT and *err
 * says what to write.
 */
int vmft_socket_find(const char *directory, const char *word, char *ret, size_t size,
		     struct vmft_error *err);

#define VMFT_SIDES_MAX 256u /* looked at */

struct vmft_side_socket {
	char name[VMFT_SOCKET_PATH_MAX]; /* "web1.primary" */
	char path[VMFT_SOCKET_PATH_MAX];
};

/* All sockets of sides in directory, sorted by name; at most max of them. Returns how many; a
 * directory that is not there has none. */
size_t vmft_sides_list(const char *directory, struct vmft_side_socket *ret, size_t max);

#endif
