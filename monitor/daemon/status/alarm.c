/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "alarm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "monitor/common/exit-codes.h"

#define CLOSE_NS   1000000000L
#define WORDS	   4u /* for the program, as arguments and in the environment */
#define OURS	   "VMFT_ALARM_"
#define ENTRY_MAX  (VMFT_ALARM_TEXT_MAX + 32u)
#define ENV_MAX	   1024u /* variables of ours that it gets */
#define FIRST_FREE 3	 /* the descriptor after stderr */

struct alarm_item {
	enum vmft_alarm_event event;
	char text[VMFT_ALARM_TEXT_MAX];
};

struct vmft_alarm {
	const char *program, *name, *host;
	pthread_t thread;
	int bell;  /* eventfd: an item, or the end */
	bool told; /* something, since all was well; used by the monitor's thread only */

	pthread_mutex_t lock; /* protects what follows; held no longer than a copy takes */
	pthread_cond_t started;
	struct alarm_item item[VMFT_ALARM_WAIT_MAX];
	unsigned first, count;
	bool closing;

	/* used by the alarm's thread only */
	struct {
		pid_t pid;
		int pidfd;
	} child[VMFT_ALARM_RUN_MAX];
	unsigned children;
};

static const char *const names[VMFT_ALARM_EVENTS] = {
    [VMFT_ALARM_NONE] = "none",		  [VMFT_ALARM_ALONE] = "alone",
    [VMFT_ALARM_LIVE] = "live",		  [VMFT_ALARM_FENCED] = "fenced",
    [VMFT_ALARM_DIVERGED] = "diverged",	  [VMFT_ALARM_BACKUP_DIVERGED] = "backup-diverged",
    [VMFT_ALARM_LAGGING] = "lagging",	  [VMFT_ALARM_DROPPED] = "dropped",
    [VMFT_ALARM_STALLED] = "stalled",	  [VMFT_ALARM_ARBITER] = "arbiter",
    [VMFT_ALARM_PROTECTED] = "protected", [VMFT_ALARM_BACKUP_STALLED] = "backup-stalled",
};

const char *vmft_alarm_name(enum vmft_alarm_event event)
{
	return names[event];
}

static enum vmft_alarm_event of_alone(const struct vmft_core *before, const struct vmft_core *now)
{
	if (before->side == VMFT_SIDE_BACKUP)
		return VMFT_ALARM_LIVE;
	if (before->state == VMFT_STATE_ARBITRATING)
		return VMFT_ALARM_ALONE;
	/* An attach that failed: as unprotected as before. */
	return now->lost == VMFT_WHY_PEER_DIVERGED ? VMFT_ALARM_BACKUP_DIVERGED : VMFT_ALARM_NONE;
}

enum vmft_alarm_event vmft_alarm_of(const struct vmft_core *before, const struct vmft_core *now)
{
	if (now->state == before->state)
		return VMFT_ALARM_NONE;
	switch (now->state) {
	case VMFT_STATE_FENCED:
		return VMFT_ALARM_FENCED;
	case VMFT_STATE_DIVERGED:
		return VMFT_ALARM_DIVERGED;
	case VMFT_STATE_WAITING_ARBITER:
		/* The arbiter is asked again and again; the person is told once. */
		return before->why == VMFT_WHY_ARBITER_UNREACHABLE ? VMFT_ALARM_NONE
								   : VMFT_ALARM_ARBITER;
	case VMFT_STATE_ARBITRATING:
		return vmft_core_is_paired(before) && now->lost == VMFT_WHY_PEER_DIVERGED
			   ? VMFT_ALARM_BACKUP_DIVERGED
			   : VMFT_ALARM_NONE;
	case VMFT_STATE_ALONE:
		return before->state == VMFT_STATE_FORMING ? VMFT_ALARM_NONE
							   : of_alone(before, now);
	case VMFT_STATE_PROTECTED:
		return before->state == VMFT_STATE_SEALING ? VMFT_ALARM_PROTECTED : VMFT_ALARM_NONE;
	default:
		return VMFT_ALARM_NONE;
	}
}

/* --- the thread ------------------------------------------------------------- */

/* VMFT_ALARM_ variables of our own environment are left out: this monitor may itself have been
 * started by an alarm's program. */
static size_t copy_environment(char *env[], size_t n)
{
	size_t count = 0;

	for (char **at = environ; *at && count < n; at++)
		if (strncmp(*at, OURS, sizeof(OURS) - 1) != 0)
			env[count++] = *at;
	return count;
}

static int prepare(posix_spawn_file_actions_t *files, posix_spawnattr_t *attr)
{
	sigset_t all;

	(void)sigfillset(&all);
	if (posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0) != 0 ||
	    posix_spawn_file_actions_addopen(files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) != 0 ||
	    /* The lifeline is among them: with a copy of it open, QEMU would not notice that its
	     * monitor is gone. */
	    posix_spawn_file_actions_addclosefrom_np(files, FIRST_FREE) != 0)
		return -ENOMEM;
	/* The monitor ignores SIGPIPE, and this thread blocks all signals. */
	(void)posix_spawnattr_setsigdefault(attr, &all);
	(void)sigemptyset(&all);
	(void)posix_spawnattr_setsigmask(attr, &all);
	(void)posix_spawnattr_setflags(
	    attr, (short)(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID));
	return 0;
}

static int spawn(const struct vmft_alarm *alarm, const struct alarm_item *item, pid_t *ret)
{
	static const char *const keys[WORDS] = {"EVENT", "NAME", "HOST", "TEXT"};
	char *words[WORDS] = {(char *)vmft_alarm_name(item->event), (char *)alarm->name,
			      (char *)alarm->host, (char *)item->text};
	char *argv[] = {(char *)alarm->program, words[0], words[1], words[2], words[3], NULL};
	char entry[WORDS][ENTRY_MAX];
	char *env[ENV_MAX + WORDS + 1] = {NULL};
	size_t count = copy_environment(env, ENV_MAX);
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int rc;

	for (unsigned i = 0; i < WORDS; i++) {
		(void)snprintf(entry[i], sizeof(entry[i]), OURS "%s=%s", keys[i], words[i]);
		env[count++] = entry[i];
	}
	(void)posix_spawn_file_actions_init(&files);
	(void)posix_spawnattr_init(&attr);
	rc = prepare(&files, &attr);
	if (rc == 0)
		rc = -posix_spawn(ret, alarm->program, &files, &attr, argv, env);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&files);
	return rc;
}

static void start(struct vmft_alarm *alarm, const struct alarm_item *item)
{
	pid_t pid;
	int rc = spawn(alarm, item, &pid);

	if (rc < 0) {
		(void)fprintf(stderr, "vmft-monitor: alarm = %s: %s: %s\n", alarm->program,
			      vmft_alarm_name(item->event), strerror(-rc));
		return;
	}
	/* The monitor has a higher priority for its heartbeats. */
	(void)setpriority(PRIO_PROCESS, (id_t)pid, 0);
	alarm->child[alarm->children].pid = pid;
	alarm->child[alarm->children].pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	alarm->children++;
}

static void reap(struct vmft_alarm *alarm)
{
	for (unsigned i = 0; i < alarm->children;) {
		if (waitpid(alarm->child[i].pid, NULL, WNOHANG) == 0) {
			i++;
			continue;
		}
		close(alarm->child[i].pidfd);
		alarm->child[i] = alarm->child[--alarm->children];
	}
}

/* False: there is none, or no room to run it. */
static bool next(struct vmft_alarm *alarm, struct alarm_item *ret)
{
	bool is = false;

	pthread_mutex_lock(&alarm->lock);
	if (alarm->count > 0 && alarm->children < VMFT_ALARM_RUN_MAX) {
		*ret = alarm->item[alarm->first];
		is = true;
	}
	pthread_mutex_unlock(&alarm->lock);
	return is;
}

/* An item is taken out only after it was started: vmft_alarm_close() waits for that. */
static void done(struct vmft_alarm *alarm)
{
	pthread_mutex_lock(&alarm->lock);
	alarm->first = (alarm->first + 1) % VMFT_ALARM_WAIT_MAX;
	alarm->count--;
	pthread_cond_signal(&alarm->started);
	pthread_mutex_unlock(&alarm->lock);
}

static void *run(void *arg)
{
	struct vmft_alarm *alarm = arg;
	struct alarm_item item;
	bool closing = false;

	while (!closing) {
		struct pollfd wait[1 + VMFT_ALARM_RUN_MAX] = {
		    {.fd = alarm->bell, .events = POLLIN}};
		uint64_t rung;

		for (unsigned i = 0; i < alarm->children; i++)
			wait[1 + i] = (struct pollfd){alarm->child[i].pidfd, POLLIN, 0};
		(void)poll(wait, 1 + alarm->children, -1);
		if (wait[0].revents)
			(void)!read(alarm->bell, &rung, sizeof(rung));
		reap(alarm);
		while (next(alarm, &item)) {
			start(alarm, &item);
			done(alarm);
		}
		pthread_mutex_lock(&alarm->lock);
		closing = alarm->closing;
		pthread_mutex_unlock(&alarm->lock);
	}
	return NULL;
}

/* --- the monitor's side ------------------------------------------------------ */

static void ring(struct vmft_alarm *alarm)
{
	const uint64_t one = 1;

	(void)!write(alarm->bell, &one, sizeof(one));
}

void vmft_alarm_raise(struct vmft_alarm *alarm, enum vmft_alarm_event event, const char *text)
{
	struct alarm_item *item;
	bool full;

	if (!alarm || event == VMFT_ALARM_NONE || (event == VMFT_ALARM_PROTECTED && !alarm->told))
		return;
	alarm->told = event != VMFT_ALARM_PROTECTED;
	pthread_mutex_lock(&alarm->lock);
	full = alarm->count == VMFT_ALARM_WAIT_MAX;
	if (!full) {
		item = &alarm->item[(alarm->first + alarm->count++) % VMFT_ALARM_WAIT_MAX];
		item->event = event;
		(void)snprintf(item->text, sizeof(item->text), "%s", text);
	}
	pthread_mutex_unlock(&alarm->lock);
	if (full)
		(void)fprintf(
		    stderr,
		    "vmft-monitor: alarm = %s: %s was not reported: earlier runs have not ended\n",
		    alarm->program, vmft_alarm_name(event));
	ring(alarm);
}

static int check(const char *where, const char *program, struct vmft_error *err)
{
	struct stat st;
	int rc = 0;

	if (stat(program, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode) || access(program, X_OK) < 0)
		rc = -EACCES;
	return rc < 0 ? vmft_error_set(err, rc, VMFT_EXIT_CONFIG,
				       "%s: alarm = %s: %s; name a program this host can run",
				       where, program, strerror(-rc))
		      : 0;
}

/* Signals must go to the monitor's main thread. */
static int start_thread(struct vmft_alarm *alarm)
{
	sigset_t all, before;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = -pthread_create(&alarm->thread, NULL, run, alarm);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void release(struct vmft_alarm *alarm)
{
	if (alarm->bell >= 0)
		close(alarm->bell);
	(void)pthread_cond_destroy(&alarm->started);
	(void)pthread_mutex_destroy(&alarm->lock);
	free(alarm);
}

int vmft_alarm_open(const char *where, const char *program, const char *name, const char *host,
		    struct vmft_alarm **ret, struct vmft_error *err)
{
	struct vmft_alarm *alarm;
	int rc;

	if (!program[0]) {
		*ret = NULL;
		return 0;
	}
	rc = check(where, program, err);
	if (rc < 0)
		return rc;
	alarm = calloc(1, sizeof(*alarm));
	if (!alarm)
		return vmft_error_set(err, -ENOMEM, VMFT_EXIT_INTERNAL, "%s", strerror(ENOMEM));
	alarm->program = program;
	alarm->name = name;
	alarm->host = host;
	(void)pthread_mutex_init(&alarm->lock, NULL);
	(void)pthread_cond_init(&alarm->started, NULL);
	alarm->bell = eventfd(0, EFD_CLOEXEC);
	rc = alarm->bell < 0 ? -errno : start_thread(alarm);
	if (rc < 0) {
		release(alarm);
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "cannot start a thread: %s",
				      strerror(-rc));
	}
	*ret = alarm;
	return 0;
}

void vmft_alarm_close(struct vmft_alarm *alarm)
{
	struct timespec until;
	int rc = 0;

	if (!alarm)
		return;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += CLOSE_NS / 1000000000L;
	pthread_mutex_lock(&alarm->lock);
	while (alarm->count > 0 && rc == 0)
		rc = pthread_cond_clockwait(&alarm->started, &alarm->lock, CLOCK_MONOTONIC, &until);
	alarm->closing = true;
	pthread_mutex_unlock(&alarm->lock);
	ring(alarm);
	/* A thread that waits for a disk that does not answer is left behind: the process is about
	 * to end. */
	if (rc != 0) {
		(void)pthread_detach(alarm->thread);
		return;
	}
	(void)pthread_join(alarm->thread, NULL);
	for (unsigned i = 0; i < alarm->children; i++)
		close(alarm->child[i].pidfd);
	release(alarm);
}
