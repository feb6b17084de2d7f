/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lockstep: a log of what the guest could not have computed, replayed by the backup's. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

enum {
	LOG_MAX = 16384,	     /* entries of one run; the guest idles when it is used up */
	LOG_BUFFERS = 2 * HOSTS + 1, /* each side's own, the one it follows, and a fresh one */
	RING_ENTRIES = 512,	     /* unsent entries the guest may run ahead by */
	LAG_ENTRIES = 40,	     /* unreplayed entries beyond which the guest is slowed down */
	CAUGHT_UP_ENTRIES = 64,	     /* lag at which a new backup counts as following */
};

struct entry {
	uint64_t end;	/* log position after it */
	uint64_t input; /* what the guest could not have computed */
	uint64_t state; /* of the guest that recorded it, after it */
	bool output;	/* a frame depends on it */
	bool last;	/* the guest powers off here */
};

struct own {
	uint64_t state;	      /* a hash over all the guest ever did */
	uint64_t early_state; /* when the pre-copy began */
	unsigned point;	      /* entries when the state was taken */
	uint64_t point_state;
	/* the log as this side has it; a live backup writes on */
	struct entry *log;
	const struct entry *source; /* backup: the log it follows, as its writer has it */
	unsigned entries;
	unsigned shipped;
	unsigned replayed;
};

struct strategy {
	struct own own[HOSTS];
	struct entry logs[LOG_BUFFERS][LOG_MAX];
};

static struct own *own_of(const struct world *w, int host)
{
	return &w->strategy->own[host];
}

static uint64_t log_end(const struct own *o, unsigned entries)
{
	return entries ? o->log[entries - 1].end : 0;
}

static struct strategy *lockstep_open(void)
{
	return calloc(1, sizeof(struct strategy));
}

static void lockstep_close(struct strategy *strategy)
{
	free(strategy);
}

static void lockstep_begin(struct world *w)
{
	memset(w->strategy->own, 0, sizeof(w->strategy->own));
}

static struct entry *free_log(const struct world *w)
{
	for (int i = 0; i < LOG_BUFFERS; i++) {
		struct entry *log = w->strategy->logs[i];
		bool used = false;

		for (int host = 0; host < HOSTS; host++)
			used |= log == own_of(w, host)->log || log == own_of(w, host)->source;
		if (!used)
			return log;
	}
	give_up(w, "no free log");
}

static void lockstep_start(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	*o = (struct own){.state = mix(w->seed)};
	o->log = free_log(w);
}

static void lockstep_connect(struct world *w, int primary)
{
	own_of(w, !primary)->source = own_of(w, primary)->log;
}

/* Appends what the guest did. */
static void guest_logs(struct world *w, int host, bool last)
{
	struct own *o = own_of(w, host);
	struct entry *e = &o->log[o->entries];

	e->end = log_end(o, o->entries) + 1 + chance(w, 200);
	e->input = chance(w, 1ULL << 60);
	e->output = !last && one_in(w, 3);
	e->last = last;
	o->state = mix(o->state ^ e->input);
	e->state = o->state;
	o->entries++;
	w->sides[host].last_worked_at = w->now;
	if (e->output)
		gate_put(w, host, e->end, e->end);
}

static unsigned lockstep_room(const struct world *w, int host)
{
	return LOG_MAX - 2 - own_of(w, host)->entries;
}

/* A backup that does not keep up costs the guest speed, one that takes nothing in stops it. */
static void lockstep_guest(struct world *w, int host)
{
	struct side *s = &w->sides[host];
	struct own *o = own_of(w, host);
	bool stalled = s->frame_count >= (w->asks ? 1 : GATE_FRAMES) || !lockstep_room(w, host) ||
		       (s->keeps && o->entries - o->shipped > RING_ENTRIES);

	/* Where it is: the log goes that far. */
	s->frozen = s->freeze;
	if (s->frozen)
		later(w, about(w, 60), JOB_LOOK, host, 0);
	else if (!stalled)
		guest_logs(w, host, false);
	if (s->keeps && !stalled)
		later(w, about(w, 60), JOB_SHIP, host, 0);
	later(w, guest_pause(w, host), JOB_GUEST, host, 0);
}

static void lockstep_apply(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	if (o->replayed < o->entries) {
		o->state = mix(o->state ^ o->log[o->replayed].input);
		o->replayed++;
		later(w, about(w, 60), JOB_LOOK, host, 0);
		if (o->log[o->replayed - 1].last) {
			guest_gone(w, host, true);
			return;
		}
	}
	later(w, apply_pause(w, host), JOB_APPLY, host, 0);
}

static void lockstep_live(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	if (o->replayed != o->entries)
		broken(w, "live at the log's end", "%u of %u entries", o->replayed, o->entries);
	if (!w->sides[host].diverged && o->replayed && o->state != o->source[o->replayed - 1].state)
		broken(w, "equal state", "it differs after entry %u", o->replayed);
	o->entries = o->replayed;
}

static void lockstep_power_off(struct world *w, int host)
{
	guest_logs(w, host, true);
	guest_ends(w, host);
}

static void lockstep_begin_attach(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	o->early_state = o->state;
	later(w, about(w, w->precopy_us), JOB_TAKE_STATE, host, w->sides[host].attach);
}

static void lockstep_take_point(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	o->point = o->entries;
	o->point_state = w->spoil == SPOIL_STALE_STATE ? o->early_state : o->state;
	o->shipped = o->entries;
}

static uint64_t lockstep_point(const struct world *w, int host)
{
	const struct own *o = own_of(w, host);

	return log_end(o, o->point);
}

static void lockstep_send_state(struct world *w, int host)
{
	const struct own *o = own_of(w, host);

	send_slowly(
	    w, host,
	    (struct message){.kind = MESSAGE_STATE, .from = o->point, .state = o->point_state},
	    chance(w, silence_us / 2));
}

static void lockstep_take_state(struct world *w, int host, const struct message *m)
{
	struct own *o = own_of(w, host);

	o->entries = o->replayed = m->from;
	if (m->from)
		o->log[m->from - 1] = o->source[m->from - 1];
	o->state = m->state;
}

static bool lockstep_follows(const struct world *w, int host)
{
	return own_of(w, host)->entries - w->sides[host].peer_progress <= CAUGHT_UP_ENTRIES;
}

static uint64_t lockstep_seal(const struct world *w, int host)
{
	return w->sides[host].last_emitted;
}

static bool lockstep_ship(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	if (o->shipped < o->entries && w->to[!host].logs < w->window) {
		send_message(w, host,
			     (struct message){.kind = MESSAGE_LOG,
					      .from = o->shipped,
					      .to = o->entries,
					      .position = log_end(o, o->entries)});
		o->shipped = o->entries;
	}
	return o->shipped == o->entries;
}

static uint64_t lockstep_stands_at(const struct world *w, int host)
{
	const struct own *o = own_of(w, host);

	return log_end(o, o->entries);
}

static uint64_t lockstep_shipped(const struct world *w, int host)
{
	const struct own *o = own_of(w, host);

	return log_end(o, o->shipped);
}

static bool lockstep_hold(struct world *w, int host, const struct message *m)
{
	struct own *o = own_of(w, host);

	if (m->from != o->entries && w->spoil != SPOIL_LOG_GAP)
		return false;
	memcpy(&o->log[o->entries], &o->source[m->from], (m->to - m->from) * sizeof(o->log[0]));
	o->entries += m->to - m->from;
	if (w->spoil == SPOIL_LOG_GAP && m->to - m->from > 1 && one_in(w, 20))
		memmove(&o->log[o->entries - 2], &o->log[o->entries - 1], sizeof(o->log[0]));
	return true;
}

static uint64_t lockstep_held(const struct world *w, int host)
{
	const struct own *o = own_of(w, host);

	return log_end(o, o->entries);
}

static uint64_t lockstep_applied(const struct world *w, int host)
{
	const struct own *o = own_of(w, host);

	return log_end(o, o->replayed);
}

static uint64_t lockstep_progress(const struct world *w, int host)
{
	return own_of(w, host)->replayed;
}

static uint64_t lockstep_lag(const struct world *w, int host)
{
	return own_of(w, host)->entries - w->sides[host].peer_progress;
}

static void lockstep_diverge(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	o->state = mix(o->state + 1);
}

/* A frame is numbered by the position of the entry that produced it. */
static uint64_t lockstep_covers(const struct world *w, int host, uint64_t position)
{
	uint64_t held = lockstep_held(w, host);

	return position < held ? position : held;
}

const struct strategy_ops strategy_lockstep = {
    .name = "lockstep",
    .open = lockstep_open,
    .close = lockstep_close,
    .begin = lockstep_begin,
    .start = lockstep_start,
    .connect = lockstep_connect,
    .guest = lockstep_guest,
    .apply = lockstep_apply,
    .live = lockstep_live,
    .power_off = lockstep_power_off,
    .room = lockstep_room,
    .begin_attach = lockstep_begin_attach,
    .take_point = lockstep_take_point,
    .point = lockstep_point,
    .send_state = lockstep_send_state,
    .take_state = lockstep_take_state,
    .follows = lockstep_follows,
    .seal = lockstep_seal,
    .ship = lockstep_ship,
    .shipped = lockstep_shipped,
    .stands_at = lockstep_stands_at,
    .hold = lockstep_hold,
    .held = lockstep_held,
    .applied = lockstep_applied,
    .progress = lockstep_progress,
    .lag = lockstep_lag,
    .lag_bound = LAG_ENTRIES,
    .diverge = lockstep_diverge,
    .covers = lockstep_covers,
};
