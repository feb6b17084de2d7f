/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a saved log from inside the monitor's loop and never waits for the disk. What is appended
 * goes into one of two buffers while the other is being written. If the disk is full, broken or too
 * slow for that, the file ends where it is; nothing else depends on it.
 */
#ifndef VMFT_SAVEDLOG_WRITER_H
#define VMFT_SAVEDLOG_WRITER_H

#include "loop.h"
#include "savedlog.h"

#define VMFT_SAVEDLOG_BUFFER (4u * 1024 * 1024) /* each of two: the most that is not written */

struct vmft_savedlog_writer {
	struct vmft_loop *loop;
	/*
	 * Called once per file when it ends here. why is one line, valid until the callback
	 * returns.
	 */
	void (*failed)(void *user, const char *why);
	void *user;

	char directory[VMFT_SAVEDLOG_PATH_MAX + 1];
	char path[VMFT_SAVEDLOG_PATH_MAX + 1]; /* of the file; "": none is open */
	char stem[128];			       /* of its name */
	unsigned number;		       /* how many of that name there were */
	int fd;				       /* -1: none, or not open yet */
	bool closing;			       /* no more comes; closed once all is written */
	uint64_t offset;		       /* in the file, of what is being written */
	uint8_t *buffer[2];
	unsigned filling; /* which of the two */
	size_t filled;	  /* bytes in it */
	size_t flying;	  /* bytes of the other one still to be written */
	size_t flown;	  /* and already written */
	struct vmft_op op;
};

/* directory is copied. Allocates nothing yet. */
void vmft_savedlog_writer_init(struct vmft_savedlog_writer *writer, struct vmft_loop *loop,
			       const char *directory, void (*failed)(void *user, const char *why),
			       void *user);

/*
 * Begins DIRECTORY/NAME-gGENERATION-pSTART.vmftlog; ".1", ".2" and so on comes before the suffix if
 * there is one already. The file before must have been ended. 0 or a negative errno, also reported
 * to failed(): -E2BIG, -ENOMEM, -EBUSY while something of the file before is still under way.
 */
int vmft_savedlog_writer_begin(struct vmft_savedlog_writer *writer,
			       const struct vmft_savedlog_header *header);

bool vmft_savedlog_writer_is_open(const struct vmft_savedlog_writer *writer);
/* Nothing is under way: all is written, or there is no file. */
bool vmft_savedlog_writer_is_idle(const struct vmft_savedlog_writer *writer);

/* Does nothing while no file is open. */
void vmft_savedlog_writer_append(struct vmft_savedlog_writer *writer,
				 const struct vmft_savedlog_record *record);

/* Writes what has gathered; to be called every few milliseconds. */
void vmft_savedlog_writer_flush(struct vmft_savedlog_writer *writer);

/* No more comes: the file is closed when all of it is written. */
void vmft_savedlog_writer_end(struct vmft_savedlog_writer *writer);

/* Frees the buffers; not while the loop may still run. */
void vmft_savedlog_writer_fini(struct vmft_savedlog_writer *writer);

/* Removes all but the newest keep files of a VM in directory. Waits for the disk: before the loop
 * runs. 0 or a negative errno. */
int vmft_savedlog_prune(const char *directory, const char *name, unsigned keep);

#endif
