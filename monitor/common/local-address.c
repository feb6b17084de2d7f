/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "local-address.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

bool vmft_address_is_local(const struct vmft_channel_address *address)
{
	struct sockaddr_storage addr = address->addr;
	int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool local;

	/* Both families keep the port in the same place; 0: any that is free. */
	((struct sockaddr_in *)(void *)&addr)->sin_port = 0;
	local = fd >= 0 && bind(fd, (struct sockaddr *)&addr, address->addr_len) == 0;
	if (fd >= 0)
		close(fd);
	return local;
}
