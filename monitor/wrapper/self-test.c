/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "self-test.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "builds.h"
#include "launch.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"

#define TRIED_PATH_MAX 256u

static void tried_path(const struct vmft_qemu_binary *qemu, char ret[static TRIED_PATH_MAX])
{
	(void)snprintf(ret, TRIED_PATH_MAX, VMFT_TRIED_DIRECTORY "/%s", qemu->build_id);
}

/* What the file of a build that has passed begins with. */
static const char mark[] = "vmft " VMFT_VERSION "\n";

static bool has_mark(int fd)
{
	char found[sizeof(mark)];

	return pread(fd, found, sizeof(mark) - 1, 0) == (ssize_t)sizeof(mark) - 1 &&
	       memcmp(found, mark, sizeof(mark) - 1) == 0;
}

bool vmft_self_test_passed(const struct vmft_qemu_binary *qemu)
{
	char path[TRIED_PATH_MAX];
	bool passed;
	int fd;

	tried_path(qemu, path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	passed = has_mark(fd);
	(void)close(fd);
	return passed;
}

/* The file of this build, locked against others that try it. */
static int open_tried(const struct vmft_qemu_binary *qemu, struct vmft_error *err)
{
	char path[TRIED_PATH_MAX];
	int fd;

	tried_path(qemu, path);
	(void)mkdir("/var/lib/vmft", 0755);
	(void)mkdir(VMFT_TRIED_DIRECTORY, 0755);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd >= 0 && flock(fd, LOCK_EX) == 0)
		return fd;
	(void)vmft_error_set(err, -errno, VMFT_EXIT_QEMU,
			     "%s: %s; make it a directory that root can write to",
			     VMFT_TRIED_DIRECTORY, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return -EIO;
}

/* The script gets nothing of this process's environment: not the pair of a VM, and no library to
 * preload. */
static int run_script(const struct vmft_test_programs *programs, const char *qemu, int *ret_status)
{
	/* posix_spawn() changes none of them. */
	char *const argv[] = {(char *)(uintptr_t)programs->script,
			      (char *)(uintptr_t)programs->directory, (char *)(uintptr_t)qemu,
			      (char *)(uintptr_t)programs->guest, NULL};
	static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char *const env[] = {path, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int r = posix_spawn_file_actions_init(&actions);

	if (r)
		return -r;
	r = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	if (r == 0)
		r = posix_spawn(&pid, programs->script, &actions, NULL, argv, env);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	while (waitpid(pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int remember(int fd, const struct vmft_qemu_binary *qemu)
{
	char text[128], when[32] = "";
	const time_t now = time(NULL);
	struct tm tm;
	int n;

	if (gmtime_r(&now, &tm))
		(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	n = snprintf(text, sizeof(text), "%sQEMU %s passed %s\n", mark, qemu->version, when);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n || fsync(fd) < 0)
		return errno ? -errno : -EIO;
	return 0;
}

static int try(int fd, const char *path, const struct vmft_qemu_binary *qemu,
	       struct vmft_error *err)
{
	struct vmft_test_programs programs;
	int status, r;

	r = vmft_test_programs_find(&programs, err);
	if (r < 0)
		return r;
	(void)fprintf(stderr,
		      "vmft-qemu: trying QEMU %s (build %.8s) on a small guest, about 20 s\n",
		      qemu->version, qemu->build_id);
	r = run_script(&programs, path, &status);
	if (r < 0)
		return vmft_error_set(err, r, VMFT_EXIT_INTERNAL, "%.200s: %s", programs.script,
				      strerror(-r));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return vmft_error_set(
		    err, -EPROTO, VMFT_EXIT_QEMU,
		    "%.200s: this build of QEMU %s did not pass on this host (the "
		    "lines before say how); set qemu= to another one, or try it "
		    "again with vmft-qemu --self-test",
		    path, qemu->version);
	r = remember(fd, qemu);
	if (r < 0)
		return vmft_error_set(err, r, VMFT_EXIT_INTERNAL, "%s: %s", VMFT_TRIED_DIRECTORY,
				      strerror(-r));
	return 0;
}

int vmft_self_test_run(const char *path, const struct vmft_qemu_binary *qemu,
		       struct vmft_error *err)
{
	int fd = open_tried(qemu, err), r;

	if (fd < 0)
		return fd;
	r = try(fd, path, qemu, err);
	(void)close(fd);
	return r;
}

int vmft_self_test_need(const char *path, const struct vmft_qemu_binary *qemu,
			struct vmft_error *err)
{
	int fd, r = 0;

	if (vmft_self_test_passed(qemu))
		return 0;
	/* The script itself starts this side. */
	if (getenv("VMFT_SELF_TEST"))
		return 0;
	if (geteuid() != 0) {
		(void)fprintf(stderr,
			      "vmft-qemu: QEMU %s (build %.8s) was not tried on this host: run "
			      "vmft-qemu --self-test as root\n",
			      qemu->version, qemu->build_id);
		return 0;
	}
	fd = open_tried(qemu, err);
	if (fd < 0)
		return fd;
	/* Another start may have tried it while this one waited. */
	if (!has_mark(fd))
		r = try(fd, path, qemu, err);
	(void)close(fd);
	return r;
}

int vmft_self_test_main(int argc, char *argv[])
{
	const bool if_new = argc > 2 && strcmp(argv[2], "--if-new") == 0;
	const int words = argc - 2 - if_new;
	const char *path = words == 1 ? argv[argc - 1] : VMFT_QEMU_DEFAULT;
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};
	struct vmft_qemu_binary qemu;
	int r;

	if (words > 1 || *path == '-') {
		(void)fprintf(stderr,
			      "vmft-qemu: usage: vmft-qemu --self-test [--if-new] [QEMU]\n");
		return VMFT_EXIT_CONFIG;
	}
	r = vmft_qemu_binary_check(path, &qemu, &err);
	if (r == 0 && !(if_new && vmft_self_test_passed(&qemu)))
		r = vmft_self_test_run(path, &qemu, &err);
	/* VMs that another user starts need the copy too. */
	if (r == 0 && geteuid() == 0)
		r = vmft_builds_keep(VMFT_BUILDS_DIRECTORY, path, &qemu, &err);
	if (r < 0) {
		(void)fprintf(stderr, "vmft-qemu: %s\n", err.text);
		return err.exit_code;
	}
	(void)printf("%s: QEMU %s, build %s: passed\n", path, qemu.version, qemu.build_id);
	return VMFT_EXIT_OK;
}
