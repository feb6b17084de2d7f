/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmft replay: runs a log that a backup saved once more, offline.
 *
 * The log may come from anybody: what it says is checked, and no program it names is executed.
 * This host or the user says which QEMU runs; it must be the build the log was made with.
 *
 * The saved command line is checked as a command line of vmft-qemu is. It is given other disks,
 * taps and consoles (monitor/wrapper/offline.h) and is started through vmft-qemu, as a backup in
 * a network namespace of its own. The monitor beside it reads the log from the file
 * (monitor/daemon/savedlog/replay.h) and reports how it went.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arguments.h"
#include "cli.h"
#include "logging-channel/savedlog.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"
#include "monitor/interface.h"
#include "monitor/wrapper/builds.h"
#include "monitor/wrapper/offline.h"
#include "monitor/wrapper/qemu-binary.h"

#define STALL_MS_DEFAULT 30000
#define STALL_MS_MIN	 1000
#define STALL_MS_MAX	 600000

static const char doc[] =
    "Replay a log that the backup of a VM saved (save-log in the pair file), in a network of its "
    "own and on copies of the disks, to its end or to where the guest differs.\v"
    "Give the images as they were before the VM was started. They are copied to TMPDIR, /var/tmp "
    "by default; the copies are removed in the end.\n\n"
    "Exit status: 0 replayed to the end without a difference, 12 there is one (or replay stands "
    "still), 2 wrong usage or a log that cannot be replayed, 4 another QEMU, 5 other disk images, "
    "10 QEMU died.";

enum { KEY_DISK = 256, KEY_CONSOLE, KEY_STALL_MS, KEY_QEMU };

static const struct argp_option option_table[] = {
    {"disk", KEY_DISK, "IMAGE", 0, "one for each disk, in the order of the guest's", 0},
    {"console", KEY_CONSOLE, "FILE", 0, "write what the first serial port says there", 0},
    {"stall-ms", KEY_STALL_MS, "N", 0, "replay that stands still this long differs (30000)", 0},
    {"qemu", KEY_QEMU, "PATH", 0, "the emulator, if not " VMFT_QEMU_DEFAULT, 0},
    {0},
};

struct replay {
	const char *log;
	const char *disk[VMFT_AREA_DISKS_MAX];
	size_t disk_count;
	const char *console, *qemu;
	unsigned stall_ms;

	struct vmft_arena *arena; /* has the strings below */
	struct vmft_savedlog_header header;
	char log_path[PATH_MAX];  /* absolute */
	char qemu_path[PATH_MAX]; /* absolute */
	char self[PATH_MAX];	  /* directory of the programs */
	char dir[PATH_MAX];	  /* removed in the end; "": not made yet */
	const char *copy[VMFT_AREA_DISKS_MAX];
	const char *pair; /* the pair file in dir */
	char **argv;	  /* of vmft-qemu */
};

static unsigned parse_stall(const char *text, struct argp_state *state)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || value < STALL_MS_MIN || value > STALL_MS_MAX)
		vmft_arguments_wrong(state, "--stall-ms=%s: from %d to %d", text, STALL_MS_MIN,
				     STALL_MS_MAX);
	return (unsigned)value;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct replay *r = state->input;

	switch (key) {
	case KEY_DISK:
		if (r->disk_count == VMFT_AREA_DISKS_MAX)
			vmft_arguments_wrong(state, "at most %u disks", VMFT_AREA_DISKS_MAX);
		r->disk[r->disk_count++] = arg;
		return 0;
	case KEY_CONSOLE:
		r->console = arg;
		return 0;
	case KEY_STALL_MS:
		r->stall_ms = parse_stall(arg, state);
		return 0;
	case KEY_QEMU:
		r->qemu = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (r->log)
			vmft_arguments_wrong(state, "name one log only, without %s", arg);
		r->log = arg;
		return 0;
	case ARGP_KEY_END:
		if (!r->log)
			vmft_arguments_wrong(state, "needs the path of a saved log");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int refuse(struct vmft_error *err, const char *what, const char *why)
{
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG, "%.300s: %s", what, why);
}

static int failed(struct vmft_error *err, const char *what)
{
	return vmft_error_set(err, -errno, VMFT_EXIT_INTERNAL, "%.300s: %s", what, strerror(errno));
}

/* --- what is to be replayed ------------------------------------------------ */

static const char *why_not_read(int rc)
{
	switch (rc) {
	case -EPROTO:
		return "not a log that vmft saved";
	case -EPROTONOSUPPORT:
		return "saved by another version of vmft";
	case -EBADMSG:
		return "its header is damaged";
	default:
		return strerror(-rc);
	}
}

static int read_header(struct replay *r, struct vmft_error *err)
{
	struct vmft_savedlog_reader reader;
	int fd = open(r->log, O_RDONLY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return refuse(err, r->log, strerror(errno));
	rc = vmft_savedlog_open(&reader, fd);
	if (rc == 0) {
		r->header = reader.header;
		reader.header.cmdline = NULL; /* ours now */
		vmft_savedlog_close(&reader);
	}
	close(fd);
	if (rc < 0)
		return refuse(err, r->log, why_not_read(rc));
	if (r->header.kind == VMFT_SAVEDLOG_CHECKPOINT)
		return refuse(err, r->log,
			      "of a guest that was protected by checkpoints: it has no "
			      "entries to be replayed");
	if (r->header.attached)
		return refuse(err, r->log,
			      "begins where a running guest was attached, and does not "
			      "have the guest's state of then; only a log from a VM's "
			      "start can be replayed");
	if (!realpath(r->log, r->log_path))
		return refuse(err, r->log, strerror(errno));
	return 0;
}

/* In hex, as a struct vmft_qemu_binary has it. */
static void saved_build(const struct vmft_hello *id, char ret[static 2 * VMFT_HELLO_DIGEST_MAX + 1])
{
	ret[0] = '\0';
	for (size_t i = 0; i < id->build_id_bytes; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", id->build_id[i]);
}

static bool is_build(const struct vmft_hello *id, const struct vmft_qemu_binary *binary)
{
	char hex[2 * VMFT_HELLO_DIGEST_MAX + 1];

	saved_build(id, hex);
	return strcmp(hex, binary->build_id) == 0 && id->log_version == binary->series->log_version;
}

/* This host may have a copy of the build from before an upgrade. */
static bool use_kept(struct replay *r)
{
	char hex[2 * VMFT_HELLO_DIGEST_MAX + 1], kept[VMFT_PATH_MAX];
	struct vmft_qemu_binary binary;
	struct vmft_error err;

	saved_build(&r->header.id, hex);
	if (vmft_builds_find(VMFT_BUILDS_DIRECTORY, hex, kept) < 0 ||
	    vmft_qemu_binary_check(kept, &binary, &err) < 0 || !is_build(&r->header.id, &binary))
		return false;
	(void)snprintf(r->qemu_path, sizeof(r->qemu_path), "%s", kept);
	return true;
}

/* The message tells to change the pair file, which does not say here which QEMU runs. */
static void advise(struct vmft_error *err)
{
	char *todo = strrchr(err->text, ';');

	if (todo)
		(void)snprintf(todo, sizeof(err->text) - (size_t)(todo - err->text), "%s",
			       "; name another with --qemu");
}

/* Called before anything else of the log is used. */
static int check_qemu(struct replay *r, struct vmft_error *err)
{
	struct vmft_qemu_binary binary;
	int rc;

	if (!realpath(r->qemu, r->qemu_path))
		return vmft_error_set(err, -errno, VMFT_EXIT_QEMU,
				      "%.300s: %s; name the emulator with --qemu", r->qemu,
				      strerror(errno));
	rc = vmft_qemu_binary_check(r->qemu_path, &binary, err);
	if (rc < 0) {
		advise(err);
		return rc;
	}
	if (is_build(&r->header.id, &binary) || use_kept(r))
		return 0;
	return vmft_error_set(err, -EINVAL, VMFT_EXIT_QEMU,
			      "%.200s: saved with another QEMU build than %.200s (it was %.200s "
			      "there): install the same package version, or name it with --qemu",
			      r->log, r->qemu_path, r->header.qemu);
}

/* argv of the saved line, argv[0] included; the words are owned by the header. */
static char **saved_words(struct replay *r, int *ret_argc)
{
	char **argv = vmft_arena_alloc(r->arena, VMFT_SAVEDLOG_WORDS_MAX + 2, sizeof(*argv));
	const char *end = r->header.cmdline + r->header.cmdline_bytes;
	int argc = 0;

	argv[argc++] = vmft_arena_copy(r->arena, "vmft-qemu", 9);
	for (char *word = r->header.cmdline; word < end; word += strlen(word) + 1)
		argv[argc++] = word;
	*ret_argc = argc;
	return argv;
}

static int check_disks(const struct replay *r, const struct vmft_cmdline *line,
		       struct vmft_error *err)
{
	const char *names = "";

	for (size_t i = 0; i < line->disk_count; i++)
		names = vmft_arena_printf(r->arena, "%s%s%s", names, i ? ", " : "",
					  line->disks[i].path);
	if (r->disk_count != line->disk_count)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%zu disks were given, the guest has %zu: give --disk for "
				      "each, as it was before the start (%.250s)",
				      r->disk_count, line->disk_count, names);
	for (size_t i = 0; i < r->disk_count; i++)
		if (access(r->disk[i], R_OK) < 0)
			return vmft_error_set(err, -errno, VMFT_EXIT_IMAGE, "%.300s: %s",
					      r->disk[i], strerror(errno));
	return 0;
}

/* The line with its files changed. vmft-qemu checks it again, and the contents of kernel and
 * initrd as well. */
static int make_line(struct replay *r, struct vmft_error *err)
{
	const struct vmft_rewrite_options opt = {
	    .role = VMFT_ROLE_BACKUP,
	    .strategy = VMFT_STRATEGY_LOCKSTEP,
	    .ram_path = "/dev/null",
	    .name = r->header.id.name,
	};
	const char *from[VMFT_AREA_DISKS_MAX];
	struct vmft_offline offline = {
	    .disk_from = from, .disk_to = r->copy, .console = r->console};
	struct vmft_report report = {.arena = r->arena};
	struct vmft_cmdline line;
	int argc, rc;
	char **argv = saved_words(r, &argc);

	/* vmft-qemu would pass such a line on to QEMU unchanged. */
	if (vmft_cmdline_is_probe(argc, argv))
		return refuse(err, r->log, "its command line only asks QEMU something");
	if (vmft_cmdline_rewrite(argc, argv, &opt, &report, &line) < 0)
		return vmft_report_to_error(&report, err);
	rc = check_disks(r, &line, err);
	offline.disk_count = rc == 0 ? line.disk_count : 0;
	for (size_t i = 0; i < offline.disk_count; i++) {
		from[i] = line.disks[i].path;
		r->copy[i] = vmft_arena_printf(r->arena, "%s/disk%zu", r->dir, i);
	}
	if (rc == 0)
		rc = vmft_offline_rewrite(r->arena, argc, argv, &offline, &r->argv, err);
	vmft_cmdline_free(&line);
	return rc;
}

/* --- files ----------------------------------------------------------------- */

static int make_dir(struct replay *r, struct vmft_error *err)
{
	const char *base = getenv("TMPDIR");

	if (!base || !base[0])
		base = "/var/tmp";
	if (snprintf(r->dir, sizeof(r->dir), "%s/vmft-replay-XXXXXX", base) >= 200) {
		r->dir[0] = '\0';
		return refuse(err, base, "TMPDIR is too long a path");
	}
	if (mkdtemp(r->dir))
		return 0;
	(void)failed(err, r->dir);
	r->dir[0] = '\0';
	return -EIO;
}

static void remove_dir(const struct replay *r)
{
	if (!r->dir[0])
		return;
	for (size_t i = 0; i < r->disk_count; i++)
		if (r->copy[i])
			(void)unlink(r->copy[i]);
	if (r->pair)
		(void)unlink(r->pair);
	(void)rmdir(r->dir);
}

/* The file reads as it was meant: no path in it ends a line or begins a comment. */
static int check_pair(const struct replay *r, struct vmft_error *err)
{
	struct vmft_pair_config *config = calloc(1, sizeof(*config));
	int rc = config ? vmft_pair_config_load(r->pair, config, err) : -ENOMEM;

	if (rc == 0 && (strcmp(config->name, r->header.id.name) != 0 ||
			strcmp(config->qemu, r->qemu_path) != 0 ||
			strcmp(config->arbiter + strlen("file:"), r->dir) != 0))
		rc = refuse(err, r->qemu_path, "or TMPDIR cannot stand in a pair file");
	free(config);
	return rc;
}

/* The pair file of vmft-qemu and the monitor. Nobody listens on its addresses. */
static int write_pair(struct replay *r, struct vmft_error *err)
{
	FILE *file;

	r->pair = vmft_arena_printf(r->arena, "%s/pair.conf", r->dir);
	file = fopen(r->pair, "we");
	if (!file)
		return failed(err, r->pair);
	(void)fprintf(file,
		      "[pair]\nname = %s\narbiter = file:%s\nstrategy = lockstep\n"
		      "disk-check = %s\nstall-ms = %u\nqemu = %s\n"
		      "[primary]\nchannel = 127.0.0.1:1\ncontrol = %s/primary\n"
		      "[backup]\nchannel = 127.0.0.1:2\ncontrol = %s/backup\n",
		      r->header.id.name, r->dir, r->header.disks_by_size ? "size" : "full",
		      r->stall_ms, r->qemu_path, r->dir, r->dir);
	if (fclose(file) != 0)
		return failed(err, r->pair);
	return check_pair(r, err);
}

/* --- processes ------------------------------------------------------------- */

static void caught_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
}

/* In the child. It has a process group of its own: Ctrl-C goes to vmft, which ends the child. */
static void become_child(pid_t parent)
{
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
	if (getppid() != parent)
		_exit(VMFT_EXIT_INTERNAL);
	(void)setpgid(0, 0);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* How a child ended, and the grandchild that became ours when it did. */
struct ends {
	int first, other;
	bool has_other;
	bool stopped; /* a signal asked us to end */
};

/* Returns when all children are gone. */
static void wait_children(pid_t first, struct ends *ret)
{
	sigset_t set;

	*ret = (struct ends){0};
	caught_signals(&set);
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid < 0)
			return;
		if (pid == first) {
			ret->first = status;
		} else if (pid > 0) {
			ret->has_other = true;
			ret->other = status;
		} else if (sigwaitinfo(&set, NULL) != SIGCHLD) {
			ret->stopped = true;
			(void)kill(first, SIGKILL);
		}
	}
}

static int copy_disk(const struct replay *r, size_t i, struct vmft_error *err)
{
	const pid_t self = getpid();
	struct ends ends;
	pid_t pid = fork();

	if (pid < 0)
		return failed(err, "fork");
	if (pid == 0) {
		become_child(self);
		(void)execlp("cp", "cp", "--reflink=auto", "--sparse=always", "--", r->disk[i],
			     r->copy[i], (char *)NULL);
		_exit(127);
	}
	wait_children(pid, &ends);
	if (!ends.stopped && WIFEXITED(ends.first) && WEXITSTATUS(ends.first) == 0)
		return 0;
	return vmft_error_set(err, -EIO, VMFT_EXIT_IMAGE, "%.200s: could not be copied to %.200s",
			      r->disk[i], r->dir);
}

/* In the child; returns only if QEMU cannot be started. */
static void exec_qemu(const struct replay *r)
{
	const char *program = vmft_arena_printf(r->arena, "%s/vmft-qemu", r->self);

	/* In this host's network it would use the taps of a VM that runs. */
	if (unshare(CLONE_NEWNET) < 0) {
		(void)fprintf(stderr,
			      "vmft replay: cannot make a network namespace: %s; run it as root\n",
			      strerror(errno));
		return;
	}
	if (r->header.directory[0] && chdir(r->header.directory) < 0) {
		(void)fprintf(
		    stderr,
		    "vmft replay: %s: %s; the saved command line was used in this directory\n",
		    r->header.directory, strerror(errno));
		return;
	}
	if (setenv("VMFT_PAIR", r->pair, 1) < 0 || setenv("VMFT_ROLE", "backup", 1) < 0 ||
	    setenv("VMFT_HOST", "backup", 1) < 0 || setenv("VMFT_REPLAY", r->log_path, 1) < 0)
		return;
	(void)execv(program, r->argv);
	(void)fprintf(stderr, "vmft replay: %s: %s; install all of vmft\n", program,
		      strerror(errno));
}

/* The monitor is a child of the process that becomes QEMU; when that ends, it becomes ours. */
static int run_qemu(const struct replay *r, struct vmft_error *err)
{
	const pid_t self = getpid();
	struct ends ends;
	int status;
	pid_t pid;

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return failed(err, "PR_SET_CHILD_SUBREAPER");
	pid = fork();
	if (pid < 0)
		return failed(err, "fork");
	if (pid == 0) {
		become_child(self);
		exec_qemu(r);
		_exit(VMFT_EXIT_INTERNAL);
	}
	wait_children(pid, &ends);
	status = ends.has_other ? ends.other : ends.first;
	err->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : VMFT_EXIT_INTERNAL;
	err->text[0] = '\0';
	if (ends.stopped)
		return refuse(err, r->log, "stopped before the end");
	return 0;
}

/* --- all of it ------------------------------------------------------------- */

static int absolute_console(struct replay *r, struct vmft_error *err)
{
	char here[PATH_MAX];

	if (!r->console || r->console[0] == '/')
		return 0;
	if (!getcwd(here, sizeof(here)))
		return failed(err, ".");
	r->console = vmft_arena_printf(r->arena, "%s/%s", here, r->console);
	return 0;
}

static int find_self(struct replay *r, struct vmft_error *err)
{
	ssize_t n = readlink("/proc/self/exe", r->self, sizeof(r->self) - 1);

	if (n < 0)
		return failed(err, "/proc/self/exe");
	r->self[n] = '\0';
	*strrchr(r->self, '/') = '\0';
	return 0;
}

static int prepare(struct replay *r, struct vmft_error *err)
{
	int rc = read_header(r, err);

	if (rc == 0)
		rc = find_self(r, err);
	if (rc == 0)
		rc = absolute_console(r, err);
	if (rc == 0)
		rc = check_qemu(r, err);
	if (rc == 0)
		rc = make_dir(r, err);
	if (rc == 0)
		rc = make_line(r, err);
	if (rc == 0)
		rc = write_pair(r, err);
	for (size_t i = 0; i < r->disk_count && rc == 0; i++)
		rc = copy_disk(r, i, err);
	return rc;
}

int vmft_cli_replay(int argc, char *argv[], const char *help)
{
	static const struct argp argp = {
	    .options = option_table,
	    .parser = parse_option,
	    .args_doc = "LOG",
	    .doc = doc,
	};
	static struct replay replay = {.stall_ms = STALL_MS_DEFAULT, .qemu = VMFT_QEMU_DEFAULT};
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};
	sigset_t set;

	(void)help;
	vmft_arguments_parse(&argp, argc, argv, &replay);
	replay.arena = vmft_arena_new();
	/* From here on signals are waited for, so that the copies are removed again. */
	caught_signals(&set);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	if (prepare(&replay, &err) == 0)
		(void)run_qemu(&replay, &err);
	if (err.text[0])
		(void)fprintf(stderr, "vmft replay: %s\n", err.text);
	remove_dir(&replay);
	vmft_savedlog_header_free(&replay.header);
	vmft_arena_free(replay.arena);
	return err.exit_code;
}
