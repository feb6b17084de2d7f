/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Log entries as QEMU's record/replay writes them: where each begins and ends.
 *
 * Source: replay/replay-internal.h, replay-events.c, replay-input.c, replay-audio.c of
 * QEMU 7.2 (log version 0xe0200c). One byte of kind, then a body; numbers big-endian.
 * The enum shifts between QEMU versions: a table row per version is what a second
 * version will need, and every other version is refused before a guest starts.
 */
#ifndef VMFT_EVENT_H
#define VMFT_EVENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VMFT_LOG_VERSION_QEMU_7_2 0xe0200cu

/* QEMU writes this many bytes of header before the first event and skips them on reading. */
#define VMFT_LOG_HEADER_BYTES 12

enum vmft_event_kind {
	VMFT_EVENT_INSTRUCTION = 0,
	VMFT_EVENT_INTERRUPT = 1,
	VMFT_EVENT_EXCEPTION = 2,
	VMFT_EVENT_BH = 3,
	VMFT_EVENT_BH_ONESHOT = 4,
	VMFT_EVENT_INPUT = 5,
	VMFT_EVENT_INPUT_SYNC = 6,
	VMFT_EVENT_CHAR_READ = 7,
	VMFT_EVENT_BLOCK = 8,
	VMFT_EVENT_NET = 9,
	VMFT_EVENT_SHUTDOWN = 10,
	VMFT_EVENT_SHUTDOWN_LAST = 21,
	VMFT_EVENT_CHAR_WRITE = 22,
	VMFT_EVENT_CHAR_READ_ALL = 23,
	VMFT_EVENT_CHAR_READ_ALL_ERROR = 24,
	VMFT_EVENT_AUDIO_OUT = 25,
	VMFT_EVENT_AUDIO_IN = 26,
	VMFT_EVENT_RANDOM = 27,
	VMFT_EVENT_CLOCK_HOST = 28,
	VMFT_EVENT_CLOCK_VIRTUAL_RT = 29,
	VMFT_EVENT_CHECKPOINT = 30,
	VMFT_EVENT_CHECKPOINT_LAST = 38,
	VMFT_EVENT_END = 39,
	VMFT_EVENT_KINDS = 40,
};

/* The longest event accepted; a tap frame is at most 69 KiB, the rest is far smaller. */
#define VMFT_EVENT_MAX (1u << 20)

/* Bytes of an event that are enough to know its length, whatever its kind. */
#define VMFT_EVENT_HEAD_MAX 17

/*
 * The whole length in bytes of the event that begins at head, of which n bytes are
 * there. 0: more bytes are needed to tell. -EBADMSG: unknown kind, or longer than
 * VMFT_EVENT_MAX.
 */
ssize_t vmft_event_length(const uint8_t *head, size_t n);

/*
 * Follows a log fed in pieces of any size and knows at each moment up to where it may be
 * cut. A cut is safe only behind a whole event that is not INSTRUCTION: QEMU's replayer
 * runs the instructions, then insists on the event they led to (replay_char_write_event_load
 * in replay/replay-char.c exits QEMU if it is missing), and QEMU always writes the two
 * together.
 */
struct vmft_log_cursor {
	uint64_t fed;	   /* bytes fed so far, the log position */
	uint64_t boundary; /* last safe cut, <= fed */
	uint64_t events;   /* whole events up to fed */
	int64_t guest_ns;  /* value of the last CLOCK_VIRTUAL_RT event */
	uint64_t left;	   /* body bytes of the current event still to come */
	uint8_t head[VMFT_EVENT_HEAD_MAX];
	uint8_t have; /* bytes of head held; 0 between events */
	_Bool ended;  /* END was seen: nothing may follow */
};

void vmft_log_cursor_init(struct vmft_log_cursor *cursor, uint64_t position);

/*
 * 0, or -EBADMSG when the bytes are no log (unknown kind, oversized, bytes after END);
 * the cursor is then of no more use.
 */
int vmft_log_cursor_feed(struct vmft_log_cursor *cursor, const uint8_t *bytes, size_t n);

#endif
