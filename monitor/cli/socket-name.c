/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "socket-name.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"

static bool is_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Of the hosts' sockets in the directory the one that is there. */
static int find_side(const char *directory, const char *name, char *ret, size_t size,
		     struct vmft_error *err)
{
	unsigned found = 0;

	for (enum vmft_host host = 0; host < VMFT_HOST_COUNT; host++) {
		char path[VMFT_SOCKET_PATH_MAX];
		int n = snprintf(path, sizeof(path), "%s/%s.%s.sock", directory, name,
				 vmft_host_name(host));

		if (n < 0 || (size_t)n >= sizeof(path) || !is_socket(path))
			continue;
		(void)snprintf(ret, size, "%s", path);
		found++;
	}
	if (found == 0)
		return vmft_error_set(err, -ENOENT, VMFT_EXIT_ADDRESS,
				      "%.100s: no side of a VM of that name has its socket in %s; "
				      "give the name in its pair file, or the path of the socket "
				      "(control = in it)",
				      name, directory);
	if (found > 1)
		return vmft_error_set(err, -ENOENT, VMFT_EXIT_ADDRESS,
				      "%.100s: more than one side has its socket in %s; write "
				      "NAME.primary, NAME.backup or NAME.spare",
				      name, directory);
	return 0;
}

int vmft_socket_find(const char *directory, const char *word, char *ret, size_t size,
		     struct vmft_error *err)
{
	int n;

	if (strchr(word, '/') || is_socket(word)) {
		n = snprintf(ret, size, "%s", word);
		if (n >= 0 && (size_t)n < size)
			return 0;
		return vmft_error_set(err, -ENOENT, VMFT_EXIT_ADDRESS, "%.100s: path too long",
				      word);
	}
	n = snprintf(ret, size, "%s/%s.sock", directory, word);
	if (n > 0 && (size_t)n < size && is_socket(ret))
		return 0;
	return find_side(directory, word, ret, size, err);
}
