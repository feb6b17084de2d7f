/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Log entries for people: what each kind is called and what stands in it. The names of QEMU's are
 * those of its source; ours are "output", "digest" and "clock-set".
 */
#ifndef VMFT_EVENT_TEXT_H
#define VMFT_EVENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log-format.h"

#define VMFT_EVENT_FIELDS_MAX 5u
#define VMFT_EVENT_TEXT_MAX   64u /* longer ones are cut */

struct vmft_event_field {
	const char *name;
	bool is_text;
	int64_t number;
	char text[VMFT_EVENT_TEXT_MAX];
};

/* "instruction", "net", "checkpoint", ...: a string constant; "unknown" if no entry begins with
 * this byte. Kinds that differ in one number only (shutdown, checkpoint, clock) have one name. */
const char *vmft_event_kind_name(const struct vmft_log_format *format, uint8_t number);
/* Whether some entry of some format is called so. */
bool vmft_event_is_kind_name(const char *name);

/* What a whole entry of n bytes says, in order. Returns how many fields were filled. */
size_t vmft_event_fields(const struct vmft_log_format *format, const uint8_t *bytes, size_t n,
			 struct vmft_event_field ret[static VMFT_EVENT_FIELDS_MAX]);

/* "clock host 1700000000000000000": the name and the fields' values; cut if size is short. */
void vmft_event_line(const struct vmft_log_format *format, const uint8_t *bytes, size_t n,
		     char *text, size_t size);

#endif
