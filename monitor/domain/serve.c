/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve.h"

#include <string.h>

#include "apply.h"
#include "look.h"

static struct json_object *outcome(int r, const struct vmft_error *err)
{
	struct json_object *answer = json_object_new_object();

	if (r < 0)
		json_object_object_add(answer, "error", json_object_new_string(err->text));
	return answer;
}

static struct json_object *apply(struct json_object *request)
{
	struct vmft_error err;
	const int r = vmft_apply(request, &err);

	return outcome(r, &err);
}

static struct json_object *forget(struct json_object *request)
{
	struct vmft_error err;
	const int r = vmft_forget(request, &err);

	return outcome(r, &err);
}

static const struct {
	const char *name;
	struct json_object *(*run)(struct json_object *request);
} verbs[] = {
    {"look", vmft_look},
    {"apply", apply},
    {"forget", forget},
};

#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

bool vmft_serve_knows(const char *verb)
{
	for (size_t i = 0; i < VERBS; i++)
		if (strcmp(verb, verbs[i].name) == 0)
			return true;
	return false;
}

struct json_object *vmft_serve(const char *verb, struct json_object *request)
{
	for (size_t i = 0; i < VERBS; i++)
		if (strcmp(verb, verbs[i].name) == 0)
			return verbs[i].run(request);
	return NULL;
}
