/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "monitor/common/status-json.h"

static int set_patience(int fd, unsigned seconds)
{
	const struct timeval patience = {.tv_sec = seconds};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return -errno;
	return 0;
}

/* A call whose time is over fails with EAGAIN. */
static int negative_errno(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK ? -ETIMEDOUT : -errno;
}

int vmft_cli_connect(const char *path, unsigned seconds)
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
	rc = set_patience(fd, seconds);
	if (rc == 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		rc = negative_errno();
	if (rc == 0)
		return fd;
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
		if (got < 0)
			return negative_errno();
		if (got == 0)
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

void vmft_cli_explain(const char *path, int fd, int rc, unsigned seconds)
{
	struct ucred monitor = {0};
	socklen_t n = sizeof(monitor);

	if (rc != -ETIMEDOUT) {
		(void)fprintf(stderr, "vmft: %s: %s; is this side of the VM running?\n", path,
			      strerror(-rc));
		return;
	}
	if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &monitor, &n) == 0 &&
	    monitor.pid > 0)
		(void)fprintf(stderr,
			      "vmft: %s: its monitor, pid %d, has not answered in %u s: it is "
			      "stopped (then kill -CONT %d) or its host is overloaded\n",
			      path, (int)monitor.pid, seconds, (int)monitor.pid);
	else
		(void)fprintf(stderr,
			      "vmft: %s: no monitor accepted the question in %u s: it is stopped "
			      "(look at it with ps -C vmft-monitor) or its host is overloaded\n",
			      path, seconds);
}

int vmft_cli_status(const char *path, unsigned seconds, struct vmft_status *ret)
{
	char *answer = malloc(VMFT_CLI_ANSWER_MAX);
	int fd = vmft_cli_connect(path, seconds);
	int rc = fd;

	if (!answer)
		rc = -ENOMEM;
	else if (fd >= 0)
		rc = vmft_cli_ask(fd, "status", answer, VMFT_CLI_ANSWER_MAX);
	if (rc == 0)
		rc = vmft_cli_read_status(answer, ret);
	if (fd >= 0)
		close(fd);
	free(answer);
	return rc;
}

int vmft_cli_read_status(const char *answer, struct vmft_status *ret)
{
	struct json_object *object = vmft_cli_parse(answer);
	const bool good = object && vmft_cli_is_ok(object);

	if (good)
		vmft_status_decode(object, ret);
	json_object_put(object);
	return good ? 0 : -EBADMSG;
}

bool vmft_cli_is_ok(struct json_object *answer)
{
	struct json_object *ok = NULL;

	return json_object_object_get_ex(answer, "ok", &ok) && json_object_get_boolean(ok);
}

const char *vmft_cli_text(struct json_object *answer, const char *key, const char *missing)
{
	struct json_object *value = NULL;

	return json_object_object_get_ex(answer, key, &value) && value
		   ? json_object_get_string(value)
		   : missing;
}
