/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The formats of QEMU's record/replay log: which number stands for which kind of event, and how
 * long each is. A format is one constant in a file of its own, and a line of log-format.c; it is
 * chosen by the log's version, the first word of such a log. QEMU 7.2 to 10.0 write the same one.
 *
 * In every format an event is one byte, its number, then a body; numbers are big-endian. Numbers
 * from VMFT_ENTRY_OUTPUT on are those of vmft's own entries (event.h), in every format.
 */
#ifndef VMFT_LOG_FORMAT_H
#define VMFT_LOG_FORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VMFT_LOG_VERSION_QEMU_7_2 0xe0200cu /* REPLAY_VERSION in replay/replay.c */

/* What an event is, whatever its number. */
enum vmft_event_kind {
	VMFT_EVENT_NONE, /* no event has this number */
	VMFT_EVENT_INSTRUCTION,
	VMFT_EVENT_INTERRUPT,
	VMFT_EVENT_EXCEPTION,
	VMFT_EVENT_BH,
	VMFT_EVENT_BH_ONESHOT,
	VMFT_EVENT_INPUT,
	VMFT_EVENT_INPUT_SYNC,
	VMFT_EVENT_CHAR_READ,
	VMFT_EVENT_BLOCK,
	VMFT_EVENT_NET,
	VMFT_EVENT_SHUTDOWN, /* QEMU ends */
	VMFT_EVENT_RESET,    /* the same event of QEMU's, for a cause that only resets the guest */
	VMFT_EVENT_CHAR_WRITE,
	VMFT_EVENT_CHAR_READ_ALL,
	VMFT_EVENT_CHAR_READ_ALL_ERROR,
	VMFT_EVENT_AUDIO_OUT,
	VMFT_EVENT_AUDIO_IN,
	VMFT_EVENT_RANDOM,
	VMFT_EVENT_CLOCK_HOST,
	VMFT_EVENT_CLOCK_VIRTUAL_RT,
	VMFT_EVENT_CHECKPOINT_WARP_START,
	VMFT_EVENT_CHECKPOINT_WARP_ACCOUNT,
	VMFT_EVENT_CHECKPOINT_HOST,
	VMFT_EVENT_CHECKPOINT_VIRTUAL_RT,
	VMFT_EVENT_CHECKPOINT_RESET,
	VMFT_EVENT_CHECKPOINT_PAUSE, /* the guest asked for a reset or to sleep: QEMU pauses it */
	VMFT_EVENT_CHECKPOINT,	     /* another one, which vmft does not tell apart */
	VMFT_EVENT_END,
	VMFT_EVENT_OURS, /* an entry of vmft's own */
	VMFT_EVENT_KINDS,
};

struct vmft_event_type {
	enum vmft_event_kind kind;
	uint8_t bytes; /* its whole length; 0: length() tells it */
	/* As vmft_event_length(). */
	ssize_t (*length)(const uint8_t *head, size_t n);
	const char
	    *detail; /* the cause of a shutdown, the name of a checkpoint; NULL: of no other */
};

struct vmft_log_format {
	uint32_t version;
	uint8_t end;			    /* number of VMFT_EVENT_END */
	const struct vmft_event_type *type; /* by number */
	unsigned type_count;
	const char *const *input_name; /* by the first word of VMFT_EVENT_INPUT */
	unsigned input_name_count;
};

/* NULL: no such format is known. */
const struct vmft_log_format *vmft_log_format_find(uint32_t version);

/* NULL: the format has no event of this number. */
static inline const struct vmft_event_type *vmft_event_type(const struct vmft_log_format *format,
							    uint8_t number)
{
	return number < format->type_count ? &format->type[number] : NULL;
}

#endif
