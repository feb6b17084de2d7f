/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A snapshot of a side as JSON and back, by the table of fields. */
#ifndef VMFT_STATUS_JSON_H
#define VMFT_STATUS_JSON_H

#include <json-c/json.h>

#include "status-fields.h"

/* Adds each field that is there to object. */
void vmft_status_encode(const struct vmft_status *status, struct json_object *object);

/*
 * Fills *ret completely from an answer that may come from anybody and may be of another version:
 * what is missing or of another type is empty or 0, texts are cut and their control bytes become
 * '?', numbers are from 0 to VMFT_STATUS_NUMBER_MAX, lists are no longer than their array.
 * vmft_status.parts is the parts of which a field was there.
 */
#define VMFT_STATUS_NUMBER_MAX 9e18
void vmft_status_decode(struct json_object *object, struct vmft_status *ret);

#endif
