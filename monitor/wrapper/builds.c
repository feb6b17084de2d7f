/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "builds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy-tree.h"
#include "monitor/common/exit-codes.h"

#define HELP_MAX 4096u
/* Debian's builds have 40 MB with all firmware. More is not the installation of a package. */
#define BUILD_BYTES_MAX (UINT64_C(512) << 20)
#define USED_DIRECTORY	"used"

/* Where a distribution puts QEMU's modules, relative to the directory of its program. A build has
 * one of them, or none. */
static const char *const module_places[] = {"lib/x86_64-linux-gnu/qemu", "lib64/qemu", "lib/qemu"};

struct path {
	char text[VMFT_PATH_MAX];
};

static int path_join(const char *directory, const char *name, struct path *ret)
{
	int n;

	*ret = (struct path){.text = ""};
	n = snprintf(ret->text, sizeof(ret->text), "%s/%s", directory, name);
	return n < 0 || (size_t)n >= sizeof(ret->text) ? -ENAMETOOLONG : 0;
}

static bool is_build_id(const char *text)
{
	return text[0] && text[strspn(text, "0123456789abcdef")] == '\0';
}

/* --- what a build consists of ------------------------------------------------- */

struct source {
	char program[PATH_MAX]; /* without symbolic links */
	char prefix[PATH_MAX];	/* the directory that has bin/, share/ and lib/ */
	const char *bin;	/* the name of the program's directory, in program */
	const char *name;	/* the program's name */
};

static int source_find(const char *path, struct source *ret)
{
	char *slash;

	if (!realpath(path, ret->program))
		return -errno;
	memcpy(ret->prefix, ret->program, sizeof(ret->prefix));
	slash = strrchr(ret->prefix, '/');
	ret->name = ret->program + (slash - ret->prefix) + 1;
	*slash = '\0';
	slash = strrchr(ret->prefix, '/');
	if (!slash || strcmp(slash, "/bin") != 0)
		return -ENOTSUP;
	*slash = '\0';
	return 0;
}

static int copy_part(const struct source *source, const char *part, const char *to, uint64_t *bytes)
{
	struct path from, target;
	int r = path_join(source->prefix, part, &from);

	if (r == 0)
		r = path_join(to, part, &target);
	if (r < 0)
		return r;
	/* A place where this build has nothing. */
	if (access(from.text, F_OK) < 0)
		return errno == ENOENT ? 0 : -errno;
	return vmft_tree_copy(from.text, target.text, BUILD_BYTES_MAX, bytes);
}

/* "-L help": QEMU prints where it looks for firmware, a directory a line: PREFIX/bin/../share/qemu
 * or the like. */
static int copy_firmware(const struct source *source, const char *to, uint64_t *bytes)
{
	char text[HELP_MAX], *rest = text, *line;
	const size_t prefix = strlen(source->prefix);
	static const char up[] = "/bin/../";
	static const char *const ask[] = {"-L", "help", NULL};
	const ssize_t got = vmft_qemu_output(source->program, ask, text, sizeof(text) - 1);
	int r = got < 0 ? (int)got : 0;

	text[got < 0 ? 0 : got] = '\0';
	while (r == 0 && (line = strsep(&rest, "\n"))) {
		if (!line[0])
			continue;
		if (strncmp(line, source->prefix, prefix) != 0 ||
		    strncmp(line + prefix, up, sizeof(up) - 1) != 0)
			return -ENOTSUP;
		r = copy_part(source, line + prefix + sizeof(up) - 1, to, bytes);
	}
	return r;
}

static int copy_program(const struct source *source, const char *to)
{
	struct path bin, target;
	int r = path_join(to, "bin", &bin);

	if (r == 0)
		r = vmft_directories_make(bin.text);
	if (r == 0)
		r = path_join(bin.text, source->name, &target);
	return r == 0 ? vmft_file_copy(source->program, target.text, 0755) : r;
}

static int copy_build(const char *path, const char *to)
{
	struct source source;
	uint64_t bytes = 0;
	int r = source_find(path, &source);

	if (r == 0)
		r = copy_program(&source, to);
	if (r == 0)
		r = copy_firmware(&source, to, &bytes);
	for (size_t i = 0; r == 0 && i < sizeof(module_places) / sizeof(module_places[0]); i++)
		r = copy_part(&source, module_places[i], to, &bytes);
	return r;
}

/* --- the directory ------------------------------------------------------------ */

/* One process at a time changes it. Returns the descriptor that has the lock. */
static int lock(const char *directory)
{
	struct path used;
	int r = path_join(directory, USED_DIRECTORY, &used), fd;

	if (r == 0)
		r = vmft_directories_make(used.text);
	if (r < 0)
		return r;
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX) == 0)
		return fd;
	r = -errno;
	(void)close(fd);
	return r;
}

/* A copy is on disk before it has its name. */
static int sync_tree(const char *path)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return -errno;
	if (syncfs(fd) < 0)
		r = -errno;
	(void)close(fd);
	return r;
}

/* A copy that was not finished has a name that is no build-id. */
static int keep(const char *directory, const char *path, const char *build_id)
{
	struct path kept, fresh;
	int r = path_join(directory, build_id, &kept);

	if (r == 0)
		r = path_join(directory, "new", &fresh);
	if (r < 0)
		return r;
	if (access(kept.text, F_OK) == 0)
		return 0;
	(void)vmft_tree_remove(fresh.text);
	r = copy_build(path, fresh.text);
	if (r == 0)
		r = sync_tree(fresh.text);
	if (r == 0 && rename(fresh.text, kept.text) < 0)
		r = -errno;
	if (r < 0)
		(void)vmft_tree_remove(fresh.text);
	return r;
}

int vmft_builds_keep(const char *directory, const char *path, const struct vmft_qemu_binary *qemu,
		     struct vmft_error *err)
{
	int fd = lock(directory), r;

	r = fd < 0 ? fd : keep(directory, path, qemu->build_id);
	if (fd >= 0)
		(void)close(fd);
	if (r == -ENOTSUP)
		return vmft_error_set(err, r, VMFT_EXIT_QEMU,
				      "%.200s looks for its firmware outside the directory it is "
				      "installed in",
				      path);
	return r < 0 ? vmft_error_set(err, r, VMFT_EXIT_QEMU, "%s: %s", directory, strerror(-r))
		     : 0;
}

/* The only program in bin/. */
static int program_of(const char *directory, const char *build_id, char ret[static VMFT_PATH_MAX])
{
	struct path build, bin;
	struct dirent *entry;
	int r = path_join(directory, build_id, &build), n;
	DIR *list;

	if (r == 0)
		r = path_join(build.text, "bin", &bin);
	if (r < 0)
		return r;
	list = opendir(bin.text);
	if (!list)
		return -errno;
	r = -ENOENT;
	while (r == -ENOENT && (entry = readdir(list))) {
		if (entry->d_name[0] == '.')
			continue;
		n = snprintf(ret, VMFT_PATH_MAX, "%s/%s", bin.text, entry->d_name);
		r = n < 0 || n >= VMFT_PATH_MAX ? -ENAMETOOLONG : 0;
	}
	(void)closedir(list);
	return r;
}

int vmft_builds_find(const char *directory, const char *digits, char ret[static VMFT_PATH_MAX])
{
	struct dirent *entry;
	int r = -ENOENT;
	DIR *list;

	if (!is_build_id(digits))
		return -EBADMSG;
	list = opendir(directory);
	if (!list)
		return -errno;
	while (r == -ENOENT && (entry = readdir(list)))
		if (strncmp(entry->d_name, digits, strlen(digits)) == 0 &&
		    is_build_id(entry->d_name))
			r = program_of(directory, entry->d_name, ret);
	(void)closedir(list);
	return r;
}

/* --- who uses what ------------------------------------------------------------ */

int vmft_builds_used(const char *directory, const char *vm, const char *pair_file,
		     const char *build_id)
{
	struct path used, name, fresh;
	char pair[PATH_MAX];
	FILE *file;
	int r, fd;

	/* Another directory may be current when the record is read. */
	if (!realpath(pair_file, pair))
		return -errno;
	fd = lock(directory);
	if (fd < 0)
		return fd;
	r = path_join(directory, USED_DIRECTORY, &used);
	if (r == 0)
		r = path_join(used.text, vm, &name);
	if (r == 0)
		r = path_join(used.text, ".new", &fresh);
	file = r == 0 ? fopen(fresh.text, "we") : NULL;
	if (r == 0 && !file)
		r = -errno;
	if (file && fprintf(file, "%s %s\n", build_id, pair) < 0)
		r = -EIO;
	if (file && fclose(file) != 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(fresh.text, name.text) < 0)
		r = -errno;
	(void)close(fd);
	return r;
}

/* The build that the record of a VM names; false: it has none, or the VM's pair file is gone. */
static bool record_read(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	char *pair;
	bool got;

	if (!file)
		return false;
	got = fgets(line, (int)size, file) != NULL;
	(void)fclose(file);
	if (!got)
		return false;
	line[strcspn(line, "\n")] = '\0';
	pair = strchr(line, ' ');
	if (!pair)
		return false;
	*pair = '\0';
	return access(pair + 1, F_OK) == 0;
}

/* Whether a VM was last started with the build. Records of VMs that are gone are removed. A
 * directory that cannot be read counts as one that names it. */
static bool is_used(const char *directory, const char *build_id)
{
	char line[PATH_MAX + 2 * 64 + 4];
	struct path used, record;
	struct dirent *entry;
	bool found = false;
	DIR *list;

	if (path_join(directory, USED_DIRECTORY, &used) < 0)
		return true;
	list = opendir(used.text);
	if (!list)
		return true;
	while ((entry = readdir(list))) {
		if (entry->d_name[0] == '.' || path_join(used.text, entry->d_name, &record) < 0)
			continue;
		if (!record_read(record.text, line, sizeof(line)))
			(void)unlink(record.text);
		else if (strcmp(line, build_id) == 0)
			found = true;
	}
	(void)closedir(list);
	return found;
}

static int prune(const char *directory, const char *kept)
{
	DIR *list = opendir(directory);
	struct dirent *entry;
	struct path build;
	int r = 0;

	if (!list)
		return -errno;
	while (r == 0 && (entry = readdir(list)))
		if (is_build_id(entry->d_name) && strcmp(entry->d_name, kept) != 0 &&
		    !is_used(directory, entry->d_name) &&
		    path_join(directory, entry->d_name, &build) == 0)
			r = vmft_tree_remove(build.text);
	(void)closedir(list);
	return r;
}

int vmft_builds_prune(const char *directory, const char *kept)
{
	int fd = lock(directory), r;

	if (fd < 0)
		return fd;
	r = prune(directory, kept);
	(void)close(fd);
	return r;
}
