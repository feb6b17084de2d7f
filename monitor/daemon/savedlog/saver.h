/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The backup's log on its own disk, to be looked at afterwards (save-log in the pair file). The
 * strategy gives it the records that it holds; it knows nothing of frames. Nothing depends on it:
 * when the log cannot be saved, the journal says so once, and the pair goes on.
 */
#ifndef VMFT_SAVER_H
#define VMFT_SAVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "logging-channel/savedlog-writer.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/status/journal.h"

#define VMFT_SAVER_KEEP 8u /* files of a VM, the one that is begun next included */

/* What the pointers lead to outlives the saver. */
struct vmft_saver_settings {
	struct vmft_loop *loop;
	struct vmft_journal *journal;
	const struct vmft_pair_config *config;
	const struct vmft_hello *identity; /* of this side, for the file's header */
	enum vmft_savedlog_kind kind;	   /* of the strategy's records */
	int words_fd;			   /* QEMU's arguments, each ended by a zero; -1: none */
	bool wanted;			   /* this side was started as a backup */
};

struct vmft_saver {
	struct vmft_saver_settings settings;
	struct vmft_savedlog_writer writer;
	bool on;     /* wanted, the pair file asks for it, and it can be done */
	char *words; /* QEMU's arguments, each ended by a zero; owned */
	size_t words_bytes;
	char path[VMFT_SAVEDLOG_PATH_MAX + 1]; /* of the last file that was ended */
	char error[256];		       /* why nothing is saved any more; "": it is saved */
};

/* Copies the settings, touches no file. */
void vmft_saver_init(struct vmft_saver *saver, const struct vmft_saver_settings *settings);
/* Removes old files; to be called once this side's addresses are its own, so that a start that is
 * refused removes nothing. What goes wrong is said in the journal and does not stop the start. */
void vmft_saver_start(struct vmft_saver *saver);
void vmft_saver_fini(struct vmft_saver *saver);

/* The log begins at position: where a running guest was attached, or with the VM's start. */
void vmft_saver_begin(struct vmft_saver *saver, uint64_t generation, uint64_t position,
		      bool attached);
/* A record that the strategy holds: saved() in monitor/daemon/strategy.h. */
void vmft_saver_held(struct vmft_saver *saver, uint64_t position, const uint8_t *bytes, size_t n);
/* No more comes. */
void vmft_saver_end(struct vmft_saver *saver);
/* To be called every 20 ms. */
void vmft_saver_tick(struct vmft_saver *saver);
/* All is written. */
bool vmft_saver_is_quiet(const struct vmft_saver *saver);

/* The file that is, or was last, written; "" if there was none. */
const char *vmft_saver_path(const struct vmft_saver *saver);

#endif
