/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options that strategy lockstep treats in another way than the table of all (options.c): a QMP
 * monitor on a socket, as libvirt has it. The agent guards its commands: what would change the
 * guest outside the log is refused there (agent/qemu/monitors.c).
 */
#include <string.h>

#include "rewrite.h"

static int check_mon(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {.key = "chardev"},
	    {.key = "id"},
	    {"mode", "control", VMFT_REASON("what a person says there is not in the log"), true},
	    {.key = "pretty"},
	    {0},
	};

	/* Without mode= it is a human monitor. */
	if (!vmft_get(arg, "mode"))
		return vmft_refuse(rw, arg,
				   "what a person says to a human monitor is not in the log",
				   "use mode=control");
	return vmft_check_keys(rw, arg, rules);
}

static int check_chardev(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *backend = vmft_get(arg, "backend");

	/* vmft_lockstep_sockets() looks who uses it, when all options are known. */
	return backend && strcmp(backend, "socket") == 0 ? 0 : vmft_check_chardev(rw, arg);
}

static bool is_monitors(const struct vmft_rewrite *rw, const char *id)
{
	for (size_t i = 0; i < rw->arg_count; i++) {
		const struct vmft_arg *arg = &rw->args[i];
		const char *chardev =
		    strcmp(arg->option->name, "mon") == 0 ? vmft_get(arg, "chardev") : NULL;

		if (chardev && strcmp(chardev, id) == 0)
			return true;
	}
	return false;
}

void vmft_lockstep_sockets(struct vmft_rewrite *rw)
{
	for (size_t i = 0; i < rw->arg_count; i++) {
		struct vmft_arg *arg = &rw->args[i];
		const bool chardev = strcmp(arg->option->name, "chardev") == 0;
		const char *backend = chardev ? vmft_get(arg, "backend") : NULL;
		const char *id = chardev ? vmft_get(arg, "id") : NULL;

		if (backend && strcmp(backend, "socket") == 0 && !(id && is_monitors(rw, id)))
			(void)vmft_refuse(rw, arg,
					  "what comes in from a socket is not recorded, but for a "
					  "QMP monitor's",
					  "use backend file, null, pty or stdio");
	}
}

const struct vmft_option vmft_lockstep_options[] = {
    {"mon", true, false, check_mon, "chardev", VMFT_REASON("the agent guards its commands")},
    {"chardev", true, false, check_chardev, "backend", {0}},
    {0},
};
