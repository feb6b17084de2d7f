/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft host look, vmft host listen: what vmft on another host runs here, through ssh. "look" reads
 * a request on stdin and prints what this host has of it (monitor/domain/look.h). "listen" reads a
 * line with an address on stdin and is the one end of a measurement (monitor/domain/link-probe.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "logging-channel/read-whole.h"
#include "monitor/common/exit-codes.h"
#include "monitor/domain/link-probe.h"
#include "monitor/domain/look.h"
#include "monitor/domain/serve.h"

#define JSON_DEPTH 8

static int usage(void)
{
	(void)fprintf(stderr,
		      "vmft host: it is run by vmft on another host: vmft host look, apply, "
		      "forget or listen\n");
	return VMFT_EXIT_CONFIG;
}

static struct json_object *read_request(void)
{
	struct json_tokener *tokener = json_tokener_new_ex(JSON_DEPTH);
	char *bytes = malloc(VMFT_LOOK_BYTES_MAX);
	struct json_object *request = NULL;
	ssize_t n = -1;

	if (bytes)
		n = vmft_read_whole(STDIN_FILENO, bytes, VMFT_LOOK_BYTES_MAX, VMFT_READ_FOREVER);
	if (n > 0 && tokener)
		request = json_tokener_parse_ex(tokener, bytes, (int)n);
	free(bytes);
	json_tokener_free(tokener);
	return request;
}

static int serve(const char *verb)
{
	struct json_object *request = read_request(), *answer;

	if (!json_object_is_type(request, json_type_object)) {
		json_object_put(request);
		(void)fprintf(stderr, "vmft host: the request on stdin is no JSON object\n");
		return VMFT_EXIT_CONFIG;
	}
	answer = vmft_serve(verb, request);
	(void)puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN));
	json_object_put(answer);
	json_object_put(request);
	return fflush(stdout) == 0 ? VMFT_EXIT_OK : VMFT_EXIT_INTERNAL;
}

static int listen_once(void)
{
	struct vmft_channel_address address;
	char line[80] = "";
	int r;

	if (!fgets(line, sizeof(line), stdin))
		return usage();
	line[strcspn(line, "\n")] = '\0';
	r = vmft_channel_address_parse(line, &address);
	if (r == 0)
		r = vmft_link_listen(&address);
	if (r == 0)
		return VMFT_EXIT_OK;
	(void)fprintf(stderr, "vmft host: %s: %s\n", line, strerror(-r));
	return VMFT_EXIT_ADDRESS;
}

int vmft_cli_host(int argc, char *argv[], const char *help)
{
	(void)help;
	if (argc != 2)
		return usage();
	if (vmft_serve_knows(argv[1]))
		return serve(argv[1]);
	if (strcmp(argv[1], "listen") == 0)
		return listen_once();
	return usage();
}
