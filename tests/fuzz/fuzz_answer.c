/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answer of a monitor, or of another program that has the socket: every command that shows it
 * reads and prints it. Nothing in it may end the command otherwise than by an exit code.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver.h"
#include "monitor/cli/cli.h"
#include "monitor/cli/events.h"
#include "monitor/cli/status-text.h"
#include "monitor/cli/watch.h"

static void must(bool good)
{
	if (!good)
		abort();
}

/* As it comes out of a socket. */
static int ask(const uint8_t *data, size_t size, char *answer, size_t answer_size)
{
	char request[128];
	int ends[2], rc;

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
	must(send(ends[1], data, size, MSG_NOSIGNAL) == (ssize_t)size);
	must(shutdown(ends[1], SHUT_WR) == 0);
	rc = vmft_cli_ask(ends[0], "status", answer, answer_size);
	must(recv(ends[1], request, sizeof(request), 0) > 0);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return rc;
}

static void show(const char *answer, FILE *nowhere)
{
	static struct vmft_status status;
	bool over;
	int code = vmft_cli_print_answer(answer, nowhere, nowhere);

	must(code == VMFT_EXIT_OK || code == VMFT_EXIT_INTERNAL);
	(void)vmft_event_print(answer, false, false, nowhere);
	(void)vmft_watch_once(answer, VMFT_WATCH_TTY, nowhere, &over);
	if (vmft_cli_read_status(answer, &status) < 0)
		return;
	must(code == VMFT_EXIT_OK);
	vmft_status_print(&status, 1796050000000, nowhere);
	vmft_status_print_line("vm.primary", &status, nowhere);
	(void)vmft_status_exit_code(status.state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char answer[4096];
	static FILE *nowhere;

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	must(nowhere != NULL);
	if (size > sizeof(answer) || ask(data, size, answer, sizeof(answer)) < 0)
		return 0;
	must(strlen(answer) < size);
	show(answer, nowhere);
	return 0;
}

static const char status[] =
    "{\"ok\":true,\"name\":\"vm\",\"role\":\"primary\",\"state\":\"attaching\",\"generation\":3,"
    "\"attach_phase\":\"copying\",\"attach_round\":2,\"attach_done_bytes\":1e6,"
    "\"attach_left_bytes\":5,\"throttle_permille\":100,\"pause_ms_p50\":1,\"pause_ms_p99\":2,"
    "\"pause_ms_max\":3,\"lag_ms\":null,\"now_ms\":100,"
    "\"events\":[{\"ms\":7,\"text\":\"alone\"},{\"ms\":9}]}\n";
static const char refusal[] = "{\"ok\":false,\"error\":\"the guest is paused\"}\n";
static const char list[] = "[1]\n";
static const char event[] =
    "{\"side\":\"vm.primary\",\"time_ms\":1796050000000,\"ms\":5,\"state\":\"alone\",\"was\":"
    "\"protected\",\"generation\":3,\"reason\":\"the peer fell "
    "silent\",\"text\":\"\",\"lost\":4}\n";
static const char events[] = "{\"ok\":true,\"events\":{\"state\":\"protected\"}}\n";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {status, sizeof(status) - 1}, {refusal, sizeof(refusal) - 1}, {list, sizeof(list) - 1},
    {events, sizeof(events) - 1}, {event, sizeof(event) - 1},	  {0},
};
