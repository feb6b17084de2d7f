/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft check DOMAIN --backup URI: whether a domain of libvirt can be protected by these two hosts.
 * Every condition is tried on both hosts, and all that fail are said at once. Nothing is changed
 * but a token at the arbiter, by which the hosts find out that they reach the same one.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <json-c/json.h>
#include <stdio.h>

#include "arguments.h"
#include "checking.h"
#include "cli.h"
#include "monitor/common/exit-codes.h"

struct asked {
	struct vmft_checking checking;
	bool json;
};

static const struct argp_option option_table[] = {
    {"json", 'j', NULL, 0, "print one JSON object", 0},
    {0},
};

static const char doc[] =
    "Check whether a domain can be protected by two hosts.\v"
    "Each condition is tried on both hosts: vmft and QEMU there, the command line that libvirt "
    "makes, "
    "disks, networks, the channel with its round trip and rate, the arbiter, clocks. Without "
    "--arbiter "
    "and --channel those of /etc/vmft/DOMAIN.conf are taken if it is there; else the channel's "
    "addresses are those by which the hosts reach each other, with port 7700.\n\n"
    "Exit status: 0 the domain can be protected, 3 a condition failed, 2 wrong usage, 6 libvirt or "
    "the "
    "domain cannot be reached.";

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct asked *asked = state->input;

	(void)arg;
	switch (key) {
	case 'j':
		asked->json = true;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &asked->checking;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_json(const struct vmft_checking *c)
{
	struct json_object *object = json_object_new_object(), *list = json_object_new_array();

	for (size_t i = 0; i < c->found.count; i++) {
		const struct vmft_condition *item = &c->found.item[i];
		struct json_object *one = json_object_new_object();

		json_object_object_add(
		    one, "result",
		    json_object_new_string(vmft_condition_result_name(item->result)));
		json_object_object_add(one, "what", json_object_new_string(item->what));
		json_object_object_add(one, "text", json_object_new_string(item->text));
		json_object_array_add(list, one);
	}
	json_object_object_add(object, "domain", json_object_new_string(c->domain.name));
	json_object_object_add(object, "protectable",
			       json_object_new_boolean(c->found.failed == 0));
	json_object_object_add(object, "conditions", list);
	(void)puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
	json_object_put(object);
}

int vmft_cli_check(int argc, char *argv[], const char *help)
{
	const struct argp_child children[] = {{&vmft_checking_argp, 0, NULL, 0}, {0}};
	const struct argp argp = {.options = option_table,
				  .parser = parse_option,
				  .args_doc = "DOMAIN",
				  .doc = doc,
				  .children = children};
	static struct asked asked = {.checking = VMFT_CHECKING_INIT};
	struct vmft_checking *c = &asked.checking;
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};
	int r;

	(void)help;
	vmft_arguments_parse(&argp, argc, argv, &asked);
	r = vmft_checking_run(c, &err);
	if (r < 0)
		(void)fprintf(stderr, "vmft: %s\n", err.text);
	else if (asked.json)
		print_json(c);
	else
		vmft_checking_print(c, false);
	r = r < 0 ? err.exit_code : c->found.failed == 0 ? VMFT_EXIT_OK : VMFT_EXIT_UNPROTECTED;
	vmft_checking_fini(c);
	return r;
}
