/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Serial ports, and the files and terminals that they write to. Each file gets a name that makes
 * the agent open it instead of QEMU: a reader that does not read can then not stop the guest
 * (agent/console.c).
 */
#include <string.h>

#include "monitor/interface.h"
#include "rewrite.h"

#define FDSET "/dev/fdset/"

/* "-serial none" makes no port; everything else makes the next one. */
int vmft_check_serial(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_reason monitor = VMFT_MONITOR;

	for (size_t i = 0; i < rw->device_count; i++)
		if (rw->devices[i]->set &&
		    strcmp(vmft_get(rw->devices[i], "driver"), "isa-serial") == 0)
			return vmft_refuse(rw, arg, "both -serial and -device isa-serial",
					   "use -serial chardev:ID for each port");
	if (strncmp(arg->text, "mon:", 4) == 0)
		return vmft_refuse_for(rw, arg, &monitor, "leave out mon:");
	if (strcmp(arg->text, "none") == 0)
		return 0;
	if (!vmft_value_in(arg->text, "null|stdio|pty") && strncmp(arg->text, "file:", 5) != 0 &&
	    strncmp(arg->text, "chardev:", 8) != 0)
		return vmft_refuse(rw, arg, vmft_unknown(rw),
				   "use file:PATH, stdio, pty, null or chardev:ID");
	rw->serial_count++;
	return 0;
}

int vmft_check_chardev(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const struct vmft_key_rule rules[] = {
	    {"backend", "file|null|pty|stdio", {0}, true},
	    {"mux", "off", VMFT_MONITOR, true},
	    {.key = "id"},
	    {.key = "path"},
	    {.key = "append"},
	    {.key = "logfile"},
	    {.key = "logappend"},
	    {.key = "signal"},
	    {0},
	};

	return vmft_check_keys(rw, arg, rules);
}

/*
 * "/dev/fdset/N" names a descriptor that -add-fd has added to the set N. libvirt hands over the
 * pipe to its virtlogd this way. If a set has several, QEMU chooses by their open modes, so several
 * are refused. *ret is NULL if the set is empty: QEMU reports that.
 *
 * The agent opens the descriptor in QEMU's place. QEMU would close it before: to a set it adds a
 * copy (cleanup_add_fd() in softmmu/vl.c). So -add-fd is left out.
 */
static int added_fd(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char *set,
		    const char **ret)
{
	*ret = NULL;
	for (size_t i = 0; i < rw->arg_count; i++) {
		struct vmft_arg *added = &rw->args[i];
		const char *number, *fd;

		if (strcmp(added->option->name, "add-fd") != 0)
			continue;
		number = vmft_get(added, "set");
		fd = vmft_get(added, "fd");
		if (!number || !fd || strcmp(number, set) != 0)
			continue;
		if (*ret)
			return vmft_refuse(rw, arg, "the set has several descriptors",
					   "give the console's a set of its own");
		*ret = fd;
		added->drop = true;
	}
	return 0;
}

/* Replaces *path by the name that makes the agent open the file. */
static int name_console(struct vmft_rewrite *rw, const struct vmft_arg *arg, const char **path)
{
	const char *fd;
	int r;

	if (strncmp(*path, FDSET, sizeof(FDSET) - 1) != 0) {
		*path = vmft_arena_printf(rw->arena, VMFT_CONSOLE_NAME "%s", *path);
		return 0;
	}
	r = added_fd(rw, arg, *path + sizeof(FDSET) - 1, &fd);
	if (r == 0 && fd)
		*path = vmft_arena_printf(rw->arena, VMFT_CONSOLE_FD_NAME "%s", fd);
	return r;
}

static int finish_chardev(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	static const char *const keys[] = {"path", "logfile"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *path = vmft_get(arg, keys[i]);
		const char *backend = vmft_get(arg, "backend");
		int r;

		/* The path of a socket is no file that is written. */
		if (i == 0 && backend && strcmp(backend, "file") != 0)
			continue;
		r = path ? name_console(rw, arg, &path) : 0;

		if (r < 0)
			return r;
		if (path)
			vmft_optset_set(arg->set, keys[i], path);
	}
	return 0;
}

static int finish_serial(struct vmft_rewrite *rw, struct vmft_arg *arg)
{
	const char *path = arg->text + 5;
	int r;

	if (strncmp(arg->text, "file:", 5) != 0)
		return 0;
	r = name_console(rw, arg, &path);
	arg->text = vmft_arena_printf(rw->arena, "file:%s", path);
	return r;
}

void vmft_consoles_finish(struct vmft_rewrite *rw)
{
	for (size_t i = 0; i < rw->arg_count; i++) {
		struct vmft_arg *arg = &rw->args[i];

		if (strcmp(arg->option->name, "chardev") == 0)
			(void)finish_chardev(rw, arg);
		else if (strcmp(arg->option->name, "serial") == 0)
			(void)finish_serial(rw, arg);
	}
}
