/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A pair of failover cores in a simulated world: virtual time, a channel that delays but keeps
 * order, an arbiter, two QEMUs with their agents, and faults. After every step the promises of
 * the design are checked against the world itself, never against what a core believes.
 *
 * A run depends on its seed alone. Run i of --seed S has seed S + i.
 * --break=NAME spoils the world; --prove checks that each spoilt world is found out.
 */
#include "../../monitor/core/core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000ULL /* virtual time is in microseconds */

enum {
	PRIMARY = VMFT_SIDE_PRIMARY,
	BACKUP = VMFT_SIDE_BACKUP,
	LOG_MAX = 8192,	    /* entries of one run; the guest idles when it is used up */
	RING_ENTRIES = 512, /* unsent entries the guest may run ahead by */
	GATE_FRAMES = 64,   /* frames held before the guest is stopped */
	QUEUE_MAX = 1024,   /* messages in flight in one direction */
	AGENDA_MAX = 16384,
	FAULTS_MAX = 5,
	GENERATION = 7,
};

static const uint64_t beat_us = 10 * MS;
static const uint64_t silence_us = 60 * MS;
static const uint64_t faults_until_us = 300 * MS;
static const uint64_t run_until_us = 1200 * MS; /* the last fault is healed by 600 ms */

enum spoil {
	SPOIL_NONE,
	SPOIL_EARLY_RELEASE,	 /* frames are released when their log is sent, not acked */
	SPOIL_NO_CLAIM,		 /* every claim is won without asking the arbiter */
	SPOIL_LIVE_BEFORE_DRAIN, /* the rest of the log counts as replayed when the peer is lost */
	SPOIL_ACK_BEFORE_HELD,	 /* the backup acks what is still on its way */
	SPOIL_ARBITER_RACE,	 /* the arbiter tests and sets in two steps */
	SPOIL_ARBITER_FORGETS,	 /* the arbiter does not know its winner again */
	SPOIL_NO_FENCE,		 /* the loser of the arbitration opens its gate */
	SPOIL_GATE_ORPHAN,	 /* a gate opens when its monitor dies */
	SPOIL_GATE_DROPS,	 /* a waiting frame is overtaken by the next */
	SPOIL_NO_RETRY,		 /* the retry timer never fires */
	SPOIL_LOG_GAP,		 /* log lost on the way goes unnoticed */
	SPOIL_COUNT,
};

/* The promise each of them breaks; others may break on the way. */
static const struct {
	const char *name;
	const char *promise;
} spoils[SPOIL_COUNT] = {
    [SPOIL_NONE] = {"none", ""},
    [SPOIL_EARLY_RELEASE] = {"early-release", "no frame before its ack"},
    [SPOIL_NO_CLAIM] = {"no-claim", "never two live"},
    [SPOIL_LIVE_BEFORE_DRAIN] = {"live-before-drain", "nothing acknowledged lost"},
    [SPOIL_ACK_BEFORE_HELD] = {"ack-before-held", "no frame before its ack"},
    [SPOIL_ARBITER_RACE] = {"arbiter-race", "one winner a generation"},
    [SPOIL_ARBITER_FORGETS] = {"arbiter-forgets", "the winner goes on"},
    [SPOIL_NO_FENCE] = {"no-fence", "never two live"},
    [SPOIL_GATE_ORPHAN] = {"gate-orphan", "never two live"},
    [SPOIL_GATE_DROPS] = {"gate-drops", "frames leave in order"},
    [SPOIL_NO_RETRY] = {"no-retry", "the winner goes on"},
    [SPOIL_LOG_GAP] = {"log-gap", "equal state"},
};

enum fault {
	FAULT_KILL_GUEST,
	FAULT_KILL_MONITOR,
	FAULT_KILL_HOST,     /* everything of a side at once, and no reset is sent */
	FAULT_PAUSE_SIDE,    /* SIGSTOP, SIGCONT later */
	FAULT_PAUSE_MONITOR, /* the same, the guest runs on */
	FAULT_LINK_CUT,
	FAULT_LINK_ONE_WAY,
	FAULT_LINK_RESET,
	FAULT_LINK_SLOW, /* delays beyond the silence time now and then */
	FAULT_ARBITER_DOWN,
	FAULT_ARBITER_SLOW,
	FAULT_PEER_LIES,  /* the backup acks what was never sent */
	FAULT_AGENT_LIES, /* the backup\'s agent reports what cannot be */
	FAULT_SHUTDOWN,	  /* the guest ends in order */
	FAULT_COUNT,
};

static const char *const fault_names[FAULT_COUNT] = {
    [FAULT_KILL_GUEST] = "kill-guest",	     [FAULT_KILL_MONITOR] = "kill-monitor",
    [FAULT_KILL_HOST] = "kill-host",	     [FAULT_PAUSE_SIDE] = "pause-side",
    [FAULT_PAUSE_MONITOR] = "pause-monitor", [FAULT_LINK_CUT] = "link-cut",
    [FAULT_LINK_ONE_WAY] = "link-one-way",   [FAULT_LINK_RESET] = "link-reset",
    [FAULT_LINK_SLOW] = "link-slow",	     [FAULT_ARBITER_DOWN] = "arbiter-down",
    [FAULT_ARBITER_SLOW] = "arbiter-slow",   [FAULT_PEER_LIES] = "peer-lies",
    [FAULT_AGENT_LIES] = "agent-lies",	     [FAULT_SHUTDOWN] = "shutdown",
};

enum outcome {
	OUTCOME_PROTECTED,
	OUTCOME_PRIMARY_LIVE,
	OUTCOME_BACKUP_LIVE,
	OUTCOME_ENDED,	      /* shut down in order */
	OUTCOME_NEVER_FORMED, /* a side was gone before there was a pair */
	OUTCOME_BOTH_DEAD,
	OUTCOME_WINNER_DEAD, /* double fault: the winner of the arbitration died later */
	OUTCOME_COUNT,
};

static const char *const outcome_names[OUTCOME_COUNT] = {
    [OUTCOME_PROTECTED] = "protected",	     [OUTCOME_PRIMARY_LIVE] = "primary live",
    [OUTCOME_BACKUP_LIVE] = "backup live",   [OUTCOME_ENDED] = "shut down",
    [OUTCOME_NEVER_FORMED] = "never formed", [OUTCOME_BOTH_DEAD] = "both dead",
    [OUTCOME_WINNER_DEAD] = "winner dead",
};

enum job {
	JOB_GUEST,	 /* side: the guest executes a little */
	JOB_REPLAY,	 /* backup: the agent replays an entry */
	JOB_GATE,	 /* side: the gate looks at its frames */
	JOB_LIVE,	 /* backup: the agent has left replay */
	JOB_SHIP,	 /* primary: its monitor looks at the ring */
	JOB_LOOK,	 /* side: its monitor looks at its agent and QEMU */
	JOB_BEAT,	 /* side: heartbeat and silence check */
	JOB_RETRY,	 /* side */
	JOB_CONNECT,	 /* primary */
	JOB_DELIVER,	 /* side = receiver, arg = epoch */
	JOB_RESET,	 /* side: its kernel learned of a reset, arg = connection */
	JOB_ARBITER,	 /* side: its claim reaches the arbiter, arg = generation */
	JOB_ARBITER_SET, /* SPOIL_ARBITER_RACE: the second half */
	JOB_ANSWER,	 /* side: arg = enum vmft_in */
	JOB_FAULT,	 /* arg = index */
};

struct todo {
	uint64_t at;
	uint64_t order;
	enum job job;
	int side;
	uint64_t arg;
};

enum message_kind {
	MESSAGE_HELLO,
	MESSAGE_HELLO_OK,
	MESSAGE_START,
	MESSAGE_LOG, /* entries [from, to) */
	MESSAGE_ACK,
	MESSAGE_BEAT,
	MESSAGE_BYE,
	MESSAGE_FIN,
};

struct message {
	enum message_kind kind;
	unsigned from, to;
	uint64_t position;
	enum vmft_why why;
};

struct queue {
	struct message items[QUEUE_MAX];
	unsigned head, count;
	uint64_t last_at; /* nothing is delivered before what was sent earlier */
};

struct entry {
	uint64_t end;  /* log position after it */
	uint64_t hash; /* of the guest's state after it */
	bool output;   /* a frame depends on it */
	bool last;     /* the guest powers off here */
};

struct side {
	struct vmft_core core;
	bool formed; /* was PROTECTED once */
	/* the monitor */
	bool monitor_alive;
	uint64_t monitor_paused_until;
	uint64_t last_heard;
	bool socket_open;
	unsigned shipped;  /* entries handed to the transport */
	bool told_end;	   /* the core knows that the guest is gone */
	uint64_t told_pos; /* last position reported as replayed */
	/* QEMU and its agent */
	bool guest_alive;
	bool guest_runs;  /* executes for itself: recording, or live */
	bool guest_ended; /* in order */
	bool fenced;
	bool told_live;
	bool live;
	bool gate_open;
	uint64_t guest_paused_until;
	uint64_t release;
	uint64_t frames[GATE_FRAMES];
	unsigned frame_head, frame_count;
	uint64_t last_emitted;
	/* the log as this side has it; a live backup writes on */
	struct entry *log;
	unsigned entries;
	unsigned replayed;
};

struct fault_plan {
	enum fault fault;
	int side;
	uint64_t at;
	uint64_t length;
};

struct tally {
	uint64_t steps, core_steps, runs, failed, frames;
	uint64_t late; /* frames the primary released, rightly, after the backup had gone live */
	bool reached[VMFT_SIDE_COUNT][VMFT_STATE_COUNT][VMFT_IN_COUNT];
	uint64_t faults[FAULT_COUNT];
	uint64_t outcomes[OUTCOME_COUNT];
};

struct world {
	uint64_t now;
	uint64_t rng;
	uint64_t seed;
	enum spoil spoil;
	bool trace;
	struct tally *tally;

	struct todo agenda[AGENDA_MAX];
	unsigned agenda_count;
	uint64_t order;

	struct side sides[2];
	struct queue to[2]; /* by receiver */
	uint64_t cut_until[2];
	uint64_t slow_until;
	unsigned epoch;	     /* counts up whenever what is in flight is void */
	unsigned connection; /* counts connections */
	uint64_t delay_us;   /* typical of this run's network */
	uint64_t guest_us;
	uint64_t replay_us;

	bool owned; /* generation GENERATION + 1 */
	int owner;
	bool answered_won[2];
	uint64_t arbiter_down_until[2];
	uint64_t arbiter_slow_until;

	uint64_t acked;	    /* highest ack of the backup, honest ones, that reached the primary */
	uint64_t seen;	    /* highest position a frame seen outside depends on */
	uint64_t live_from; /* position the backup went live at */
	struct fault_plan plan[FAULTS_MAX];
	unsigned faults, applied;
	bool all_formed_at_fault; /* when the first fault struck */
	bool shutdown;

	const char *broken; /* first promise found broken */
	char detail[256];
};

/* --- chance and time ---------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static uint64_t chance(struct world *w, uint64_t below)
{
	w->rng += 0x9e3779b97f4a7c15ULL;
	return mix(w->rng) % below;
}

static bool one_in(struct world *w, uint64_t n)
{
	return chance(w, n) == 0;
}

static uint64_t about(struct world *w, uint64_t us)
{
	return us / 2 + chance(w, us + 1);
}

static __attribute__((format(printf, 2, 3))) void note(const struct world *w, const char *format,
						       ...)
{
	va_list ap;

	if (!w->trace)
		return;
	printf("[%9.3f ms] ", (double)w->now / (double)MS);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

static __attribute__((format(printf, 3, 4))) void broken(struct world *w, const char *promise,
							 const char *format, ...)
{
	va_list ap;

	if (w->broken)
		return;
	w->broken = promise;
	va_start(ap, format);
	vsnprintf(w->detail, sizeof(w->detail), format, ap);
	va_end(ap);
	note(w, "BROKEN: %s: %s", promise, w->detail);
}

static bool earlier(const struct todo *a, const struct todo *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void later(struct world *w, uint64_t in, enum job job, int side, uint64_t arg)
{
	struct todo todo = {w->now + in, w->order++, job, side, arg};
	unsigned i = w->agenda_count++;

	if (i >= AGENDA_MAX) {
		fprintf(stderr, "sim_pair: seed %llu: agenda full\n", (unsigned long long)w->seed);
		exit(2);
	}
	for (; i && earlier(&todo, &w->agenda[(i - 1) / 2]); i = (i - 1) / 2)
		w->agenda[i] = w->agenda[(i - 1) / 2];
	w->agenda[i] = todo;
}

static struct todo next_todo(struct world *w)
{
	struct todo first = w->agenda[0];
	struct todo last = w->agenda[--w->agenda_count];
	unsigned i = 0;

	for (;;) {
		unsigned child = 2 * i + 1;

		if (child >= w->agenda_count)
			break;
		if (child + 1 < w->agenda_count &&
		    earlier(&w->agenda[child + 1], &w->agenda[child]))
			child++;
		if (!earlier(&w->agenda[child], &last))
			break;
		w->agenda[i] = w->agenda[child];
		i = child;
	}
	w->agenda[i] = last;
	return first;
}

/* --- the world seen from outside ------------------------------------------------------------ */

static uint64_t log_end(const struct side *s, unsigned entries)
{
	return entries ? s->log[entries - 1].end : 0;
}

/* Its guest may execute and whatever it says can leave. A pause does not make it less live. */
static bool is_live(const struct side *s)
{
	return s->guest_alive && s->gate_open && !s->fenced &&
	       (s->core.side == VMFT_SIDE_PRIMARY || s->live);
}

static bool is_intact(const struct side *s)
{
	return s->guest_alive && s->monitor_alive;
}

static void check_step(struct world *w)
{
	if (is_live(&w->sides[PRIMARY]) && is_live(&w->sides[BACKUP]))
		broken(w, "never two live", "both gates are open");
	if (w->answered_won[PRIMARY] && w->answered_won[BACKUP])
		broken(w, "one winner a generation", "both sides were told they won");
}

static void check_frame(struct world *w, int side, uint64_t position)
{
	const struct side *s = &w->sides[side];
	const struct side *other = &w->sides[!side];

	if (position <= s->last_emitted)
		broken(w, "frames leave in order", "%llu after %llu", (unsigned long long)position,
		       (unsigned long long)s->last_emitted);
	if (!is_live(s) && position > w->acked)
		broken(w, "no frame before its ack", "%s frame %llu, acked %llu",
		       vmft_side_name(s->core.side), (unsigned long long)position,
		       (unsigned long long)w->acked);
	if (!is_live(s) && other->live && position > w->live_from)
		broken(w, "nothing acknowledged lost", "frame %llu, the backup is live from %llu",
		       (unsigned long long)position, (unsigned long long)w->live_from);
	if (side == BACKUP && !s->live)
		broken(w, "no output in replay", "backup frame %llu", (unsigned long long)position);
	if (side == BACKUP && position <= w->seen)
		broken(w, "frames leave in order", "backup frame %llu, seen before up to %llu",
		       (unsigned long long)position, (unsigned long long)w->seen);
}

static void check_go_live(struct world *w)
{
	const struct side *b = &w->sides[BACKUP];
	const struct side *p = &w->sides[PRIMARY];
	uint64_t at = log_end(b, b->replayed);

	if (at < w->seen)
		broken(w, "nothing acknowledged lost", "live at %llu, frames seen up to %llu",
		       (unsigned long long)at, (unsigned long long)w->seen);
	if (b->replayed != b->entries)
		broken(w, "live at the log's end", "%u of %u entries", b->replayed, b->entries);
	if (b->replayed && b->log[b->replayed - 1].hash != p->log[b->replayed - 1].hash)
		broken(w, "equal state", "entry %u differs", b->replayed);
}

/* --- gate and guest ------------------------------------------------------------------------- */

static void emit(struct world *w, int side, uint64_t position)
{
	struct side *s = &w->sides[side];

	check_frame(w, side, position);
	s->last_emitted = position;
	if (position > w->seen)
		w->seen = position;
	w->tally->frames++;
	w->tally->late += side == PRIMARY && w->sides[BACKUP].live;
}

static void gate_flush(struct world *w, int side)
{
	struct side *s = &w->sides[side];

	if (!s->guest_alive || s->fenced || w->now < s->guest_paused_until)
		return;
	if (!s->monitor_alive && !s->gate_open) {
		if (w->spoil != SPOIL_GATE_ORPHAN)
			return;
		s->gate_open = true;
	}
	while (s->frame_count) {
		uint64_t position = s->frames[s->frame_head];

		if (!s->gate_open && position > s->release)
			return;
		if (w->spoil == SPOIL_GATE_DROPS && s->frame_count > 1 && one_in(w, 50)) {
			unsigned second = (s->frame_head + 1) % GATE_FRAMES;

			s->frames[s->frame_head] = s->frames[second];
			s->frames[second] = position;
			position = s->frames[s->frame_head];
			if (!s->gate_open && position > s->release)
				return;
		}
		s->frame_head = (s->frame_head + 1) % GATE_FRAMES;
		s->frame_count--;
		emit(w, side, position);
	}
}

static void guest_gone(struct world *w, int side, bool in_order)
{
	struct side *s = &w->sides[side];

	s->guest_alive = false;
	s->guest_ended = in_order;
	later(w, about(w, 200), JOB_LOOK, side, 0);
}

/* Appends what the guest did; its state is a hash over all it ever did. */
static void guest_logs(struct world *w, int side, bool last)
{
	struct side *s = &w->sides[side];
	struct entry *e = &s->log[s->entries];
	uint64_t before = s->entries ? s->log[s->entries - 1].hash : w->seed;

	e->end = log_end(s, s->entries) + 1 + chance(w, 200);
	e->hash = mix(before ^ chance(w, 1ULL << 60));
	e->output = !last && one_in(w, 3);
	e->last = last;
	s->entries++;
	if (!e->output)
		return;
	s->frames[(s->frame_head + s->frame_count) % GATE_FRAMES] = e->end;
	s->frame_count++;
	gate_flush(w, side);
}

static void do_guest(struct world *w, int side)
{
	struct side *s = &w->sides[side];
	bool stalled = s->frame_count == GATE_FRAMES || s->entries >= LOG_MAX - 2 ||
		       (!s->gate_open && s->entries - s->shipped > RING_ENTRIES);

	if (!s->guest_alive || s->fenced || !s->guest_runs)
		return;
	if (!stalled)
		guest_logs(w, side, false);
	if (side == PRIMARY && !stalled)
		later(w, about(w, 60), JOB_SHIP, side, 0);
	later(w, about(w, w->guest_us), JOB_GUEST, side, 0);
}

static void do_replay(struct world *w)
{
	struct side *b = &w->sides[BACKUP];

	if (!b->guest_alive || b->fenced || b->told_live)
		return;
	if (b->replayed < b->entries) {
		b->replayed++;
		later(w, about(w, 60), JOB_LOOK, BACKUP, 0);
		if (b->log[b->replayed - 1].last) {
			guest_gone(w, BACKUP, true);
			return;
		}
	}
	later(w, about(w, w->replay_us), JOB_REPLAY, BACKUP, 0);
}

static void do_live(struct world *w)
{
	struct side *b = &w->sides[BACKUP];

	if (!b->guest_alive || b->fenced)
		return;
	b->live = true;
	check_step(w);
	check_go_live(w);
	b->guest_runs = true;
	w->live_from = log_end(b, b->replayed);
	b->entries = b->replayed;
	note(w, "backup's agent is live at %llu", (unsigned long long)w->live_from);
	later(w, 0, JOB_GUEST, BACKUP, 0);
	later(w, about(w, 60), JOB_LOOK, BACKUP, 0);
}

/* --- channel -------------------------------------------------------------------------------- */

static void send(struct world *w, int from, struct message message)
{
	struct queue *q = &w->to[!from];
	uint64_t at = w->now + about(w, one_in(w, 200) ? 4 * w->delay_us : w->delay_us);

	if (w->now < w->slow_until)
		at += chance(w, 2 * silence_us);
	if (q->count == QUEUE_MAX) {
		fprintf(stderr, "sim_pair: seed %llu: queue full\n", (unsigned long long)w->seed);
		exit(2);
	}
	q->items[(q->head + q->count++) % QUEUE_MAX] = message;
	if (at < q->last_at)
		at = q->last_at;
	q->last_at = at;
	later(w, at - w->now, JOB_DELIVER, !from, w->epoch);
}

static void socket_close(struct world *w, int side)
{
	struct side *s = &w->sides[side];

	if (!s->socket_open)
		return;
	s->socket_open = false;
	send(w, side, (struct message){.kind = MESSAGE_FIN});
	if (side == PRIMARY)
		later(w, about(w, 5 * MS), JOB_CONNECT, PRIMARY, 0);
}

/* What is in flight is gone; each end hears of it unless it can't. */
static void channel_reset(struct world *w)
{
	w->to[PRIMARY].count = 0;
	w->to[BACKUP].count = 0;
	for (int side = 0; side < 2; side++)
		later(w, about(w, w->delay_us), JOB_RESET, side, w->connection);
	w->epoch++;
}

/* --- core and actions ----------------------------------------------------------------------- */

static void ask_arbiter(struct world *w, int side, uint64_t generation)
{
	if (w->sides[side].told_end)
		broken(w, "a dead guest claims nothing", "%s",
		       vmft_side_name((enum vmft_side)side));
	if (w->spoil == SPOIL_NO_CLAIM) {
		later(w, about(w, 500), JOB_ANSWER, side, VMFT_IN_CLAIM_WON);
		return;
	}
	later(w, about(w, w->now < w->arbiter_slow_until ? 80 * MS : MS), JOB_ARBITER, side,
	      generation);
}

static void act_on_guest(struct world *w, int side, const struct vmft_actions *a)
{
	struct side *s = &w->sides[side];

	if (a->set & VMFT_DO_FENCE_GUEST) {
		if (w->spoil == SPOIL_NO_FENCE)
			s->gate_open = true;
		else
			s->fenced = true;
		if (w->spoil == SPOIL_NO_FENCE && side == BACKUP)
			later(w, 10, JOB_LIVE, BACKUP, 0);
	}
	if (a->set & VMFT_DO_RUN_GUEST) {
		s->guest_runs = side == PRIMARY;
		later(w, about(w, 500), side == PRIMARY ? JOB_GUEST : JOB_REPLAY, side, 0);
	}
	if (a->set & VMFT_DO_SET_RELEASE)
		s->release = a->release;
	if (a->set & VMFT_DO_OPEN_GATE)
		s->gate_open = true;
	if (a->set & VMFT_DO_GO_LIVE) {
		if (log_end(s, s->replayed) != a->live_at && w->spoil == SPOIL_NONE)
			broken(w, "live at the log's end", "told %llu, replayed %llu",
			       (unsigned long long)a->live_at,
			       (unsigned long long)log_end(s, s->replayed));
		s->told_live = true;
		later(w, about(w, 2 * MS), JOB_LIVE, BACKUP, 0);
	}
	gate_flush(w, side);
}

static void act(struct world *w, int side, const struct vmft_actions *a)
{
	struct side *s = &w->sides[side];

	if (a->set & VMFT_DO_FENCE_GUEST)
		act_on_guest(w, side, a);
	if (a->set & VMFT_DO_SEND_ACK) {
		uint64_t ack = a->ack;

		if (w->spoil == SPOIL_ACK_BEFORE_HELD)
			ack = log_end(&w->sides[PRIMARY], w->sides[PRIMARY].shipped);
		send(w, side, (struct message){.kind = MESSAGE_ACK, .position = ack});
	}
	if (a->set & VMFT_DO_SEND_BYE)
		send(w, side, (struct message){.kind = MESSAGE_BYE, .why = a->bye});
	if (a->set & VMFT_DO_CLOSE_PEER)
		socket_close(w, side);
	if (a->set & VMFT_DO_CLAIM)
		ask_arbiter(w, side, a->generation);
	if (a->set & VMFT_DO_START_RETRY_TIMER && w->spoil != SPOIL_NO_RETRY)
		later(w, about(w, 20 * MS), JOB_RETRY, side, 0);
	if (!(a->set & VMFT_DO_FENCE_GUEST))
		act_on_guest(w, side, a);
	if (a->set & VMFT_DO_STOP && s->core.state == VMFT_STATE_ENDED)
		s->guest_alive = false;
}

static void feed(struct world *w, int side, struct vmft_event_in event)
{
	struct side *s = &w->sides[side];
	struct vmft_actions actions;
	enum vmft_state before = s->core.state;

	w->tally->reached[side][before][event.kind] = true;
	vmft_core_step(&s->core, &event, &actions);
	w->tally->core_steps++;
	s->formed |= s->core.state == VMFT_STATE_PROTECTED;
	if (s->core.state != before || w->trace) {
		note(w, "%-7s %-17s pos %-7llu %s -> %s, actions %#x", vmft_side_name(s->core.side),
		     vmft_in_name(event.kind), (unsigned long long)event.position,
		     vmft_state_name(before), vmft_state_name(s->core.state), actions.set);
	}
	act(w, side, &actions);
}

static void feed_lost(struct world *w, int side, enum vmft_why why)
{
	if (w->sides[side].socket_open)
		feed(w, side, (struct vmft_event_in){.kind = VMFT_IN_PEER_LOST, .why = why});
	if (w->spoil == SPOIL_LIVE_BEFORE_DRAIN && side == BACKUP &&
	    w->sides[BACKUP].core.state == VMFT_STATE_DRAINING)
		feed(w, side,
		     (struct vmft_event_in){.kind = VMFT_IN_REPLAYED,
					    .position = w->sides[BACKUP].core.held});
}

/* --- the monitors --------------------------------------------------------------------------- */

static void do_ship(struct world *w)
{
	struct side *p = &w->sides[PRIMARY];
	enum vmft_state state = p->core.state;

	if (state != VMFT_STATE_PROTECTED && state != VMFT_STATE_SHIPPING)
		return;
	if (p->shipped < p->entries && w->to[BACKUP].count < QUEUE_MAX / 2) {
		send(w, PRIMARY,
		     (struct message){.kind = MESSAGE_LOG, .from = p->shipped, .to = p->entries});
		p->shipped = p->entries;
		if (w->spoil == SPOIL_EARLY_RELEASE)
			p->release = log_end(p, p->shipped);
		gate_flush(w, PRIMARY);
	}
	if (state == VMFT_STATE_SHIPPING && p->shipped == p->entries)
		feed(w, PRIMARY, (struct vmft_event_in){.kind = VMFT_IN_LOG_SHIPPED});
	else if (state == VMFT_STATE_SHIPPING)
		later(w, MS, JOB_SHIP, PRIMARY, 0);
}

/* Level-triggered, as shared memory is: progress first, then the end. */
static void do_look(struct world *w, int side)
{
	struct side *s = &w->sides[side];
	uint64_t position = log_end(s, s->replayed);

	if (side == BACKUP && !s->told_live && position > s->told_pos &&
	    position >= s->core.replayed) {
		s->told_pos = position;
		feed(w, side,
		     (struct vmft_event_in){.kind = VMFT_IN_REPLAYED, .position = position});
	}
	if (side == BACKUP && s->live && s->guest_alive)
		feed(w, side, (struct vmft_event_in){.kind = VMFT_IN_LIVE});
	if (s->guest_alive || s->told_end)
		return;
	s->told_end = true;
	feed(w, side,
	     (struct vmft_event_in){.kind =
					s->guest_ended ? VMFT_IN_GUEST_ENDED : VMFT_IN_GUEST_DIED});
	/* A full ring and a slow link make shipping the rest take long. */
	later(w, about(w, one_in(w, 4) ? 30 * MS : 500), JOB_SHIP, PRIMARY, 0);
}

static void do_beat(struct world *w, int side)
{
	struct side *s = &w->sides[side];

	if (vmft_core_is_final(&s->core))
		return;
	if (s->socket_open && w->now - s->last_heard > silence_us)
		feed_lost(w, side, VMFT_WHY_SILENCE);
	if (s->socket_open && w->to[!side].count < QUEUE_MAX / 2)
		send(w, side, (struct message){.kind = MESSAGE_BEAT});
	later(w, about(w, beat_us), JOB_BEAT, side, 0);
}

static void do_connect(struct world *w)
{
	struct side *p = &w->sides[PRIMARY];
	struct side *b = &w->sides[BACKUP];

	if (!vmft_core_wants_peer(&p->core) || p->socket_open)
		return;
	if (w->now < w->cut_until[PRIMARY] || w->now < w->cut_until[BACKUP] || b->socket_open ||
	    !b->monitor_alive || !vmft_core_wants_peer(&b->core)) {
		later(w, about(w, 10 * MS), JOB_CONNECT, PRIMARY, 0);
		return;
	}
	w->epoch++;
	w->connection++;
	w->to[PRIMARY].count = 0;
	w->to[BACKUP].count = 0;
	w->to[PRIMARY].last_at = 0;
	w->to[BACKUP].last_at = 0;
	p->socket_open = true;
	b->socket_open = true;
	p->last_heard = w->now;
	b->last_heard = w->now;
	send(w, PRIMARY, (struct message){.kind = MESSAGE_HELLO});
}

static void take_log(struct world *w, const struct message *m)
{
	struct side *b = &w->sides[BACKUP];

	if (m->from != b->entries && w->spoil != SPOIL_LOG_GAP) {
		feed_lost(w, BACKUP, VMFT_WHY_PEER_FAULT);
		return;
	}
	memcpy(&b->log[b->entries], &w->sides[PRIMARY].log[m->from],
	       (m->to - m->from) * sizeof(b->log[0]));
	b->entries += m->to - m->from;
	if (w->spoil == SPOIL_LOG_GAP && m->to - m->from > 1 && one_in(w, 20))
		memmove(&b->log[b->entries - 2], &b->log[b->entries - 1], sizeof(b->log[0]));
	feed(w, BACKUP,
	     (struct vmft_event_in){.kind = VMFT_IN_LOG_HELD, .position = log_end(b, b->entries)});
}

static void take_ack(struct world *w, const struct message *m)
{
	struct side *p = &w->sides[PRIMARY];
	uint64_t held = w->sides[BACKUP].core.held;

	if (m->position > w->acked && m->position <= held)
		w->acked = m->position;
	feed(w, PRIMARY,
	     (struct vmft_event_in){
		 .kind = VMFT_IN_ACK, .position = m->position, .sent = log_end(p, p->shipped)});
}

static void take(struct world *w, int side, const struct message *m)
{
	switch (m->kind) {
	case MESSAGE_HELLO:
		send(w, side, (struct message){.kind = MESSAGE_HELLO_OK});
		break;
	case MESSAGE_HELLO_OK:
		send(w, side, (struct message){.kind = MESSAGE_START});
		feed(w, side, (struct vmft_event_in){.kind = VMFT_IN_PEER_READY});
		break;
	case MESSAGE_START:
		feed(w, side, (struct vmft_event_in){.kind = VMFT_IN_PEER_READY});
		break;
	case MESSAGE_LOG:
		take_log(w, m);
		break;
	case MESSAGE_ACK:
		take_ack(w, m);
		break;
	case MESSAGE_BEAT:
		break;
	case MESSAGE_BYE:
		if (m->why == VMFT_WHY_GUEST_DIED)
			feed_lost(w, side, VMFT_WHY_PEER_GUEST_DIED);
		else
			feed(w, side, (struct vmft_event_in){.kind = VMFT_IN_PEER_ENDED});
		break;
	case MESSAGE_FIN:
		feed_lost(w, side, VMFT_WHY_CONNECTION);
		break;
	}
}

/* The kernel of a host that lives answers for a closed socket; a dead host says nothing. */
static void answer_closed(struct world *w, int side, const struct message *m)
{
	const struct side *s = &w->sides[side];

	if (m->kind != MESSAGE_FIN && (s->monitor_alive || s->guest_alive) &&
	    w->now >= w->cut_until[!side])
		later(w, about(w, w->delay_us), JOB_RESET, !side, w->connection);
}

/* Read off the socket before the monitor closed it: the core has to be deaf to it by itself. */
static void take_late(struct world *w, int side, const struct message *m)
{
	const struct side *p = &w->sides[PRIMARY];
	struct vmft_event_in event = {.kind = VMFT_IN_COUNT};

	if (m->kind == MESSAGE_LOG)
		event =
		    (struct vmft_event_in){.kind = VMFT_IN_LOG_HELD, .position = log_end(p, m->to)};
	else if (m->kind == MESSAGE_ACK)
		event = (struct vmft_event_in){
		    .kind = VMFT_IN_ACK, .position = m->position, .sent = log_end(p, p->shipped)};
	else if (m->kind == MESSAGE_BYE && m->why == VMFT_WHY_GUEST_ENDED)
		event = (struct vmft_event_in){.kind = VMFT_IN_PEER_ENDED};
	else if (m->kind == MESSAGE_BYE || m->kind == MESSAGE_FIN)
		event =
		    (struct vmft_event_in){.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION};
	if (event.kind != VMFT_IN_COUNT)
		feed(w, side, event);
}

static void do_deliver(struct world *w, int side, uint64_t epoch)
{
	struct side *s = &w->sides[side];
	struct queue *q = &w->to[side];
	struct message m;

	if (epoch != w->epoch || !q->count)
		return;
	if (w->now < w->cut_until[side]) {
		later(w, w->cut_until[side] - w->now + chance(w, MS), JOB_DELIVER, side, epoch);
		return;
	}
	m = q->items[q->head];
	q->head = (q->head + 1) % QUEUE_MAX;
	q->count--;
	if (!s->socket_open && s->monitor_alive && !vmft_core_wants_peer(&s->core) &&
	    one_in(w, 4)) {
		take_late(w, side, &m);
		return;
	}
	if (!s->socket_open) {
		answer_closed(w, side, &m);
		return;
	}
	/*
	 * The clock before the bytes: a monitor that slept through the silence time must not act
	 * on an ack that was waiting for it, the backup may be live by now.
	 */
	if (w->now - s->last_heard > silence_us) {
		feed_lost(w, side, VMFT_WHY_SILENCE);
		return;
	}
	s->last_heard = w->now;
	take(w, side, &m);
}

/* --- the arbiter ---------------------------------------------------------------------------- */

static void do_arbiter(struct world *w, int side, uint64_t generation)
{
	enum vmft_in answer;
	bool won;

	if (generation != GENERATION + 1)
		broken(w, "claims the next generation", "%llu", (unsigned long long)generation);
	if (w->now < w->arbiter_down_until[side]) {
		later(w, about(w, 20 * MS), JOB_ANSWER, side, VMFT_IN_CLAIM_UNREACHABLE);
		return;
	}
	if (w->spoil == SPOIL_ARBITER_RACE && !w->owned) {
		later(w, about(w, 3 * MS), JOB_ARBITER_SET, side, generation);
		return;
	}
	won = !w->owned || (w->owner == side && w->spoil != SPOIL_ARBITER_FORGETS);
	if (!w->owned)
		w->owner = side;
	w->owned = true;
	note(w, "arbiter: generation belongs to the %s", vmft_side_name((enum vmft_side)w->owner));
	/* The answer may get lost after the claim was recorded: the claimant asks again. */
	answer = won ? VMFT_IN_CLAIM_WON : VMFT_IN_CLAIM_LOST;
	if (one_in(w, 8))
		answer = VMFT_IN_CLAIM_UNREACHABLE;
	later(w, about(w, w->now < w->arbiter_slow_until ? 80 * MS : MS), JOB_ANSWER, side, answer);
}

static void do_answer(struct world *w, int side, enum vmft_in answer)
{
	/* No arbiter was asked under SPOIL_NO_CLAIM: only what comes of it can be held against it.
	 */
	w->answered_won[side] |= answer == VMFT_IN_CLAIM_WON && w->spoil != SPOIL_NO_CLAIM;
	feed(w, side, (struct vmft_event_in){.kind = answer});
}

/* --- faults --------------------------------------------------------------------------------- */

static void kill_monitor(struct world *w, int side, bool silently)
{
	struct side *s = &w->sides[side];
	bool was_open = s->socket_open;

	s->monitor_alive = false;
	if (silently || !was_open) {
		s->socket_open = false;
		return;
	}
	if (one_in(w, 2)) {
		channel_reset(w); /* unread bytes in its buffer turn the close into a reset */
		s->socket_open = false;
		return;
	}
	socket_close(w, side);
}

static void kill_host(struct world *w, int side)
{
	kill_monitor(w, side, true);
	w->sides[side].guest_alive = false;
	w->to[!side].count = one_in(w, 2) ? 0 : w->to[!side].count;
}

static void shut_down(struct world *w, int side)
{
	w->shutdown = true;
	guest_logs(w, side, true);
	guest_gone(w, side, true);
}

static void agent_lies(struct world *w)
{
	if (one_in(w, 2))
		feed(w, BACKUP, (struct vmft_event_in){.kind = VMFT_IN_LIVE});
	else
		feed(w, BACKUP,
		     (struct vmft_event_in){.kind = VMFT_IN_REPLAYED,
					    .position = w->sides[BACKUP].core.held + 1});
}

static void pause_side(struct world *w, int side, uint64_t length, bool whole)
{
	struct side *s = &w->sides[side];

	s->monitor_paused_until = w->now + length;
	if (!whole)
		return;
	s->guest_paused_until = w->now + length;
	later(w, length, JOB_GATE, side, 0);
}

static bool fault_applies(const struct world *w, const struct fault_plan *f)
{
	const struct side *s = &w->sides[f->side];

	switch (f->fault) {
	case FAULT_KILL_GUEST:
		return s->guest_alive;
	case FAULT_KILL_MONITOR:
		return s->monitor_alive;
	case FAULT_KILL_HOST:
	case FAULT_PAUSE_SIDE:
	case FAULT_PAUSE_MONITOR:
		return s->monitor_alive && s->guest_alive;
	case FAULT_LINK_RESET:
		return w->sides[PRIMARY].socket_open || w->sides[BACKUP].socket_open;
	case FAULT_PEER_LIES:
		return w->sides[BACKUP].monitor_alive && w->sides[BACKUP].socket_open &&
		       w->sides[BACKUP].core.state == VMFT_STATE_PROTECTED;
	case FAULT_AGENT_LIES:
		s = &w->sides[BACKUP];
		return is_intact(s) && !s->told_live && !s->fenced &&
		       w->now >= s->monitor_paused_until;
	case FAULT_SHUTDOWN:
		return s->guest_alive && s->guest_runs && !s->fenced &&
		       w->now >= s->guest_paused_until && (f->side == PRIMARY || s->live);
	default:
		return true;
	}
}

static void apply(struct world *w, const struct fault_plan *f)
{
	switch (f->fault) {
	case FAULT_KILL_GUEST:
		guest_gone(w, f->side, false);
		break;
	case FAULT_KILL_MONITOR:
		kill_monitor(w, f->side, false);
		gate_flush(w, f->side);
		break;
	case FAULT_KILL_HOST:
		kill_host(w, f->side);
		break;
	case FAULT_PAUSE_SIDE:
	case FAULT_PAUSE_MONITOR:
		pause_side(w, f->side, f->length, f->fault == FAULT_PAUSE_SIDE);
		break;
	case FAULT_LINK_CUT:
		w->cut_until[!f->side] = w->now + f->length;
		w->cut_until[f->side] = w->now + f->length;
		break;
	case FAULT_LINK_ONE_WAY:
		w->cut_until[f->side] = w->now + f->length;
		break;
	case FAULT_LINK_RESET:
		channel_reset(w);
		break;
	case FAULT_LINK_SLOW:
		w->slow_until = w->now + f->length;
		break;
	case FAULT_ARBITER_DOWN:
		w->arbiter_down_until[f->side] = w->now + f->length;
		if (one_in(w, 2))
			w->arbiter_down_until[!f->side] = w->now + f->length;
		break;
	case FAULT_ARBITER_SLOW:
		w->arbiter_slow_until = w->now + f->length;
		break;
	case FAULT_PEER_LIES:
		send(w, BACKUP,
		     (struct message){.kind = MESSAGE_ACK, .position = UINT64_MAX - chance(w, 9)});
		break;
	case FAULT_AGENT_LIES:
		agent_lies(w);
		break;
	case FAULT_SHUTDOWN:
		shut_down(w, f->side);
		break;
	case FAULT_COUNT:
		break;
	}
}

static void do_fault(struct world *w, const struct fault_plan *f)
{
	if (!fault_applies(w, f))
		return;
	note(w, "FAULT %s, %s, %llu us", fault_names[f->fault],
	     vmft_side_name((enum vmft_side)f->side), (unsigned long long)f->length);
	if (!w->applied++)
		w->all_formed_at_fault = w->sides[0].formed && w->sides[1].formed;
	w->tally->faults[f->fault]++;
	apply(w, f);
}

/* Half of the runs with several faults have them close together, where the races are. */
static void plan_faults(struct world *w)
{
	static const unsigned counts[10] = {0, 1, 1, 1, 1, 2, 2, 2, 3, 5};
	uint64_t centre = one_in(w, 8) ? 0 : chance(w, faults_until_us); /* 0: while forming */
	bool close = !centre || one_in(w, 2);

	w->faults = counts[chance(w, 10)];
	for (unsigned i = 0; i < w->faults; i++) {
		struct fault_plan *f = &w->plan[i];

		f->fault = (enum fault)chance(w, FAULT_COUNT);
		f->side = (int)chance(w, 2);
		f->at = close ? centre + chance(w, 8 * MS) : chance(w, faults_until_us);
		f->length = 1 + chance(w, one_in(w, 2) ? faults_until_us : silence_us);
		later(w, f->at, JOB_FAULT, f->side, i);
	}
}

/* --- one run -------------------------------------------------------------------------------- */

/* Which process has to run for a job, so that a pause or a death stops the right things. */
static bool is_guest_job(enum job job)
{
	return job == JOB_GUEST || job == JOB_REPLAY || job == JOB_GATE || job == JOB_LIVE;
}

static bool is_world_job(enum job job)
{
	return job == JOB_FAULT || job == JOB_ARBITER || job == JOB_ARBITER_SET;
}

static void perform(struct world *w, const struct todo *t)
{
	switch (t->job) {
	case JOB_GUEST:
		do_guest(w, t->side);
		break;
	case JOB_REPLAY:
		do_replay(w);
		break;
	case JOB_GATE:
		gate_flush(w, t->side);
		break;
	case JOB_LIVE:
		do_live(w);
		break;
	case JOB_SHIP:
		do_ship(w);
		break;
	case JOB_LOOK:
		do_look(w, t->side);
		break;
	case JOB_BEAT:
		do_beat(w, t->side);
		break;
	case JOB_RETRY:
		feed(w, t->side, (struct vmft_event_in){.kind = VMFT_IN_RETRY_TIMER});
		break;
	case JOB_CONNECT:
		do_connect(w);
		break;
	case JOB_DELIVER:
		do_deliver(w, t->side, t->arg);
		break;
	case JOB_RESET:
		if (t->arg == w->connection)
			feed_lost(w, t->side, VMFT_WHY_CONNECTION);
		break;
	case JOB_ARBITER:
		do_arbiter(w, t->side, t->arg);
		break;
	case JOB_ARBITER_SET:
		w->owned = true;
		w->owner = t->side;
		later(w, MS, JOB_ANSWER, t->side, VMFT_IN_CLAIM_WON);
		break;
	case JOB_ANSWER:
		do_answer(w, t->side, (enum vmft_in)t->arg);
		break;
	case JOB_FAULT:
		do_fault(w, &w->plan[t->arg]);
		break;
	}
}

/* A stopped process does late, in one burst, whatever waited for it. */
static void dispatch(struct world *w, const struct todo *t)
{
	const struct side *s = &w->sides[t->side];
	uint64_t paused_until = 0;

	if (!is_world_job(t->job))
		paused_until =
		    is_guest_job(t->job) ? s->guest_paused_until : s->monitor_paused_until;
	if (w->now < paused_until) {
		later(w, paused_until - w->now + chance(w, 100), t->job, t->side, t->arg);
		return;
	}
	if (!is_world_job(t->job) && !is_guest_job(t->job) && !s->monitor_alive &&
	    t->job != JOB_DELIVER)
		return;
	perform(w, t);
}

static enum outcome outcome_of(const struct world *w)
{
	const struct side *p = &w->sides[PRIMARY];
	const struct side *b = &w->sides[BACKUP];

	if (is_live(p))
		return OUTCOME_PRIMARY_LIVE;
	if (is_live(b))
		return OUTCOME_BACKUP_LIVE;
	if (is_intact(p) && is_intact(b) && p->core.state == VMFT_STATE_PROTECTED &&
	    b->core.state == VMFT_STATE_PROTECTED)
		return OUTCOME_PROTECTED;
	if (w->shutdown)
		return OUTCOME_ENDED;
	if (!p->formed || !b->formed)
		return OUTCOME_NEVER_FORMED;
	if (w->owned)
		return OUTCOME_WINNER_DEAD;
	return OUTCOME_BOTH_DEAD;
}

/* Faults are over and the arbiter answers: whoever can carry the VM must do so by now. */
static void check_end(struct world *w)
{
	enum outcome outcome = outcome_of(w);
	bool survives = outcome <= OUTCOME_BACKUP_LIVE;

	w->tally->outcomes[outcome]++;
	if (w->owned && is_intact(&w->sides[w->owner]) && !is_live(&w->sides[w->owner]))
		broken(w, "the winner goes on", "%s is %s",
		       vmft_side_name((enum vmft_side)w->owner),
		       vmft_state_name(w->sides[w->owner].core.state));
	for (int side = 0; side < 2; side++) {
		const struct side *s = &w->sides[side];

		if (w->owned && w->owner != side && is_intact(s) && s->formed &&
		    !vmft_core_is_final(&s->core))
			broken(w, "the loser stops", "%s is %s", vmft_side_name(s->core.side),
			       vmft_state_name(s->core.state));
		if (!w->owned && is_intact(s) && s->formed && outcome != OUTCOME_PROTECTED &&
		    !vmft_core_is_final(&s->core))
			broken(w, "a survivor goes on", "%s is %s, nobody is live",
			       vmft_side_name(s->core.side), vmft_state_name(s->core.state));
	}
	if (w->applied == 0 && outcome != OUTCOME_PROTECTED)
		broken(w, "no fault, no change", "%s", outcome_names[outcome]);
	if (w->applied == 1 && w->all_formed_at_fault && !w->shutdown && !survives)
		broken(w, "one fault is survived", "%s", outcome_names[outcome]);
}

static void world_start(struct world *w, struct entry *logs)
{
	for (int side = 0; side < 2; side++) {
		struct side *s = &w->sides[side];

		vmft_core_init(&s->core, (enum vmft_side)side, GENERATION);
		s->monitor_alive = true;
		s->guest_alive = true;
		s->log = logs + (size_t)side * LOG_MAX;
		later(w, about(w, beat_us), JOB_BEAT, side, 0);
	}
	w->delay_us = one_in(w, 4) ? 5 * MS : 20 + chance(w, 500);
	w->guest_us = 200 + chance(w, 1500);
	w->replay_us = w->guest_us / 2 + chance(w, w->guest_us);
	plan_faults(w);
	later(w, about(w, 3 * MS), JOB_CONNECT, PRIMARY, 0);
}

static void world_run(struct world *w, struct entry *logs)
{
	world_start(w, logs);
	while (w->agenda_count && !w->broken) {
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

struct options {
	uint64_t seed, runs, steps;
	enum spoil spoil;
	bool trace, prove, quiet;
};

/* Whether every promise held. */
static bool run_seed(const struct options *o, uint64_t seed, struct tally *tally, struct world *w,
		     struct entry *logs)
{
	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->rng = mix(seed);
	w->spoil = o->spoil;
	w->trace = o->trace;
	w->tally = tally;
	world_run(w, logs);
	if (!w->broken)
		return true;
	tally->failed++;
	if (o->quiet)
		return false;
	printf("FAILED seed %llu at %.3f ms: %s: %s\n", (unsigned long long)seed,
	       (double)w->now / (double)MS, w->broken, w->detail);
	printf("  again: sim_pair --seed %llu --runs 1 --trace%s%s\n", (unsigned long long)seed,
	       o->spoil ? " --break=" : "", o->spoil ? spoils[o->spoil].name : "");
	return false;
}

/* Entries with a handler: those met in this simulation, or all there are. */
static unsigned reached(const struct tally *t, bool only_met)
{
	unsigned count = 0;

	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int state = 0; state < VMFT_STATE_COUNT; state++)
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				count +=
				    vmft_core_rule((enum vmft_side)side, (enum vmft_state)state,
						   (enum vmft_in)in, NULL) == VMFT_RULE_HANDLED &&
				    (!only_met || t->reached[side][state][in]);
	return count;
}

static void print_tally(const struct options *o, const struct tally *t)
{
	uint64_t faults = 0;

	for (int i = 0; i < FAULT_COUNT; i++)
		faults += t->faults[i];
	printf("sim_pair: seed %llu, %llu steps, %llu core events, %llu runs, %llu frames, "
	       "%llu faults:",
	       (unsigned long long)o->seed, (unsigned long long)t->steps,
	       (unsigned long long)t->core_steps, (unsigned long long)t->runs,
	       (unsigned long long)t->frames, (unsigned long long)faults);
	for (int i = 0; i < FAULT_COUNT; i++)
		printf(" %s %llu", fault_names[i], (unsigned long long)t->faults[i]);
	printf("\nsim_pair: ended:");
	for (int i = 0; i < OUTCOME_COUNT; i++)
		printf(" %s %llu%s", outcome_names[i], (unsigned long long)t->outcomes[i],
		       i + 1 < OUTCOME_COUNT ? "," : "");
	printf(
	    "\nsim_pair: %u of %u entries of the core's table reached, %llu frames released late\n",
	    reached(t, true), reached(t, false), (unsigned long long)t->late);
	printf("sim_pair: %llu runs broke a promise\n", (unsigned long long)t->failed);
}

static int run_many(const struct options *o, struct world *w, struct entry *logs)
{
	struct tally tally = {0};

	for (uint64_t i = 0; o->runs ? i < o->runs : tally.steps < o->steps; i++)
		if (!run_seed(o, o->seed + i, &tally, w, logs) && tally.failed >= 10)
			break;
	print_tally(o, &tally);
	return tally.failed ? 1 : 0;
}

/* Runs until the promise is broken that this spoil is there to break; 0 if it never is. */
static uint64_t find_out(const struct options *o, struct world *w, struct entry *logs)
{
	struct tally tally = {0};

	while (tally.runs < 5000)
		if (!run_seed(o, o->seed + tally.runs, &tally, w, logs) &&
		    !strcmp(w->broken, spoils[o->spoil].promise))
			return tally.runs;
	return 0;
}

/* A checker that never complains proves nothing: each spoilt world has to be found out. */
static int prove(const struct options *o, struct world *w, struct entry *logs)
{
	int missed = 0;

	for (int i = SPOIL_NONE + 1; i < SPOIL_COUNT; i++) {
		struct options spoilt = *o;
		uint64_t runs;

		spoilt.spoil = (enum spoil)i;
		spoilt.quiet = true;
		runs = find_out(&spoilt, w, logs);
		if (runs)
			printf("sim_pair: %s found out in run %llu: %s: %s\n", spoils[i].name,
			       (unsigned long long)runs, w->broken, w->detail);
		else
			printf("sim_pair: %s NOT FOUND OUT\n", spoils[i].name);
		missed += !runs;
	}
	return missed ? 1 : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: sim_pair [--seed N] [--runs N | --steps N] [--trace] "
			"[--break=NAME | --prove]\nNAME:");
	for (int i = 1; i < SPOIL_COUNT; i++)
		fprintf(stderr, " %s", spoils[i].name);
	fputc('\n', stderr);
	return 2;
}

static bool parse_number(const char *text, uint64_t *ret)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return !errno && !*end;
}

static bool parse_spoil(const char *name, enum spoil *ret)
{
	for (int i = 1; i < SPOIL_COUNT; i++) {
		if (!strcmp(name, spoils[i].name)) {
			*ret = (enum spoil)i;
			return true;
		}
	}
	return false;
}

static bool parse_option(struct options *o, char **argv, int *i)
{
	if (!strcmp(argv[*i], "--trace"))
		return o->trace = true;
	if (!strcmp(argv[*i], "--prove"))
		return o->prove = true;
	if (!strncmp(argv[*i], "--break=", 8))
		return parse_spoil(argv[*i] + 8, &o->spoil);
	if (!strcmp(argv[*i], "--seed"))
		return parse_number(argv[++*i], &o->seed);
	if (!strcmp(argv[*i], "--runs"))
		return parse_number(argv[++*i], &o->runs);
	if (!strcmp(argv[*i], "--steps"))
		return parse_number(argv[++*i], &o->steps);
	return false;
}

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .steps = 5000000};
	struct world *w = malloc(sizeof(*w));
	struct entry *logs = calloc(2 * LOG_MAX, sizeof(*logs));
	int ret = 2;

	if (!w || !logs)
		goto out;
	for (int i = 1; i < argc; i++) {
		if (!parse_option(&o, argv, &i)) {
			ret = usage();
			goto out;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	ret = o.prove ? prove(&o, w, logs) : run_many(&o, w, logs);
out:
	free(logs);
	free(w);
	return ret;
}
