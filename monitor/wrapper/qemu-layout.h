/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the members of QEMU's structs are, read out of the tables by which QEMU's binary itself
 * describes them (monitor/agent/qemu/fields.def). A stripped binary has them too: a saved state is
 * written by them.
 */
#ifndef VMFT_QEMU_LAYOUT_H
#define VMFT_QEMU_LAYOUT_H

#include <libelf.h>
#include <stddef.h>

#include "monitor/agent/qemu/series.h"

/*
 * Fills ret[0..count - 1] with the places of fields. The file's content is not trusted: what is
 * read lies within it.
 *
 * 0, or a negative errno; ret is undefined then. -ENOENT: a field's table or its entry is not
 * there, or has another size; -EEXIST: there is more than one such table; *ret_bad is that field
 * for these two. -EINVAL: not a program that can be moved, -E2BIG: more pointers than any QEMU has,
 * -ENOMEM.
 */
int vmft_qemu_layout_read(Elf *elf, const struct vmft_qemu_field *fields,
			  struct vmft_qemu_place *ret, size_t count,
			  const struct vmft_qemu_field **ret_bad);

#endif
