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

/* Returns NULL, or the name that has no number. */
static const char *bind_names(const struct vmft_qemu_symbols *s, struct vmft_qemu_names *ret)
{
	const struct {
		const struct vmft_qemu_enum *names;
		const char *name;
		int *ret;
	} wanted[] = {
	    {s->RunState_lookup, "inmigrate", &ret->state[VMFT_QEMU_AWAITS_STATE]},
	    {s->RunState_lookup, "io-error", &ret->state[VMFT_QEMU_DISK_FAILED]},
	    {s->RunState_lookup, "paused", &ret->state[VMFT_QEMU_PAUSED]},
	    {s->RunState_lookup, "finish-migrate", &ret->state[VMFT_QEMU_HALTED]},
	    {s->RunState_lookup, "running", &ret->state[VMFT_QEMU_RUNS]},
	    {s->RunState_lookup, "prelaunch", &ret->state[VMFT_QEMU_NOT_STARTED]},
	    {s->RunState_lookup, "shutdown", &ret->state[VMFT_QEMU_SWITCHED_OFF]},
	    {s->RunState_lookup, "suspended", &ret->state[VMFT_QEMU_SLEEPS]},
	    {s->ShutdownCause_lookup, "snapshot-load", &ret->cause_load},
	    {s->ShutdownCause_lookup, "host-qmp-system-reset", &ret->cause_reset},
	    {s->ReplayMode_lookup, "record", &ret->replay_record},
	    {s->ShutdownAction_lookup, "poweroff", &ret->end_poweroff},
	    {s->ShutdownAction_lookup, "pause", &ret->end_pause},
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		int number = 0;

		while (number < wanted[i].names->count &&
		       strcmp(wanted[i].names->name[number], wanted[i].name) != 0)
			number++;
		if (number == wanted[i].names->count)
			return wanted[i].name;
		*wanted[i].ret = number;
	}
	return NULL;
}

int vmft_qemu_choose(const char *version, const struct vmft_qemu_place places[])
{
	const struct vmft_qemu_series *series = vmft_qemu_series_find(version);

	if (!series)
		return -EPROTO;
	vmft_qemu.format = vmft_log_format_find(series->log_version);
	if (!vmft_qemu.format)
		return -EPROTO;
	for (size_t i = 0; i < VMFT_QEMU_FIELDS; i++)
		if (!vmft_qemu_place_is_good(&series->fields[i], &places[i]))
			return -EINVAL;
	vmft_qemu.series = series;
	memcpy(vmft_qemu.place, places, sizeof(vmft_qemu.place));
	return 0;
}

const char *vmft_qemu_bind(vmft_qemu_lookup *lookup)
{
	const char *missing = bind_symbols(&vmft_qemu.symbols, lookup);

	if (!missing)
		missing = vmft_qemu.series->ops.bind(lookup);
	return missing ? missing : bind_names(&vmft_qemu.symbols, &vmft_qemu.names);
}

const char *vmft_qemu_name(void)
{
	return vmft_qemu.series->name;
}

const struct vmft_log_format *vmft_qemu_log_format(void)
{
	return vmft_qemu.format;
}
