/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run: processes are started, jobs come due, until the world rests. */
#include "sim.h"

static const uint64_t run_until_us = 3500 * MS; /* long after the last fault is healed */

static void start_processes(struct world *w, int host, enum vmft_side role)
{
	struct side *s = &w->sides[host];

	*s = (struct side){
	    .life = s->life + 1,
	    .monitor_alive = true,
	    .guest_alive = true,
	};
	w->ops->start(w, host);
	/* The primary's hello says which generation a backup is of. */
	vmft_core_init(&s->core, role, role == VMFT_SIDE_PRIMARY ? GENERATION : 0);
	note(w, "%s: processes started, %s", host_name(host), vmft_side_name(role));
	later(w, about(w, beat_us), JOB_BEAT, host, 0);
	later(w, about(w, 3 * MS), JOB_CONNECT, host, 0);
}

/* Not beside a guest that goes on without its monitor, and not after an orderly end. */
static bool wants_start(const struct world *w, int host)
{
	const struct side *s = &w->sides[host];

	if (w->shutdown || w->now < w->down_until[host])
		return false;
	if (!s->monitor_alive)
		return !is_live(s);
	return vmft_core_is_final(&s->core) && w->now >= s->monitor_paused_until;
}

static void do_service(struct world *w, int host)
{
	later(w, about(w, 10 * MS), JOB_SERVICE, host, 0);
	if (!wants_start(w, host)) {
		w->start_at[host] = 0;
		return;
	}
	if (!w->start_at[host])
		w->start_at[host] = w->now + about(w, 30 * MS);
	if (w->now < w->start_at[host])
		return;
	w->start_at[host] = 0;
	start_processes(w, host, VMFT_SIDE_BACKUP);
}

/* Which process has to run for a job, so that a pause or a death stops the right things. */
static bool is_guest_job(enum job job)
{
	return job <= JOB_STAGE;
}

static bool is_world_job(enum job job)
{
	return job >= JOB_ARBITER;
}

static bool is_kernel_job(enum job job)
{
	return job == JOB_DELIVER || job == JOB_RESET;
}

static void perform_on_guest(struct world *w, const struct todo *t)
{
	switch (t->job) {
	case JOB_GUEST:
		do_guest(w, t->side);
		break;
	case JOB_APPLY:
		do_apply(w, t->side);
		break;
	case JOB_GATE:
		gate_flush(w, t->side);
		break;
	case JOB_LIVE:
		do_live(w, t->side);
		break;
	case JOB_TAKE_STATE:
		do_take_state(w, t->side, t->arg);
		break;
	case JOB_CLOSE_GATE:
		do_close_gate(w, t->side, t->arg);
		break;
	case JOB_CUT:
	case JOB_STAGE:
		w->ops->job(w, t);
		break;
	default:
		break;
	}
}

static void perform_on_monitor(struct world *w, const struct todo *t)
{
	switch (t->job) {
	case JOB_COPY:
		w->ops->job(w, t);
		break;
	case JOB_POINT:
		do_point(w, t->side, t->arg);
		break;
	case JOB_GATE_CLOSED:
		do_gate_closed(w, t->side, t->arg);
		break;
	case JOB_ALONE:
		do_alone(w, t->side);
		break;
	case JOB_SHIP:
		do_ship(w, t->side);
		break;
	case JOB_LOOK:
		do_look(w, t->side);
		break;
	case JOB_BEAT:
		do_beat(w, t->side);
		break;
	case JOB_RETRY:
		feed_kind(w, t->side, VMFT_IN_RETRY_TIMER);
		break;
	case JOB_DETECT:
		do_detect(w, t->side);
		break;
	case JOB_CONNECT:
		do_connect(w, t->side);
		break;
	case JOB_ANSWER:
		do_answer(w, t->side, (enum vmft_in)t->arg);
		break;
	case JOB_DELIVER:
		do_deliver(w, t->side, t->arg);
		break;
	case JOB_RESET:
		do_reset(w, t->side, t->arg);
		break;
	default:
		break;
	}
}

static void perform_in_world(struct world *w, const struct todo *t)
{
	switch (t->job) {
	case JOB_ARBITER:
		do_arbiter(w, t);
		break;
	case JOB_ARBITER_SET:
		do_arbiter_set(w, t);
		break;
	case JOB_DISK:
		w->ops->job(w, t);
		break;
	case JOB_SERVICE:
		do_service(w, t->side);
		break;
	case JOB_WATCH:
		do_watch(w);
		break;
	case JOB_FAULT:
		do_fault(w, &w->plan[t->arg]);
		break;
	default:
		break;
	}
}

/* A stopped process does late, in one burst, whatever waited for it. */
static void dispatch(struct world *w, const struct todo *t)
{
	const struct side *s = &w->sides[t->side];
	bool guest = is_guest_job(t->job);
	uint64_t paused_until = guest ? s->guest_paused_until : s->monitor_paused_until;

	if (is_world_job(t->job)) {
		perform_in_world(w, t);
		return;
	}
	if (t->life != s->life && !is_kernel_job(t->job))
		return;
	if (w->now < paused_until) {
		later(w, paused_until - w->now + chance(w, 100), t->job, t->side, t->arg);
		return;
	}
	if (guest)
		perform_on_guest(w, t);
	else if (s->monitor_alive || t->job == JOB_DELIVER)
		perform_on_monitor(w, t);
}

static void world_start(struct world *w)
{
	bool alone = w->ops->starts_alone || one_in(w, 4);

	w->delay_us = one_in(w, 3) ? MS + chance(w, 9 * MS) : 20 + chance(w, 500);
	w->guest_us = 500 + chance(w, 3500);
	w->asks = one_in(w, 4);
	w->apply_us = w->guest_us / 2 + chance(w, w->guest_us);
	w->precopy_us = MS + chance(w, one_in(w, 2) ? 5 * MS : 80 * MS);
	w->window = one_in(w, 2) ? 1 + (unsigned)chance(w, 6) : QUEUE_MAX / 2;
	w->latest = GENERATION;
	w->ops->begin(w);
	start_processes(w, 0, VMFT_SIDE_PRIMARY);
	w->first = (struct claimant){true, 0, w->sides[0].life};
	w->sides[0].record = w->first;
	if (alone)
		later(w, chance(w, 3 * MS), JOB_ALONE, 0, 0);
	if (!alone || one_in(w, 2))
		start_processes(w, 1, VMFT_SIDE_BACKUP);
	for (int host = 0; host < HOSTS; host++)
		later(w, about(w, 10 * MS), JOB_SERVICE, host, 0);
	later(w, watch_us, JOB_WATCH, 0, 0);
	plan_faults(w);
}

void world_run(struct world *w)
{
	world_start(w);
	while (w->agenda_count && !w->broken && !w->done) {
		struct todo t = next_todo(w);

		if (t.at > run_until_us)
			break;
		w->now = t.at;
		dispatch(w, &t);
		check_step(w);
		w->tally->steps++;
	}
	if (!w->broken)
		check_end(w);
	w->tally->runs++;
}
