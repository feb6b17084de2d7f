/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a host has of what a domain needs. "vmft check" asks each of the two hosts, this one
 * directly, the other by running "vmft host" there. Request and answer are JSON objects.
 *
 * Request: "vm" the domain's name; "line" its command line as libvirt makes it on that host;
 * "strategy" by name; "disks" a list of {"path", "format"}; "bridges" names; "taps" names;
 * "channel" the host's "IP:PORT"; "arbiter" as in a pair file; "token" a text to be left at the
 * arbiter, or "seek": true. What a request does not have is not looked at.
 *
 * Answer, of the same parts: conditions.c has what is read of it.
 */
#ifndef VMFT_LOOK_H
#define VMFT_LOOK_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "monitor/common/error.h"

#define VMFT_LOOK_BYTES_MAX (1024u * 1024) /* of a request, and of an answer */

/* Looks at this host. The caller frees the answer with json_object_put(). It is never NULL: what
 * could not be found out is in it, in words. */
struct json_object *vmft_look(struct json_object *request);

/* A member of an object that another host sent. Those of another type, and those that are missing,
 * are "" or 0. */
const char *vmft_look_text(struct json_object *object, const char *name);
int64_t vmft_look_number(struct json_object *object, const char *name);
bool vmft_look_truth(struct json_object *object, const char *name);
/* NULL: it is not there, or of another type. */
struct json_object *vmft_look_list(struct json_object *object, const char *name);
struct json_object *vmft_look_object(struct json_object *object, const char *name);
/* The item of a list whose member key is text, among the first 64. NULL: none is, or list is NULL.
 */
struct json_object *vmft_look_find(struct json_object *list, const char *key, const char *text);

#endif
