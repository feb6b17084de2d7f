/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control-request.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

/* Requests are flat; deeper nesting only costs stack. */
#define DEPTH_MAX 4

const char *vmft_control_verb_name(enum vmft_control_verb verb)
{
	static const char *const names[VMFT_CONTROL_VERBS] = {
	    [VMFT_CONTROL_STATUS] = "status",
	    [VMFT_CONTROL_FREEZE] = "freeze",
	    [VMFT_CONTROL_THAW] = "thaw",
	    [VMFT_CONTROL_DIGEST] = "digest",
	    [VMFT_CONTROL_HOLD_ACKS] = "hold-acks",
	    [VMFT_CONTROL_RELEASE_ACKS] = "release-acks",
	    [VMFT_CONTROL_ATTACH] = "attach",
	    [VMFT_CONTROL_START] = "start",
	    [VMFT_CONTROL_HOLD_ATTACH] = "hold-attach",
	    [VMFT_CONTROL_STEP_ATTACH] = "step-attach",
	    [VMFT_CONTROL_RELEASE_ATTACH] = "release-attach",
	    [VMFT_CONTROL_SWITCHOVER] = "switchover",
	    [VMFT_CONTROL_EVENTS] = "events",
	};

	return (unsigned)verb < VMFT_CONTROL_VERBS ? names[verb] : NULL;
}

static int verb_find(const char *name)
{
	for (int verb = 0; verb < VMFT_CONTROL_VERBS; verb++)
		if (strcmp(name, vmft_control_verb_name((enum vmft_control_verb)verb)) == 0)
			return verb;
	return -EBADMSG;
}

int vmft_control_request_parse(const char *line, size_t n, char *error, size_t error_bytes)
{
	struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	struct json_object *request = NULL;
	struct json_object *cmd = NULL;
	int verb = -EBADMSG;

	if (!tokener)
		return -ENOMEM;
	if (n < VMFT_CONTROL_REQUEST_MAX)
		request = json_tokener_parse_ex(tokener, line, (int)n);
	if (!json_object_is_type(request, json_type_object) ||
	    !json_object_object_get_ex(request, "cmd", &cmd) ||
	    !json_object_is_type(cmd, json_type_string)) {
		(void)snprintf(error, error_bytes, "a request is {\"cmd\":\"VERB\"} on one line");
	} else {
		verb = verb_find(json_object_get_string(cmd));
		if (verb < 0)
			(void)snprintf(error, error_bytes, "unknown cmd \"%.40s\"",
				       json_object_get_string(cmd));
	}
	json_object_put(request);
	json_tokener_free(tokener);
	return verb;
}
