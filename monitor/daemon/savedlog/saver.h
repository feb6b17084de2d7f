/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup's log on its own disk, for looking at it afterwards (save-log in the pair file).
 * Nothing depends on it: when it cannot be saved, that is said once, and the pair goes on.
 */
#ifndef VMFT_SAVER_H
#define VMFT_SAVER_H

#include <stdbool.h>
#include <stdint.h>

#include "logging-channel/savedlog-writer.h"

struct vmft_monitor;

#define VMFT_SAVER_KEEP 8u /* files of a VM, the one that is begun next included */

struct vmft_saver {
	struct vmft_savedlog_writer writer;
	bool on;	/* the pair file asks for it and this side was started as a backup */
	uint64_t epoch; /* checkpoint: the last one that was noted */
	char *words;	/* QEMU's arguments, each ended by a zero; owned */
	size_t words_bytes;
	char path[VMFT_SAVEDLOG_PATH_MAX + 1]; /* of the last file that was ended */
	char error[256];		       /* why nothing is saved any more; "": it is */
};

/* Touches no file. */
void vmft_saver_init(struct vmft_monitor *m);
/* Once this side's addresses are its own: removes old files. What is wrong is said, and no reason
 * not to start. */
void vmft_saver_start(struct vmft_monitor *m);
void vmft_saver_fini(struct vmft_saver *saver);

/* Log begins at position: where a running guest was attached, or at its start. */
void vmft_saver_begin(struct vmft_monitor *m, uint64_t position, bool attached);
/* A LOG frame was checked and is held; all is held up to held. */
void vmft_saver_held(struct vmft_monitor *m, const struct vmft_frame_info *frame, uint64_t held);
/* No more comes. */
void vmft_saver_end(struct vmft_saver *saver);
void vmft_saver_tick(struct vmft_saver *saver);
/* All is written. */
bool vmft_saver_is_quiet(const struct vmft_saver *saver);

/* The file that is, or was last, written; "" if there was none. */
const char *vmft_saver_path(const struct vmft_saver *saver);

#endif
