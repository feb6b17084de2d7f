/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that runs alone is given a backup, and is protected for a while; each time one call of
 * libc in it fails, first the first, then the second, until none is left to fail. Whatever fails:
 * no monitor aborts, one guest runs and no two, it says why it is not protected, and gets a
 * backup again. Then the same of a backup whose primary dies: it is live, or says why not. Last, of
 * a start: it says why it is none.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fault.h"
#include "monitor/daemon/hub/snapshot.h"
#include "world.h"

#define MS UINT64_C(1000000)

static const struct vmft_strategy_ops *strategy;
static unsigned faults, verbose, bad;

static void complain(const char *what, const char *call, unsigned nth)
{
	bad++;
	printf("FAIL %s: call %u (%s) failed with %s: %s\n", strategy->name, nth, call,
	       fault_error(), what);
	for (unsigned i = 0; i < WORLD_SIDES; i++)
		printf("-- %s, %s%s, exit code %d:\n%s", i == WORLD_PRIMARY ? "primary" : "backup",
		       vmft_state_name(world_side[i].m.core.state),
		       world_side[i].left ? ", has left" : "", world_side[i].m.exit_code,
		       world_side[i].journal);
}

static bool is_protected(void)
{
	return world_side[WORLD_PRIMARY].m.core.state == VMFT_STATE_PROTECTED &&
	       world_side[WORLD_BACKUP].m.core.state == VMFT_STATE_PROTECTED;
}

static void start_alone(void)
{
	const struct vmft_event_in alone = {.kind = VMFT_IN_START_ALONE};

	if (world_up(WORLD_PRIMARY, strategy, NULL) < 0)
		abort();
	vmft_monitor_event(&world_side[WORLD_PRIMARY].m, &alone);
	world_run(100 * MS);
}

static void start_backup(void)
{
	if (world_up(WORLD_BACKUP, strategy, NULL) < 0)
		abort();
}

static unsigned live(void)
{
	return (unsigned)world_is_live(WORLD_PRIMARY) + (unsigned)world_is_live(WORLD_BACKUP);
}

/* Either side has said what it was that failed. */
static bool is_said(void)
{
	for (unsigned i = 0; i < WORLD_SIDES; i++)
		if (strstr(world_side[i].journal, fault_error()))
			return true;
	return false;
}

/* Nothing of it was to be seen from outside. */
static bool is_undisturbed(void)
{
	return is_protected() && world_side[WORLD_PRIMARY].m.source.failures == 0 &&
	       world_side[WORLD_PRIMARY].m.source.attached == 1;
}

/* A backup that has ended is started anew, as a service manager would; the primary comes back to
 * it by itself. */
static bool recovers(void)
{
	for (unsigned tries = 0; tries < 40 && !is_protected(); tries++) {
		if (world_side[WORLD_BACKUP].left)
			start_backup();
		world_run(1000 * MS);
	}
	return is_protected();
}

static bool is_equal(void)
{
	world_side[WORLD_PRIMARY].quiet = true;
	world_run(500 * MS);
	return world_is_equal();
}

/* A log that is to be saved is, or it is said that it is not. */
static bool is_saved(void)
{
	return vmft_savedlog_writer_is_open(&world_side[WORLD_BACKUP].m.saver.writer) || is_said();
}

/* What vmft status would show of a side is what it is. */
static bool shows(unsigned which)
{
	struct vmft_monitor *m = &world_side[which].m;
	static struct vmft_status status;

	vmft_status_fill(m, vmft_loop_now(), &status);
	return strcmp(status.state, vmft_state_name(m->core.state)) == 0 &&
	       strcmp(status.role, vmft_side_name(m->core.side)) == 0 &&
	       (status.peer[0] != '\0') == vmft_core_is_paired(&m->core) &&
	       (status.next[0] == '\0') == (m->core.state == VMFT_STATE_PROTECTED) &&
	       status.generation == m->core.generation &&
	       status.failovers == (which == WORLD_BACKUP && world_is_live(which));
}

static void check(const char *call, unsigned nth, bool undisturbed)
{
	const bool took_over = world_is_live(WORLD_BACKUP);

	if (live() != 1)
		complain(live() ? "two guests run" : "no guest runs", call, nth);
	else if (!undisturbed && !is_said())
		complain("nobody says why", call, nth);
	else if (!took_over && !recovers())
		complain("there is no backup again", call, nth);
	else if (!took_over && !is_equal())
		complain("the backup has something else than the primary", call, nth);
	else if (!took_over && !is_saved())
		complain("the log is not saved, and nobody says so", call, nth);
	else if (!shows(took_over ? WORLD_BACKUP : WORLD_PRIMARY))
		complain("its status is not what it is", call, nth);
	else if (verbose)
		printf("%s %u %s: %s\n%s%s", strategy->name, nth, call,
		       undisturbed ? "undisturbed"
		       : took_over ? "taken over"
				   : "again protected",
		       undisturbed ? "" : world_side[WORLD_PRIMARY].journal,
		       undisturbed ? "" : world_side[WORLD_BACKUP].journal);
}

/* False: there were not so many calls. */
static bool sweep_one(unsigned nth)
{
	const char *call;
	bool undisturbed;

	world_reset();
	start_alone();
	start_backup();
	fault_arm(nth);
	world_run(2500 * MS);
	call = fault_disarm();
	undisturbed = is_undisturbed();
	if (!call && (!undisturbed || !is_equal()))
		complain("not protected, though nothing failed", "none", nth);
	if (!call)
		return false;
	faults++;
	check(call, nth, undisturbed);
	return true;
}

static bool sweep_takeover(unsigned nth)
{
	const char *call;

	world_reset();
	start_alone();
	start_backup();
	world_run(1500 * MS);
	if (!is_protected())
		abort();
	world_kill(WORLD_PRIMARY);
	fault_arm(nth);
	world_run(5000 * MS);
	call = fault_disarm();
	if (!world_is_live(WORLD_BACKUP) && (!call || !is_said()))
		complain("the backup is not live", call ? call : "none", nth);
	else if (verbose && call)
		printf("%s takeover %u %s:\n%s", strategy->name, nth, call,
		       world_side[WORLD_BACKUP].journal);
	faults += call != NULL;
	return call != NULL;
}

/* A start that fails says why, and is none. */
static unsigned start_nth;

static void arm_start(void)
{
	fault_arm(start_nth);
}

static void sweep_start(unsigned side)
{
	for (start_nth = 1;; start_nth++) {
		const char *call;
		int rc;

		world_reset();
		rc = world_up(side, strategy, arm_start);
		call = fault_disarm();
		if (!call)
			break;
		faults++;
		if (rc < 0 && world_side[side].err.text[0] == '\0')
			complain("a start says nothing", call, start_nth);
		else if (verbose)
			printf("%s start %u %s: %d %s\n", strategy->name, start_nth, call, rc,
			       world_side[side].err.text);
	}
}

static void sweep(const struct vmft_strategy_ops *ops)
{
	unsigned nth = 1;

	strategy = ops;
	while (sweep_one(nth))
		nth++;
	for (nth = 1; sweep_takeover(nth);)
		nth++;
	sweep_start(WORLD_PRIMARY);
	sweep_start(WORLD_BACKUP);
}

int main(int argc, char *argv[])
{
	verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	world_init();
	sweep(&vmft_strategy_lockstep);
	sweep(&vmft_strategy_checkpoint);
	world_reset();
	printf("%u calls made to fail, one at a time; %u ended badly\n", faults, bad);
	return bad || faults == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
