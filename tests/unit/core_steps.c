/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core_steps.h"

struct vmft_actions core_step(struct vmft_core *core, struct vmft_event_in event)
{
	struct vmft_actions actions;

	memset(&actions, 0xa5, sizeof(actions)); /* every field must be filled anew */
	vmft_core_step(core, &event, &actions);
	CU_ASSERT_EQUAL(actions.set >> VMFT_DO_COUNT, 0);
	return actions;
}

struct vmft_core core_forming(enum vmft_side side)
{
	struct vmft_core core;

	memset(&core, 0xa5, sizeof(core));
	vmft_core_init(&core, side, 7);
	return core;
}

struct vmft_core core_protected_at(enum vmft_side side, uint64_t position)
{
	struct vmft_core core = core_forming(side);

	STEP(&core, VMFT_IN_PEER_READY);
	if (side == VMFT_SIDE_PRIMARY)
		STEP(&core, VMFT_IN_ACK, .position = position, .sent = position, .formed = true);
	else
		STEP(&core, VMFT_IN_LOG_HELD, .position = position);
	return core;
}

struct vmft_core core_attaching(enum vmft_side side)
{
	struct vmft_core core = core_forming(side);

	if (side == VMFT_SIDE_PRIMARY)
		STEP(&core, VMFT_IN_START_ALONE);
	STEP(&core, VMFT_IN_ATTACH);
	STATE_IS(&core, ATTACHING);
	return core;
}

struct vmft_core core_attaching_from(enum vmft_side side, uint64_t position)
{
	struct vmft_core core = core_attaching(side);

	STEP(&core, VMFT_IN_ATTACH_POINT, .position = position);
	return core;
}

struct vmft_core core_sealing(void)
{
	struct vmft_core core = core_attaching_from(VMFT_SIDE_PRIMARY, 100);

	STEP(&core, VMFT_IN_CAUGHT_UP);
	STATE_IS(&core, SEALING);
	return core;
}

struct vmft_core core_arbitrating(enum vmft_side side)
{
	struct vmft_core core = core_protected_at(side, 100);

	STEP(&core, VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION);
	if (side == VMFT_SIDE_BACKUP)
		STEP(&core, VMFT_IN_REPLAYED, .position = 100);
	STATE_IS(&core, ARBITRATING);
	return core;
}

struct vmft_core core_handing_over(void)
{
	struct vmft_core core = core_protected_at(VMFT_SIDE_PRIMARY, 100);

	STEP(&core, VMFT_IN_HAND_OVER);
	STATE_IS(&core, HANDING_OVER);
	return core;
}

struct vmft_core core_handed_over(void)
{
	struct vmft_core core = core_handing_over();

	STEP(&core, VMFT_IN_ALL_HANDED, .position = 100);
	STATE_IS(&core, HANDED_OVER);
	return core;
}

bool core_reach(enum vmft_side side, enum vmft_state state, struct vmft_core *ret)
{
	bool primary = side == VMFT_SIDE_PRIMARY;

	*ret = core_forming(side);
	if (state == VMFT_STATE_FORMING)
		return true;
	if (state == VMFT_STATE_ATTACHING || state == VMFT_STATE_SEALING)
		*ret = core_attaching(side);
	else
		*ret = state <= VMFT_STATE_ENDING ? core_protected_at(side, 100)
						  : core_arbitrating(side);
	switch (state) {
	case VMFT_STATE_SEALING:
		if (primary)
			*ret = core_sealing();
		break;
	case VMFT_STATE_LAGGING:
		if (primary)
			STEP(ret, VMFT_IN_LAGS);
		break;
	case VMFT_STATE_SHIPPING:
		if (primary)
			STEP(ret, VMFT_IN_GUEST_DIED);
		break;
	case VMFT_STATE_HANDING_OVER:
		if (primary)
			*ret = core_handing_over();
		break;
	case VMFT_STATE_HANDED_OVER:
		if (primary)
			*ret = core_handed_over();
		break;
	case VMFT_STATE_DRAINING:
		STEP(ret, VMFT_IN_PEER_LOST, .why = VMFT_WHY_SILENCE);
		break;
	case VMFT_STATE_ENDING:
		STEP(ret, VMFT_IN_PEER_ENDED);
		break;
	case VMFT_STATE_WAITING_ARBITER:
		STEP(ret, VMFT_IN_CLAIM_UNREACHABLE);
		break;
	case VMFT_STATE_GOING_LIVE:
		STEP(ret, VMFT_IN_CLAIM_WON);
		break;
	case VMFT_STATE_ALONE:
		STEP(ret, VMFT_IN_CLAIM_WON);
		if (!primary)
			STEP(ret, VMFT_IN_LIVE);
		break;
	case VMFT_STATE_FENCED:
		STEP(ret, VMFT_IN_CLAIM_LOST);
		break;
	case VMFT_STATE_DIVERGED:
		if (!primary)
			STEP(ret, VMFT_IN_DIVERGED);
		break;
	case VMFT_STATE_ENDED:
		STEP(ret, VMFT_IN_GUEST_DIED);
		break;
	default:
		break;
	}
	return ret->side == side && ret->state == state;
}

bool core_aborts(struct vmft_core core, struct vmft_event_in event)
{
	struct vmft_actions actions;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		signal(SIGABRT, SIG_DFL);
		if (null >= 0)
			dup2(null, STDERR_FILENO);
		vmft_core_step(&core, &event, &actions);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		CU_FAIL("fork");
		return false;
	}
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
