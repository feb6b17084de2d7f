/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft status: one side in a dozen lines, or all sides of this host, a line each. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "status-text.h"

/* Whoever asks all of them does not wait for each that is stopped. */
#define MANY_PATIENCE_S 3u

static int64_t wall_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 0 and the answer, or a negative errno. quiet: why is not printed. */
static int ask(const char *socket, unsigned seconds, bool quiet, char *answer, size_t size)
{
	int fd = vmft_cli_connect(socket, seconds);
	int rc = fd < 0 ? fd : vmft_cli_ask(fd, "status", answer, size);

	if (rc < 0 && !quiet)
		vmft_cli_explain(socket, fd, rc, seconds);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int show_one(const struct vmft_call *call)
{
	static char answer[VMFT_CLI_ANSWER_MAX];
	static struct vmft_status status;

	if (ask(call->socket, call->seconds, false, answer, sizeof(answer)) < 0)
		return VMFT_EXIT_ADDRESS;
	if (call->json)
		puts(answer);
	if (vmft_cli_read_status(answer, &status) < 0)
		return call->json ? VMFT_EXIT_INTERNAL
				  : vmft_cli_print_answer(answer, stdout, stderr);
	if (!call->json)
		vmft_status_print(&status, wall_ms(), stdout);
	return (int)vmft_status_exit_code(status.state);
}

static void print_silent(const struct vmft_side_socket *side, int rc, bool json)
{
	if (json)
		vmft_cli_print_silent(side->name, strerror(-rc), stdout);
	else
		printf("%-22s no answer: %s\n", side->name, strerror(-rc));
}

static enum vmft_exit show_line(const struct vmft_side_socket *side, const struct vmft_call *call)
{
	static char answer[VMFT_CLI_ANSWER_MAX];
	static struct vmft_status status;
	int rc = ask(side->path, call->seconds, true, answer, sizeof(answer));

	if (rc == 0)
		rc = vmft_cli_read_status(answer, &status);
	if (rc < 0) {
		print_silent(side, rc, call->json);
		return VMFT_EXIT_ADDRESS;
	}
	if (call->json)
		puts(answer);
	else
		vmft_status_print_line(side->name, &status, stdout);
	return vmft_status_exit_code(status.state);
}

static int show_all(const struct vmft_call *call)
{
	static struct vmft_side_socket side[VMFT_SIDES_MAX];
	const size_t n = vmft_sides_list(VMFT_SOCKET_DIRECTORY, side, VMFT_SIDES_MAX);
	enum vmft_exit worst = VMFT_EXIT_OK;

	if (n == 0) {
		(void)fprintf(stderr, "vmft status: no side of a VM has its socket in %s\n",
			      VMFT_SOCKET_DIRECTORY);
		return VMFT_EXIT_ADDRESS;
	}
	if (!call->json)
		vmft_status_print_headline(stdout);
	for (size_t i = 0; i < n; i++)
		worst = vmft_status_worse(worst, show_line(&side[i], call));
	return (int)worst;
}

int vmft_cli_show_status(int argc, char *argv[], const char *help)
{
	struct vmft_call call;
	int rc;

	vmft_call_parse(argc, argv, help, true, 0, &call);
	if (call.seconds == 0)
		call.seconds = call.side ? VMFT_CLI_PATIENCE_S : MANY_PATIENCE_S;
	if (!call.side)
		return show_all(&call);
	rc = vmft_call_find(&call);
	return rc == VMFT_EXIT_OK ? show_one(&call) : rc;
}
