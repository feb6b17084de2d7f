/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmft: asks the monitor of one side of a protected VM, or tells it to do something. */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "monitor/common/exit-codes.h"
#include "monitor/daemon/status/control-request.h"
#include "socket-name.h"

#define WATCH		  "watch"
#define WATCH_TTY_US	  200000u
#define WATCH_PLAIN_US	  2000000u
#define BAR_WIDTH	  24
#define DIGEST_PATIENCE_S 600u
#define SWITCHOVER	  "switchover"
#define PROGRESS_US	  100000u
/* It is tried for some seconds, and the answer may then hang on the arbiter. */
#define SWITCHOVER_PATIENCE_S 60u

static const char doc[] =
    "Ask or tell one side of a VM protected by vmft: the one of that name on this host, or the one "
    "with that control socket.\v"
    "Commands:\n"
    "  status        state, log positions, lag, output gate, the last events\n"
    "  freeze, thaw  primary: stop the guest at an event boundary, let it go on\n"
    "  digest        hash of the guest's memory; the same on both sides when the\n"
    "                primary is frozen and the backup has replayed that far\n"
    "  hold-acks     backup: keep acknowledgements back, the guest's output waits\n"
    "  release-acks  backup: send them\n"
    "  attach        a guest that is alone: attach a backup now\n"
    "  start         a primary that waits for its backup: start without it\n"
    "  switchover    a protected primary: the backup takes over, nothing is lost;\n"
    "                comes back when the guest is live there\n"
    "  watch         follow an attach with a progress bar\n"
    "  replay        run a saved log again, offline: vmft replay --help\n"
    "  hold-attach, step-attach, release-attach\n"
    "                for drills: an attach stays in its phase, goes on into\n"
    "                the next, goes on\n"
    "  declare-dead  after a crash of both hosts: say that the VM runs nowhere, so\n"
    "                that it may be started again; vmft declare-dead --help\n"
    "  drill         does a fault to a protected VM, on purpose, and reports\n"
    "                what its clients saw; see vmft drill --help\n\n"
    "Exit status: 0 done, 1 refused by the monitor or (watch) the guest ended, 2 wrong usage, "
    "6 nobody answers there.";

static const struct argp_option option_table[] = {
    {"json", 'j', NULL, 0, "print the monitor's answer as it is, one JSON object", 0},
    {"timeout", 't', "SECONDS", 0, "wait no longer for an answer: 10 (digest: 600)", 0},
    {0},
};

struct call {
	const char *verb;
	const char *side; /* as given: a socket's path or a VM's name */
	char socket[VMFT_SOCKET_PATH_MAX];
	unsigned seconds; /* to wait for an answer; 0: as the verb needs */
	bool json;
};

static bool verb_is_known(const char *name)
{
	const char *known;

	if (strcmp(name, WATCH) == 0)
		return true;
	for (int i = 0; (known = vmft_control_verb_name((enum vmft_control_verb)i)); i++)
		if (strcmp(known, name) == 0)
			return true;
	return false;
}

static unsigned parse_seconds(const char *text, struct argp_state *state)
{
	const size_t n = strlen(text);

	if (n == 0 || n > 5 || strspn(text, "0123456789") != n || atoi(text) == 0)
		argp_error(state, "--timeout=%s: from 1 to 99999", text);
	return (unsigned)atoi(text);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct call *call = state->input;

	switch (key) {
	case 't':
		call->seconds = parse_seconds(arg, state);
		return 0;
	case 'j':
		call->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0 && !verb_is_known(arg))
			argp_error(state, "no such command: %s", arg);
		if (state->arg_num == 0)
			call->verb = arg;
		else if (state->arg_num == 1)
			call->side = arg;
		else
			argp_error(state, "one command, one VM: %s is too much", arg);
		return 0;
	case ARGP_KEY_END:
		if (!call->side)
			argp_error(state, "needs a command, and the name of a VM or the path of a "
					  "control socket");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool is_attaching(struct json_object *object)
{
	const char *state = vmft_cli_text(object, "state", "-");

	return strcmp(state, "attaching") == 0 || strcmp(state, "sealing") == 0;
}

/* "copying, round 2 [######----] 61 % 52 of 85 MB, 120 MB/s, 3 MB/s written, 0.3 s to go" */
static void describe_attach(struct json_object *object, char *text, size_t size)
{
	const double done = vmft_cli_number(object, "attach_done_bytes") / 1e6;
	const double left = vmft_cli_number(object, "attach_left_bytes") / 1e6;
	const double share = done + left > 0 ? done / (done + left) : 0;
	const double throttle = vmft_cli_number(object, "throttle_permille");
	char bar[BAR_WIDTH + 1];
	int n;

	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < (int)(share * BAR_WIDTH + 0.5) ? '#' : '-';
	bar[BAR_WIDTH] = '\0';
	n = snprintf(text, size,
		     "%s, round %.0f [%s] %3.0f %% %.0f of %.0f MB, %.0f MB/s, %.0f MB/s written, "
		     "%.1f s to go",
		     vmft_cli_text(object, "attach_phase", "-"),
		     vmft_cli_number(object, "attach_round"), bar, 100 * share, done, done + left,
		     vmft_cli_number(object, "attach_bytes_per_s") / 1e6,
		     vmft_cli_number(object, "attach_dirty_bytes_per_s") / 1e6,
		     vmft_cli_number(object, "attach_expected_ms") / 1000);
	if (throttle > 0 && n > 0 && (size_t)n < size)
		(void)snprintf(text + n, size - (size_t)n, ", guest slowed by %.0f %%",
			       throttle / 10);
}

/* "pause_ms_p50" and its two companions are one line: print_quantiles(). */
static const char *quantile_of(const char *key)
{
	const char *suffix = strrchr(key, '_');

	if (!suffix || (strcmp(suffix, "_p50") != 0 && strcmp(suffix, "_p99") != 0 &&
			strcmp(suffix, "_max") != 0))
		return NULL;
	return suffix + 1;
}

static void print_quantiles(struct json_object *object)
{
	json_object_object_foreach(object, key, value)
	{
		const char *quantile = quantile_of(key);
		char other[64];
		int stem;

		if (!quantile || strcmp(quantile, "p50") != 0)
			continue;
		stem = (int)(quantile - key);
		printf("%-24.*s median %s", stem - 1, key, json_object_get_string(value));
		(void)snprintf(other, sizeof(other), "%.*sp99", stem, key);
		printf(", p99 %s", vmft_cli_text(object, other, "-"));
		(void)snprintf(other, sizeof(other), "%.*smax", stem, key);
		printf(", worst %s\n", vmft_cli_text(object, other, "-"));
	}
}

static void print_fields(struct json_object *object)
{
	json_object_object_foreach(object, key, value)
	{
		if (strcmp(key, "ok") == 0 || strcmp(key, "events") == 0 || quantile_of(key))
			continue;
		printf("%-24s %s\n", key, value ? json_object_get_string(value) : "-");
	}
}

static void print_progress(struct json_object *object)
{
	char text[256];

	if (!is_attaching(object))
		return;
	describe_attach(object, text, sizeof(text));
	printf("%s\n", text);
}

static void print_events(struct json_object *object)
{
	struct json_object *list = NULL;
	double now = atof(vmft_cli_text(object, "now_ms", "-"));

	if (!json_object_object_get_ex(object, "events", &list) ||
	    !json_object_is_type(list, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *line = json_object_array_get_idx(list, i);

		printf("%10.1f s ago  %s\n", (now - atof(vmft_cli_text(line, "ms", "-"))) / 1000,
		       vmft_cli_text(line, "text", "-"));
	}
}

static int print(const struct call *call, const char *answer)
{
	struct json_object *object = vmft_cli_parse(answer);
	struct json_object *ok = NULL;
	bool done = json_object_object_get_ex(object, "ok", &ok) && json_object_get_boolean(ok);

	if (call->json) {
		puts(answer);
	} else if (!done) {
		(void)fprintf(stderr, "vmft: %s\n",
			      object ? vmft_cli_text(object, "error", "-") : answer);
	} else {
		print_fields(object);
		print_quantiles(object);
		print_progress(object);
		print_events(object);
	}
	json_object_put(object);
	return done ? VMFT_EXIT_OK : VMFT_EXIT_INTERNAL;
}

/* One look; *ret_over is set when there is nothing more to wait for. */
static int watch_once(const char *answer, bool tty, bool *ret_over)
{
	struct json_object *object = vmft_cli_parse(answer);
	const char *state = object ? vmft_cli_text(object, "state", "-") : "?";
	char text[256];
	int code = VMFT_EXIT_OK;

	if (object && is_attaching(object))
		describe_attach(object, text, sizeof(text));
	else
		(void)snprintf(text, sizeof(text), "%s, generation %s %s", state,
			       object ? vmft_cli_text(object, "generation", "-") : "?",
			       object ? vmft_cli_text(object, "attach_error", "-") : "");
	if (tty)
		printf("\r%-110.110s", text);
	else
		printf("%s\n", text);
	(void)fflush(stdout);
	*ret_over = true;
	if (strcmp(state, "ended") == 0 || strcmp(state, "fenced") == 0 ||
	    strcmp(state, "diverged") == 0)
		code = VMFT_EXIT_INTERNAL;
	else if (strcmp(state, "protected") != 0 && strcmp(state, "lagging") != 0)
		*ret_over = false;
	json_object_put(object);
	return code;
}

static int watch(int fd, char *answer, size_t size, int *ret_code)
{
	const bool tty = isatty(STDOUT_FILENO);
	bool over = false;
	int rc;

	for (;;) {
		rc = vmft_cli_ask(fd, "status", answer, size);
		if (rc < 0)
			break;
		*ret_code = watch_once(answer, tty, &over);
		if (over)
			break;
		(void)usleep(tty ? WATCH_TTY_US : WATCH_PLAIN_US);
	}
	if (tty)
		putchar('\n');
	return rc;
}

/* On a connection of its own: the first one waits for the end. */
static void say_state(const char *socket, char last[static 64])
{
	static char answer[VMFT_CLI_ANSWER_MAX];
	struct json_object *object = NULL;
	int fd = vmft_cli_connect(socket, VMFT_CLI_PATIENCE_S);

	if (fd < 0)
		return;
	if (vmft_cli_ask(fd, "status", answer, sizeof(answer)) == 0)
		object = vmft_cli_parse(answer);
	close(fd);
	if (object && strcmp(vmft_cli_text(object, "state", "-"), last) != 0) {
		(void)snprintf(last, 64, "%s", vmft_cli_text(object, "state", "-"));
		(void)fprintf(stderr, "%s, lag %.0f ms\n", last, vmft_cli_number(object, "lag_ms"));
	}
	json_object_put(object);
}

/* A child says how it gets on until the answer is there. */
static int switch_over(const struct call *call, int fd, char *answer, size_t size)
{
	char last[64] = "";
	pid_t child = call->json ? -1 : fork();
	int rc;

	if (child == 0)
		for (;;) {
			say_state(call->socket, last);
			(void)usleep(PROGRESS_US);
		}
	rc = vmft_cli_ask(fd, SWITCHOVER, answer, size);
	if (child > 0) {
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
	}
	return rc;
}

/* The commands that are not a question to a monitor. */
static const struct {
	const char *name; /* as in messages: "vmft NAME" */
	int (*run)(int argc, char *argv[]);
} commands[] = {
    {"vmft declare-dead", vmft_cli_declare_dead},
    {"vmft drill", vmft_cli_drill},
    {"vmft replay", vmft_cli_replay},
};

static unsigned patience_of(const char *verb)
{
	/* The monitor reads all of the guest's memory for a digest. */
	if (strcmp(verb, "digest") == 0)
		return DIGEST_PATIENCE_S;
	return strcmp(verb, SWITCHOVER) == 0 ? SWITCHOVER_PATIENCE_S : VMFT_CLI_PATIENCE_S;
}

static int carry_out(const struct call *call)
{
	static char answer[VMFT_CLI_ANSWER_MAX];
	const bool watches = strcmp(call->verb, WATCH) == 0;
	const unsigned seconds = call->seconds ? call->seconds : patience_of(call->verb);
	int code = VMFT_EXIT_OK;
	int fd = vmft_cli_connect(call->socket, seconds);
	int rc = fd;

	if (fd >= 0 && watches)
		rc = watch(fd, answer, sizeof(answer), &code);
	else if (fd >= 0 && strcmp(call->verb, SWITCHOVER) == 0)
		rc = switch_over(call, fd, answer, sizeof(answer));
	else if (fd >= 0)
		rc = vmft_cli_ask(fd, call->verb, answer, sizeof(answer));
	if (rc < 0)
		vmft_cli_explain(call->socket, fd, rc, seconds);
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		return VMFT_EXIT_ADDRESS;
	return watches ? code : print(call, answer);
}

static int ask_monitor(int argc, char *argv[])
{
	const struct argp argp = {
	    .options = option_table,
	    .parser = parse_option,
	    .args_doc = "COMMAND NAME|SOCKET",
	    .doc = doc,
	};
	struct vmft_error err = {0};
	struct call call = {0};

	argp_parse(&argp, argc, argv, 0, NULL, &call);
	if (vmft_socket_find(VMFT_SOCKET_DIRECTORY, call.side, call.socket, sizeof(call.socket),
			     &err) == 0)
		return carry_out(&call);
	(void)fprintf(stderr, "vmft: %s\n", err.text);
	return err.exit_code;
}

int main(int argc, char *argv[])
{
	argp_err_exit_status = VMFT_EXIT_CONFIG;
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], strchr(commands[i].name, ' ') + 1) != 0)
			continue;
		/* argp names a program by argv[0]. */
		argv[1] = (char *)commands[i].name;
		return commands[i].run(argc - 1, argv + 1);
	}
	return ask_monitor(argc, argv);
}
