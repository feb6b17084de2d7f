/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "peer-command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "probe.h"

#define LOOK_MS 100 /* how often *over is looked at */
#define MS	UINT64_C(1000000)

/* In a process group of its own, which can be killed as a whole. */
static int spawn(const char *command, int output, pid_t *ret)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)command, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int rc;

	(void)posix_spawn_file_actions_init(&files);
	(void)posix_spawnattr_init(&attr);
	/* ssh would read what is typed for the drill. */
	rc = -posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = -posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
	if (rc == 0)
		rc = -posix_spawn(ret, "/bin/sh", &files, &attr, argv, environ);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&files);
	return rc;
}

/* All that comes until the command closes its output. */
static int read_all(int fd, unsigned ms, const atomic_bool *over, char *answer, size_t size)
{
	const uint64_t until = vmft_probe_now() + ms * MS;
	size_t have = 0;

	for (;;) {
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		ssize_t got;

		if (atomic_load(over))
			return -ECANCELED;
		if (vmft_probe_now() > until)
			return -ETIMEDOUT;
		if (poll(&wait, 1, LOOK_MS) <= 0)
			continue;
		if (have == size - 1)
			return -EBADMSG;
		got = read(fd, answer + have, size - 1 - have);
		if (got < 0 && errno != EINTR)
			return -errno;
		if (got == 0)
			break;
		have += got > 0 ? (size_t)got : 0;
	}
	answer[have] = '\0';
	return 0;
}

int vmft_peer_command(const char *command, unsigned ms, const atomic_bool *over,
		      struct vmft_status *ret)
{
	char *answer = malloc(VMFT_CLI_ANSWER_MAX);
	pid_t pid = 0;
	int ends[2];
	int rc;

	if (!answer)
		return -ENOMEM;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		rc = -errno;
		free(answer);
		return rc;
	}
	rc = spawn(command, ends[1], &pid);
	close(ends[1]);
	if (rc == 0)
		rc = read_all(ends[0], ms, over, answer, VMFT_CLI_ANSWER_MAX);
	close(ends[0]);
	/* One that closed its output and does not end is not waited for either. */
	if (pid > 0) {
		(void)kill(-pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	if (rc == 0)
		rc = vmft_cli_read_status(answer, ret);
	free(answer);
	return rc;
}
