/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a monitor answers, or whoever sits behind the socket: read and printed by every command
 * that shows it. Nothing in it may end the command otherwise than by an exit code.
 */
int vmft_main(int argc, char *argv[]);
#define main vmft_main
#include "monitor/cli/vmft.c"
#undef main

#include <fcntl.h>
#include <sys/socket.h>

#include "driver.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char answer[4096];
	const struct call call = {.verb = "status"};
	static FILE *nowhere;
	FILE *kept[2];
	bool over;
	int code;

	/* What is printed is not looked at; the fuzzer's own words are kept. */
	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	must(nowhere != NULL);
	if (size > sizeof(answer) || ask(data, size, answer, sizeof(answer)) < 0)
		return 0;
	must(strlen(answer) < size);
	kept[0] = stdout;
	kept[1] = stderr;
	stdout = stderr = nowhere;
	code = print(&call, answer);
	must(code == VMFT_EXIT_OK || code == VMFT_EXIT_INTERNAL);
	(void)watch_once(answer, false, &over);
	stdout = kept[0];
	stderr = kept[1];
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
static const char events[] = "{\"ok\":true,\"events\":{\"state\":\"protected\"}}\n";

const struct vmft_fuzz_seed vmft_fuzz_seeds[] = {
    {status, sizeof(status) - 1},
    {refusal, sizeof(refusal) - 1},
    {list, sizeof(list) - 1},
    {events, sizeof(events) - 1},
    {0},
};
