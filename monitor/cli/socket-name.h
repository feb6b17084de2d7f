/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which control socket a person means. */
#ifndef VMFT_SOCKET_NAME_H
#define VMFT_SOCKET_NAME_H

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

#endif
