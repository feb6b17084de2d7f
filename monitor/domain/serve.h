/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one host may ask of another: the verbs of "vmft host". */
#ifndef VMFT_SERVE_H
#define VMFT_SERVE_H

#include <json-c/json.h>
#include <stdbool.h>

bool vmft_serve_knows(const char *verb);

/* Does what the verb says (look.h, apply.h). Returns the answer, which the caller frees; "error" in
 * it says what did not work. The verb is one of those. */
struct json_object *vmft_serve(const char *verb, struct json_object *request);

#endif
