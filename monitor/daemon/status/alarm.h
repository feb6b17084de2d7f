/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program that is told when somebody should know: alarm = /PROGRAM in the pair file.
 *
 * It is run without a shell as PROGRAM EVENT NAME HOST TEXT, the same in VMFT_ALARM_EVENT,
 * _NAME, _HOST and _TEXT of its environment, stdin and stdout /dev/null, stderr the monitor's, no
 * other descriptor. A thread of its own starts and reaps it: fork and exec may wait for a disk,
 * the monitor's loop never does. Some run at once, some more wait; what is too much is dropped
 * and said.
 */
#ifndef VMFT_ALARM_H
#define VMFT_ALARM_H

#include "monitor/common/error.h"
#include "monitor/core/core.h"

#define VMFT_ALARM_RUN_MAX  4u	/* at once */
#define VMFT_ALARM_WAIT_MAX 16u /* behind them */
#define VMFT_ALARM_TEXT_MAX 256u

enum vmft_alarm_event {
	VMFT_ALARM_NONE,
	VMFT_ALARM_ALONE,	    /* a primary has lost its backup and goes on */
	VMFT_ALARM_LIVE,	    /* a backup has taken over: the guest runs here */
	VMFT_ALARM_FENCED,	    /* this side lost the arbitration */
	VMFT_ALARM_DIVERGED,	    /* this backup's guest is not what the primary's is */
	VMFT_ALARM_BACKUP_DIVERGED, /* primary: its backup said so of itself */
	VMFT_ALARM_LAGGING,	    /* primary: it is slowed, for a while already */
	VMFT_ALARM_DROPPED,	    /* primary: its backup lagged too long and is given up */
	VMFT_ALARM_BACKUP_STALLED,  /* primary: its backup's replay stands still */
	VMFT_ALARM_STALLED,	    /* backup: its primary is gone, its replay stands still */
	VMFT_ALARM_ARBITER,	    /* the arbiter does not answer: nobody goes on */
	VMFT_ALARM_PROTECTED,	    /* primary: all is well again after one of these */
	VMFT_ALARM_EVENTS,
};

/* "alone", "live", ...; static storage. */
const char *vmft_alarm_name(enum vmft_alarm_event event);

/* What a step of the core is worth; NONE for most. */
enum vmft_alarm_event vmft_alarm_of(const struct vmft_core *before, const struct vmft_core *now);

struct vmft_alarm;

/*
 * "" as program: *ret is NULL, which all of these take. -ENOENT, -EACCES or what stat() said for
 * a program that cannot be run, with *err filled; where is the pair file, for that line. name and
 * host must outlive the alarm, program as well.
 */
int vmft_alarm_open(const char *where, const char *program, const char *name, const char *host,
		    struct vmft_alarm **ret, struct vmft_error *err);
/* Never blocks. PROTECTED is told only behind another one: that a guest got its first backup is
 * no news. text is cut at VMFT_ALARM_TEXT_MAX. */
void vmft_alarm_raise(struct vmft_alarm *alarm, enum vmft_alarm_event event, const char *text);
/* What was raised is started first, for at most a second; not waited for to end. */
void vmft_alarm_close(struct vmft_alarm *alarm);

#endif
