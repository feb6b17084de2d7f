/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a program when a person should be told of something: alarm = /PROGRAM in the pair file.
 *
 * The program is run without a shell as PROGRAM EVENT NAME HOST TEXT. Its environment has the same
 * in VMFT_ALARM_EVENT, _NAME, _HOST and _TEXT. Its stdin and stdout are /dev/null, its stderr is
 * the monitor's, and it has no other descriptor. A thread of its own starts and reaps it: fork and
 * exec may wait for a disk, and the monitor's loop must not. VMFT_ALARM_RUN_MAX run at the same
 * time and VMFT_ALARM_WAIT_MAX more wait; further ones are dropped, which stderr says.
 */
#ifndef VMFT_ALARM_H
#define VMFT_ALARM_H

#include "monitor/common/error.h"
#include "monitor/core/core.h"

#define VMFT_ALARM_RUN_MAX  4u	/* at the same time */
#define VMFT_ALARM_WAIT_MAX 16u /* to be run after them */
#define VMFT_ALARM_TEXT_MAX 256u

enum vmft_alarm_event {
	VMFT_ALARM_NONE,
	VMFT_ALARM_ALONE,	    /* a primary has lost its backup and goes on */
	VMFT_ALARM_LIVE,	    /* a backup has taken over: the guest runs here */
	VMFT_ALARM_FENCED,	    /* this side lost the arbitration */
	VMFT_ALARM_DIVERGED,	    /* this backup's guest differs from the primary's */
	VMFT_ALARM_BACKUP_DIVERGED, /* primary: its backup said that of itself */
	VMFT_ALARM_LAGGING,	    /* primary: it has been slowed for some seconds */
	VMFT_ALARM_DROPPED,	    /* primary: its backup lagged too long and is given up */
	VMFT_ALARM_BACKUP_STALLED,  /* primary: its backup's replay stands still */
	VMFT_ALARM_STALLED,	    /* backup: its primary is gone, its replay stands still */
	VMFT_ALARM_ARBITER,	    /* the arbiter does not answer: neither side goes on */
	VMFT_ALARM_PROTECTED,	    /* primary: all is well again after one of these */
	VMFT_ALARM_EVENTS,
};

/* "alone", "live", ...; static storage. */
const char *vmft_alarm_name(enum vmft_alarm_event event);

/* The event that a step of the core is; NONE for most steps. */
enum vmft_alarm_event vmft_alarm_of(const struct vmft_core *before, const struct vmft_core *now);

struct vmft_alarm;

/*
 * If program is "", *ret is NULL, which all of these take. Fails with -ENOENT, -EACCES or what
 * stat() reports, and fills *err, if the program cannot be run; where is the pair file, for that
 * line. program, name and host must outlive the alarm.
 */
int vmft_alarm_open(const char *where, const char *program, const char *name, const char *host,
		    struct vmft_alarm **ret, struct vmft_error *err);
/* Never blocks. PROTECTED is told only after another event: that a guest got its first backup is
 * expected. text is cut at VMFT_ALARM_TEXT_MAX. */
void vmft_alarm_raise(struct vmft_alarm *alarm, enum vmft_alarm_event event, const char *text);
/* First starts what was raised, for at most a second. Does not wait for programs to end. */
void vmft_alarm_close(struct vmft_alarm *alarm);

#endif
