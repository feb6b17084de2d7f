/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What "vmft protect" changes on a host, here or through "vmft host apply" and "vmft host forget":
 * the pair file of a domain, and images that are missing.
 *
 * Request: "vm"; "pair" the pair file's text; "disks" a list of {"path", "bytes", "format"}. Each
 * is checked before anything is written. Answer: "error", or nothing.
 */
#ifndef VMFT_APPLY_H
#define VMFT_APPLY_H

#include <json-c/json.h>

#include "monitor/common/error.h"

/*
 * Writes the pair file, and makes each image that is not there: as long as bytes says, empty. An
 * image that is there is left alone, and so is a pair file that vmft protect did not write; -EEXIST
 * then. Returns 0, or a negative errno with *err filled; the pair file is written last.
 */
int vmft_apply(struct json_object *request, struct vmft_error *err);

/* Removes the pair file of "vm". Images stay. 0 also if there is none. */
int vmft_forget(struct json_object *request, struct vmft_error *err);

#endif
