/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "background.h"
#include "monitor/common/area-setup.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "monitor/common/settings.h"

#ifndef VMFT_LIBEXECDIR
#define VMFT_LIBEXECDIR "/usr/libexec/vmft"
#endif

#define FIRST_FD 3 /* 0, 1 and 2 would be taken for the console */
#define FD_TEXT	 12

static int internal(struct vmft_error *err, const char *what, int err_no)
{
	return vmft_error_set(err, -err_no, VMFT_EXIT_INTERNAL, "%s: %s", what, strerror(err_no));
}

static int find_program(const char *dir, const char *name, int mode, char ret[static VMFT_PATH_MAX],
			struct vmft_error *err)
{
	int len = snprintf(ret, VMFT_PATH_MAX, "%s/%s", dir, name);

	if (len > 0 && len < VMFT_PATH_MAX && access(ret, mode) == 0)
		return 0;
	(void)snprintf(ret, VMFT_PATH_MAX, VMFT_LIBEXECDIR "/%s", name);
	if (access(ret, mode) == 0)
		return 0;
	return vmft_error_set(err, -ENOENT, VMFT_EXIT_INTERNAL,
			      "%.200s is neither in %.200s nor in " VMFT_LIBEXECDIR
			      "; install all of vmft",
			      name, dir);
}

static int own_directory(char ret[static VMFT_PATH_MAX], struct vmft_error *err)
{
	ssize_t len = readlink("/proc/self/exe", ret, VMFT_PATH_MAX - 1);

	if (len < 0)
		return internal(err, "/proc/self/exe", errno);
	ret[len] = '\0';
	*strrchr(ret, '/') = '\0';
	return 0;
}

int vmft_test_programs_find(struct vmft_test_programs *ret, struct vmft_error *err)
{
	int r = own_directory(ret->directory, err);

	if (r == 0)
		r = find_program(ret->directory, "self-test", X_OK, ret->script, err);
	if (r == 0)
		r = find_program(ret->directory, "bare.elf", R_OK, ret->guest, err);
	return r;
}

int vmft_programs_find(struct vmft_programs *ret, struct vmft_error *err)
{
	char dir[VMFT_PATH_MAX];
	int r = own_directory(dir, err);

	if (r < 0)
		return r;
	r = find_program(dir, "vmft-monitor", X_OK, ret->monitor, err);
	if (r < 0)
		return r;
	r = find_program(dir, "libvmft-agent.so", R_OK, ret->agent, err);
	if (r < 0)
		return r;
	/* ld.so takes both for separators. */
	if (strpbrk(ret->agent, " :"))
		return vmft_error_set(
		    err, -EINVAL, VMFT_EXIT_INTERNAL,
		    "%.300s: a blank or colon in the path; install vmft elsewhere", ret->agent);
	return 0;
}

/* Moves a new descriptor above the standard three. Takes over fd; if that is negative the result
 * is -errno. */
static int raise_fd(int fd)
{
	int raised = fd;

	if (fd < 0)
		return -errno;
	if (fd < FIRST_FD) {
		raised = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD);
		raised = raised < 0 ? -errno : raised;
		(void)close(fd);
	}
	return raised;
}

int vmft_ram_create(struct vmft_error *err)
{
	int fd = raise_fd(memfd_create("vmft-ram", MFD_CLOEXEC));

	return fd < 0 ? internal(err, "memory for the guest's RAM", -fd) : fd;
}

/* The size of a hugetlbfs directory's pages; 0: it is another file system. -1: errno says why. */
static int64_t directory_page(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return -1;
	return fs.f_type == HUGETLBFS_MAGIC ? (int64_t)fs.f_bsize : 0;
}

static int64_t wanted_page(const char *huge_pages)
{
	static const char key[] = "hugetlbsize=";
	char *end;
	uint64_t size;

	if (strncmp(huge_pages, key, sizeof(key) - 1) != 0)
		return directory_page(huge_pages);
	size = strtoull(huge_pages + sizeof(key) - 1, &end, 10);
	if (*end == 'k' || *end == 'K')
		size <<= 10;
	if (*end == 'm' || *end == 'M')
		size <<= 20;
	if (*end == 'g' || *end == 'G')
		size <<= 30;
	/* The host's default is what its mount of hugetlbfs has. */
	return size ? (int64_t)size : directory_page("/dev/hugepages");
}

int vmft_ram_use_pages(int ram_fd, const char *huge_pages, uint64_t ram_bytes,
		       struct vmft_error *err)
{
	const int64_t page = wanted_page(huge_pages);
	unsigned flags = MFD_CLOEXEC | MFD_HUGETLB;
	int fd;

	if (page < 0)
		return vmft_error_set(err, -errno, VMFT_EXIT_UNPROTECTED, "%.200s: %s", huge_pages,
				      strerror(errno));
	if (page == 0)
		return 0;
	if ((page & (page - 1)) != 0 || ram_bytes % (uint64_t)page != 0)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_UNPROTECTED,
				      "%.200s: the guest's RAM is no whole number of its pages",
				      huge_pages);
	flags |= (unsigned)__builtin_ctzll((uint64_t)page) << MFD_HUGE_SHIFT;
	fd = memfd_create("vmft-ram", flags);
	if (fd < 0 || dup3(fd, ram_fd, O_CLOEXEC) < 0)
		return internal(err, "memory for the guest's RAM", errno);
	(void)close(fd);
	return 0;
}

static int open_lifeline(struct vmft_settings *s, struct vmft_error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return internal(err, "socketpair", errno);
	s->lifeline_monitor_fd = raise_fd(pair[0]);
	s->lifeline_agent_fd = raise_fd(pair[1]);
	if (s->lifeline_monitor_fd < 0 || s->lifeline_agent_fd < 0)
		return internal(err, "socketpair", EMFILE);
	return 0;
}

static int open_area(const struct vmft_launch *launch, struct vmft_error *err)
{
	uint64_t disk_bytes[VMFT_AREA_DISKS_MAX];
	int fd;

	for (size_t i = 0; i < launch->cmdline->disk_count; i++)
		disk_bytes[i] = launch->images[i].max_bytes;
	fd = vmft_area_create(launch->cmdline->ram_bytes, disk_bytes, launch->cmdline->disk_count,
			      err);
	if (fd < 0)
		return fd;
	fd = raise_fd(fd);
	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return internal(err, "descriptors", EMFILE);
	return fd;
}

/* The arguments as they were given, each ended by a zero: a saved log keeps them. */
static int open_words(char *const *words, struct vmft_error *err)
{
	int fd = raise_fd(memfd_create("vmft-words", MFD_CLOEXEC));

	if (fd < 0)
		return internal(err, "memory for the command line", -fd);
	for (; *words; words++) {
		const size_t n = strlen(*words) + 1;

		if (write(fd, *words, n) != (ssize_t)n)
			return internal(err, "memory for the command line", ENOMEM);
	}
	return fd;
}

static int open_iface(const struct vmft_launch *launch, struct vmft_error *err)
{
	int fd = vmft_iface_create(launch->config->log_bytes, err);

	if (fd < 0)
		return fd;
	fd = raise_fd(fd);
	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return internal(err, "descriptors", EMFILE);
	return fd;
}

/*
 * Every descriptor is close-on-exec until the program that needs it is about to be executed:
 * QEMU gets no end of the lifeline that belongs to the monitor, and the other way round.
 */
static int open_fds(const struct vmft_launch *launch, struct vmft_settings *s,
		    struct vmft_error *err)
{
	s->ram_fd = launch->ram_fd;
	if (ftruncate(s->ram_fd, (off_t)launch->cmdline->ram_bytes) < 0)
		return internal(err, "memory for the guest's RAM", errno);
	s->area_fd = open_area(launch, err);
	if (s->area_fd < 0)
		return s->area_fd;
	s->bell_monitor_fd = raise_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	s->bell_agent_fd = raise_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	if (s->bell_monitor_fd < 0 || s->bell_agent_fd < 0)
		return internal(err, "descriptors", EMFILE);
	s->words_fd = open_words(launch->words, err);
	if (s->words_fd < 0)
		return s->words_fd;
	return open_lifeline(s, err);
}

/* The shared memory with all settings in it. Returns its descriptor. */
static int open_shared(const struct vmft_launch *launch, struct vmft_settings *s,
		       struct vmft_error *err)
{
	int iface = open_iface(launch, err);
	int r = iface;

	if (r >= 0)
		r = open_fds(launch, s, err);
	if (r >= 0)
		r = vmft_launch_settings(launch, s, err);
	if (r >= 0)
		r = vmft_settings_write(iface, s, err);
	return r < 0 ? r : iface;
}

/* For the program about to be executed. Returns 0 or a negative errno. */
static int inherit(const int *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fcntl(list[i], F_SETFD, 0) < 0)
			return -errno;
	return 0;
}

/*
 * In the child. vmft-qemu inherited descriptors for QEMU, whose options may name them by number.
 * The monitor must not keep them open: one may be a tap, a lock or the end of a pipe. Of the
 * standard three the monitor needs stderr, and stdout to report a replay.
 */
static int keep_only(const int *list, size_t count, bool stdout_too)
{
	const int none = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (none < 0 || dup2(none, STDIN_FILENO) < 0 ||
	    (!stdout_too && dup2(none, STDOUT_FILENO) < 0) ||
	    close_range(FIRST_FD, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		return -errno;
	return inherit(list, count);
}

/* In the child. Returns only if the monitor cannot be executed. */
static void exec_monitor(const struct vmft_launch *launch, int iface, const struct vmft_settings *s)
{
	const int list[] = {iface,
			    s->area_fd,
			    s->ram_fd,
			    s->bell_monitor_fd,
			    s->bell_agent_fd,
			    s->lifeline_monitor_fd,
			    s->words_fd};
	char number[FD_TEXT];
	const char *const argv[] = {"vmft-monitor", "--pair", launch->pair_path,
				    "--iface-fd",   number,   NULL};

	(void)snprintf(number, sizeof(number), "%d", iface);
	if (keep_only(list, sizeof(list) / sizeof(list[0]), launch->replay != NULL) < 0)
		return;
	/* Ctrl-C on the terminal must end QEMU only: the monitor still has to send the rest of the
	 * log. */
	(void)setsid();
	(void)execv(launch->programs->monitor, (char *const *)argv);
}

static int start_monitor(const struct vmft_launch *launch, int iface, const struct vmft_settings *s,
			 pid_t *ret, struct vmft_error *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return internal(err, "fork", errno);
	if (pid == 0) {
		exec_monitor(launch, iface, s);
		(void)fprintf(stderr, "%s: cannot execute: %s; install all of vmft\n",
			      launch->programs->monitor, strerror(errno));
		_exit(VMFT_EXIT_INTERNAL);
	}
	/* The monitor must hold the only other end: this process would keep its end open, and the
	 * agent would never see the monitor's end-of-file. */
	(void)close(s->lifeline_monitor_fd);
	*ret = pid;
	return 0;
}

/* The monitor has ended before it was ready. Its exit code becomes that of vmft-qemu. */
static int monitor_failed(pid_t pid, struct vmft_error *err)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return internal(err, "waiting for vmft-monitor", errno);
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return vmft_error_set(err, -ECHILD, WEXITSTATUS(status), "%s", "");
	return vmft_error_set(err, -ECHILD, VMFT_EXIT_INTERNAL,
			      "vmft-monitor ended with status %#x before it was ready; report it",
			      (unsigned)status);
}

static int wait_ready(int lifeline, pid_t pid, struct vmft_error *err)
{
	char byte = 0;
	ssize_t n;

	do
		n = recv(lifeline, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n == 1 && byte == 'R')
		return 0;
	return monitor_failed(pid, err);
}

static int set_environment(const struct vmft_launch *launch, int iface, struct vmft_error *err)
{
	struct vmft_arena *arena = vmft_arena_new();
	const char *preload = getenv("LD_PRELOAD");
	const char *agent = launch->programs->agent;
	char number[FD_TEXT];
	int r = 0;

	(void)snprintf(number, sizeof(number), "%d", iface);
	if (preload && preload[0])
		agent = vmft_arena_printf(arena, "%s:%s", preload, agent);
	if (setenv("VMFT_AGENT", number, 1) < 0 || setenv("LD_PRELOAD", agent, 1) < 0)
		r = internal(err, "environment", errno);
	vmft_arena_free(arena);
	return r;
}

static int exec_qemu(const struct vmft_launch *launch, int iface, const struct vmft_settings *s,
		     struct vmft_error *err)
{
	const int list[] = {iface,
			    s->area_fd,
			    s->ram_fd,
			    s->bell_monitor_fd,
			    s->bell_agent_fd,
			    s->lifeline_agent_fd};
	int r = set_environment(launch, iface, err);

	if (r < 0)
		return r;
	r = inherit(list, sizeof(list) / sizeof(list[0]));
	if (r < 0)
		return internal(err, "descriptors", -r);
	(void)execv(launch->config->qemu, launch->cmdline->argv);
	return vmft_error_set(err, -errno, VMFT_EXIT_QEMU, "%.300s: cannot execute: %s",
			      launch->config->qemu, strerror(errno));
}

/*
 * A write to stderr must not wait for its reader. Often stderr is the same pipe or terminal as the
 * console, and a wait would stop QEMU's main loop and the monitor. Other processes share the open
 * file description, so it keeps its flags: the pipe or terminal is opened once more, without
 * blocking. A plain file never blocks and is left as it is, as opening it again would start at
 * its beginning. If it cannot be opened (the reader is gone, the terminal belongs to another user)
 * stderr stays as it is.
 */
static void stop_waiting_for_stderr(void)
{
	const struct timeval soon = {.tv_usec = 1000};
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) < 0)
		return;
	if (S_ISSOCK(st.st_mode))
		(void)setsockopt(STDERR_FILENO, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
	if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)dup2(fd, STDERR_FILENO);
	(void)close(fd);
}

int vmft_launch(const struct vmft_launch *launch, struct vmft_error *err)
{
	struct vmft_settings settings = {0};
	pid_t monitor = -1;
	int iface = open_shared(launch, &settings, err);
	int r;

	/* On failure this process ends; nothing needs to be closed. */
	if (iface < 0)
		return iface;
	if (launch->ready_fd >= 0)
		vmft_background_ready(launch->ready_fd, iface);
	stop_waiting_for_stderr();
	r = start_monitor(launch, iface, &settings, &monitor, err);
	if (r < 0)
		return r;
	r = wait_ready(settings.lifeline_agent_fd, monitor, err);
	if (r < 0)
		return r;
	return exec_qemu(launch, iface, &settings, err);
}
