/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int vmft_cli_connect(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;
	int rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

int vmft_cli_ask(int fd, const char *verb, char *answer, size_t size)
{
	char request[128];
	int n = snprintf(request, sizeof(request), "{\"cmd\":\"%s\"}\n", verb);
	size_t have = 0;

	if (send(fd, request, (size_t)n, MSG_NOSIGNAL) != n)
		return -EIO;
	while (have < size - 1) {
		ssize_t got = recv(fd, answer + have, size - 1 - have, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EIO;
		have += (size_t)got;
		if (answer[have - 1] == '\n') {
			answer[have - 1] = '\0';
			return 0;
		}
	}
	return -EMSGSIZE;
}

struct json_object *vmft_cli_parse(const char *answer)
{
	struct json_object *object = json_tokener_parse(answer);

	if (json_object_is_type(object, json_type_object))
		return object;
	json_object_put(object);
	return NULL;
}

const char *vmft_cli_text(struct json_object *answer, const char *key, const char *missing)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(answer, key, &value) && value
		   ? json_object_get_string(value)
		   : missing;
}

double vmft_cli_number(struct json_object *answer, const char *key)
{
	struct json_object *value = NULL;
	double number;

	if (!json_object_object_get_ex(answer, key, &value))
		return 0;
	number = json_object_get_double(value);
	/* Also not a number at all. */
	if (!(number > 0))
		return 0;
	return number < VMFT_CLI_NUMBER_MAX ? number : VMFT_CLI_NUMBER_MAX;
}
