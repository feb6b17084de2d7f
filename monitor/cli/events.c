/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft events: follows what happens to one side, or to all sides of this host. For all of them the
 * directory of sockets is looked at once a second: sides come and go.
 */
#define _GNU_SOURCE
#include "events.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli.h"
#include "monitor/common/exit-codes.h"
#include "probe.h"
#include "status-text.h"

#define FOLLOWED   64u /* sides at the same time */
#define LINE_BYTES 4096u
#define LOOK_MS	   1000

struct followed {
	int fd;	    /* -1: free */
	bool first; /* its first line has not come */
	uint64_t began_ns;
	struct vmft_side_socket side;
	size_t have;
	char line[LINE_BYTES];
};

struct events {
	bool json;
	unsigned seconds; /* to wait for a monitor's first line */
	struct followed side[FOLLOWED];
};

/* --- one event -------------------------------------------------------------------- */

static void print_change(struct json_object *event, bool first, FILE *to)
{
	const char *was = vmft_cli_text(event, "was", "");
	const char *reason = vmft_cli_text(event, "reason", "");

	(void)fprintf(to, "%s%s%s, generation %s%s%s\n", first ? "is " : was, first ? "" : " -> ",
		      vmft_cli_text(event, "state", "?"), vmft_cli_text(event, "generation", "?"),
		      *reason ? ": " : "", reason);
}

int vmft_event_print(const char *line, bool json, bool first, FILE *to)
{
	struct json_object *event = vmft_cli_parse(line);
	const char *lost;
	char when[32];

	if (!event || (first && !vmft_cli_is_ok(event))) {
		json_object_put(event);
		return -EBADMSG;
	}
	lost = vmft_cli_text(event, "lost", NULL);
	if (json) {
		(void)fprintf(to, "%s\n", line);
	} else {
		vmft_time_print(atoll(vmft_cli_text(event, "time_ms", "0")), when, sizeof(when));
		(void)fprintf(to, "%s %s: ", when, vmft_cli_text(event, "side", "?"));
		if (lost)
			(void)fprintf(to, "(%s events were lost) ", lost);
		if (first || *vmft_cli_text(event, "was", ""))
			print_change(event, first, to);
		else
			(void)fprintf(to, "%s\n", vmft_cli_text(event, "text", ""));
	}
	json_object_put(event);
	return 0;
}

/* --- sides ------------------------------------------------------------------------ */

static void leave(struct followed *side, const struct events *events, const char *why)
{
	if (events->json)
		vmft_cli_print_silent(side->side.name, why, stdout);
	else
		(void)fprintf(stderr, "vmft events: %s: %s\n", side->side.name, why);
	(void)fflush(stdout);
	close(side->fd);
	side->fd = -1;
}

/* What a refusal says, or that it was none. */
static void leave_refused(struct followed *side, const struct events *events, const char *line)
{
	struct json_object *answer = vmft_cli_parse(line);

	leave(side, events, answer ? vmft_cli_text(answer, "error", "no event") : "no event");
	json_object_put(answer);
}

/* Prints the lines that are whole. */
static void print_lines(struct followed *side, const struct events *events)
{
	char *end;

	while (side->fd >= 0 && (end = memchr(side->line, '\n', side->have))) {
		const size_t n = (size_t)(end - side->line) + 1;

		*end = '\0';
		if (vmft_event_print(side->line, events->json, side->first, stdout) < 0) {
			leave_refused(side, events, side->line);
			return;
		}
		side->first = false;
		side->have -= n;
		memmove(side->line, side->line + n, side->have);
	}
	(void)fflush(stdout);
	if (side->fd >= 0 && side->have == sizeof(side->line))
		leave(side, events, "a line is too long");
}

static void take(struct followed *side, const struct events *events)
{
	ssize_t got =
	    recv(side->fd, side->line + side->have, sizeof(side->line) - side->have, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		leave(side, events, "its monitor is gone");
		return;
	}
	side->have += (size_t)got;
	print_lines(side, events);
}

static bool is_followed(const struct events *events, const char *path)
{
	for (size_t i = 0; i < FOLLOWED; i++)
		if (events->side[i].fd >= 0 && strcmp(events->side[i].side.path, path) == 0)
			return true;
	return false;
}

/* 0 or a negative errno. */
static int begin(struct events *events, const struct vmft_side_socket *which)
{
	static const char request[] = "{\"cmd\":\"events\"}\n";
	struct followed *side = events->side;
	int fd;

	while (side < events->side + FOLLOWED && side->fd >= 0)
		side++;
	if (side == events->side + FOLLOWED)
		return -EUSERS;
	fd = vmft_cli_connect(which->path, events->seconds);
	if (fd < 0)
		return fd;
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0) {
		close(fd);
		return -EIO;
	}
	side->fd = fd;
	side->first = true;
	side->began_ns = vmft_probe_now();
	side->have = 0;
	side->side = *which;
	return 0;
}

/* Sides that are new. One that does not answer is looked at again the next time. */
static void look_for_sides(struct events *events)
{
	static struct vmft_side_socket found[VMFT_SIDES_MAX];
	const size_t n = vmft_sides_list(VMFT_SOCKET_DIRECTORY, found, VMFT_SIDES_MAX);

	for (size_t i = 0; i < n; i++)
		if (!is_followed(events, found[i].path))
			(void)begin(events, &found[i]);
}

static bool is_silent(const struct followed *side, const struct events *events)
{
	return side->first &&
	       vmft_probe_now() - side->began_ns > events->seconds * UINT64_C(1000000000);
}

/* Waits for news of the sides there are. False: there are none. */
static bool wait_for_events(struct events *events)
{
	struct pollfd wait[FOLLOWED];
	bool any = false;

	for (size_t i = 0; i < FOLLOWED; i++) {
		wait[i] = (struct pollfd){.fd = events->side[i].fd, .events = POLLIN};
		any = any || wait[i].fd >= 0;
	}
	(void)poll(wait, FOLLOWED, LOOK_MS);
	for (size_t i = 0; i < FOLLOWED; i++)
		if (wait[i].fd >= 0 && wait[i].revents)
			take(&events->side[i], events);
		else if (wait[i].fd >= 0 && is_silent(&events->side[i], events))
			leave(&events->side[i], events, "its monitor gives no answer");
	return any;
}

static int follow_one(struct events *events, const struct vmft_call *call)
{
	struct vmft_side_socket side;
	int rc;

	(void)snprintf(side.name, sizeof(side.name), "%s", call->side);
	(void)snprintf(side.path, sizeof(side.path), "%s", call->socket);
	rc = begin(events, &side);
	if (rc < 0)
		vmft_cli_explain(call->socket, -1, rc, events->seconds);
	while (rc == 0 && wait_for_events(events))
		;
	return VMFT_EXIT_ADDRESS;
}

int vmft_cli_events(int argc, char *argv[], const char *help)
{
	static struct events events;
	struct vmft_call call;
	int code;

	vmft_call_parse(argc, argv, help, true, VMFT_CLI_PATIENCE_S, &call);
	events.json = call.json;
	events.seconds = call.seconds;
	for (size_t i = 0; i < FOLLOWED; i++)
		events.side[i].fd = -1;
	if (call.side) {
		code = vmft_call_find(&call);
		return code == VMFT_EXIT_OK ? follow_one(&events, &call) : code;
	}
	/* Until it is interrupted. */
	for (;;) {
		look_for_sides(&events);
		(void)wait_for_events(&events);
	}
}
