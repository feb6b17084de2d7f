/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "offline.h"

#include <errno.h>
#include <string.h>

#include "monitor/common/exit-codes.h"
#include "rewrite.h"

struct offline {
	const struct vmft_offline *opt;
	struct vmft_arena *arena;
	struct vmft_error *err;
	const char *console_id; /* of the first serial port's -chardev; NULL: it has none */
	bool console_given;	/* a port before this one was the first */
	char **argv;
	size_t argc;
};

static int parse(struct offline *o, const char *text, const char *implied, struct vmft_optset *ret)
{
	const char *problem;

	if (vmft_optset_parse(o->arena, text, implied, ret, &problem) == 0)
		return 0;
	return vmft_error_set(o->err, -EINVAL, VMFT_EXIT_UNPROTECTED, "%.200s: %s", text, problem);
}

static const char *find_disk(const struct offline *o, const char *path)
{
	for (size_t i = 0; path && i < o->opt->disk_count; i++)
		if (strcmp(path, o->opt->disk_from[i]) == 0)
			return o->opt->disk_to[i];
	return NULL;
}

/* The copy of a block device is a file. An image without a copy would be opened for writing: it is
 * refused. */
static int use_disk(const struct offline *o, struct vmft_optset *set, const char *key,
		    const char *driver_key)
{
	const char *from = vmft_optset_get(set, key);
	const char *to = find_disk(o, from);
	const char *driver = driver_key ? vmft_optset_get(set, driver_key) : NULL;

	if (!from)
		return 0;
	if (!to)
		return vmft_error_set(o->err, -EINVAL, VMFT_EXIT_UNPROTECTED,
				      "%.200s: an image that no device of the guest has; it "
				      "cannot be replayed with it",
				      from);
	vmft_optset_set(set, key, to);
	if (driver && strcmp(driver, "host_device") == 0)
		vmft_optset_set(set, driver_key, "file");
	return 0;
}

static int rewrite_drive(struct offline *o, const char **text)
{
	struct vmft_optset set;
	int rc = parse(o, *text, NULL, &set);

	if (rc < 0)
		return rc;
	rc = use_disk(o, &set, "file", NULL);
	if (rc < 0)
		return rc;
	*text = vmft_optset_format(&set);
	return 0;
}

static int rewrite_blockdev(struct offline *o, const char **text)
{
	struct vmft_optset set;
	int rc = parse(o, *text, "driver", &set);

	if (rc < 0)
		return rc;
	rc = use_disk(o, &set, "filename", "driver");
	if (rc == 0)
		rc = use_disk(o, &set, "file.filename", "file.driver");
	if (rc < 0)
		return rc;
	*text = vmft_optset_format(&set);
	return 0;
}

/* QEMU makes the tap itself, in its network namespace, where nobody listens. */
static int rewrite_netdev(struct offline *o, const char **text)
{
	struct vmft_optset set;
	int rc = parse(o, *text, "type", &set);

	if (rc < 0)
		return rc;
	vmft_optset_remove(&set, "fd");
	vmft_optset_remove(&set, "vhostfd");
	vmft_optset_set(&set, "script", "no");
	vmft_optset_set(&set, "downscript", "no");
	*text = vmft_optset_format(&set);
	return 0;
}

static bool is_console(const struct offline *o, const char *id)
{
	return o->opt->console && o->console_id && id && strcmp(id, o->console_id) == 0;
}

static int rewrite_chardev(struct offline *o, const char **text)
{
	struct vmft_optset set, made;
	const char *id;
	int rc = parse(o, *text, "backend", &set);

	if (rc == 0)
		rc = parse(o, "null", "backend", &made);
	if (rc < 0)
		return rc;
	id = vmft_optset_get(&set, "id");
	if (is_console(o, id)) {
		vmft_optset_set(&made, "backend", "file");
		vmft_optset_set(&made, "path", o->opt->console);
	}
	if (id)
		vmft_optset_set(&made, "id", id);
	*text = vmft_optset_format(&made);
	return 0;
}

static int rewrite_serial(struct offline *o, const char **text)
{
	const bool first = !o->console_given && !o->console_id;

	if (strcmp(*text, "none") == 0 || strncmp(*text, "chardev:", 8) == 0)
		return 0;
	o->console_given = true;
	*text = first && o->opt->console ? vmft_arena_printf(o->arena, "file:%s", o->opt->console)
					 : "null";
	return 0;
}

static const struct {
	const char *option;
	int (*rewrite)(struct offline *o, const char **text);
} rewrites[] = {
    {"drive", rewrite_drive},	  {"blockdev", rewrite_blockdev}, {"netdev", rewrite_netdev},
    {"chardev", rewrite_chardev}, {"serial", rewrite_serial},
};

/* Files and descriptors of the first run. */
static bool is_dropped(const char *name)
{
	return vmft_value_in(name, "pidfile|add-fd|msg|sandbox|overcommit");
}

/* Finds the -chardev of the first serial port, if it has one. The -chardev may come before or after
 * the port. */
static int find_console(struct offline *o, const char *name, const char *text)
{
	struct vmft_optset set;
	const char *driver;

	if (o->console_id || o->console_given)
		return 0;
	if (strcmp(name, "serial") == 0 && strncmp(text, "chardev:", 8) == 0)
		o->console_id = text + 8;
	else if (strcmp(name, "serial") == 0)
		o->console_given = strcmp(text, "none") != 0;
	if (strcmp(name, "device") != 0)
		return 0;
	if (parse(o, text, "driver", &set) < 0)
		return -EINVAL;
	driver = vmft_optset_get(&set, "driver");
	if (driver && strcmp(driver, "isa-serial") == 0)
		o->console_id = vmft_optset_get(&set, "chardev");
	return 0;
}

static void emit(struct offline *o, const char *word)
{
	o->argv[o->argc++] = vmft_arena_copy(o->arena, word, strlen(word));
}

static int rewrite_option(struct offline *o, const char *name, const char *text)
{
	int rc = 0;

	if (is_dropped(name))
		return 0;
	for (size_t i = 0; text && i < sizeof(rewrites) / sizeof(rewrites[0]) && rc == 0; i++)
		if (strcmp(rewrites[i].option, name) == 0)
			rc = rewrites[i].rewrite(o, &text);
	if (rc < 0)
		return rc;
	emit(o, vmft_arena_printf(o->arena, "-%s", name));
	if (text)
		emit(o, text);
	return 0;
}

static int each_option(struct offline *o, int argc, char *const argv[],
		       int (*look)(struct offline *o, const char *name, const char *text))
{
	for (int i = 1; i < argc; i++) {
		const char *name = vmft_option_name(argv[i]);
		const struct vmft_option *option = name ? vmft_option_find(name) : NULL;
		const char *text = NULL;
		int rc;

		if (!option || (option->has_arg && i + 1 == argc))
			return vmft_error_set(o->err, -EINVAL, VMFT_EXIT_UNPROTECTED, "%.200s: %s",
					      argv[i], VMFT_NOT_REPLAY_SAFE);
		if (option->has_arg)
			text = argv[++i];
		rc = look(o, name, text);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int find_console_option(struct offline *o, const char *name, const char *text)
{
	return text ? find_console(o, name, text) : 0;
}

int vmft_offline_rewrite(struct vmft_arena *arena, int argc, char *const argv[],
			 const struct vmft_offline *offline, char ***ret_argv,
			 struct vmft_error *err)
{
	struct offline o = {.opt = offline, .arena = arena, .err = err};
	int rc = each_option(&o, argc, argv, find_console_option);

	if (rc < 0)
		return rc;
	o.console_given = false;
	o.argv = vmft_arena_alloc(arena, (size_t)argc + 1, sizeof(*o.argv));
	emit(&o, argv[0]);
	rc = each_option(&o, argc, argv, rewrite_option);
	if (rc < 0)
		return rc;
	*ret_argv = o.argv;
	return 0;
}
