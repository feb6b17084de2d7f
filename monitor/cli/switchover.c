/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft switchover: asks for a planned hand-over and waits for its end. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "monitor/common/exit-codes.h"

/* A hand-over is tried for some seconds, and its answer may then depend on the arbiter. */
#define PATIENCE_S  60u
#define PROGRESS_US 100000u

/* On a connection of its own: the first one waits for the end of the hand-over. */
static void print_state(const char *socket, char last[static 24])
{
	static struct vmft_status status;

	if (vmft_cli_status(socket, VMFT_CLI_PATIENCE_S, &status) < 0 ||
	    strcmp(status.state, last) == 0)
		return;
	(void)snprintf(last, 24, "%s", status.state);
	(void)fprintf(stderr, "%s, lag %llu ms\n", last, (unsigned long long)status.lag_ms);
}

/* A child prints each state until the answer is there. */
static int hand_over(const struct vmft_call *call, int fd, char *answer, size_t size)
{
	char last[24] = "";
	pid_t child = call->json ? -1 : fork();
	int rc;

	if (child == 0)
		for (;;) {
			print_state(call->socket, last);
			(void)usleep(PROGRESS_US);
		}
	rc = vmft_cli_ask(fd, call->verb, answer, size);
	if (child > 0) {
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
	}
	return rc;
}

int vmft_cli_switchover(int argc, char *argv[], const char *help)
{
	static char answer[VMFT_CLI_ANSWER_MAX];
	struct vmft_call call;
	int fd, rc;

	vmft_call_parse(argc, argv, help, false, PATIENCE_S, &call);
	rc = vmft_call_find(&call);
	if (rc != VMFT_EXIT_OK)
		return rc;
	fd = vmft_cli_connect(call.socket, call.seconds);
	rc = fd < 0 ? fd : hand_over(&call, fd, answer, sizeof(answer));
	if (rc < 0)
		vmft_cli_explain(call.socket, fd, rc, call.seconds);
	if (fd >= 0)
		close(fd);
	return rc < 0 ? VMFT_EXIT_ADDRESS : vmft_call_print(&call, answer);
}
