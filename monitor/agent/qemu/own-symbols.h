/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the file of each series makes of the lists of symbols. A series' file defines VMFT_QEMU_OWN,
 * the name of its .def file, and includes this once:
 *
 *   symbols[]       all symbols of the series
 *   own.NAME        the functions of its own list, which bind() sets
 */
#ifndef VMFT_QEMU_OWN_SYMBOLS_H
#define VMFT_QEMU_OWN_SYMBOLS_H

#include "inside.h"

static const struct vmft_qemu_symbol symbols[] = {
#define VMFT_QEMU_OBJECT(type, name, size)	    {#name, size},
#define VMFT_QEMU_FUNCTION(result, name, arguments) {#name, 0},
#include "symbols.def"

/* Undefines VMFT_QEMU_FUNCTION. */
#include VMFT_QEMU_OWN
#undef VMFT_QEMU_OBJECT
    {NULL, 0},
};

static struct {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): these are declarations */
#define VMFT_QEMU_FUNCTION(result, name, arguments) result(*name) arguments;
#include VMFT_QEMU_OWN
} own;

static const char *bind(vmft_qemu_lookup *lookup)
{
#define VMFT_QEMU_FUNCTION(result, name, arguments)                                                \
	do {                                                                                       \
		void *found = lookup(#name);                                                       \
                                                                                                   \
		if (!found)                                                                        \
			return #name;                                                              \
		memcpy(&own.name, &found, sizeof(found));                                          \
	} while (0);
#include VMFT_QEMU_OWN
	return NULL;
}

#endif
