/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A QEMU and its agent, as far as they are the same for every strategy. */
#include "sim.h"

static void emit(struct world *w, int host, uint64_t number)
{
	check_frame(w, host, number);
	w->sides[host].last_emitted = number;
	if (number > w->seen)
		w->seen = number;
	w->tally->frames++;
	w->tally->late += host != w->recorder;
}

static void gate_swap(struct side *s)
{
	unsigned second = (s->frame_head + 1) % GATE_FRAMES;
	struct frame first = s->frames[s->frame_head];

	s->frames[s->frame_head] = s->frames[second];
	s->frames[second] = first;
}

void gate_flush(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (!s->guest_alive || s->fenced || w->now < s->guest_paused_until)
		return;
	if (!s->monitor_alive && !s->gate_open) {
		if (w->spoil != SPOIL_GATE_ORPHAN)
			return;
		s->gate_open = true;
	}
	while (s->frame_count) {
		const struct frame *first = &s->frames[s->frame_head];

		if (!s->gate_open && first->position > s->release)
			return;
		if (w->spoil == SPOIL_GATE_DROPS && s->frame_count > 1 && one_in(w, 50)) {
			gate_swap(s);
			if (!s->gate_open && first->position > s->release)
				return;
		}
		s->frame_head = (s->frame_head + 1) % GATE_FRAMES;
		s->frame_count--;
		emit(w, host, first->number);
	}
}

void gate_put(struct world *w, int host, uint64_t position, uint64_t number)
{
	struct side *s = &w->sides[host];

	s->frames[(s->frame_head + s->frame_count) % GATE_FRAMES] =
	    (struct frame){.position = position, .number = number, .since = w->now};
	s->frame_count++;
	gate_flush(w, host);
}

void guest_gone(struct world *w, int host, bool in_order)
{
	struct side *s = &w->sides[host];

	s->guest_alive = false;
	s->guest_ended = in_order;
	later(w, about(w, 200), JOB_LOOK, host, 0);
}

/* Only what the guest does is the end of the VM. */
void guest_ends(struct world *w, int host)
{
	w->shutdown |= host == w->recorder;
	guest_gone(w, host, true);
}

/* A QEMU that was told to end does so in order too. */
void shut_down(struct world *w, int host)
{
	if (w->sides[host].guest_runs)
		w->ops->power_off(w, host);
	else
		guest_gone(w, host, true);
}

/* Until it next does something. */
uint64_t guest_pause(struct world *w, int host)
{
	const struct side *s = &w->sides[host];

	/* Its agent sees that nobody is there any more to give it its speed back. */
	return about(w, s->slowed && s->monitor_alive ? 4 * w->guest_us : w->guest_us);
}

uint64_t apply_pause(struct world *w, int host)
{
	(void)host;
	return about(w, w->now < w->slow_apply_until ? 20 * w->apply_us : w->apply_us);
}

void do_guest(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	/* Alone it goes on without its monitor, also in the middle of an attach. */
	if (s->gate_open && !s->monitor_alive)
		s->keeps = false;
	if (s->frozen)
		later(w, guest_pause(w, host), JOB_GUEST, host, 0);
	else if (s->guest_alive && !s->fenced && s->guest_runs)
		w->ops->guest(w, host);
}

void do_apply(struct world *w, int host)
{
	const struct side *b = &w->sides[host];

	if (b->guest_alive && !b->fenced && !b->told_live)
		w->ops->apply(w, host);
}

void do_live(struct world *w, int host)
{
	struct side *b = &w->sides[host];

	if (!b->guest_alive || b->fenced)
		return;
	b->guest_runs = true;
	check_step(w);
	check_go_live(w, host);
	w->tally->go_lives++;
	w->recorder = host;
	w->live_from = w->ops->covers(w, host, w->ops->applied(w, host));
	w->ops->live(w, host);
	b->diverged = false; /* what it is, is the guest from here on */
	note(w, "%s: agent is live after frame %llu", host_name(host),
	     (unsigned long long)w->live_from);
	later(w, 0, JOB_GUEST, host, 0);
	later(w, about(w, 60), JOB_LOOK, host, 0);
}

/* The guest stands still for a moment; what it does from here on is kept. */
void do_take_state(struct world *w, int host, uint64_t attach)
{
	struct side *s = &w->sides[host];

	if (attach != s->attach || !s->guest_alive || s->fenced)
		return;
	w->ops->take_point(w, host);
	s->keeps = true;
	later(w, about(w, 200), JOB_POINT, host, attach);
}

void do_close_gate(struct world *w, int host, uint64_t attach)
{
	struct side *s = &w->sides[host];

	if (attach != s->attach || !s->guest_alive || s->fenced || !s->monitor_alive)
		return;
	if (w->spoil != SPOIL_NO_CLOSE_GATE)
		s->gate_open = false;
	s->seal = w->ops->seal(w, host);
	later(w, about(w, 200), JOB_GATE_CLOSED, host, attach);
}
