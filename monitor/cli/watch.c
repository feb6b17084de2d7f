/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft watch: follows an attach until the guest is protected. */
#define _GNU_SOURCE
#include "watch.h"

#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "status-text.h"

#define TTY_US	 200000u
#define PLAIN_US 2000000u

static bool is_one_of(const char *state, const char *const states[])
{
	for (; *states; states++)
		if (strcmp(state, *states) == 0)
			return true;
	return false;
}

int vmft_watch_once(const char *answer, enum vmft_watch_how how, FILE *to, bool *ret_over)
{
	static const char *const good[] = {"protected", "lagging", NULL};
	static const char *const bad[] = {"ended", "fenced", "diverged", NULL};
	static struct vmft_status status;
	char text[256];

	*ret_over = false;
	if (vmft_cli_read_status(answer, &status) < 0)
		(void)snprintf(text, sizeof(text), "no status");
	else if (vmft_status_is_attaching(&status))
		vmft_status_print_attach(&status, text, sizeof(text));
	else
		(void)snprintf(text, sizeof(text), "%s, generation %llu %s", status.state,
			       (unsigned long long)status.generation, status.attach_error);
	if (how == VMFT_WATCH_TTY)
		(void)fprintf(to, "\r%-110.110s", text);
	else
		(void)fprintf(to, "%s\n", how == VMFT_WATCH_JSON ? answer : text);
	(void)fflush(to);
	*ret_over = is_one_of(status.state, good) || is_one_of(status.state, bad);
	return is_one_of(status.state, bad) ? VMFT_EXIT_INTERNAL : VMFT_EXIT_OK;
}

static int watch(int fd, enum vmft_watch_how how, int *ret_code)
{
	static char answer[VMFT_CLI_ANSWER_MAX];
	bool over = false;
	int rc;

	for (;;) {
		rc = vmft_cli_ask(fd, "status", answer, sizeof(answer));
		if (rc < 0)
			break;
		*ret_code = vmft_watch_once(answer, how, stdout, &over);
		if (over)
			break;
		(void)usleep(how == VMFT_WATCH_TTY ? TTY_US : PLAIN_US);
	}
	if (how == VMFT_WATCH_TTY)
		putchar('\n');
	return rc;
}

int vmft_cli_watch(int argc, char *argv[], const char *help)
{
	enum vmft_watch_how how = VMFT_WATCH_JSON;
	struct vmft_call call;
	int code, fd, rc;

	vmft_call_parse(argc, argv, help, false, VMFT_CLI_PATIENCE_S, &call);
	code = vmft_call_find(&call);
	if (code != VMFT_EXIT_OK)
		return code;
	fd = vmft_cli_connect(call.socket, call.seconds);
	if (!call.json)
		how = isatty(STDOUT_FILENO) ? VMFT_WATCH_TTY : VMFT_WATCH_LINES;
	rc = fd < 0 ? fd : watch(fd, how, &code);
	if (rc < 0)
		vmft_cli_explain(call.socket, fd, rc, call.seconds);
	if (fd >= 0)
		close(fd);
	return rc < 0 ? VMFT_EXIT_ADDRESS : code;
}
