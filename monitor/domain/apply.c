/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "apply.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "look.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"
#include "protection.h"

#define IMAGE_BYTES_MAX (INT64_C(1) << 46) /* 64 TiB */

extern char **environ;

static int fail(struct vmft_error *err, const char *path, int err_no)
{
	return vmft_error_set(err, -err_no, VMFT_EXIT_CONFIG, "%.300s: %s", path, strerror(err_no));
}

/* --- the pair file ------------------------------------------------------------ */

static int pair_path(const char *vm, char ret[static VMFT_PATH_MAX], struct vmft_error *err)
{
	/* As vmft_pair_config has names; and no other directory. */
	if (!vm[0] || vm[0] == '.' || strlen(vm) > VMFT_PAIR_NAME_MAX || strchr(vm, '/'))
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%.80s: no name of a VM; use A-Z a-z 0-9 . _ -", vm);
	(void)snprintf(ret, VMFT_PATH_MAX, VMFT_PAIR_DIRECTORY "/%s.conf", vm);
	return 0;
}

/* 1: vmft protect wrote it, or there is none; 0: it is somebody's own; or a negative errno. */
static int is_ours(const char *path)
{
	char line[sizeof(VMFT_PAIR_MARK) + 1] = "";
	FILE *file = fopen(path, "re");
	bool ours;

	if (!file)
		return errno == ENOENT ? 1 : -errno;
	ours = fgets(line, sizeof(line), file) != NULL;
	(void)fclose(file);
	line[strcspn(line, "\n")] = '\0';
	return ours && strcmp(line, VMFT_PAIR_MARK) == 0;
}

static int check_ours(const char *path, struct vmft_error *err)
{
	int r = is_ours(path);

	if (r < 0)
		return fail(err, path, -r);
	return r ? 0
		 : vmft_error_set(err, -EEXIST, VMFT_EXIT_CONFIG,
				  "%.200s is there and was not written by vmft protect; move it "
				  "away",
				  path);
}

static int write_durably(const char *path, const char *text)
{
	const size_t n = strlen(text);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644), r = 0;

	if (fd < 0)
		return -errno;
	errno = 0;
	if (write(fd, text, n) != (ssize_t)n)
		r = errno ? -errno : -EIO;
	else if (fsync(fd) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

static int write_pair(const char *path, const char *text, struct vmft_error *err)
{
	char fresh[VMFT_PATH_MAX + 8];
	int r;

	(void)snprintf(fresh, sizeof(fresh), "%s.new", path);
	if (mkdir(VMFT_PAIR_DIRECTORY, 0755) < 0 && errno != EEXIST)
		return fail(err, VMFT_PAIR_DIRECTORY, errno);
	r = write_durably(fresh, text);
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	return r < 0 ? fail(err, path, -r) : 0;
}

/* What came from the other host is a pair file of this VM. */
static int check_pair(const char *vm, const char *text, struct vmft_error *err)
{
	struct vmft_pair_config *config = malloc(sizeof(*config));
	int r;

	if (!config)
		return fail(err, "pair file", ENOMEM);
	r = vmft_pair_config_parse("pair file", text, strlen(text), config, err);
	if (r == 0 && strcmp(config->name, vm) != 0)
		r = vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				   "the pair file is of %s and not of %.80s", config->name, vm);
	free(config);
	return r;
}

/* --- images ------------------------------------------------------------------- */

static int check_image(struct json_object *disk, struct vmft_error *err)
{
	const char *path = vmft_look_text(disk, "path"), *format = vmft_look_text(disk, "format");
	const int64_t bytes = vmft_look_number(disk, "bytes");

	if (path[0] == '/' && bytes > 0 && bytes <= IMAGE_BYTES_MAX &&
	    (strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0))
		return 0;
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_IMAGE,
			      "%.200s: no image can be made of format %.20s with %lld bytes", path,
			      format, (long long)bytes);
}

static int make_raw(const char *path, int64_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), r = 0;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, bytes) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		(void)unlink(path);
	return r;
}

/* The format's own tool makes it. */
static int make_qcow2(const char *path, int64_t bytes)
{
	char size[24];
	/* posix_spawnp() changes none of them. */
	char *const argv[] = {(char *)(uintptr_t) "qemu-img",
			      (char *)(uintptr_t) "create",
			      (char *)(uintptr_t) "-q",
			      (char *)(uintptr_t) "-f",
			      (char *)(uintptr_t) "qcow2",
			      (char *)(uintptr_t) "--",
			      (char *)(uintptr_t)path,
			      size,
			      NULL};
	int r, status;
	pid_t pid;

	(void)snprintf(size, sizeof(size), "%lld", (long long)bytes);
	r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

static int make_image(struct json_object *disk, struct vmft_error *err)
{
	const char *path = vmft_look_text(disk, "path");
	const int64_t bytes = vmft_look_number(disk, "bytes");
	int r;

	if (access(path, F_OK) == 0)
		return 0;
	r = strcmp(vmft_look_text(disk, "format"), "raw") == 0 ? make_raw(path, bytes)
							       : make_qcow2(path, bytes);
	return r < 0 ? fail(err, path, -r) : 0;
}

static int each_image(struct json_object *request,
		      int (*act)(struct json_object *, struct vmft_error *), struct vmft_error *err)
{
	struct json_object *disks = vmft_look_list(request, "disks");
	int r = 0;

	for (size_t i = 0; disks && r == 0 && i < json_object_array_length(disks); i++)
		r = act(json_object_array_get_idx(disks, i), err);
	return r;
}

int vmft_apply(struct json_object *request, struct vmft_error *err)
{
	const char *vm = vmft_look_text(request, "vm"), *text = vmft_look_text(request, "pair");
	char path[VMFT_PATH_MAX];
	int r = pair_path(vm, path, err);

	if (r == 0)
		r = check_pair(vm, text, err);
	if (r == 0)
		r = check_ours(path, err);
	if (r == 0)
		r = each_image(request, check_image, err);
	if (r == 0)
		r = each_image(request, make_image, err);
	return r == 0 ? write_pair(path, text, err) : r;
}

int vmft_forget(struct json_object *request, struct vmft_error *err)
{
	char path[VMFT_PATH_MAX];
	int r = pair_path(vmft_look_text(request, "vm"), path, err);

	if (r == 0)
		r = check_ours(path, err);
	if (r == 0 && unlink(path) < 0 && errno != ENOENT)
		r = fail(err, path, errno);
	return r;
}
