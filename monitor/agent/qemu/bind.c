/* SPDX-License-Identifier: GPL-2.0-or-later */
/* port.h: which QEMU this is, and where its symbols are. */
#include "inside.h"

#include <errno.h>

struct vmft_qemu vmft_qemu;

static const char *bind_symbols(struct vmft_qemu_symbols *s, vmft_qemu_lookup *lookup)
{
#define VMFT_QEMU_BIND(name)                                                                       \
	do {                                                                                       \
		void *found = lookup(#name);                                                       \
                                                                                                   \
		if (!found)                                                                        \
			return #name;                                                              \
		memcpy(&s->name, &found, sizeof(found));                                           \
	} while (0);
#define VMFT_QEMU_OBJECT(type, name, size)	    VMFT_QEMU_BIND(name)
#define VMFT_QEMU_FUNCTION(result, name, arguments) VMFT_QEMU_BIND(name)
#define VMFT_GLIB_FUNCTION			    VMFT_QEMU_FUNCTION
#include "symbols.def"
#undef VMFT_QEMU_OBJECT
#undef VMFT_QEMU_FUNCTION
#undef VMFT_QEMU_BIND
	return NULL;
}

int vmft_qemu_choose(const char *version)
{
	const struct vmft_qemu_series *series = vmft_qemu_series_find(version);

	if (!series)
		return -EPROTO;
	vmft_qemu.format = vmft_log_format_find(series->log_version);
	if (!vmft_qemu.format)
		return -EPROTO;
	vmft_qemu.series = series;
	vmft_qemu.field = series->field;
	return 0;
}

const char *vmft_qemu_bind(vmft_qemu_lookup *lookup)
{
	const char *missing = bind_symbols(&vmft_qemu.symbols, lookup);

	return missing ? missing : vmft_qemu.series->ops.bind(lookup);
}

const char *vmft_qemu_name(void)
{
	return vmft_qemu.series->name;
}

const struct vmft_log_format *vmft_qemu_log_format(void)
{
	return vmft_qemu.format;
}
