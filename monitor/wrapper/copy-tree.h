/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and directories of the host's, copied and removed. Each returns 0 or a negative errno. */
#ifndef VMFT_COPY_TREE_H
#define VMFT_COPY_TREE_H

#include <stdint.h>
#include <sys/types.h>

/* Makes the directory, and those above it that are missing. */
int vmft_directories_make(const char *path);

/* Copies a file to a new one. */
int vmft_file_copy(const char *from, const char *to, mode_t mode);

/*
 * Copies the directory from, and what is in it, to the directory to, which is made. What a symbolic
 * link leads to is copied in its place; a link that leads nowhere is left out. *bytes grows by what
 * was copied; -EFBIG when it would be more than max_bytes.
 */
int vmft_tree_copy(const char *from, const char *to, uint64_t max_bytes, uint64_t *bytes);

/* Removes the directory and what is in it. Links are not followed. One that is not there is fine.
 */
int vmft_tree_remove(const char *path);

#endif
