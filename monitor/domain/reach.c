/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "reach.h"

#include <errno.h>
#include <fcntl.h>
#include <libxml/uri.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "logging-channel/now.h"
#include "logging-channel/read-whole.h"
#include "look.h"
#include "monitor/common/exit-codes.h"
#include "serve.h"

#define WORDS_MAX  24u
#define JSON_DEPTH 8

extern char **environ;

/* --- the URI ------------------------------------------------------------------ */

/* The value of one parameter of the query, "a=b&c=d". */
static void parameter_of(const char *query, const char *name, char *ret, size_t size)
{
	const size_t n = strlen(name);

	ret[0] = '\0';
	while (query && *query) {
		const size_t len = strcspn(query, "&");

		if (len > n && strncmp(query, name, n) == 0 && query[n] == '=' &&
		    len - n - 1 < size) {
			char *plain = xmlURIUnescapeString(query + n + 1, (int)(len - n - 1), NULL);

			(void)snprintf(ret, size, "%s", plain ? plain : "");
			xmlFree(plain);
		}
		query += len;
		query += *query == '&';
	}
}

static bool copy(const char *text, char *ret, size_t size)
{
	const int n = snprintf(ret, size, "%s", text ? text : "");

	/* ssh would take it for an option. */
	return n >= 0 && (size_t)n < size && ret[0] != '-';
}

static int read_uri(const xmlURI *uri, struct vmft_reach *ret)
{
	const char *plus = uri->scheme ? strchr(uri->scheme, '+') : NULL;
	const size_t driver =
	    plus ? (size_t)(plus - uri->scheme) : strlen(uri->scheme ? uri->scheme : "");

	char no_verify[4];

	*ret = (struct vmft_reach){.is_here = !uri->server || !uri->server[0]};
	if (driver != 4 || strncmp(uri->scheme, "qemu", 4) != 0)
		return -EINVAL;
	if (!copy(uri->server, ret->host, sizeof(ret->host)) ||
	    !copy(uri->user, ret->user, sizeof(ret->user)))
		return -EINVAL;
	if (uri->port > 0)
		(void)snprintf(ret->port, sizeof(ret->port), "%d", uri->port);
	parameter_of(uri->query_raw, "command", ret->command, sizeof(ret->command));
	parameter_of(uri->query_raw, "keyfile", ret->keyfile, sizeof(ret->keyfile));
	parameter_of(uri->query_raw, "no_verify", no_verify, sizeof(no_verify));
	ret->no_verify = strcmp(no_verify, "1") == 0;
	if (!ret->is_here && (!plus || (strcmp(plus, "+ssh") != 0 && strcmp(plus, "+libssh") != 0 &&
					strcmp(plus, "+libssh2") != 0)))
		return -ENOTSUP;
	return 0;
}

int vmft_reach_parse(const char *text, struct vmft_reach *ret, struct vmft_error *err)
{
	struct vmft_reach reach;
	xmlURI *uri = xmlParseURI(text);
	int r = uri ? read_uri(uri, &reach) : -EINVAL;

	xmlFreeURI(uri);
	if (r == -ENOTSUP)
		return vmft_error_set(err, r, VMFT_EXIT_CONFIG,
				      "%.200s: vmft asks the other host through ssh; write "
				      "qemu+ssh://HOST/system",
				      text);
	if (r < 0)
		return vmft_error_set(err, r, VMFT_EXIT_CONFIG,
				      "%.200s: this is no URI of a QEMU host; write "
				      "qemu+ssh://HOST/system",
				      text);
	*ret = reach;
	return 0;
}

/* --- the process -------------------------------------------------------------- */

/* argv of what is run. The words are constants of this program: a shell on the other host reads
 * them. */
static void fill_words(const struct vmft_reach *reach, const char *const *words,
		       const char *argv[static WORDS_MAX])
{
	size_t n = 0;

	if (!reach->is_here) {
		argv[n++] = reach->command[0] ? reach->command : "ssh";
		argv[n++] = "-T";
		argv[n++] = "-o";
		argv[n++] = "BatchMode=yes";
		if (reach->port[0]) {
			argv[n++] = "-p";
			argv[n++] = reach->port;
		}
		if (reach->user[0]) {
			argv[n++] = "-l";
			argv[n++] = reach->user;
		}
		if (reach->keyfile[0]) {
			argv[n++] = "-i";
			argv[n++] = reach->keyfile;
		}
		if (reach->no_verify) {
			argv[n++] = "-o";
			argv[n++] = "StrictHostKeyChecking=no";
		}
		argv[n++] = "--";
		argv[n++] = reach->host;
		argv[n++] = "vmft";
	} else {
		argv[n++] = "vmft";
	}
	argv[n++] = "host";
	for (; *words && n < WORDS_MAX - 1; words++)
		argv[n++] = *words;
	argv[n] = NULL;
}

static int spawn(const struct vmft_reach *reach, const char *const *argv, int in, int out,
		 pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);

	if (r)
		return -r;
	r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	/* posix_spawn() changes none of the words. Here it is this program. */
	if (r == 0)
		r = posix_spawnp(ret, reach->is_here ? "/proc/self/exe" : argv[0], &actions, NULL,
				 (char *const *)(uintptr_t)argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -r;
}

int vmft_reach_start(const struct vmft_reach *reach, const char *const *words,
		     struct vmft_reach_process *ret, struct vmft_error *err)
{
	const char *argv[WORDS_MAX];
	int in[2] = {-1, -1}, out[2] = {-1, -1}, r = 0;

	fill_words(reach, words, argv);
	*ret = (struct vmft_reach_process){.in = -1, .out = -1};
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		r = -errno;
	if (r == 0)
		r = spawn(reach, argv, in[0], out[1], &ret->pid);
	if (r == 0) {
		ret->in = in[1];
		ret->out = out[0];
		in[1] = out[0] = -1;
	}
	for (int i = 0; i < 2; i++) {
		if (in[i] >= 0)
			(void)close(in[i]);
		if (out[i] >= 0)
			(void)close(out[i]);
	}
	return r < 0 ? vmft_error_set(err, r, VMFT_EXIT_INTERNAL, "%.200s: cannot be run: %s",
				      argv[0], strerror(-r))
		     : 0;
}

int vmft_reach_end(struct vmft_reach_process *process)
{
	int status = -1;

	if (process->pid <= 0)
		return -1;
	if (process->in >= 0)
		(void)close(process->in);
	if (process->out >= 0)
		(void)close(process->out);
	(void)kill(process->pid, SIGTERM);
	while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
		;
	*process = (struct vmft_reach_process){.in = -1, .out = -1};
	return status;
}

/* --- asking ------------------------------------------------------------------- */

/* The other end may be gone: the caller sees that in the answer. */
static void write_all(int fd, const char *bytes, size_t n)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

	(void)sigaction(SIGPIPE, &ignore, &before);
	while (n > 0) {
		const ssize_t done = write(fd, bytes, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			break;
		bytes += done;
		n -= (size_t)done;
	}
	(void)sigaction(SIGPIPE, &before, NULL);
}

static struct json_object *parse(const char *bytes, size_t n)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH);
	struct json_object *object;

	if (!tokener)
		return NULL;
	object = json_tokener_parse_ex(tokener, bytes, (int)n);
	json_tokener_free(tokener);
	if (object && json_object_is_type(object, json_type_object))
		return object;
	json_object_put(object);
	return NULL;
}

static int read_answer(const struct vmft_reach *reach, struct vmft_reach_process *process,
		       unsigned timeout_ms, struct json_object **ret, struct vmft_error *err)
{
	const char *where = reach->is_here ? "this host" : reach->host;
	char *bytes = malloc(VMFT_LOOK_BYTES_MAX);
	ssize_t got = -ENOMEM;

	if (bytes)
		got = vmft_read_whole(process->out, bytes, VMFT_LOOK_BYTES_MAX,
				      vmft_monotonic_ns() + timeout_ms * UINT64_C(1000000));
	*ret = got > 0 ? parse(bytes, (size_t)got) : NULL;
	free(bytes);
	if (*ret)
		return 0;
	if (got == -ETIMEDOUT)
		return vmft_error_set(err, -ETIMEDOUT, VMFT_EXIT_PEER,
				      "%s: no answer within %u s; try: ssh %s vmft --help", where,
				      timeout_ms / 1000, where);
	return vmft_error_set(
	    err, -EPROTO, VMFT_EXIT_PEER,
	    "%s: vmft there gives no answer; install the same vmft there, and let "
	    "this user run it: ssh %s vmft --help",
	    where, where);
}

int vmft_reach_ask(const struct vmft_reach *reach, const char *verb, struct json_object *request,
		   unsigned timeout_ms, struct json_object **ret, struct vmft_error *err)
{
	const char *const words[] = {verb, NULL};
	struct vmft_reach_process process;
	const char *text;
	int r;

	if (reach->is_here) {
		*ret = vmft_serve(verb, request);
		return 0;
	}
	r = vmft_reach_start(reach, words, &process, err);
	if (r < 0)
		return r;
	text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	write_all(process.in, text, strlen(text));
	(void)close(process.in);
	process.in = -1;
	r = read_answer(reach, &process, timeout_ms, ret, err);
	(void)vmft_reach_end(&process);
	return r;
}
