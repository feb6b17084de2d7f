/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words of a command line as "virsh domxml-to-native qemu-argv" prints it. */
#ifndef VMFT_NATIVE_LINE_H
#define VMFT_NATIVE_LINE_H

#include <stddef.h>

#include "monitor/wrapper/arena.h"

#define VMFT_NATIVE_LINE_MAX (256u * 1024)

/*
 * Takes line apart: blanks and newlines between words, '...' and \ as a shell has them (libvirt's
 * virCommandToString() writes no other quotes). The assignments of variables at its beginning are
 * left out, so that the first word is the emulator. *ret is NULL-terminated, in the arena. Returns
 * how many words, -EINVAL if a quote is open or there is no word, -E2BIG if the line is longer than
 * VMFT_NATIVE_LINE_MAX.
 */
int vmft_native_line_split(const char *line, struct vmft_arena *arena, char ***ret);

#endif
