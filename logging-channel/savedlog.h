/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The file in which a backup saves its log: one header, then a record for each piece of log that it
 * held, in order. Big-endian; every length is capped. docs/savedlog.md has the layout byte by byte.
 * The end of a file may be torn: the backup's host had not written it when its power failed. A
 * reader tells a torn end apart from damage further up; everything before a torn end is good.
 */
#ifndef VMFT_SAVEDLOG_H
#define VMFT_SAVEDLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"
#include "frame.h"
#include "hello.h"

#define VMFT_SAVEDLOG_SUFFIX	  ".vmftlog"
#define VMFT_SAVEDLOG_VERSION	  1u
#define VMFT_SAVEDLOG_WORDS_MAX	  4096u /* of a command line */
#define VMFT_SAVEDLOG_CMDLINE_MAX (128u * 1024)
#define VMFT_SAVEDLOG_PATH_MAX	  4095u
#define VMFT_SAVEDLOG_HEADER_MAX  (VMFT_SAVEDLOG_CMDLINE_MAX + 16u * 1024)
#define VMFT_SAVEDLOG_RECORD_HEAD 32u
#define VMFT_SAVEDLOG_BYTES_MAX	  VMFT_FRAME_PAYLOAD_MAX
#define VMFT_SAVEDLOG_RECORD_MAX  (VMFT_SAVEDLOG_RECORD_HEAD + VMFT_SAVEDLOG_BYTES_MAX)

enum vmft_savedlog_kind {
	VMFT_SAVEDLOG_LOCKSTEP = 1,   /* records are log bytes, positions count them */
	VMFT_SAVEDLOG_CHECKPOINT = 2, /* records say when an epoch was held, without its bytes */
};

struct vmft_savedlog_header {
	uint8_t kind;	    /* enum vmft_savedlog_kind */
	bool attached;	    /* begins where a running guest was attached, not at its start */
	bool disks_by_size; /* the disks' digest is of their sizes only (disk-check = size) */
	uint64_t generation;
	uint64_t start;	      /* position of the first record */
	struct vmft_hello id; /* log version, build-id, digests, VM name; the rest is not kept */
	/* Where the command line's relative paths are of; "": not known. */
	char directory[VMFT_SAVEDLOG_PATH_MAX + 1];
	/*
	 * The path of the emulator, for a person to read. It is never run: a file must not say what
	 * is to be run.
	 */
	char qemu[VMFT_SAVEDLOG_PATH_MAX + 1];
	/* The backup's QEMU arguments as vmft-qemu was given them, each ended by a zero. */
	char *cmdline; /* of vmft_savedlog_header_free() after decoding */
	uint32_t cmdline_bytes;
};

/*
 * At most VMFT_SAVEDLOG_HEADER_MAX bytes are written; returns how many. -E2BIG: the command
 * line has more than VMFT_SAVEDLOG_CMDLINE_MAX bytes or VMFT_SAVEDLOG_WORDS_MAX words.
 */
ssize_t vmft_savedlog_header_encode(const struct vmft_savedlog_header *header, uint8_t *bytes);

/*
 * Returns the header's length and fills *ret, or 0 when more bytes are needed, or
 *   -EPROTO           not a saved log (wrong magic)
 *   -EPROTONOSUPPORT  one of another version
 *   -EBADMSG          damaged
 *   -ENOMEM
 * On anything but success *ret is garbage that needs no freeing.
 */
ssize_t vmft_savedlog_header_decode(const uint8_t *bytes, size_t n,
				    struct vmft_savedlog_header *ret);
/* Absolute and without control bytes: a header with another path is taken for damaged. */
bool vmft_savedlog_path_fits(const char *path);
/* What decoding allocated; NULL is fine. */
void vmft_savedlog_header_free(struct vmft_savedlog_header *header);

struct vmft_savedlog_record {
	uint64_t position;
	int64_t held_ns; /* CLOCK_REALTIME: when the backup held it */
	uint32_t length; /* of bytes; 0 in a checkpoint log */
	const uint8_t *bytes;
};

/*
 * Seals a record whose bytes are already at record + VMFT_SAVEDLOG_RECORD_HEAD; info->bytes is not
 * used. Returns the length of the whole record.
 */
size_t vmft_savedlog_record_seal(uint8_t *record, const struct vmft_savedlog_record *info);

/* The record's whole length, or 0 when more bytes are needed, or -EBADMSG. ret->bytes points
 * into bytes. */
ssize_t vmft_savedlog_record_decode(const uint8_t *bytes, size_t n,
				    struct vmft_savedlog_record *ret);

/* --- reading a file -------------------------------------------------------- */

struct vmft_savedlog_reader {
	int fd; /* the caller's */
	struct vmft_savedlog_header header;
	const struct vmft_log_format *format; /* of a lockstep log's bytes; not NULL then */
	uint64_t next;			      /* lockstep: where the next record must begin */
	uint64_t offset;		      /* in the file, of the next record */
	uint64_t records;		      /* read so far */
	uint64_t torn;	   /* bytes at the end that are ignored; once the end is reached */
	uint8_t *buffer;   /* owned */
	size_t have, used; /* in buffer */
};

/* Reads the header from fd, a file open for reading. 0, or what header_decode() returns (-EBADMSG
 * also if the file ends within it, -EPROTONOSUPPORT also if the format of QEMU's log is not known),
 * or a negative errno of reading. */
int vmft_savedlog_open(struct vmft_savedlog_reader *reader, int fd);
/* NULL and an all-zero struct are fine; fd stays open. */
void vmft_savedlog_close(struct vmft_savedlog_reader *reader);

/*
 * 1 and the next record, whose bytes are good until the next call; 0 at the end, a torn one
 * included; -EBADMSG: damaged at reader->offset, or the positions have a gap; or an errno of
 * reading.
 */
int vmft_savedlog_next(struct vmft_savedlog_reader *reader, struct vmft_savedlog_record *ret);

/* --- log entries ----------------------------------------------------------- */

struct vmft_savedlog_entry {
	uint64_t position; /* where it begins */
	int64_t held_ns;   /* when its last byte was held */
	const uint8_t *bytes;
	size_t length;
};

/* Log entries of any length, out of records that are cut anywhere. */
struct vmft_savedlog_entries {
	struct vmft_savedlog_reader *reader;
	uint64_t position; /* of the next entry */
	int64_t held_ns;
	uint8_t *buffer; /* owned */
	size_t have, used;
};

/* 0 or -ENOMEM. The reader is the caller's and read by nobody else meanwhile. */
int vmft_savedlog_entries_init(struct vmft_savedlog_entries *entries,
			       struct vmft_savedlog_reader *reader);
void vmft_savedlog_entries_fini(struct vmft_savedlog_entries *entries);

/*
 * 1 and the next entry, good until the next call; 0 at the end (an entry that is cut off there is
 * left out); -EBADMSG: the bytes at entries->position are no log; or as vmft_savedlog_next().
 */
int vmft_savedlog_entries_next(struct vmft_savedlog_entries *entries,
			       struct vmft_savedlog_entry *ret);

#endif
