/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling somebody: what is worth it, and how the program is run. */
#define _GNU_SOURCE
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "monitor/daemon/status/alarm.h"
#include "suites.h"

#define PATIENCE_MS 30000

/* A directory with the program in it, which leaves a file for each time it is run. */
struct desk {
	char dir[64], program[96], path[128];
	struct vmft_alarm *alarm;
	struct vmft_error err;
};

static void write_program(const struct desk *d, const char *body, mode_t mode)
{
	FILE *file = fopen(d->program, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	(void)fprintf(file, "#!/bin/sh\ncd %s || exit 1\n%s\n", d->dir, body);
	CU_ASSERT_EQUAL_FATAL(fclose(file), 0);
	CU_ASSERT_EQUAL_FATAL(chmod(d->program, mode), 0);
}

static int open_desk(struct desk *d)
{
	return vmft_alarm_open("pair.conf", d->program, "web1", "backup", &d->alarm, &d->err);
}

static void make_desk(struct desk *d, const char *body)
{
	memset(d, 0, sizeof(*d));
	(void)snprintf(d->dir, sizeof(d->dir), "/tmp/vmft-unit-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(d->dir));
	(void)snprintf(d->program, sizeof(d->program), "%s/program", d->dir);
	write_program(d, body, 0755);
	CU_ASSERT_EQUAL_FATAL(open_desk(d), 0);
}

/* Files whose names begin so. */
static unsigned count(const struct desk *d, const char *prefix)
{
	DIR *dir = opendir(d->dir);
	unsigned n = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	for (struct dirent *e; (e = readdir(dir));)
		n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	return n;
}

static bool becomes(const struct desk *d, const char *prefix, unsigned n)
{
	const struct timespec step = {.tv_nsec = 1000000};

	for (int ms = 0; ms < PATIENCE_MS; ms++) {
		if (count(d, prefix) == n)
			return true;
		(void)nanosleep(&step, NULL);
	}
	return false;
}

static const char *path_of(struct desk *d, const char *name)
{
	(void)snprintf(d->path, sizeof(d->path), "%s/%s", d->dir, name);
	return d->path;
}

static void drop_desk(struct desk *d)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", d->dir);
	CU_ASSERT_EQUAL(system(command), 0);
}

/* Whether one of those that left "done.TEXT.PID" is still there, if only as a zombie. */
static bool some_are_left(const struct desk *d)
{
	DIR *dir = opendir(d->dir);
	bool left = false;

	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		char path[300];

		(void)snprintf(path, sizeof(path), "/proc/%s",
			       e->d_name + strcspn(e->d_name, "0123456789"));
		left |= strncmp(e->d_name, "done.", 5) == 0 && access(path, F_OK) == 0;
	}
	closedir(dir);
	return left;
}

/* --- how it is run ------------------------------------------------------------ */

static void told(void)
{
	const int kept = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
	char found[1024] = "";
	struct desk d;
	FILE *file;
	size_t n;

	make_desk(&d, "in=$(readlink /proc/$$/fd/0) out=$(readlink /proc/$$/fd/1)\n"
		      "for fd in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || out=$fd; done\n"
		      "{ printf '%s|' $# \"$@\"; echo \"$VMFT_ALARM_EVENT|$VMFT_ALARM_NAME|"
		      "$VMFT_ALARM_HOST|$VMFT_ALARM_TEXT\"\n"
		      "echo $in $out; } > draft; mv draft words");
	vmft_alarm_raise(d.alarm, VMFT_ALARM_LIVE, "it's \"$(live)\" now; *");
	vmft_alarm_close(d.alarm);
	CU_ASSERT(becomes(&d, "words", 1));
	file = fopen(path_of(&d, "words"), "r");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	n = fread(found, 1, sizeof(found) - 1, file);
	found[n] = '\0';
	fclose(file);
	CU_ASSERT_STRING_EQUAL(found, "4|live|web1|backup|it's \"$(live)\" now; *|"
				      "live|web1|backup|it's \"$(live)\" now; *\n"
				      "/dev/null /dev/null\n");
	close(kept);
	drop_desk(&d);
}

/* Each leaves a file and then waits for "go": as many run as may, the rest wait, the last is too
 * much; when they may end all have been told, and none is left as a zombie. */
static void bounded(void)
{
	const unsigned all = VMFT_ALARM_RUN_MAX + VMFT_ALARM_WAIT_MAX;
	struct desk d;

	make_desk(&d, "touch run.$4.$$; until [ -e go ]; do sleep 0.02; done; touch done.$4.$$");
	for (unsigned i = 0; i < VMFT_ALARM_RUN_MAX; i++)
		vmft_alarm_raise(d.alarm, VMFT_ALARM_ALONE, "first");
	CU_ASSERT(becomes(&d, "run.first", VMFT_ALARM_RUN_MAX));
	for (unsigned i = 0; i < VMFT_ALARM_WAIT_MAX; i++)
		vmft_alarm_raise(d.alarm, VMFT_ALARM_ALONE, "second");
	vmft_alarm_raise(d.alarm, VMFT_ALARM_ALONE, "third");
	CU_ASSERT_EQUAL(count(&d, "run"), VMFT_ALARM_RUN_MAX);
	close(open(path_of(&d, "go"), O_CREAT | O_WRONLY, 0600));
	CU_ASSERT(becomes(&d, "done", all));
	CU_ASSERT_EQUAL(count(&d, "run.third"), 0);
	for (int i = 0; i < PATIENCE_MS && some_are_left(&d); i++)
		(void)usleep(1000);
	CU_ASSERT(!some_are_left(&d));
	vmft_alarm_close(d.alarm);
	drop_desk(&d);
}

/* That all is well is news to those who were told that it is not, and to them once. */
static void all_is_well(void)
{
	struct desk d;

	make_desk(&d, "touch $1.$$");
	vmft_alarm_raise(d.alarm, VMFT_ALARM_PROTECTED, "");
	vmft_alarm_raise(d.alarm, VMFT_ALARM_ALONE, "");
	vmft_alarm_raise(d.alarm, VMFT_ALARM_PROTECTED, "");
	vmft_alarm_raise(d.alarm, VMFT_ALARM_PROTECTED, "");
	vmft_alarm_raise(d.alarm, VMFT_ALARM_LAGGING, "");
	vmft_alarm_close(d.alarm);
	CU_ASSERT(becomes(&d, "alone", 1));
	CU_ASSERT(becomes(&d, "lagging", 1));
	CU_ASSERT(becomes(&d, "protected", 1));
	drop_desk(&d);
}

/* A program that does not end keeps nobody from ending. */
static void never_waited_for(void)
{
	struct desk d;

	make_desk(&d, "touch run; until [ -e go ]; do sleep 0.02; done; touch done");
	vmft_alarm_raise(d.alarm, VMFT_ALARM_FENCED, "");
	vmft_alarm_close(d.alarm);
	CU_ASSERT_EQUAL(count(&d, "done"), 0);
	close(open(path_of(&d, "go"), O_CREAT | O_WRONLY, 0600));
	CU_ASSERT(becomes(&d, "done", 1));
	drop_desk(&d);
}

static void cannot_be_run(void)
{
	struct desk d;

	make_desk(&d, "true");
	vmft_alarm_close(d.alarm);
	write_program(&d, "true", 0644);
	CU_ASSERT_EQUAL(open_desk(&d), -EACCES);
	CU_ASSERT_PTR_NOT_NULL(strstr(d.err.text, d.program));
	CU_ASSERT_PTR_NOT_NULL(strstr(d.err.text, "pair.conf: alarm = "));
	(void)unlink(d.program);
	CU_ASSERT_EQUAL(open_desk(&d), -ENOENT);
	CU_ASSERT_EQUAL(mkdir(d.program, 0755), 0);
	CU_ASSERT_EQUAL(open_desk(&d), -EACCES);
	d.program[0] = '\0';
	CU_ASSERT_EQUAL(open_desk(&d), 0);
	CU_ASSERT_PTR_NULL(d.alarm);
	vmft_alarm_raise(d.alarm, VMFT_ALARM_LIVE, "");
	vmft_alarm_close(d.alarm);
	drop_desk(&d);
}

/* --- what is worth it --------------------------------------------------------- */

static enum vmft_alarm_event of(enum vmft_side side, enum vmft_state from, enum vmft_side now,
				enum vmft_state to)
{
	const struct vmft_core before = {.side = side, .state = from};
	const struct vmft_core after = {.side = now, .state = to};

	return vmft_alarm_of(&before, &after);
}

static void what_is_worth_it(void)
{
	const enum vmft_side p = VMFT_SIDE_PRIMARY, b = VMFT_SIDE_BACKUP;

	CU_ASSERT_EQUAL(of(p, VMFT_STATE_ARBITRATING, p, VMFT_STATE_ALONE), VMFT_ALARM_ALONE);
	CU_ASSERT_EQUAL(of(b, VMFT_STATE_GOING_LIVE, p, VMFT_STATE_ALONE), VMFT_ALARM_LIVE);
	CU_ASSERT_EQUAL(of(p, VMFT_STATE_ARBITRATING, p, VMFT_STATE_FENCED), VMFT_ALARM_FENCED);
	CU_ASSERT_EQUAL(of(b, VMFT_STATE_PROTECTED, b, VMFT_STATE_DIVERGED), VMFT_ALARM_DIVERGED);
	CU_ASSERT_EQUAL(of(p, VMFT_STATE_SEALING, p, VMFT_STATE_PROTECTED), VMFT_ALARM_PROTECTED);
	CU_ASSERT_EQUAL(of(p, VMFT_STATE_FORMING, p, VMFT_STATE_PROTECTED), VMFT_ALARM_NONE);
	CU_ASSERT_EQUAL(of(p, VMFT_STATE_FORMING, p, VMFT_STATE_ALONE), VMFT_ALARM_NONE);
	CU_ASSERT_EQUAL(of(p, VMFT_STATE_ATTACHING, p, VMFT_STATE_ALONE), VMFT_ALARM_NONE);
	CU_ASSERT_EQUAL(of(b, VMFT_STATE_ATTACHING, b, VMFT_STATE_PROTECTED), VMFT_ALARM_NONE);
	CU_ASSERT_EQUAL(of(p, VMFT_STATE_PROTECTED, p, VMFT_STATE_PROTECTED), VMFT_ALARM_NONE);
	for (int event = 0; event < VMFT_ALARM_EVENTS; event++)
		CU_ASSERT_PTR_NOT_NULL(vmft_alarm_name((enum vmft_alarm_event)event));
}

/* It is asked again and again, and does not answer. */
static void arbiter_once(void)
{
	struct vmft_core before = {.state = VMFT_STATE_ARBITRATING, .why = VMFT_WHY_SILENCE};
	struct vmft_core now = {.state = VMFT_STATE_WAITING_ARBITER,
				.why = VMFT_WHY_ARBITER_UNREACHABLE};

	CU_ASSERT_EQUAL(vmft_alarm_of(&before, &now), VMFT_ALARM_ARBITER);
	before.why = VMFT_WHY_ARBITER_UNREACHABLE;
	CU_ASSERT_EQUAL(vmft_alarm_of(&before, &now), VMFT_ALARM_NONE);
}

static void backup_diverged(void)
{
	struct vmft_core before = {.state = VMFT_STATE_LAGGING};
	struct vmft_core now = {.state = VMFT_STATE_ARBITRATING, .lost = VMFT_WHY_PEER_DIVERGED};

	CU_ASSERT_EQUAL(vmft_alarm_of(&before, &now), VMFT_ALARM_BACKUP_DIVERGED);
	before.state = VMFT_STATE_ATTACHING;
	now.state = VMFT_STATE_ALONE;
	CU_ASSERT_EQUAL(vmft_alarm_of(&before, &now), VMFT_ALARM_BACKUP_DIVERGED);
	now.lost = VMFT_WHY_LAGGED;
	before.state = VMFT_STATE_PROTECTED;
	now.state = VMFT_STATE_ARBITRATING;
	CU_ASSERT_EQUAL(vmft_alarm_of(&before, &now), VMFT_ALARM_NONE);
}

int vmft_suite_alarm(void)
{
	CU_pSuite suite = CU_add_suite("alarm", NULL, NULL);

	if (!suite || !CU_ADD_TEST(suite, told) || !CU_ADD_TEST(suite, bounded) ||
	    !CU_ADD_TEST(suite, all_is_well) || !CU_ADD_TEST(suite, never_waited_for) ||
	    !CU_ADD_TEST(suite, cannot_be_run) || !CU_ADD_TEST(suite, what_is_worth_it) ||
	    !CU_ADD_TEST(suite, arbiter_once) || !CU_ADD_TEST(suite, backup_diverged))
		return -1;
	return 0;
}
