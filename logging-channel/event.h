/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The entries of a log, QEMU's and vmft's own: where each begins and ends, and where a log may be
 * cut. What QEMU's entries are is the business of the log's format (log-format.h).
 */
#ifndef VMFT_EVENT_H
#define VMFT_EVENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "log-format.h"

/* QEMU writes this many bytes of header before the first event and skips them on reading. */
#define VMFT_LOG_HEADER_BYTES 12

/*
 * Entries of our own, which QEMU never sees: the tap adds them, the feed takes them out. Far from
 * QEMU's kinds, whose number grows from version to version.
 */
enum vmft_entry_kind {
	VMFT_ENTRY_OUTPUT = 0xe0, /* the guest has sent a frame: struct vmft_output_entry */
	VMFT_ENTRY_DIGEST = 0xe1, /* what it was like here: struct vmft_digest_entry */
	VMFT_ENTRY_CLOCK = 0xe2,  /* its clock is set: struct vmft_clock_entry */
	VMFT_ENTRY_BUTTON = 0xe3, /* somebody presses one: u8 enum vmft_button */
};

static inline _Bool vmft_event_is_ours(uint8_t kind)
{
	return kind >= VMFT_ENTRY_OUTPUT && kind <= VMFT_ENTRY_BUTTON;
}

/* The longest event accepted; a tap frame is at most 69 KiB, the rest is far smaller. */
#define VMFT_EVENT_MAX (1u << 20)

/* Bytes of an event that are enough to know its length, whatever its kind. */
#define VMFT_EVENT_HEAD_MAX 18

/* A frame: u32 length, u64 digest. */
#define VMFT_OUTPUT_ENTRY_BYTES (1u + 4 + 8)

struct vmft_output_entry {
	uint32_t length;
	uint64_t digest;
};

/* Writes VMFT_OUTPUT_ENTRY_BYTES. */
size_t vmft_output_entry_encode(const struct vmft_output_entry *entry, uint8_t *bytes);
/* A whole entry; its length was asked for before. */
void vmft_output_entry_decode(const uint8_t *bytes, struct vmft_output_entry *ret);

#define VMFT_DIGEST_PAGES_MAX  1024u
#define VMFT_DIGEST_HEAD_BYTES (1u + 2 + 8 + 4 + 4 + 4)
#define VMFT_DIGEST_ENTRY_MAX  (VMFT_DIGEST_HEAD_BYTES + 4 * VMFT_DIGEST_PAGES_MAX)

/* u16 count, u64 processor, u32 pages, u32 first, u32 stride, then count u32. The i-th digest is
 * that of page (first + i * stride) modulo pages. */
struct vmft_digest_entry {
	uint16_t count;
	uint64_t processor;
	uint32_t pages; /* all of the guest's; > 0 */
	uint32_t first, stride;
	uint32_t digest[VMFT_DIGEST_PAGES_MAX];
};

/* At most VMFT_DIGEST_ENTRY_MAX bytes. */
size_t vmft_digest_entry_encode(const struct vmft_digest_entry *entry, uint8_t *bytes);
/* n as vmft_event_length() said. 0, or -EBADMSG when the guest has no pages. */
int vmft_digest_entry_decode(const uint8_t *bytes, size_t n, struct vmft_digest_entry *ret);
uint32_t vmft_digest_entry_page(const struct vmft_digest_entry *entry, uint32_t i);

/* u8 shift, u64 bias, u64 host_ns. Behind CHECKPOINT_WARP_ACCOUNT only. */
#define VMFT_CLOCK_ENTRY_BYTES (1u + 1 + 8 + 8)
#define VMFT_CLOCK_SHIFT_MAX   10 /* QEMU's MAX_ICOUNT_SHIFT */

/* The guest's clock from here on: bias + (instructions << shift). */
struct vmft_clock_entry {
	uint8_t shift;
	int64_t bias;
	int64_t host_ns; /* where the host's clock was that the guest's is kept to */
};

/* Writes VMFT_CLOCK_ENTRY_BYTES. */
size_t vmft_clock_entry_encode(const struct vmft_clock_entry *entry, uint8_t *bytes);
/* A whole entry. 0, or -EBADMSG: QEMU knows no such shift. */
int vmft_clock_entry_decode(const uint8_t *bytes, struct vmft_clock_entry *ret);

#define VMFT_BUTTON_ENTRY_BYTES (1u + 1)

/* The machine's buttons. Behind an event that only the main loop writes. */
enum vmft_button {
	VMFT_BUTTON_POWER = 0, /* ACPI's: the guest decides what it does */
	VMFT_BUTTON_RESET = 1,
	VMFT_BUTTONS,
};

/* What the entry is that begins with this byte. */
enum vmft_event_kind vmft_event_kind(const struct vmft_log_format *format, uint8_t number);

/*
 * The whole length in bytes of the entry that begins at head, of which n bytes are there. 0: more
 * bytes are needed to tell. -EBADMSG: no entry begins so, or it is longer than VMFT_EVENT_MAX.
 */
ssize_t vmft_event_length(const struct vmft_log_format *format, const uint8_t *head, size_t n);

/*
 * Follows a log fed in pieces of any size and knows at each moment up to where it may be
 * cut. A cut is safe only after a whole event that is not INSTRUCTION: QEMU's replayer
 * runs the instructions, then insists on the event they led to (replay_char_write_event_load
 * in replay/replay-char.c exits QEMU if it is missing), and QEMU always writes the two
 * together. An entry of ours changes nothing of that: after it a cut is as safe as before it.
 */
struct vmft_log_cursor {
	const struct vmft_log_format *format;
	enum vmft_event_kind
	    kind;	   /* of the entry that is, or was last, fed; NONE: there was none */
	uint64_t fed;	   /* bytes fed so far, the log position */
	uint64_t boundary; /* last safe cut, <= fed */
	uint64_t begin;	   /* of the event that is, or was last, fed */
	uint64_t events;   /* QEMU's own whole events up to fed */
	uint64_t blocks;   /* of them, VMFT_EVENT_BLOCK */
	int64_t guest_ns;  /* value of the last CLOCK_VIRTUAL_RT event */
	int64_t host_ns;   /* of the last VMFT_ENTRY_CLOCK; 0: there was none */
	uint64_t left;	   /* body bytes of the current event still to come */
	uint8_t head[VMFT_EVENT_HEAD_MAX];
	uint8_t have; /* bytes of head held; 0 between events */
	_Bool ended;  /* END was seen: nothing may follow */
	_Bool leaves; /* a SHUTDOWN that is no reset was seen: QEMU goes, END is still to come */
};

void vmft_log_cursor_init(struct vmft_log_cursor *cursor, const struct vmft_log_format *format,
			  uint64_t position);

/*
 * 0, or -EBADMSG when the bytes are no log (no such entry, oversized, bytes after END);
 * the cursor is then of no more use.
 */
int vmft_log_cursor_feed(struct vmft_log_cursor *cursor, const uint8_t *bytes, size_t n);

/* The same, but ends before an entry of ours. Returns how many bytes were fed. */
ssize_t vmft_log_cursor_feed_qemu(struct vmft_log_cursor *cursor, const uint8_t *bytes, size_t n);

/* Between two events: what is fed next is a kind. */
static inline _Bool vmft_log_cursor_is_between(const struct vmft_log_cursor *cursor)
{
	return cursor->have == 0 && cursor->left == 0;
}

#endif
