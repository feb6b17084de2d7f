/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft declare-dead: a person says that a VM runs nowhere.
 *
 * After a crash of both hosts the arbiter's latest generation has no end on record: nobody but a
 * person can know that its guest is not running. This adds that end. It removes nothing, so a
 * side that slept through all of it finds its generation ended, and loses.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "cli.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/local-address.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/arbiter/pair-arbiter.h"

struct request {
	const char *vm; /* as given: a name or a pair file */
	bool yes;
	bool json;
	char pair_file[VMFT_PATH_MAX];
	struct vmft_pair_config config;
};

static const char doc[] =
    "Say that a VM runs nowhere, so that it may be started again.\v"
    "NAME stands for the pair file " VMFT_PAIR_DIRECTORY "/NAME.conf; a pair file may be named "
    "instead.\n\n"
    "This records at the arbiter that the latest generation has ended. It removes nothing: a side "
    "of the VM that is only stopped somewhere finds that it has lost. If the guest is running "
    "after all and you start the VM again, it runs twice. Look at each host of the pair file "
    "first.\n\n"
    "Exit status: 0 done, or there was nothing to do; 1 not done; 2 wrong usage or pair file; 7 "
    "a side of the VM runs on this host; 8 the arbiter gives no answer.";

static const struct argp_option option_table[] = {
    {"yes", 'y', NULL, 0, "do not ask", 0},
    {"json", 'j', NULL, 0, "print one JSON object; asks nothing, so it needs --yes", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case 'y':
		r->yes = true;
		return 0;
	case 'j':
		r->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num > 0)
			vmft_arguments_wrong(state, "name one VM only, without %s", arg);
		r->vm = arg;
		return 0;
	case ARGP_KEY_END:
		if (!r->vm)
			vmft_arguments_wrong(state, "needs the name of a VM, or its pair file");
		if (!r->yes && (r->json || !isatty(STDIN_FILENO)))
			vmft_arguments_wrong(
			    state, "this is not a terminal, so nobody can be asked: give --yes");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool names_file(const char *vm)
{
	const size_t n = strlen(vm);

	return strchr(vm, '/') || (n > 5 && strcmp(vm + n - 5, ".conf") == 0);
}

static int load(struct request *r, struct vmft_error *err)
{
	int n = names_file(r->vm) ? snprintf(r->pair_file, sizeof(r->pair_file), "%s", r->vm)
				  : snprintf(r->pair_file, sizeof(r->pair_file),
					     VMFT_PAIR_DIRECTORY "/%s.conf", r->vm);

	if (n < 0 || (size_t)n >= sizeof(r->pair_file))
		return vmft_error_set(err, -ENAMETOOLONG, VMFT_EXIT_CONFIG, "%.100s: too long",
				      r->vm);
	return vmft_pair_config_load(r->pair_file, &r->config, err);
}

/* The monitor of a side that is over answers too: its QEMU is kept so that it can be looked at. */
static bool is_over(const char *state)
{
	return strcmp(state, "fenced") == 0 || strcmp(state, "ended") == 0 ||
	       strcmp(state, "diverged") == 0;
}

/* NULL: nobody listens there, or that side has no guest (one in forming waits for a primary). */
static const char *running_state(const char *path)
{
	static struct vmft_status status;
	int rc = vmft_cli_status(path, VMFT_CLI_PATIENCE_S, &status);

	if (rc == -ENOENT || rc == -ECONNREFUSED)
		return NULL;
	/* A monitor that is there and gives no answer may be stopped. */
	if (rc < 0)
		return "not known";
	return is_over(status.state) || strcmp(status.state, "forming") == 0 ? NULL : status.state;
}

/* All that can be found out from here: whether a side of the VM runs on this host. */
static int check_host(const struct request *r, struct vmft_error *err)
{
	for (int host = 0; host < VMFT_HOST_COUNT; host++) {
		const char *path = r->config.host[host].control;
		const char *state;

		if (!r->config.has_host[host] ||
		    !vmft_address_is_local(&r->config.host[host].channel))
			continue;
		state = running_state(path);
		if (state)
			return vmft_error_set(err, -EBUSY, VMFT_EXIT_PEER,
					      "%s runs on this host, its state is %s (%s): end it "
					      "first",
					      r->config.name, state, path);
	}
	return 0;
}

static void explain(const struct request *r, const struct vmft_arbiter_latest *latest)
{
	printf("%s, arbiter %s\n"
	       "  generation %llu is held by \"%s\" and has not ended.\n"
	       "  This adds a record that it is over. The VM can then be started again, as\n"
	       "  generation %llu; a side that is only stopped somewhere loses.\n"
	       "  If the guest is still running on one of these hosts, it will run twice:\n",
	       r->config.name, r->config.arbiter, (unsigned long long)latest->generation,
	       latest->owner, (unsigned long long)latest->generation + 1);
	for (int host = 0; host < VMFT_HOST_COUNT; host++)
		if (r->config.has_host[host])
			printf("    %-8s %s\n",
			       vmft_pair_host_name(&r->config, (enum vmft_host)host),
			       r->config.host[host].channel.text);
	printf("Type the VM's name to go on: ");
	(void)fflush(stdout);
}

static bool is_agreed(const struct request *r, const struct vmft_arbiter_latest *latest)
{
	char line[VMFT_PAIR_NAME_MAX + 2] = "";

	if (r->yes)
		return true;
	explain(r, latest);
	if (!fgets(line, sizeof(line), stdin))
		return false;
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, r->config.name) == 0;
}

static void report(const struct request *r, const struct vmft_arbiter_latest *latest,
		   const char *what)
{
	struct json_object *object;

	if (!r->json) {
		printf("%s: generation %llu: %s\n", r->config.name,
		       (unsigned long long)latest->generation, what);
		return;
	}
	object = json_object_new_object();
	json_object_object_add(object, "name", json_object_new_string(r->config.name));
	json_object_object_add(object, "generation", json_object_new_uint64(latest->generation));
	json_object_object_add(object, "owner", json_object_new_string(latest->owner));
	json_object_object_add(object, "result", json_object_new_string(what));
	printf("%s\n", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

static int declare(const struct request *r, const struct vmft_arbiter_ops *ops,
		   struct vmft_arbiter *arbiter, struct vmft_error *err)
{
	struct vmft_arbiter_latest latest;
	int rc = ops->latest(arbiter, &latest, err);

	if (rc < 0)
		return rc;
	if (latest.generation == 0) {
		report(r, &latest, "none is on record, the VM can be started");
		return 0;
	}
	if (latest.ended) {
		report(r, &latest, "it has ended already, the VM can be started");
		return 0;
	}
	if (!is_agreed(r, &latest))
		return vmft_error_set(err, -ECANCELED, VMFT_EXIT_INTERNAL, "nothing was done");
	rc = ops->end(arbiter, latest.generation, latest.owner, VMFT_END_DECLARED, err);
	if (rc == 0)
		report(r, &latest, "declared dead, the VM can be started");
	return rc;
}

static int open_and_declare(const struct request *r, struct vmft_error *err)
{
	const struct vmft_arbiter_ops *ops;
	struct vmft_arbiter *arbiter;
	int rc = vmft_pair_arbiter_open(&r->config, r->pair_file, &ops, &arbiter, err);

	if (rc < 0)
		return rc;
	rc = declare(r, ops, arbiter, err);
	ops->close(arbiter);
	return rc;
}

int vmft_cli_declare_dead(int argc, char *argv[], const char *help)
{
	const struct argp argp = {
	    .options = option_table, .parser = parse_option, .args_doc = "NAME", .doc = doc};
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};
	static struct request r;
	int rc;

	(void)help;
	vmft_arguments_parse(&argp, argc, argv, &r);
	rc = load(&r, &err);
	if (rc == 0)
		rc = check_host(&r, &err);
	if (rc == 0)
		rc = open_and_declare(&r, &err);
	if (rc == 0)
		return VMFT_EXIT_OK;
	(void)fprintf(stderr, "vmft: %s\n", err.text);
	return err.exit_code;
}
