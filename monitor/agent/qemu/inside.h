/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The running QEMU, as the files of this folder see it. No other file of the agent includes this;
 * the unit tests do, because they play QEMU.
 */
#ifndef VMFT_QEMU_INSIDE_H
#define VMFT_QEMU_INSIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "port.h"
#include "series.h"

/* QEMU's Notifier (include/qemu/notify.h): a function and its place in a list. */
struct vmft_qemu_notifier {
	void (*notify)(struct vmft_qemu_notifier *notifier, void *data);
	void *node[2];
};

/* NOLINTBEGIN(bugprone-macro-parentheses): these are declarations */
struct vmft_qemu_symbols {
#define VMFT_QEMU_OBJECT(type, name, size)	    type *name;
#define VMFT_QEMU_FUNCTION(result, name, arguments) result(*name) arguments;
#define VMFT_GLIB_FUNCTION			    VMFT_QEMU_FUNCTION
#include "symbols.def"
#undef VMFT_QEMU_OBJECT
#undef VMFT_QEMU_FUNCTION
};
/* NOLINTEND(bugprone-macro-parentheses) */

/* Numbers of QEMU's enumerations, which vmft_qemu_bind() finds by their names. */
struct vmft_qemu_names {
	int state[VMFT_QEMU_OTHER_STATE]; /* RunState */
	int cause_load;			  /* ShutdownCause: a snapshot is loaded */
	int cause_reset;		  /* ShutdownCause: QMP's system_reset */
	int replay_record;		  /* ReplayMode */
	int end_poweroff, end_pause;	  /* ShutdownAction */
};

struct vmft_qemu {
	const struct vmft_qemu_series *series;
	struct vmft_qemu_place place[VMFT_QEMU_FIELDS]; /* of the series' fields in this build */
	const struct vmft_log_format *format;
	struct vmft_qemu_symbols symbols;
	struct vmft_qemu_names names;
	struct vmft_qemu_notifier notifier; /* of vmft_qemu_on_end() */
	bool (*pauses_at_end)(void);
};

/* vmft_qemu_choose() and vmft_qemu_bind() write it in the constructor, vmft_qemu_on_end() in the
 * main thread. Nothing changes after that. */
extern struct vmft_qemu vmft_qemu __attribute__((visibility("hidden")));

static inline int vmft_qemu_state_number(enum vmft_qemu_state state)
{
	return vmft_qemu.names.state[state];
}

/* A field of the struct at base, of up to eight bytes, as an unsigned number. x86 has the lowest
 * byte first. */
static inline uint64_t vmft_qemu_field_get(const void *base, enum vmft_qemu_field_id id)
{
	const struct vmft_qemu_place *place = &vmft_qemu.place[id];
	uint64_t value = 0;

	memcpy(&value, (const uint8_t *)base + place->offset, place->bytes);
	return value;
}

static inline void vmft_qemu_field_set(void *base, enum vmft_qemu_field_id id, uint64_t value)
{
	const struct vmft_qemu_place *place = &vmft_qemu.place[id];

	memcpy((uint8_t *)base + place->offset, &value, place->bytes);
}

#endif
