/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the commands that talk to one monitor share, and the ones that only tell it something. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "cli.h"
#include "monitor/common/exit-codes.h"

static const struct argp_option option_table[] = {
    {"json", 'j', NULL, 0, "print the monitor's answer as it is, one JSON object a line", 0},
    {"timeout", 't', "SECONDS", 0, "how long to wait for an answer", 0},
    {0},
};

struct parsing {
	struct vmft_call *call;
	bool many;
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct parsing *parsing = state->input;
	struct vmft_call *call = parsing->call;

	switch (key) {
	case 't':
		call->seconds = vmft_arguments_seconds(state, arg);
		return 0;
	case 'j':
		call->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			vmft_arguments_wrong(state, "name one VM only, without %s", arg);
		call->side = arg;
		return 0;
	case ARGP_KEY_END:
		if (!call->side && !parsing->many)
			vmft_arguments_wrong(
			    state, "needs the name of a VM, or the path of a control socket");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void vmft_call_parse(int argc, char *argv[], const char *help, bool many, unsigned patience_s,
		     struct vmft_call *ret)
{
	const struct argp argp = {
	    .options = option_table,
	    .parser = parse_option,
	    .args_doc = many ? "[NAME|SOCKET]" : "NAME|SOCKET",
	    .doc = help,
	};
	struct parsing parsing = {.call = ret, .many = many};

	*ret = (struct vmft_call){
	    .name = argv[0], .verb = strchr(argv[0], ' ') + 1, .seconds = patience_s};
	vmft_arguments_parse(&argp, argc, argv, &parsing);
}

int vmft_call_find(struct vmft_call *call)
{
	struct vmft_error err = {0};

	if (vmft_socket_find(VMFT_SOCKET_DIRECTORY, call->side, call->socket, sizeof(call->socket),
			     &err) == 0)
		return VMFT_EXIT_OK;
	(void)fprintf(stderr, "%s: %s\n", call->name, err.text);
	return err.exit_code;
}

int vmft_cli_print_answer(const char *answer, FILE *to, FILE *err)
{
	struct json_object *object = vmft_cli_parse(answer);
	const bool done = object && vmft_cli_is_ok(object);

	if (!done) {
		(void)fprintf(err, "vmft: %s\n",
			      object ? vmft_cli_text(object, "error", "refused") : answer);
	} else {
		json_object_object_foreach(object, key, value)
		{
			if (strcmp(key, "ok") != 0)
				(void)fprintf(to, "%-12s %s\n", key,
					      value ? json_object_get_string(value) : "-");
		}
	}
	json_object_put(object);
	return done ? VMFT_EXIT_OK : VMFT_EXIT_INTERNAL;
}

void vmft_cli_print_silent(const char *side, const char *why, FILE *to)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "ok", json_object_new_boolean(false));
	json_object_object_add(object, "side", json_object_new_string(side));
	json_object_object_add(object, "error", json_object_new_string(why));
	(void)fprintf(to, "%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

int vmft_call_print(const struct vmft_call *call, const char *answer)
{
	struct json_object *object;
	int code;

	if (!call->json)
		return vmft_cli_print_answer(answer, stdout, stderr);
	puts(answer);
	object = vmft_cli_parse(answer);
	code = object && vmft_cli_is_ok(object) ? VMFT_EXIT_OK : VMFT_EXIT_INTERNAL;
	json_object_put(object);
	return code;
}

/* The monitor reads all of the guest's memory for a digest. */
#define DIGEST_PATIENCE_S 600u

int vmft_cli_tell(int argc, char *argv[], const char *help)
{
	static char answer[VMFT_CLI_ANSWER_MAX];
	const bool digest = strcmp(argv[0], "vmft digest") == 0;
	struct vmft_call call;
	int fd, rc;

	vmft_call_parse(argc, argv, help, false, digest ? DIGEST_PATIENCE_S : VMFT_CLI_PATIENCE_S,
			&call);
	rc = vmft_call_find(&call);
	if (rc != VMFT_EXIT_OK)
		return rc;
	fd = vmft_cli_connect(call.socket, call.seconds);
	rc = fd < 0 ? fd : vmft_cli_ask(fd, call.verb, answer, sizeof(answer));
	if (rc < 0)
		vmft_cli_explain(call.socket, fd, rc, call.seconds);
	if (fd >= 0)
		close(fd);
	return rc < 0 ? VMFT_EXIT_ADDRESS : vmft_call_print(&call, answer);
}
