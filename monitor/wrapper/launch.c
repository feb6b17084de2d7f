/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor/common/area-setup.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/iface-setup.h"
#include "monitor/common/tap-facts.h"

#ifndef VMFT_LIBEXECDIR
#define VMFT_LIBEXECDIR "/usr/libexec/vmft"
#endif

#define FIRST_FD 3 /* 0, 1 and 2 would be taken for the console */
#define FD_TEXT	 12

/*
 * Every descriptor is close-on-exec until the program that needs it is about to be executed:
 * QEMU gets no end of the lifeline that belongs to the monitor, and the other way round.
 */
struct fds {
	int iface;
	int area;
	int ram;
	int bell_monitor;
	int bell_agent;
	int lifeline_monitor;
	int lifeline_agent;
	int words;
};

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

int vmft_programs_find(struct vmft_programs *ret, struct vmft_error *err)
{
	char dir[VMFT_PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	int r;

	if (len < 0)
		return internal(err, "/proc/self/exe", errno);
	dir[len] = '\0';
	*strrchr(dir, '/') = '\0';
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

/* Moves a new descriptor above the standard three; takes over fd, negative errno included. */
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

static int open_lifeline(struct fds *fds, struct vmft_error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return internal(err, "socketpair", errno);
	fds->lifeline_monitor = raise_fd(pair[0]);
	fds->lifeline_agent = raise_fd(pair[1]);
	if (fds->lifeline_monitor < 0 || fds->lifeline_agent < 0)
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

static int open_fds(const struct vmft_launch *launch, struct fds *fds, struct vmft_error *err)
{
	fds->ram = launch->ram_fd;
	if (ftruncate(fds->ram, (off_t)launch->cmdline->ram_bytes) < 0)
		return internal(err, "memory for the guest's RAM", errno);
	fds->iface = vmft_iface_create(launch->config->log_bytes, err);
	if (fds->iface < 0)
		return fds->iface;
	fds->iface = raise_fd(fds->iface);
	fds->area = open_area(launch, err);
	if (fds->area < 0)
		return fds->area;
	fds->bell_monitor = raise_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	fds->bell_agent = raise_fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	if (fds->iface < 0 || fds->bell_monitor < 0 || fds->bell_agent < 0)
		return internal(err, "descriptors", EMFILE);
	if (fcntl(fds->iface, F_SETFD, FD_CLOEXEC) < 0)
		return internal(err, "descriptors", errno);
	fds->words = open_words(launch->words, err);
	if (fds->words < 0)
		return fds->words;
	return open_lifeline(fds, err);
}

/* For the program about to be executed. Returns 0 or a negative errno. */
static int inherit(const int *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (fcntl(list[i], F_SETFD, 0) < 0)
			return -errno;
	return 0;
}

static void fd_text(int fd, char ret[static FD_TEXT])
{
	(void)snprintf(ret, FD_TEXT, "%d", fd);
}

#define EXEC_ARGS_MAX 112 /* two a fixed option, two a disk, two a network card */

static size_t count(const char *const argv[static EXEC_ARGS_MAX])
{
	size_t n = 0;

	while (argv[n])
		n++;
	return n;
}

static void add_replay(const struct vmft_launch *launch, const char *argv[static EXEC_ARGS_MAX])
{
	size_t n = count(argv);

	if (!launch->replay || n + 3 > EXEC_ARGS_MAX)
		return;
	argv[n++] = "--replay";
	argv[n++] = launch->replay;
	argv[n] = NULL;
}

/* "--disk FORMAT[-ro]:BYTES:PATH" for each, behind what is there. In the child, which never frees.
 */
static void add_disks(const struct vmft_launch *launch, struct vmft_arena *arena,
		      const char *argv[static EXEC_ARGS_MAX])
{
	size_t n = count(argv);

	for (size_t i = 0; i < launch->cmdline->disk_count && n + 3 < EXEC_ARGS_MAX; i++) {
		const struct vmft_disk *disk = &launch->cmdline->disks[i];

		argv[n++] = "--disk";
		argv[n++] = vmft_arena_printf(
		    arena, "%s%s:%llu:%s", disk->format == VMFT_DISK_QCOW2 ? "qcow2" : "raw",
		    disk->read_only ? "-ro" : "", (unsigned long long)launch->images[i].guest_bytes,
		    disk->path);
	}
	argv[n] = NULL;
}

/*
 * In the child. What vmft-qemu was started with is for QEMU, which may be told of a descriptor by
 * its number; the monitor would only keep it open: a tap, a lock, the end of somebody's pipe. Of
 * the standard three it needs the third, and the second to report a replay.
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

/* "--tap ..." for each card, and the sums of the images, which stand for their contents. */
static void add_for_hello(const struct vmft_launch *launch, struct vmft_arena *arena,
			  const char *argv[static EXEC_ARGS_MAX])
{
	const char *sums = "";
	size_t n = count(argv);

	for (size_t i = 0; i < launch->cmdline->nic_count && n + 5 < EXEC_ARGS_MAX; i++) {
		char text[VMFT_TAP_TEXT_MAX];

		vmft_tap_facts_format(&launch->taps[i].facts, launch->taps[i].ifname, text);
		argv[n++] = "--tap";
		argv[n++] = vmft_arena_copy(arena, text, strlen(text));
	}
	for (size_t i = 0; i < launch->cmdline->disk_count; i++)
		sums = vmft_arena_printf(arena, "%s%016llx", sums,
					 (unsigned long long)launch->images[i].sum);
	argv[n++] = "--image-sums";
	argv[n++] = sums;
	argv[n] = NULL;
}

/* In the child. Returns only if the monitor cannot be executed. */
static void exec_monitor(const struct vmft_launch *launch, const struct fds *fds, pid_t guest)
{
	const int list[] = {fds->iface,	       fds->area,	fds->ram,
			    fds->bell_monitor, fds->bell_agent, fds->lifeline_monitor,
			    fds->words};
	char iface[FD_TEXT], area[FD_TEXT], ram[FD_TEXT], bell_monitor[FD_TEXT],
	    bell_agent[FD_TEXT];
	char lifeline[FD_TEXT], pid[FD_TEXT], log_version[FD_TEXT], words[FD_TEXT];
	struct vmft_arena *arena = vmft_arena_new();
	const char *argv[EXEC_ARGS_MAX] = {
	    "vmft-monitor",
	    "--pair",
	    launch->pair_path,
	    "--strategy",
	    vmft_strategy_kind_name(launch->cmdline->strategy),
	    "--strategy-reason",
	    launch->cmdline->strategy_reason,
	    "--role",
	    vmft_role_name(launch->role),
	    "--host",
	    vmft_host_name(launch->host),
	    "--build-id",
	    launch->qemu->build_id,
	    "--log-version",
	    log_version,
	    "--machine-digest",
	    launch->machine_digest,
	    "--disk-digest",
	    launch->disk_digest,
	    "--iface-fd",
	    iface,
	    "--area-fd",
	    area,
	    "--ram-fd",
	    ram,
	    "--bell-monitor-fd",
	    bell_monitor,
	    "--bell-agent-fd",
	    bell_agent,
	    "--lifeline-fd",
	    lifeline,
	    "--guest-pid",
	    pid,
	    "--words-fd",
	    words,
	    NULL,
	};

	fd_text(fds->iface, iface);
	fd_text(fds->area, area);
	fd_text(fds->ram, ram);
	fd_text(fds->bell_monitor, bell_monitor);
	fd_text(fds->bell_agent, bell_agent);
	fd_text(fds->lifeline_monitor, lifeline);
	fd_text((int)guest, pid);
	fd_text(fds->words, words);
	(void)snprintf(log_version, sizeof(log_version), "%x", launch->qemu->row->log_version);
	add_replay(launch, argv);
	add_disks(launch, arena, argv);
	add_for_hello(launch, arena, argv);
	if (keep_only(list, sizeof(list) / sizeof(list[0]), launch->replay != NULL) < 0)
		return;
	/* Ctrl-C is for QEMU: the monitor still has the rest of the log to send. */
	(void)setsid();
	(void)execv(launch->programs->monitor, (char *const *)argv);
}

static int start_monitor(const struct vmft_launch *launch, const struct fds *fds, pid_t *ret,
			 struct vmft_error *err)
{
	pid_t guest = getpid();
	pid_t pid = fork();

	if (pid < 0)
		return internal(err, "fork", errno);
	if (pid == 0) {
		exec_monitor(launch, fds, guest);
		(void)fprintf(stderr, "%s: cannot execute: %s; install all of vmft\n",
			      launch->programs->monitor, strerror(errno));
		_exit(VMFT_EXIT_INTERNAL);
	}
	/* Ours must be the only other end, or its end-of-file would never be seen. */
	(void)close(fds->lifeline_monitor);
	*ret = pid;
	return 0;
}

/* The monitor is gone without having said that it is ready: its exit code becomes ours. */
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

static char *nic_list(const struct vmft_cmdline *cmdline, struct vmft_arena *arena)
{
	char *list = vmft_arena_printf(arena, "%s", "");

	for (size_t i = 0; i < cmdline->nic_count; i++)
		list = vmft_arena_printf(arena, "%s%s%s/%s", list, i ? "+" : "",
					 cmdline->nics[i].netdev, cmdline->nics[i].mac);
	return list;
}

static char *disk_list(const struct vmft_launch *launch, struct vmft_arena *arena)
{
	char *list = vmft_arena_printf(arena, "%s", "");

	for (size_t i = 0; i < launch->cmdline->disk_count; i++)
		list = vmft_arena_printf(arena, "%s%s%llx.%llx", list, i ? "+" : "",
					 (unsigned long long)launch->images[i].device,
					 (unsigned long long)launch->images[i].inode);
	return list;
}

static bool any_qcow2(const struct vmft_cmdline *cmdline)
{
	for (size_t i = 0; i < cmdline->disk_count; i++)
		if (cmdline->disks[i].format == VMFT_DISK_QCOW2)
			return true;
	return false;
}

static int set_environment(const struct vmft_launch *launch, const struct fds *fds,
			   struct vmft_error *err)
{
	struct vmft_arena *arena = vmft_arena_new();
	const char *preload = getenv("LD_PRELOAD");
	const char *agent = launch->programs->agent;
	bool checkpoint = launch->cmdline->strategy == VMFT_STRATEGY_CHECKPOINT;
	char *settings = vmft_arena_printf(
	    arena,
	    "%siface=%d,area=%d,ram=%d,flush=%d,%s%s%sbell-monitor=%d,bell-agent=%d,lifeline=%d,%s%"
	    "s%s"
	    "gate=%u,log-version=%x,clock-offset=%zu,warp-offset=%zu,warp-timer-offset=%zu,"
	    "shift-offset=%zu,bias-offset=%zu,icount-offset=%zu,kind-offset=%zu,rng-offset=%zu,"
	    "ioapic-offset=%zu",
	    checkpoint ? "strategy=checkpoint," : "", fds->iface, fds->area, fds->ram,
	    any_qcow2(launch->cmdline), launch->cmdline->disk_count ? "disks=" : "",
	    disk_list(launch, arena), launch->cmdline->disk_count ? "," : "", fds->bell_monitor,
	    fds->bell_agent, fds->lifeline_agent, launch->cmdline->nic_count ? "nics=" : "",
	    nic_list(launch->cmdline, arena), launch->cmdline->nic_count ? "," : "",
	    launch->config->gate_bytes, launch->qemu->row->log_version,
	    launch->qemu->row->timers_clock_offset, launch->qemu->row->timers_warp_offset,
	    launch->qemu->row->timers_warp_timer_offset, launch->qemu->row->timers_shift_offset,
	    launch->qemu->row->timers_bias_offset, launch->qemu->row->timers_icount_offset,
	    launch->qemu->row->replay_kind_offset, launch->qemu->row->rng_offset,
	    launch->qemu->row->ioapic_offset);
	int r = 0;

	if (preload && preload[0])
		agent = vmft_arena_printf(arena, "%s:%s", preload, agent);
	if (setenv("VMFT_AGENT", settings, 1) < 0 || setenv("LD_PRELOAD", agent, 1) < 0)
		r = internal(err, "environment", errno);
	vmft_arena_free(arena);
	return r;
}

static int exec_qemu(const struct vmft_launch *launch, const struct fds *fds,
		     struct vmft_error *err)
{
	const int list[] = {fds->iface,	       fds->area,	fds->ram,
			    fds->bell_monitor, fds->bell_agent, fds->lifeline_agent};
	int r = set_environment(launch, fds, err);

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
 * What is said on stderr may not wait for who reads it either: often it is the same pipe or
 * terminal as the console, and neither QEMU's main loop nor the monitor may stand still for it. The
 * description that was handed over is others' too and stays as it is. A file never makes anybody
 * wait, and would be begun anew. What cannot be opened again (a reader that has gone, a terminal
 * that is somebody else's) is left alone.
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
	struct fds fds;
	pid_t monitor = -1;
	int r = open_fds(launch, &fds, err);

	/* On failure the process ends, and what is open or running goes with it. */
	if (r < 0)
		return r;
	stop_waiting_for_stderr();
	r = start_monitor(launch, &fds, &monitor, err);
	if (r < 0)
		return r;
	r = wait_ready(fds.lifeline_agent, monitor, err);
	if (r < 0)
		return r;
	return exec_qemu(launch, &fds, err);
}
