/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checkpoint: the guest's state, moved epoch by epoch. A position is a number of epochs: what
 * the guest sends while k of them have been cut depends on epoch k + 1.
 *
 * The state is memory, disks and devices, in parts of one number each. What it was when an
 * epoch was cut is remembered outside of both hosts: a backup that goes live is compared with it.
 *
 * This file has more than 600 lines because it is one model: the messages of an epoch and the
 * state that they move are read together.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

enum {
	PAGES = 24, /* of memory; the first holds the number of frames sent so far */
	BLOCKS = 12,
	DEVICES = PAGES + BLOCKS, /* the part that is the state of all devices and processors */
	PARTS,
	COMMIT = PARTS, /* no part: the last frame of an epoch */
	FRAMES_MAX = PARTS + 1,
	HOT = 5,	    /* pages and blocks that most writes go to */
	STAGED_AT_ONCE = 4, /* parts */
	APPLIED_AT_ONCE = 5,
	WRITES_MAX = 4 * BLOCKS, /* to the backup's disks, in flight */
	ROUNDS_MAX = 4,
	CUTS_KEPT = 32,	 /* of these the time is known */
	UNACKED_MAX = 8, /* epochs cut and not acked; more of them would only make output late */
	TRUTHS = 4096,
};

struct state {
	uint64_t at[PARTS];
};

struct part {
	unsigned which;
	uint64_t value;
};

/* An epoch on its way, in a buffer of either side. */
struct epoch {
	uint64_t position;
	uint64_t truth;
	struct part parts[FRAMES_MAX];
	unsigned count;
};

struct write {
	bool flies;
	uint64_t position;
	struct part part;
};

struct own {
	/* the primary's QEMU and agent */
	struct state guest;
	bool marked[PARTS]; /* to be copied again, or part of the next epoch */
	uint64_t cuts;	    /* epochs cut; the position of the last */
	uint64_t cut_at[CUTS_KEPT];
	unsigned stops;	    /* for cuts; the guest runs at 0 */
	bool powers_off;    /* once a last epoch is staged */
	struct epoch point; /* what was still marked at the attach point */
	/* the staging buffer, which outlives QEMU; filled from .wanted */
	struct epoch staged;
	struct epoch wanted;
	uint64_t staged_for; /* attach */
	bool in_use, whole;
	/* the primary's monitor */
	unsigned sent;	  /* parts of .staged with the transport */
	uint64_t shipped; /* position of the last epoch that is with it whole */
	unsigned rounds;
	bool during_last[PARTS]; /* SPOIL_LOST_DIRTY_BIT: not marked when the last round began */
	/* the backup: .image is its memory and disks as they are now */
	struct state image;
	struct epoch arriving;
	struct epoch applying;
	unsigned memory_done; /* parts of .applying looked at */
	struct write writes[WRITES_MAX];
	uint64_t acked_early; /* SPOIL_ACK_FIRST_FRAME */
	uint64_t held, applied;
	uint64_t held_truth, applied_truth;
	uint64_t devices; /* as of .applied; what a guest that goes live is started with */
	bool waits;	  /* a COMMIT, for the epoch before it */
};

struct strategy {
	struct own own[HOSTS];
	uint64_t truths;
	struct state truth[TRUTHS];
	uint64_t epoch_us;
};

static struct own *own_of(const struct world *w, int host)
{
	return &w->strategy->own[host];
}

static bool is_memory(unsigned part)
{
	return part < PAGES;
}

static bool is_disk(unsigned part)
{
	return part >= PAGES && part < DEVICES;
}

static uint64_t remember(struct world *w, const struct state *state)
{
	struct strategy *st = w->strategy;

	st->truth[++st->truths % TRUTHS] = *state;
	return st->truths;
}

static const struct state *truth(const struct world *w, uint64_t which)
{
	if (which + TRUTHS <= w->strategy->truths)
		give_up(w, "an epoch too old to compare with");
	return &w->strategy->truth[which % TRUTHS];
}

static void add(struct epoch *e, unsigned which, uint64_t value)
{
	e->parts[e->count++] = (struct part){which, value};
}

static struct strategy *checkpoint_open(void)
{
	return calloc(1, sizeof(struct strategy));
}

static void checkpoint_close(struct strategy *strategy)
{
	free(strategy);
}

static void checkpoint_begin(struct world *w)
{
	memset(w->strategy->own, 0, sizeof(w->strategy->own));
	w->strategy->truths = 0;
	w->strategy->epoch_us = 2 * MS + chance(w, 18 * MS);
}

/* Nothing a backup has of its own is of any use: an attach has to bring all of it. */
static void checkpoint_start(struct world *w, int host)
{
	struct own *o = own_of(w, host);
	uint64_t garbage = mix(w->seed + w->sides[host].life * HOSTS + (unsigned)host);

	*o = (struct own){0};
	for (unsigned i = 1; i < PARTS; i++) {
		o->guest.at[i] = mix(w->seed + i);
		o->image.at[i] = mix(garbage + i);
	}
}

/* --- the guest ------------------------------------------------------------------------------ */

static void write_part(struct own *o, unsigned which, uint64_t value)
{
	o->guest.at[which] = value;
	o->marked[which] = true;
	o->during_last[which] = true;
}

static void guest_works(struct world *w, int host)
{
	struct own *o = own_of(w, host);
	uint64_t devices = mix(o->guest.at[DEVICES] ^ chance(w, 1ULL << 60));
	unsigned writes = 1 + (unsigned)chance(w, 3);

	o->guest.at[DEVICES] = devices;
	for (unsigned i = 0; i < writes; i++) {
		unsigned page = 1 + (unsigned)chance(w, one_in(w, 6) ? PAGES - 1 : HOT);

		write_part(o, page, mix(devices + page));
	}
	if (one_in(w, 3)) {
		unsigned block = PAGES + (unsigned)chance(w, one_in(w, 4) ? BLOCKS : HOT);

		write_part(o, block, mix(devices + block));
	}
	w->sides[host].last_worked_at = w->now;
	if (!one_in(w, 3))
		return;
	write_part(o, 0, o->guest.at[0] + 1);
	gate_put(w, host, w->spoil == SPOIL_EPOCH_BEFORE ? o->cuts : o->cuts + 1, o->guest.at[0]);
}

/*
 * An orderly end waits for a last epoch as long as there is a pair to send it in. It must not
 * be said to the backup without: that would end, too, with older disks.
 */
static bool may_power_off(const struct world *w, int host)
{
	const struct side *s = &w->sides[host];

	return !s->keeps || !s->monitor_alive || w->spoil == SPOIL_NO_LAST_EPOCH;
}

static void checkpoint_guest(struct world *w, int host)
{
	struct side *s = &w->sides[host];
	struct own *o = own_of(w, host);

	if (o->powers_off && may_power_off(w, host)) {
		guest_ends(w, host);
		return;
	}
	if (!o->powers_off && !o->stops && s->frame_count < (w->asks ? 1 : GATE_FRAMES))
		guest_works(w, host);
	later(w, guest_pause(w, host), JOB_GUEST, host, 0);
}

static void checkpoint_power_off(struct world *w, int host)
{
	own_of(w, host)->powers_off = true;
	if (may_power_off(w, host))
		guest_ends(w, host);
}

static unsigned checkpoint_room(const struct world *w, int host)
{
	(void)w;
	(void)host;
	return 1;
}

/* --- cutting epochs ------------------------------------------------------------------------- */

/* What is marked, and the device state; the marks are gone with it. */
static void collect(struct own *o, struct epoch *ret)
{
	ret->count = 0;
	for (unsigned i = 0; i < DEVICES; i++) {
		if (o->marked[i])
			add(ret, i, o->guest.at[i]);
		o->marked[i] = false;
	}
	add(ret, DEVICES, o->guest.at[DEVICES]);
}

static bool runs_ahead(const struct world *w, int host)
{
	return own_of(w, host)->cuts >= w->sides[host].core.acked + UNACKED_MAX &&
	       w->spoil != SPOIL_RUN_AHEAD;
}

static void do_cut(struct world *w, int host, uint64_t attach)
{
	const struct side *s = &w->sides[host];
	struct own *o = own_of(w, host);

	if (attach != s->attach || !s->guest_alive || s->fenced || !s->keeps)
		return;
	if (o->in_use || runs_ahead(w, host) || s->frozen) {
		later(w, about(w, MS), JOB_CUT, host, attach);
		return;
	}
	o->stops += w->spoil != SPOIL_NO_STOP;
	o->in_use = true;
	o->whole = false;
	o->staged_for = attach;
	o->sent = 0;
	collect(o, &o->wanted);
	o->staged = (struct epoch){.position = o->cuts + 1, .truth = remember(w, &o->guest)};
	later(w, about(w, 100), JOB_STAGE, host, attach);
}

static void resume(struct own *o)
{
	o->stops -= o->stops > 0;
}

/* The pair it was for is over. */
static void give_up_cut(const struct world *w, struct own *o)
{
	if (o->in_use && !o->whole && w->spoil != SPOIL_STAYS_STOPPED)
		resume(o);
	o->in_use = false;
}

static void finish_cut(struct world *w, int host, uint64_t attach)
{
	struct own *o = own_of(w, host);

	add(&o->staged, COMMIT, 0);
	o->whole = true;
	o->cuts++;
	o->cut_at[o->cuts % CUTS_KEPT] = w->now;
	resume(o);
	/* At an epoch's end, before it does anything more. */
	w->sides[host].frozen = w->sides[host].freeze;
	w->tally->epochs++;
	later(w, about(w, 60), JOB_SHIP, host, 0);
	if (o->powers_off)
		guest_ends(w, host);
	else
		later(w, about(w, w->strategy->epoch_us), JOB_CUT, host, attach);
}

static void do_stage(struct world *w, int host, uint64_t attach)
{
	struct side *s = &w->sides[host];
	struct own *o = own_of(w, host);

	if (!s->guest_alive || s->fenced || !o->in_use || attach != o->staged_for)
		return;
	if (attach != s->attach) {
		give_up_cut(w, o);
		return;
	}
	for (int i = 0; i < STAGED_AT_ONCE && o->staged.count < o->wanted.count; i++) {
		unsigned which = o->wanted.parts[o->staged.count].which;

		add(&o->staged, which, o->guest.at[which]);
	}
	if (o->staged.count < o->wanted.count)
		later(w, about(w, one_in(w, 30) ? 3 * MS : 100), JOB_STAGE, host, attach);
	else
		finish_cut(w, host, attach);
}

static bool has_room(const struct world *w, int host)
{
	return w->to[!host].logs < 8 * w->window && w->to[!host].count < QUEUE_MAX / 2;
}

static void send_part(struct world *w, int host)
{
	struct own *o = own_of(w, host);
	const struct part *p = &o->staged.parts[o->sent];

	send_message(w, host,
		     (struct message){.kind = MESSAGE_LOG,
				      .position = o->staged.position,
				      .truth = o->staged.truth,
				      .from = o->sent,
				      .part = p->which,
				      .state = p->value});
	o->sent++;
}

/* QEMU died while it staged this: nobody can tell what belongs into the rest. */
static void drop_half(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	if (w->sides[host].guest_alive || !o->in_use || o->whole)
		return;
	if (w->spoil == SPOIL_HALF_STAGED) {
		add(&o->staged, COMMIT, 0);
		o->whole = true;
		return;
	}
	o->in_use = false;
	w->tally->halves++;
}

static bool checkpoint_ship(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	drop_half(w, host);
	if (!o->in_use || !o->whole)
		return true;
	while (o->sent < o->staged.count && has_room(w, host))
		send_part(w, host);
	if (o->sent < o->staged.count) {
		if (w->sides[host].core.state != VMFT_STATE_SHIPPING)
			later(w, about(w, 500), JOB_SHIP, host, 0);
		return false;
	}
	o->shipped = o->staged.position;
	o->in_use = false;
	return true;
}

static uint64_t checkpoint_shipped(const struct world *w, int host)
{
	return own_of(w, host)->shipped;
}

static uint64_t checkpoint_stands_at(const struct world *w, int host)
{
	return own_of(w, host)->cuts;
}

/* --- attaching ------------------------------------------------------------------------------ */

static void checkpoint_begin_attach(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	for (unsigned i = 0; i < DEVICES; i++)
		o->marked[i] = true;
	o->rounds = 1 + (unsigned)chance(w, ROUNDS_MAX);
	later(w, about(w, 500), JOB_COPY, host, w->sides[host].attach);
}

static void send_copy(struct world *w, int host, unsigned which, uint64_t value)
{
	send_message(w, host,
		     (struct message){.kind = MESSAGE_COPY, .part = which, .state = value});
}

/* The mark is cleared before the part is read: what is written meanwhile is copied again. */
static void do_copy(struct world *w, int host, uint64_t attach)
{
	struct own *o = own_of(w, host);
	uint64_t pause = about(w, w->precopy_us / ROUNDS_MAX);

	if (attach != w->sides[host].attach || !w->sides[host].socket_open)
		return;
	memset(o->during_last, 0, sizeof(o->during_last));
	for (unsigned i = 0; i < DEVICES && w->to[!host].count < QUEUE_MAX / 2; i++) {
		if (!o->marked[i])
			continue;
		o->marked[i] = false;
		send_copy(w, host, i, o->guest.at[i]);
	}
	o->rounds--;
	later(w, pause, o->rounds ? JOB_COPY : JOB_TAKE_STATE, host, attach);
}

/* An epoch like any other, but for the way it takes; epochs are cut from here on. */
static void checkpoint_take_point(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	if (w->spoil == SPOIL_LOST_DIRTY_BIT)
		for (unsigned i = 0; i < DEVICES; i++)
			o->marked[i] &= !o->during_last[i];
	collect(o, &o->point);
	give_up_cut(w, o);
	o->cuts++;
	o->cut_at[o->cuts % CUTS_KEPT] = w->now;
	o->point.position = o->shipped = o->cuts;
	o->point.truth = remember(w, &o->guest);
	later(w, about(w, w->strategy->epoch_us), JOB_CUT, host, w->sides[host].attach);
}

static uint64_t checkpoint_point(const struct world *w, int host)
{
	return own_of(w, host)->point.position;
}

static void checkpoint_send_state(struct world *w, int host)
{
	const struct own *o = own_of(w, host);
	unsigned last = o->point.count - 1;

	for (unsigned i = 0; i < last; i++)
		send_copy(w, host, o->point.parts[i].which, o->point.parts[i].value);
	send_slowly(w, host,
		    (struct message){.kind = MESSAGE_STATE,
				     .position = o->point.position,
				     .truth = o->point.truth,
				     .state = o->point.parts[last].value},
		    chance(w, silence_us / 2));
}

static void checkpoint_take_copy(struct world *w, int host, const struct message *m)
{
	own_of(w, host)->image.at[m->part] = m->state;
}

/* Nothing replays: what was copied is applied. */
static void checkpoint_take_state(struct world *w, int host, const struct message *m)
{
	struct own *o = own_of(w, host);

	o->held = o->applied = o->acked_early = m->position;
	o->held_truth = o->applied_truth = m->truth;
	o->devices = m->state;
}

/* It reports, so it has acknowledged the attach point, and there is no log that it could be late
 * with. */
static bool checkpoint_follows(const struct world *w, int host)
{
	return w->sides[host].peer_reports;
}

/* What has left since the last cut is part of the epoch to come only. */
static uint64_t checkpoint_seal(const struct world *w, int host)
{
	uint64_t cuts = own_of(w, host)->cuts;

	return w->spoil == SPOIL_SEAL_EPOCH_SHORT ? cuts : cuts + 1;
}

/* --- the backup ----------------------------------------------------------------------------- */

static bool memory_is_in(const struct own *o)
{
	return o->memory_done == o->applying.count;
}

static bool disks_are_in(const struct own *o)
{
	for (unsigned i = 0; i < WRITES_MAX; i++)
		if (o->writes[i].flies && o->writes[i].position == o->held)
			return false;
	return true;
}

static void consider_applied(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	if (o->applied == o->held || !memory_is_in(o) || !disks_are_in(o))
		return;
	o->applied = o->held;
	o->applied_truth = o->held_truth;
	later(w, about(w, 60), JOB_LOOK, host, 0);
}

static void start_write(struct world *w, int host, struct part part)
{
	struct own *o = own_of(w, host);
	uint64_t in = about(w, one_in(w, 20) ? 8 * MS : 300);
	unsigned i = 0;

	if (one_in(w, 500))
		in = about(w, silence_us / 2);
	while (i < WRITES_MAX && o->writes[i].flies)
		i++;
	if (i == WRITES_MAX)
		give_up(w, "too many writes in flight");
	o->writes[i] = (struct write){true, o->held, part};
	later(w, in, JOB_DISK, host, i);
}

/* Nothing stops a write that was given to the kernel, except that it is waited for. */
static void do_disk(struct world *w, int host, unsigned life, uint64_t i)
{
	struct side *s = &w->sides[host];
	struct own *o = own_of(w, host);
	const struct part *p = &o->writes[i].part;

	if (life != s->life)
		return;
	if (s->guest_runs)
		broken(w, "disks are the epoch's", "%s: block %u is written to without the guest",
		       host_name(host), p->which - PAGES);
	o->image.at[p->which] = p->value;
	o->writes[i].flies = false;
	consider_applied(w, host);
}

/* Memory in slices, looked at by the backup's QEMU; disks on their own. */
static void checkpoint_apply(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	for (int i = 0; i < APPLIED_AT_ONCE && !memory_is_in(o); i++) {
		const struct part *p = &o->applying.parts[o->memory_done++];

		if (is_memory(p->which))
			o->image.at[p->which] = p->value;
		else if (p->which == DEVICES && w->spoil != SPOIL_OLD_DEVICES)
			o->devices = p->value;
	}
	consider_applied(w, host);
	later(w, apply_pause(w, host), JOB_APPLY, host, 0);
}

static bool must_wait(const struct world *w, const struct own *o)
{
	if (w->spoil == SPOIL_COMMIT_EARLY)
		return !memory_is_in(o);
	return o->applied < o->held;
}

/* The next epoch's frames are kept while this one is applied, but not its last. */
static bool checkpoint_blocked(struct world *w, int host, const struct message *m)
{
	struct own *o = own_of(w, host);
	bool waits = m->kind == MESSAGE_LOG && m->part == COMMIT && must_wait(w, o);

	w->tally->waits += waits && !o->waits;
	o->waits = waits;
	return waits;
}

static void commit(struct world *w, int host, const struct message *m)
{
	struct own *o = own_of(w, host);

	o->applying = o->arriving;
	o->arriving.count = 0;
	o->memory_done = 0;
	o->held = m->position;
	o->held_truth = m->truth;
	w->tally->commits++;
	for (unsigned i = 0; i < o->applying.count; i++)
		if (is_disk(o->applying.parts[i].which))
			start_write(w, host, o->applying.parts[i]);
}

static void spoil_frame(const struct world *w, struct own *o, const struct message *m)
{
	if (w->spoil == SPOIL_ACK_FIRST_FRAME)
		o->acked_early = m->position;
	if ((w->spoil == SPOIL_MEMORY_EARLY && is_memory(m->part)) ||
	    (w->spoil == SPOIL_DISK_EARLY && is_disk(m->part)))
		o->image.at[m->part] = m->state;
}

static bool checkpoint_hold(struct world *w, int host, const struct message *m)
{
	struct own *o = own_of(w, host);

	if (w->spoil == SPOIL_LOG_GAP && is_memory(m->part) && one_in(w, 20))
		return true;
	if (m->position != o->held + 1 ||
	    (m->from != o->arriving.count && w->spoil != SPOIL_LOG_GAP))
		return false;
	spoil_frame(w, o, m);
	if (m->part == COMMIT)
		commit(w, host, m);
	else
		add(&o->arriving, m->part, m->state);
	return true;
}

static uint64_t checkpoint_held(const struct world *w, int host)
{
	const struct own *o = own_of(w, host);

	return w->spoil == SPOIL_ACK_FIRST_FRAME ? o->acked_early : o->held;
}

static uint64_t checkpoint_applied(const struct world *w, int host)
{
	return own_of(w, host)->applied;
}

/* How long ago the oldest was cut that is not applied. */
static uint64_t checkpoint_lag(const struct world *w, int host)
{
	const struct own *o = own_of(w, host);
	const uint64_t applied = w->sides[host].peer_progress;

	return applied < o->cuts ? w->now - o->cut_at[(applied + 1) % CUTS_KEPT] : 0;
}

/* Nothing runs there; a page is not what was sent. */
static void checkpoint_diverge(struct world *w, int host)
{
	struct own *o = own_of(w, host);
	unsigned page = 1 + (unsigned)chance(w, PAGES - 1);

	o->image.at[page] = mix(o->image.at[page] + 1);
}

/* By what was true when the epoch was cut, whatever became of it on the way. */
static uint64_t checkpoint_covers(const struct world *w, int host, uint64_t position)
{
	const struct own *o = own_of(w, host);

	if (o->held && position >= o->held)
		return truth(w, o->held_truth)->at[0];
	return o->applied && position >= o->applied ? truth(w, o->applied_truth)->at[0] : 0;
}

/* --- going live ----------------------------------------------------------------------------- */

static const char *promise_of(unsigned part)
{
	return is_memory(part) ? "memory is the epoch's"
	       : is_disk(part) ? "disks are the epoch's"
			       : "device state is the epoch's";
}

static void check_image(struct world *w, int host)
{
	const struct own *o = own_of(w, host);
	const struct state *t = truth(w, o->held_truth);

	if (o->guest.at[0] < w->seen)
		broken(w, "nothing acknowledged lost", "the guest knows of %llu frames of %llu",
		       (unsigned long long)o->guest.at[0], (unsigned long long)w->seen);
	if (o->applied != o->held)
		broken(w, "live at an epoch's end", "%llu of %llu", (unsigned long long)o->applied,
		       (unsigned long long)o->held);
	for (unsigned i = 0; i < PARTS; i++)
		if (o->guest.at[i] != t->at[i] && !(w->sides[host].diverged && is_memory(i)))
			broken(w, promise_of(i), "part %u is not that of epoch %llu", i,
			       (unsigned long long)o->held);
}

static void checkpoint_live(struct world *w, int host)
{
	struct own *o = own_of(w, host);

	w->tally->torn += o->arriving.count != 0;
	o->guest = o->image;
	o->guest.at[DEVICES] = o->devices;
	for (unsigned i = 0; i < o->arriving.count && w->spoil == SPOIL_TORN_EPOCH; i++)
		o->guest.at[o->arriving.parts[i].which] = o->arriving.parts[i].value;
	check_image(w, host);
	o->arriving.count = 0;
	o->cuts = o->held;
}

/* The disks of a guest that was shut down are what it left on them, on both hosts. */
static void checkpoint_check_ended(struct world *w)
{
	const struct own *p = own_of(w, w->recorder);
	const struct own *b = own_of(w, !w->recorder);

	for (unsigned i = PAGES; i < DEVICES; i++)
		if (p->guest.at[i] != b->image.at[i])
			broken(w, "an orderly end leaves equal disks", "block %u differs",
			       i - PAGES);
}

static void checkpoint_job(struct world *w, const struct todo *t)
{
	switch (t->job) {
	case JOB_CUT:
		do_cut(w, t->side, t->arg);
		break;
	case JOB_STAGE:
		do_stage(w, t->side, t->arg);
		break;
	case JOB_COPY:
		do_copy(w, t->side, t->arg);
		break;
	case JOB_DISK:
		do_disk(w, t->side, t->life, t->arg);
		break;
	default:
		break;
	}
}

const struct strategy_ops strategy_checkpoint = {
    .name = "checkpoint",
    .starts_alone = true,
    .open = checkpoint_open,
    .close = checkpoint_close,
    .begin = checkpoint_begin,
    .start = checkpoint_start,
    .job = checkpoint_job,
    .guest = checkpoint_guest,
    .apply = checkpoint_apply,
    .live = checkpoint_live,
    .power_off = checkpoint_power_off,
    .room = checkpoint_room,
    .begin_attach = checkpoint_begin_attach,
    .take_point = checkpoint_take_point,
    .point = checkpoint_point,
    .send_state = checkpoint_send_state,
    .take_copy = checkpoint_take_copy,
    .take_state = checkpoint_take_state,
    .follows = checkpoint_follows,
    .seal = checkpoint_seal,
    .ship = checkpoint_ship,
    .shipped = checkpoint_shipped,
    .stands_at = checkpoint_stands_at,
    .blocked = checkpoint_blocked,
    .hold = checkpoint_hold,
    .held = checkpoint_held,
    .applied = checkpoint_applied,
    .progress = checkpoint_applied,
    .lag = checkpoint_lag,
    .lag_bound = 120 * MS, /* what is cut may wait for that long by itself */
    .diverge = checkpoint_diverge,
    .covers = checkpoint_covers,
    .check_ended = checkpoint_check_ended,
};
