/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two hosts with a failover core each in a simulated world: virtual time, a channel that delays
 * but keeps order, an arbiter, two QEMUs with their agents, service managers, and faults. A host
 * that lost its side starts it anew as a fresh backup, which the live one takes in: the VM lives
 * on through a chain of generations. After every step the promises of the design are checked
 * against the world itself, never against what a core believes.
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
	HOSTS = 2,		     /* A starts as the primary; who is what later, the cores say */
	LOG_MAX = 16384,	     /* entries of one run; the guest idles when it is used up */
	LOG_BUFFERS = 2 * HOSTS + 1, /* each side's own, the one it follows, and a fresh one */
	RING_ENTRIES = 512,	     /* unsent entries the guest may run ahead by */
	LAG_ENTRIES = 48,	     /* unreplayed entries beyond which the guest is slowed down */
	CAUGHT_UP_ENTRIES = 64,	     /* lag at which a new backup counts as following */
	GATE_FRAMES = 64,	     /* frames held before the guest is stopped */
	QUEUE_MAX = 1024,	     /* messages in flight in one direction */
	AGENDA_MAX = 16384,
	FAULTS_MAX = 8,
	GENERATION = 7,
	GENERATIONS_MAX = 64,
};

static const uint64_t beat_us = 10 * MS;
static const uint64_t silence_us = 60 * MS;
static const uint64_t watch_us = 40 * MS;
static const uint64_t fault_length_us = 300 * MS;
static const uint64_t faults_until_us = 1200 * MS;
static const uint64_t settle_us = 500 * MS;	/* a failover takes no longer */
static const uint64_t run_until_us = 3500 * MS; /* long after the last fault is healed */

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
	SPOIL_STALE_STATE,	 /* memory written during the pre-copy is not copied again */
	SPOIL_FORM_BEFORE_SEAL,	 /* the agent leaves out of its seal what was seen outside */
	SPOIL_RELEASE_UNFORMED,	 /* acks of a backup that knows of no pair release frames */
	SPOIL_ATTACH_CLAIMS_EARLY, /* a backup that was told of no pair takes over all the same */
	SPOIL_NO_CLOSE_GATE,	   /* the gate says it is closed and is not */
	SPOIL_NO_ACK_AGAIN,	   /* heartbeats are answered without the last ack */
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
    [SPOIL_STALE_STATE] = {"stale-state", "equal state"},
    [SPOIL_FORM_BEFORE_SEAL] = {"form-before-seal", "nothing acknowledged lost"},
    [SPOIL_RELEASE_UNFORMED] = {"release-unformed", "no frame before its ack"},
    [SPOIL_ATTACH_CLAIMS_EARLY] = {"attach-claims-early", "never two live"},
    [SPOIL_NO_CLOSE_GATE] = {"no-close-gate", "no frame before its ack"},
    [SPOIL_NO_ACK_AGAIN] = {"no-ack-again", "output goes on"},
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
	FAULT_PEER_LIES,  /* a side says what cannot be, or what is not its turn to say */
	FAULT_AGENT_LIES, /* the backup's agent reports what cannot be */
	FAULT_SHUTDOWN,	  /* the guest ends in order, or a QEMU that does not run it is told to */
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
	OUTCOME_LIVE,	     /* alone: its monitor is gone, so that nobody can attach */
	OUTCOME_ENDED,	     /* shut down in order */
	OUTCOME_NEVER_RAN,   /* the primary was gone before its guest started */
	OUTCOME_PAIR_DEAD,   /* double fault: both sides of a pair */
	OUTCOME_WINNER_DEAD, /* double fault: whoever was live died before there was a pair again */
	OUTCOME_COUNT,
};

static const char *const outcome_names[OUTCOME_COUNT] = {
    [OUTCOME_PROTECTED] = "protected", [OUTCOME_LIVE] = "live without a monitor",
    [OUTCOME_ENDED] = "shut down",     [OUTCOME_NEVER_RAN] = "never ran",
    [OUTCOME_PAIR_DEAD] = "pair dead", [OUTCOME_WINNER_DEAD] = "winner dead",
};

/* By who has to run for it: QEMU, the monitor, nobody. */
enum job {
	JOB_GUEST,	 /* side: the guest executes a little */
	JOB_REPLAY,	 /* backup: the agent replays an entry */
	JOB_GATE,	 /* side: the gate looks at its frames */
	JOB_LIVE,	 /* backup: the agent has left replay */
	JOB_TAKE_STATE,	 /* primary: pre-copied, the agent takes the rest; arg = attach */
	JOB_CLOSE_GATE,	 /* primary: the agent closes the gate; arg = attach */
	JOB_POINT,	 /* primary: its monitor has the state; arg = attach */
	JOB_GATE_CLOSED, /* primary: its monitor hears of the gate; arg = attach */
	JOB_ALONE,	 /* primary: started without waiting for a backup */
	JOB_SHIP,	 /* primary: its monitor looks at the ring */
	JOB_LOOK,	 /* side: its monitor looks at its agent and QEMU */
	JOB_BEAT,	 /* side: heartbeat and silence check */
	JOB_RETRY,	 /* side */
	JOB_CONNECT,	 /* side: if it is a primary that wants a peer */
	JOB_ANSWER,	 /* side: arg = enum vmft_in */
	JOB_DELIVER,	 /* side = receiver, arg = epoch */
	JOB_RESET,	 /* side: its kernel learned of a reset, arg = connection */
	JOB_ARBITER,	 /* side: its claim reaches the arbiter, arg = generation */
	JOB_ARBITER_SET, /* SPOIL_ARBITER_RACE: the second half */
	JOB_SERVICE,	 /* side: its host looks whether it has to be started */
	JOB_WATCH,	 /* whether the run has come to rest */
	JOB_FAULT,	 /* arg = index */
};

struct todo {
	uint64_t at;
	uint64_t order;
	enum job job;
	int side;
	unsigned life; /* of the side's processes: what a process had in mind dies with it */
	uint64_t arg;
};

enum message_kind {
	MESSAGE_HELLO,
	MESSAGE_HELLO_OK,
	MESSAGE_START, /* .attach: a pair is not formed by it, a state follows */
	MESSAGE_STATE, /* the guest as it was before entry .from */
	MESSAGE_FORM,  /* there is a pair now */
	MESSAGE_LOG,   /* entries [from, to) */
	MESSAGE_ACK,
	MESSAGE_BEAT,
	MESSAGE_BYE,
	MESSAGE_FIN,
};

struct message {
	enum message_kind kind;
	bool attach;
	bool formed; /* ACK: what it says of itself */
	enum vmft_why why;
	unsigned from, to;
	unsigned replayed;   /* ACK */
	uint64_t position;   /* ACK */
	uint64_t honest;     /* ACK: what the world knows to be held by a backup that knows of the
			      * pair */
	uint64_t generation; /* START */
	uint64_t state;	     /* STATE */
};

struct queue {
	struct message items[QUEUE_MAX];
	unsigned head, count;
	unsigned logs;	  /* messages of log among them */
	uint64_t last_at; /* nothing is delivered before what was sent earlier */
};

struct entry {
	uint64_t end;	/* log position after it */
	uint64_t input; /* what the guest could not have computed */
	uint64_t state; /* of the guest that recorded it, after it */
	bool output;	/* a frame depends on it */
	bool last;	/* the guest powers off here */
};

struct frame {
	uint64_t position;
	uint64_t since;
};

/* One life of one host's processes. */
struct side {
	struct vmft_core core;
	unsigned life;
	/* the monitor */
	bool monitor_alive;
	uint64_t monitor_paused_until;
	uint64_t last_heard;
	bool socket_open;
	unsigned connection;	/* its last one */
	unsigned shipped;	/* entries handed to the transport */
	unsigned peer_replayed; /* as the peer reports */
	bool peer_reports;
	bool told_end;	   /* the core knows that the guest is gone */
	bool told_is_live; /* the core knows that the agent went live */
	uint64_t told_pos; /* last position reported as replayed */
	uint64_t attach;   /* counts attaches and their ends: answers to older ones are stale */
	/* QEMU and its agent */
	bool guest_alive;
	bool guest_runs;  /* executes for itself: recording, or live */
	bool guest_ended; /* in order */
	bool fenced;
	bool told_live;
	bool gate_open;
	bool keeps_log; /* log that is not sent yet may not be overwritten */
	uint64_t guest_paused_until;
	uint64_t release;
	struct frame frames[GATE_FRAMES];
	unsigned frame_head, frame_count;
	uint64_t last_emitted;
	uint64_t last_logged_at;
	uint64_t state;	      /* a hash over all the guest ever did */
	uint64_t early_state; /* when the pre-copy began */
	unsigned point;	      /* entries when the state was taken */
	uint64_t point_state;
	bool loaded; /* a state; it can't take in another */
	/* the log as this side has it; a live backup writes on */
	struct entry *log;
	const struct entry *source; /* backup: the log it follows, as its writer has it */
	unsigned entries;
	unsigned replayed;
	/* what the world knows of it */
	bool entitled;	 /* started alone or won, and has formed no pair since */
	bool heard_pair; /* backup: was told that there is a pair */
	uint64_t honest; /* primary: highest honest ack that reached it from a formed backup */
};

struct fault_plan {
	enum fault fault;
	int role; /* when it strikes: 0: the host in charge of the guest, 1: the other */
	int host; /* the victim, once it is known */
	uint64_t at;
	uint64_t length;
	enum vmft_state on; /* COUNT: strikes at .at; else when a side next enters this state */
	bool struck;
};

struct tally {
	uint64_t steps, core_steps, runs, failed, frames;
	uint64_t late; /* frames a primary released, rightly, after its backup had gone live */
	uint64_t attaches, attached, go_lives;
	uint64_t longest; /* chain of generations */
	bool reached[VMFT_SIDE_COUNT][VMFT_STATE_COUNT][VMFT_IN_COUNT];
	uint64_t faults[FAULT_COUNT];
	uint64_t outcomes[OUTCOME_COUNT];
};

/* Who owns a generation: a host's processes, not the host. */
struct claimant {
	bool is;
	int host;
	unsigned life;
};

struct world {
	uint64_t now;
	uint64_t rng;
	uint64_t seed;
	enum spoil spoil;
	bool trace;
	bool done;
	struct tally *tally;
	struct entry *logs;

	struct todo agenda[AGENDA_MAX];
	unsigned agenda_count;
	uint64_t order;

	struct side sides[HOSTS];
	struct queue to[HOSTS]; /* by receiver */
	uint64_t cut_until[HOSTS];
	uint64_t down_until[HOSTS]; /* the host */
	uint64_t start_at[HOSTS];   /* when its processes are started anew; 0: they run */
	uint64_t slow_until;
	unsigned epoch;	     /* counts up whenever what is in flight is void */
	unsigned connection; /* counts connections */
	uint64_t delay_us;   /* typical of this run's network */
	uint64_t guest_us;
	uint64_t replay_us;
	uint64_t precopy_us;
	unsigned window; /* messages of log in flight beyond which the rest waits in the ring */
	bool asks;	 /* this run's guest does nothing before its last frame has left */

	uint64_t latest; /* generation on record */
	struct claimant owner[GENERATIONS_MAX];
	struct claimant told_won[GENERATIONS_MAX];
	uint64_t arbiter_down_until[HOSTS];
	uint64_t arbiter_slow_until;

	int recorder;	    /* host in charge of the guest: it ran it first, or went live last */
	bool ran;	    /* some guest did */
	bool pair;	    /* formed, and nobody has won since */
	uint64_t seen;	    /* highest position a frame seen outside depends on */
	uint64_t live_from; /* position the recorder went live at */
	struct fault_plan plan[FAULTS_MAX];
	unsigned faults, applied;
	uint64_t healed_at; /* the faults up to now are over */
	bool single;	    /* the last fault struck a pair at rest */
	bool ends;	    /* it was the orderly end of the guest */
	bool shutdown;
	unsigned rested; /* watches in a row that found the world at rest */

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

static const char *host_name(int host)
{
	return host ? "B" : "A";
}

static bool earlier(const struct todo *a, const struct todo *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void later_in_life(struct world *w, uint64_t in, enum job job, int side, unsigned life,
			  uint64_t arg)
{
	struct todo todo = {w->now + in, w->order++, job, side, life, arg};
	unsigned i = w->agenda_count++;

	if (i >= AGENDA_MAX) {
		fprintf(stderr, "sim_pair: seed %llu: agenda full\n", (unsigned long long)w->seed);
		exit(2);
	}
	for (; i && earlier(&todo, &w->agenda[(i - 1) / 2]); i = (i - 1) / 2)
		w->agenda[i] = w->agenda[(i - 1) / 2];
	w->agenda[i] = todo;
}

static void later(struct world *w, uint64_t in, enum job job, int side, uint64_t arg)
{
	later_in_life(w, in, job, side, w->sides[side].life, arg);
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

static bool is_primary(const struct side *s)
{
	return s->core.side == VMFT_SIDE_PRIMARY;
}

/* Its guest may execute and whatever it says can leave. A pause does not make it less live. */
static bool is_live(const struct side *s)
{
	return s->guest_alive && s->guest_runs && s->gate_open && !s->fenced;
}

static bool is_intact(const struct side *s)
{
	return s->guest_alive && s->monitor_alive;
}

static bool is_well(const struct world *w, const struct side *s)
{
	return is_intact(s) && !s->fenced && s->socket_open && w->now >= s->guest_paused_until &&
	       w->now >= s->monitor_paused_until;
}

/* The guest is protected: any one fault from here on has to be survived. */
static bool is_protected(const struct world *w)
{
	const struct side *p = &w->sides[w->recorder];
	const struct side *b = &w->sides[!w->recorder];

	return w->pair && is_well(w, p) && is_well(w, b) && p->guest_runs && !p->gate_open &&
	       b->heard_pair && !b->told_live;
}

static bool someone_is_live(const struct world *w)
{
	return is_live(&w->sides[0]) || is_live(&w->sides[1]);
}

static void check_step(struct world *w)
{
	if (is_live(&w->sides[0]) && is_live(&w->sides[1]))
		broken(w, "never two live", "both gates are open");
}

static void check_frame(struct world *w, int host, uint64_t position)
{
	const struct side *s = &w->sides[host];

	if (!s->guest_runs)
		broken(w, "no output in replay", "%s frame %llu", host_name(host),
		       (unsigned long long)position);
	if (position <= s->last_emitted)
		broken(w, "frames leave in order", "%s frame %llu after %llu", host_name(host),
		       (unsigned long long)position, (unsigned long long)s->last_emitted);
	if (host == w->recorder && position <= w->seen)
		broken(w, "frames leave in order", "%s frame %llu, seen before up to %llu",
		       host_name(host), (unsigned long long)position, (unsigned long long)w->seen);
	if (!s->entitled && position > s->honest)
		broken(w, "no frame before its ack", "%s frame %llu, acked %llu", host_name(host),
		       (unsigned long long)position, (unsigned long long)s->honest);
	if (host != w->recorder && position > w->live_from)
		broken(w, "nothing acknowledged lost", "%s frame %llu, %s is live from %llu",
		       host_name(host), (unsigned long long)position, host_name(!host),
		       (unsigned long long)w->live_from);
}

/* Under a spoil only what comes of it is held against it, here and below. */
static void check_pair(struct world *w, int host)
{
	const struct side *b = &w->sides[!host];
	uint64_t held = log_end(b, b->entries);

	/* Another life: the one that acked is gone, and the primary is about to hear of it. */
	if (b->connection != w->connection)
		return;
	if (held < w->seen && w->spoil != SPOIL_FORM_BEFORE_SEAL)
		broken(w, "a pair covers what was seen", "held %llu, frames seen up to %llu",
		       (unsigned long long)held, (unsigned long long)w->seen);
}

static void check_go_live(struct world *w, int host)
{
	const struct side *b = &w->sides[host];
	uint64_t at = log_end(b, b->replayed);

	if (at < w->seen)
		broken(w, "nothing acknowledged lost", "live at %llu, frames seen up to %llu",
		       (unsigned long long)at, (unsigned long long)w->seen);
	if (b->replayed != b->entries)
		broken(w, "live at the log's end", "%u of %u entries", b->replayed, b->entries);
	if (b->replayed && b->state != b->source[b->replayed - 1].state)
		broken(w, "equal state", "it differs after entry %u", b->replayed);
	if (!b->heard_pair && w->spoil != SPOIL_ATTACH_CLAIMS_EARLY)
		broken(w, "live only out of a pair", "%s", host_name(host));
}

/* --- gate and guest ------------------------------------------------------------------------- */

static void emit(struct world *w, int host, uint64_t position)
{
	check_frame(w, host, position);
	w->sides[host].last_emitted = position;
	if (position > w->seen)
		w->seen = position;
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

static void gate_flush(struct world *w, int host)
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
		uint64_t position = s->frames[s->frame_head].position;

		if (!s->gate_open && position > s->release)
			return;
		if (w->spoil == SPOIL_GATE_DROPS && s->frame_count > 1 && one_in(w, 50)) {
			gate_swap(s);
			position = s->frames[s->frame_head].position;
			if (!s->gate_open && position > s->release)
				return;
		}
		s->frame_head = (s->frame_head + 1) % GATE_FRAMES;
		s->frame_count--;
		emit(w, host, position);
	}
}

static void guest_gone(struct world *w, int host, bool in_order)
{
	struct side *s = &w->sides[host];

	s->guest_alive = false;
	s->guest_ended = in_order;
	later(w, about(w, 200), JOB_LOOK, host, 0);
}

/* Appends what the guest did. */
static void guest_logs(struct world *w, int host, bool last)
{
	struct side *s = &w->sides[host];
	struct entry *e = &s->log[s->entries];

	e->end = log_end(s, s->entries) + 1 + chance(w, 200);
	e->input = chance(w, 1ULL << 60);
	e->output = !last && one_in(w, 3);
	e->last = last;
	s->state = mix(s->state ^ e->input);
	e->state = s->state;
	s->entries++;
	s->last_logged_at = w->now;
	if (!e->output)
		return;
	s->frames[(s->frame_head + s->frame_count) % GATE_FRAMES] =
	    (struct frame){.position = e->end, .since = w->now};
	s->frame_count++;
	gate_flush(w, host);
}

static bool log_is_full(const struct side *s)
{
	return s->entries >= LOG_MAX - 2;
}

/* A backup that does not keep up costs the guest speed, one that takes nothing in stops it. */
static void do_guest(struct world *w, int host)
{
	struct side *s = &w->sides[host];
	bool stalled, lags;

	/* Alone it goes on without its monitor, also in the middle of an attach. */
	if (s->gate_open && !s->monitor_alive)
		s->keeps_log = false;
	stalled = s->frame_count >= (w->asks ? 1 : GATE_FRAMES) || log_is_full(s) ||
		  (s->keeps_log && s->entries - s->shipped > RING_ENTRIES);
	lags = s->keeps_log && s->peer_reports && s->entries - s->peer_replayed > LAG_ENTRIES;
	if (!s->guest_alive || s->fenced || !s->guest_runs)
		return;
	if (!stalled)
		guest_logs(w, host, false);
	if (s->keeps_log && !stalled)
		later(w, about(w, 60), JOB_SHIP, host, 0);
	later(w, about(w, lags ? 4 * w->guest_us : w->guest_us), JOB_GUEST, host, 0);
}

static void do_replay(struct world *w, int host)
{
	struct side *b = &w->sides[host];

	if (!b->guest_alive || b->fenced || b->told_live)
		return;
	if (b->replayed < b->entries) {
		b->state = mix(b->state ^ b->log[b->replayed].input);
		b->replayed++;
		later(w, about(w, 60), JOB_LOOK, host, 0);
		if (b->log[b->replayed - 1].last) {
			guest_gone(w, host, true);
			return;
		}
	}
	later(w, about(w, w->replay_us), JOB_REPLAY, host, 0);
}

static void do_live(struct world *w, int host)
{
	struct side *b = &w->sides[host];

	if (!b->guest_alive || b->fenced)
		return;
	b->guest_runs = true;
	check_step(w);
	check_go_live(w, host);
	w->tally->go_lives++;
	w->recorder = host;
	w->live_from = log_end(b, b->replayed);
	b->entries = b->replayed;
	note(w, "%s: agent is live at %llu", host_name(host), (unsigned long long)w->live_from);
	later(w, 0, JOB_GUEST, host, 0);
	later(w, about(w, 60), JOB_LOOK, host, 0);
}

/* The guest stands still for a moment; the log is kept from here on. */
static void do_take_state(struct world *w, int host, uint64_t attach)
{
	struct side *s = &w->sides[host];

	if (attach != s->attach || !s->guest_alive || s->fenced)
		return;
	s->point = s->entries;
	s->point_state = w->spoil == SPOIL_STALE_STATE ? s->early_state : s->state;
	s->shipped = s->entries;
	s->keeps_log = true;
	later(w, about(w, 200), JOB_POINT, host, attach);
}

static void do_close_gate(struct world *w, int host, uint64_t attach)
{
	struct side *s = &w->sides[host];

	if (attach != s->attach || !s->guest_alive || s->fenced || !s->monitor_alive)
		return;
	if (w->spoil != SPOIL_NO_CLOSE_GATE)
		s->gate_open = false;
	later(w, about(w, 200), JOB_GATE_CLOSED, host, attach);
}

/* --- channel -------------------------------------------------------------------------------- */

static void queue_clear(struct queue *q)
{
	q->count = 0;
	q->logs = 0;
}

static void send_slowly(struct world *w, int from, struct message message, uint64_t extra)
{
	struct queue *q = &w->to[!from];
	uint64_t at = w->now + extra + about(w, one_in(w, 200) ? 4 * w->delay_us : w->delay_us);

	if (w->now < w->slow_until)
		at += chance(w, 2 * silence_us);
	if (q->count == QUEUE_MAX) {
		fprintf(stderr, "sim_pair: seed %llu: queue full\n", (unsigned long long)w->seed);
		exit(2);
	}
	q->items[(q->head + q->count++) % QUEUE_MAX] = message;
	q->logs += message.kind == MESSAGE_LOG;
	if (at < q->last_at)
		at = q->last_at;
	q->last_at = at;
	later(w, at - w->now, JOB_DELIVER, !from, w->epoch);
}

static void send(struct world *w, int from, struct message message)
{
	send_slowly(w, from, message, 0);
}

static void socket_close(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (!s->socket_open)
		return;
	s->socket_open = false;
	send(w, host, (struct message){.kind = MESSAGE_FIN});
}

/* What is in flight is gone; each end hears of it unless it can't. */
static void channel_reset(struct world *w)
{
	for (int host = 0; host < HOSTS; host++) {
		queue_clear(&w->to[host]);
		later(w, about(w, w->delay_us), JOB_RESET, host, w->connection);
	}
	w->epoch++;
}

/* Cumulative, and repeated with every heartbeat. */
static struct message ack_of(const struct world *w, int host, uint64_t position)
{
	const struct side *s = &w->sides[host];
	uint64_t held = log_end(s, s->entries);

	if (w->spoil == SPOIL_ACK_BEFORE_HELD)
		position = log_end(&w->sides[!host], w->sides[!host].shipped);
	return (struct message){
	    .kind = MESSAGE_ACK,
	    .position = position,
	    .formed = s->heard_pair,
	    .replayed = s->replayed,
	    .honest = !s->heard_pair	? 0
		      : position < held ? position
					: held,
	};
}

/* --- core and actions ----------------------------------------------------------------------- */

static void ask_arbiter(struct world *w, int host, uint64_t generation)
{
	const struct side *s = &w->sides[host];

	if (s->told_end)
		broken(w, "a dead guest claims nothing", "%s", host_name(host));
	if (s->entitled)
		broken(w, "a live side asks nobody", "%s", host_name(host));
	if (w->spoil == SPOIL_NO_CLAIM) {
		later(w, about(w, 500), JOB_ANSWER, host, VMFT_IN_CLAIM_WON);
		return;
	}
	later(w, about(w, w->now < w->arbiter_slow_until ? 80 * MS : MS), JOB_ARBITER, host,
	      generation);
}

static void fence(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (w->spoil != SPOIL_NO_FENCE) {
		s->fenced = true;
		return;
	}
	s->gate_open = true;
	if (!s->guest_runs)
		later(w, 10, JOB_LIVE, host, 0);
}

static void run_guest(struct world *w, int host, bool alone)
{
	struct side *s = &w->sides[host];

	if (!is_primary(s)) {
		later(w, about(w, 500), JOB_REPLAY, host, 0);
		return;
	}
	s->guest_runs = true;
	s->keeps_log = !alone;
	w->recorder = host;
	w->ran = true;
	w->pair = !alone;
	later(w, about(w, 500), JOB_GUEST, host, 0);
}

static void go_live(struct world *w, int host, uint64_t at)
{
	struct side *s = &w->sides[host];

	if (log_end(s, s->replayed) != at && w->spoil == SPOIL_NONE)
		broken(w, "live at the log's end", "told %llu, replayed %llu",
		       (unsigned long long)at, (unsigned long long)log_end(s, s->replayed));
	s->told_live = true;
	later(w, about(w, 2 * MS), JOB_LIVE, host, 0);
}

static void open_gate(struct side *s)
{
	s->gate_open = true;
	s->keeps_log = false;
	s->attach++;
}

static void form_pair(struct world *w, int host)
{
	send(w, host, (struct message){.kind = MESSAGE_FORM});
	w->sides[host].entitled = false;
	w->pair = true;
	w->tally->attached++;
	check_pair(w, host);
}

static void act_on_guest(struct world *w, int host, const struct vmft_actions *a)
{
	struct side *s = &w->sides[host];

	if (a->set & (VMFT_DO_FENCE_GUEST | VMFT_DO_STOP) && s->entitled && s->guest_alive)
		broken(w, "a failed attach leaves the primary live", "%s", host_name(host));
	if (a->set & VMFT_DO_FENCE_GUEST)
		fence(w, host);
	if (a->set & VMFT_DO_RUN_GUEST)
		run_guest(w, host, a->set & VMFT_DO_OPEN_GATE);
	if (a->set & VMFT_DO_SET_RELEASE)
		s->release = a->release;
	if (a->set & VMFT_DO_GO_LIVE)
		go_live(w, host, a->live_at);
	if (a->set & VMFT_DO_OPEN_GATE)
		open_gate(s);
	if (a->set & VMFT_DO_CLOSE_GATE)
		later(w, about(w, 200), JOB_CLOSE_GATE, host, s->attach);
	if (a->set & VMFT_DO_FORM_PAIR)
		form_pair(w, host);
	gate_flush(w, host);
}

static void act(struct world *w, int host, const struct vmft_actions *a)
{
	struct side *s = &w->sides[host];

	if (a->set & VMFT_DO_FENCE_GUEST)
		act_on_guest(w, host, a);
	if (a->set & VMFT_DO_SEND_ACK)
		send(w, host, ack_of(w, host, a->ack));
	if (a->set & VMFT_DO_SEND_BYE)
		send(w, host, (struct message){.kind = MESSAGE_BYE, .why = a->bye});
	if (a->set & VMFT_DO_CLOSE_PEER)
		socket_close(w, host);
	if (a->set & VMFT_DO_CLAIM)
		ask_arbiter(w, host, a->generation);
	if (a->set & VMFT_DO_START_RETRY_TIMER && w->spoil != SPOIL_NO_RETRY)
		later(w, about(w, 20 * MS), JOB_RETRY, host, 0);
	if (!(a->set & VMFT_DO_FENCE_GUEST))
		act_on_guest(w, host, a);
	if (a->set & VMFT_DO_STOP) {
		socket_close(w, host);
		s->guest_alive &= s->core.state != VMFT_STATE_ENDED;
		if (s->guest_alive && !s->fenced && w->spoil != SPOIL_NO_FENCE)
			broken(w, "the loser stops", "%s still runs", host_name(host));
	}
}

static bool is_brief(enum vmft_state state)
{
	return state != VMFT_STATE_ATTACHING && state != VMFT_STATE_PROTECTED &&
	       state != VMFT_STATE_ALONE;
}

/*
 * Faults that wait for a side to enter a state strike soon after, mostly at that side; where the
 * state may last, now and then much later.
 */
static void strike_on(struct world *w, int host, enum vmft_state state)
{
	unsigned doublings = is_brief(state) ? 8 : 13;

	for (unsigned i = 0; i < w->faults; i++) {
		struct fault_plan *f = &w->plan[i];

		if (f->struck || f->on != state || w->now < f->at)
			continue;
		f->struck = true;
		f->host = one_in(w, 3) ? !host : host;
		later(w, chance(w, 16ULL << chance(w, doublings)), JOB_FAULT, 0, i);
	}
}

static void feed(struct world *w, int host, struct vmft_event_in event)
{
	struct side *s = &w->sides[host];
	struct vmft_actions actions;
	enum vmft_state before = s->core.state;
	enum vmft_side role = s->core.side;

	w->tally->reached[role][before][event.kind] = true;
	vmft_core_step(&s->core, &event, &actions);
	w->tally->core_steps++;
	if (s->core.state != before || w->trace)
		note(w, "%s: %-7s %-17s pos %-7llu %s -> %s, actions %#x", host_name(host),
		     vmft_side_name(role), vmft_in_name(event.kind),
		     (unsigned long long)event.position, vmft_state_name(before),
		     vmft_state_name(s->core.state), actions.set);
	act(w, host, &actions);
	if (s->core.state == before)
		return;
	if (s->core.state == VMFT_STATE_ALONE && s->guest_alive && !is_live(s))
		broken(w, "a failed attach leaves the primary live", "%s is alone, not live",
		       host_name(host));
	strike_on(w, host, s->core.state);
}

static void feed_kind(struct world *w, int host, enum vmft_in kind)
{
	feed(w, host, (struct vmft_event_in){.kind = kind});
}

/* To a core that is alone a knocking peer is none yet: its monitor lets go of it by itself. */
static void feed_end_of_peer(struct world *w, int host, struct vmft_event_in event)
{
	if (!w->sides[host].socket_open)
		return;
	feed(w, host, event);
	if (w->sides[host].core.state == VMFT_STATE_ALONE)
		socket_close(w, host);
}

static void feed_lost(struct world *w, int host, enum vmft_why why)
{
	const struct vmft_core *core = &w->sides[host].core;

	if (w->spoil == SPOIL_ATTACH_CLAIMS_EARLY && core->side == VMFT_SIDE_BACKUP &&
	    core->state == VMFT_STATE_ATTACHING && core->pointed)
		feed_kind(w, host, VMFT_IN_PEER_READY);
	feed_end_of_peer(w, host, (struct vmft_event_in){.kind = VMFT_IN_PEER_LOST, .why = why});
	if (w->spoil == SPOIL_LIVE_BEFORE_DRAIN && core->state == VMFT_STATE_DRAINING)
		feed(w, host,
		     (struct vmft_event_in){.kind = VMFT_IN_REPLAYED, .position = core->held});
}

/* --- the monitors --------------------------------------------------------------------------- */

static void do_ship(struct world *w, int host)
{
	struct side *p = &w->sides[host];
	enum vmft_state state = p->core.state;
	bool attaching = state == VMFT_STATE_ATTACHING && p->core.pointed;

	if (!is_primary(p) || (state != VMFT_STATE_PROTECTED && state != VMFT_STATE_SHIPPING &&
			       state != VMFT_STATE_SEALING && !attaching))
		return;
	if (p->shipped < p->entries && w->to[!host].logs < w->window) {
		send(w, host,
		     (struct message){.kind = MESSAGE_LOG, .from = p->shipped, .to = p->entries});
		p->shipped = p->entries;
		if (w->spoil == SPOIL_EARLY_RELEASE)
			p->release = log_end(p, p->shipped);
		gate_flush(w, host);
	}
	if (state == VMFT_STATE_SHIPPING && p->shipped == p->entries)
		feed_kind(w, host, VMFT_IN_LOG_SHIPPED);
	else if (state == VMFT_STATE_SHIPPING)
		later(w, MS, JOB_SHIP, host, 0);
}

static void look_at_replay(struct world *w, int host)
{
	struct side *s = &w->sides[host];
	uint64_t position = log_end(s, s->replayed);

	if (s->told_live || position <= s->told_pos || position < s->core.replayed)
		return;
	s->told_pos = position;
	feed(w, host, (struct vmft_event_in){.kind = VMFT_IN_REPLAYED, .position = position});
}

/* Level-triggered, as shared memory is: progress first, then the end. */
static void do_look(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (!is_primary(s))
		look_at_replay(w, host);
	if (!is_primary(s) && s->guest_runs && s->guest_alive && !s->told_is_live) {
		s->told_is_live = true;
		feed_kind(w, host, VMFT_IN_LIVE);
	}
	if (s->guest_alive || s->told_end)
		return;
	s->told_end = true;
	feed_kind(w, host, s->guest_ended ? VMFT_IN_GUEST_ENDED : VMFT_IN_GUEST_DIED);
	/* A full ring and a slow link make shipping the rest take long. */
	later(w, about(w, one_in(w, 4) ? 30 * MS : 500), JOB_SHIP, host, 0);
}

/* A backup that has log, or a state log goes with, answers heartbeats with its ack. */
static bool acks(const struct side *s)
{
	return !is_primary(s) && (s->core.state == VMFT_STATE_PROTECTED ||
				  (s->core.state == VMFT_STATE_ATTACHING && s->core.pointed));
}

static void send_beat(struct world *w, int host)
{
	const struct side *s = &w->sides[host];
	struct message beat = {.kind = MESSAGE_BEAT};

	if (acks(s) && w->spoil != SPOIL_NO_ACK_AGAIN)
		beat = ack_of(w, host, s->core.held);
	if (s->socket_open && w->to[!host].count < QUEUE_MAX / 2)
		send(w, host, beat);
}

static void do_beat(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (vmft_core_is_final(&s->core))
		return;
	if (s->socket_open && w->now - s->last_heard > silence_us)
		feed_lost(w, host, VMFT_WHY_SILENCE);
	send_beat(w, host);
	do_ship(w, host);
	later(w, about(w, beat_us), JOB_BEAT, host, 0);
}

static bool accepts(const struct side *s)
{
	return s->monitor_alive && !s->socket_open && vmft_core_wants_peer(&s->core);
}

static void do_connect(struct world *w, int host)
{
	struct side *p = &w->sides[host];
	struct side *b = &w->sides[!host];

	if (vmft_core_is_final(&p->core))
		return;
	later(w, about(w, 10 * MS), JOB_CONNECT, host, 0);
	if (!is_primary(p) || !accepts(p) || is_primary(b) || !accepts(b) ||
	    w->now < w->cut_until[0] || w->now < w->cut_until[1])
		return;
	w->epoch++;
	w->connection++;
	for (int i = 0; i < HOSTS; i++) {
		queue_clear(&w->to[i]);
		w->to[i].last_at = 0;
		w->sides[i].socket_open = true;
		w->sides[i].connection = w->connection;
		w->sides[i].last_heard = w->now;
	}
	b->source = p->log;
	strike_on(w, one_in(w, 2) ? host : !host, VMFT_STATE_FORMING);
	send(w, host, (struct message){.kind = MESSAGE_HELLO});
}

static void do_alone(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (s->core.state != VMFT_STATE_FORMING)
		return;
	s->entitled = true;
	feed_kind(w, host, VMFT_IN_START_ALONE);
}

/* --- attaching ------------------------------------------------------------------------------ */

static void begin_attach(struct world *w, int host)
{
	struct side *p = &w->sides[host];

	w->tally->attaches++;
	p->attach++;
	p->early_state = p->state;
	p->peer_reports = false;
	p->honest = 0;
	feed_kind(w, host, VMFT_IN_ATTACH);
	later(w, about(w, w->precopy_us), JOB_TAKE_STATE, host, p->attach);
}

static void do_point(struct world *w, int host, uint64_t attach)
{
	struct side *p = &w->sides[host];

	if (attach != p->attach || p->core.state != VMFT_STATE_ATTACHING)
		return;
	feed(
	    w, host,
	    (struct vmft_event_in){.kind = VMFT_IN_ATTACH_POINT, .position = log_end(p, p->point)});
	send_slowly(
	    w, host,
	    (struct message){.kind = MESSAGE_STATE, .from = p->point, .state = p->point_state},
	    chance(w, silence_us / 2));
	do_ship(w, host);
}

static void consider_sealing(struct world *w, int host)
{
	const struct side *p = &w->sides[host];

	if (p->core.state == VMFT_STATE_ATTACHING && p->peer_reports &&
	    p->entries - p->peer_replayed <= CAUGHT_UP_ENTRIES)
		feed_kind(w, host, VMFT_IN_CAUGHT_UP);
}

static void do_gate_closed(struct world *w, int host, uint64_t attach)
{
	const struct side *p = &w->sides[host];

	if (attach != p->attach || p->core.state != VMFT_STATE_SEALING)
		return;
	feed(w, host,
	     (struct vmft_event_in){.kind = VMFT_IN_GATE_CLOSED,
				    .position =
					w->spoil == SPOIL_FORM_BEFORE_SEAL ? 0 : p->last_emitted});
}

static void take_state(struct world *w, int host, const struct message *m)
{
	struct side *b = &w->sides[host];

	if (b->core.state != VMFT_STATE_ATTACHING || b->core.pointed) {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
		return;
	}
	if (b->loaded)
		broken(w, "a new backup begins afresh", "%s", host_name(host));
	b->loaded = true;
	b->entries = b->replayed = m->from;
	if (m->from)
		b->log[m->from - 1] = b->source[m->from - 1];
	b->state = m->state;
	b->told_pos = log_end(b, m->from);
	feed(w, host,
	     (struct vmft_event_in){.kind = VMFT_IN_ATTACH_POINT, .position = b->told_pos});
	later(w, about(w, 500), JOB_REPLAY, host, 0);
}

static void take_form(struct world *w, int host)
{
	struct side *b = &w->sides[host];

	if (b->core.state != VMFT_STATE_ATTACHING) {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
		return;
	}
	b->heard_pair = b->core.pointed;
	feed_kind(w, host, VMFT_IN_PEER_READY);
}

/* --- what arrives --------------------------------------------------------------------------- */

static void take_hello_ok(struct world *w, int host)
{
	const struct vmft_core *core = &w->sides[host].core;
	bool attach = core->state == VMFT_STATE_ALONE;

	send(w, host,
	     (struct message){
		 .kind = MESSAGE_START, .attach = attach, .generation = core->generation});
	if (attach)
		begin_attach(w, host);
	else
		feed_kind(w, host, VMFT_IN_PEER_READY);
}

static void take_start(struct world *w, int host, const struct message *m)
{
	struct side *b = &w->sides[host];

	vmft_core_init(&b->core, VMFT_SIDE_BACKUP, m->generation);
	b->heard_pair = !m->attach;
	feed_kind(w, host, m->attach ? VMFT_IN_ATTACH : VMFT_IN_PEER_READY);
}

static void take_log(struct world *w, int host, const struct message *m)
{
	struct side *b = &w->sides[host];

	if (!acks(b) || (m->from != b->entries && w->spoil != SPOIL_LOG_GAP)) {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
		return;
	}
	memcpy(&b->log[b->entries], &b->source[m->from], (m->to - m->from) * sizeof(b->log[0]));
	b->entries += m->to - m->from;
	if (w->spoil == SPOIL_LOG_GAP && m->to - m->from > 1 && one_in(w, 20))
		memmove(&b->log[b->entries - 2], &b->log[b->entries - 1], sizeof(b->log[0]));
	feed(w, host,
	     (struct vmft_event_in){.kind = VMFT_IN_LOG_HELD, .position = log_end(b, b->entries)});
}

static struct vmft_event_in ack_event(const struct world *w, int host, const struct message *m)
{
	const struct side *p = &w->sides[host];

	return (struct vmft_event_in){
	    .kind = VMFT_IN_ACK,
	    .position = m->position,
	    .sent = log_end(p, p->shipped),
	    .formed = m->formed || w->spoil == SPOIL_RELEASE_UNFORMED,
	};
}

static void take_ack(struct world *w, int host, const struct message *m)
{
	struct side *p = &w->sides[host];

	if (p->core.state == VMFT_STATE_FORMING) {
		feed_lost(w, host, VMFT_WHY_PEER_FAULT);
		return;
	}
	if (m->honest > p->honest)
		p->honest = m->honest;
	p->peer_replayed = m->replayed;
	p->peer_reports = true;
	feed(w, host, ack_event(w, host, m));
	consider_sealing(w, host);
}

static void take(struct world *w, int host, const struct message *m)
{
	switch (m->kind) {
	case MESSAGE_HELLO:
		send(w, host, (struct message){.kind = MESSAGE_HELLO_OK});
		break;
	case MESSAGE_HELLO_OK:
		take_hello_ok(w, host);
		break;
	case MESSAGE_START:
		take_start(w, host, m);
		break;
	case MESSAGE_STATE:
		take_state(w, host, m);
		break;
	case MESSAGE_FORM:
		take_form(w, host);
		break;
	case MESSAGE_LOG:
		take_log(w, host, m);
		break;
	case MESSAGE_ACK:
		take_ack(w, host, m);
		break;
	case MESSAGE_BEAT:
		break;
	case MESSAGE_BYE:
		if (m->why == VMFT_WHY_GUEST_DIED)
			feed_lost(w, host, VMFT_WHY_PEER_GUEST_DIED);
		else
			feed_end_of_peer(w, host,
					 (struct vmft_event_in){.kind = VMFT_IN_PEER_ENDED});
		break;
	case MESSAGE_FIN:
		feed_lost(w, host, VMFT_WHY_CONNECTION);
		break;
	}
}

/*
 * The kernel of a host that lives answers for a closed socket, behind what was sent before; a
 * dead host says nothing.
 */
static void answer_closed(struct world *w, int host, const struct message *m)
{
	const struct side *s = &w->sides[host];
	uint64_t at = w->now + about(w, w->delay_us);

	if (m->kind == MESSAGE_FIN || (!s->monitor_alive && !s->guest_alive) ||
	    w->now < w->cut_until[!host])
		return;
	if (at < w->to[!host].last_at)
		at = w->to[!host].last_at;
	later(w, at - w->now, JOB_RESET, !host, w->connection);
}

/* Read off the socket before the monitor closed it: the core has to be deaf to it by itself. */
static void take_late(struct world *w, int host, const struct message *m)
{
	const struct side *s = &w->sides[host];
	struct vmft_event_in event = {.kind = VMFT_IN_COUNT};

	if (m->kind == MESSAGE_LOG && !is_primary(s))
		event = (struct vmft_event_in){.kind = VMFT_IN_LOG_HELD,
					       .position = s->source[m->to - 1].end};
	else if (m->kind == MESSAGE_ACK && is_primary(s))
		event = ack_event(w, host, m);
	else if (m->kind == MESSAGE_BYE && m->why == VMFT_WHY_GUEST_ENDED)
		event = (struct vmft_event_in){.kind = VMFT_IN_PEER_ENDED};
	else if (m->kind == MESSAGE_BYE || m->kind == MESSAGE_FIN)
		event =
		    (struct vmft_event_in){.kind = VMFT_IN_PEER_LOST, .why = VMFT_WHY_CONNECTION};
	if (event.kind != VMFT_IN_COUNT)
		feed(w, host, event);
}

static void do_deliver(struct world *w, int host, uint64_t epoch)
{
	struct side *s = &w->sides[host];
	struct queue *q = &w->to[host];
	struct message m;

	if (epoch != w->epoch || !q->count)
		return;
	if (w->now < w->cut_until[host]) {
		later(w, w->cut_until[host] - w->now + chance(w, MS), JOB_DELIVER, host, epoch);
		return;
	}
	m = q->items[q->head];
	q->head = (q->head + 1) % QUEUE_MAX;
	q->count--;
	q->logs -= m.kind == MESSAGE_LOG;
	if (!s->socket_open && s->monitor_alive && s->connection == w->connection &&
	    s->core.state != VMFT_STATE_FORMING && one_in(w, 4)) {
		take_late(w, host, &m);
		return;
	}
	if (!s->socket_open) {
		answer_closed(w, host, &m);
		return;
	}
	/*
	 * The clock before the bytes: a monitor that slept through the silence time must not act
	 * on an ack that was waiting for it, the backup may be live by now.
	 */
	if (w->now - s->last_heard > silence_us) {
		feed_lost(w, host, VMFT_WHY_SILENCE);
		return;
	}
	s->last_heard = w->now;
	take(w, host, &m);
}

/* --- the arbiter ---------------------------------------------------------------------------- */

static bool is_claimant(const struct claimant *c, int host, unsigned life)
{
	return c->is && c->host == host && c->life == life;
}

static void record(struct world *w, const struct todo *t)
{
	w->owner[t->arg - GENERATION] = (struct claimant){true, t->side, t->life};
	if (t->arg > w->latest)
		w->latest = t->arg;
	if (w->latest - GENERATION > w->tally->longest)
		w->tally->longest = w->latest - GENERATION;
	w->pair = false;
	note(w, "arbiter: generation %llu belongs to %s", (unsigned long long)t->arg,
	     host_name(t->side));
}

static void answer_claim(struct world *w, const struct todo *t, uint64_t in, enum vmft_in answer)
{
	later_in_life(w, in, JOB_ANSWER, t->side, t->life, answer);
}

static void do_arbiter(struct world *w, const struct todo *t)
{
	struct claimant *owner;
	enum vmft_in answer;
	bool won;

	if (t->arg <= GENERATION || t->arg > w->latest + 1 ||
	    t->arg - GENERATION >= GENERATIONS_MAX) {
		broken(w, "claims the next generation", "%llu after %llu",
		       (unsigned long long)t->arg, (unsigned long long)w->latest);
		return;
	}
	owner = &w->owner[t->arg - GENERATION];
	if (w->now < w->arbiter_down_until[t->side]) {
		answer_claim(w, t, about(w, 20 * MS), VMFT_IN_CLAIM_UNREACHABLE);
		return;
	}
	if (w->spoil == SPOIL_ARBITER_RACE && !owner->is) {
		later_in_life(w, about(w, 3 * MS), JOB_ARBITER_SET, t->side, t->life, t->arg);
		return;
	}
	won = !owner->is ||
	      (is_claimant(owner, t->side, t->life) && w->spoil != SPOIL_ARBITER_FORGETS);
	if (!owner->is)
		record(w, t);
	/* The answer may get lost after the claim was recorded: the claimant asks again. */
	answer = won ? VMFT_IN_CLAIM_WON : VMFT_IN_CLAIM_LOST;
	if (one_in(w, 8))
		answer = VMFT_IN_CLAIM_UNREACHABLE;
	answer_claim(w, t, about(w, w->now < w->arbiter_slow_until ? 80 * MS : MS), answer);
}

static void do_arbiter_set(struct world *w, const struct todo *t)
{
	record(w, t);
	answer_claim(w, t, MS, VMFT_IN_CLAIM_WON);
}

static void do_answer(struct world *w, int host, enum vmft_in answer)
{
	struct side *s = &w->sides[host];
	uint64_t i = s->core.generation + 1 - GENERATION;

	if (vmft_core_is_final(&s->core)) {
		feed_kind(w, host, answer);
		return;
	}
	if (answer == VMFT_IN_CLAIM_LOST && is_claimant(&w->owner[i], host, s->life))
		broken(w, "the winner goes on", "%s owns it and was told that it lost",
		       host_name(host));
	/* Under SPOIL_NO_CLAIM no arbiter was asked. */
	if (answer == VMFT_IN_CLAIM_WON && w->spoil != SPOIL_NO_CLAIM) {
		if (w->told_won[i].is && !is_claimant(&w->told_won[i], host, s->life))
			broken(w, "one winner a generation", "both sides were told they won");
		w->told_won[i] = (struct claimant){true, host, s->life};
	}
	s->entitled |= answer == VMFT_IN_CLAIM_WON;
	feed_kind(w, host, answer);
}

/* --- starting anew -------------------------------------------------------------------------- */

static struct entry *free_log(const struct world *w)
{
	for (int i = 0; i < LOG_BUFFERS; i++) {
		struct entry *log = w->logs + (size_t)i * LOG_MAX;
		bool used = false;

		for (int host = 0; host < HOSTS; host++)
			used |= log == w->sides[host].log || log == w->sides[host].source;
		if (!used)
			return log;
	}
	fprintf(stderr, "sim_pair: seed %llu: no free log\n", (unsigned long long)w->seed);
	exit(2);
}

static void start_processes(struct world *w, int host, enum vmft_side role)
{
	struct side *s = &w->sides[host];

	*s = (struct side){
	    .life = s->life + 1,
	    .monitor_alive = true,
	    .guest_alive = true,
	    .state = mix(w->seed),
	};
	s->log = free_log(w);
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

/* --- faults --------------------------------------------------------------------------------- */

static void kill_monitor(struct world *w, int host, bool silently)
{
	struct side *s = &w->sides[host];
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
	socket_close(w, host);
}

static void kill_host(struct world *w, int host)
{
	kill_monitor(w, host, true);
	w->sides[host].guest_alive = false;
	if (one_in(w, 2))
		queue_clear(&w->to[!host]);
	w->down_until[host] = w->now + 10 * MS + chance(w, 100 * MS);
}

/* A QEMU that was told to end does so in order too, but only what the guest does is an end. */
static void shut_down(struct world *w, int host)
{
	struct side *s = &w->sides[host];

	if (s->guest_runs) {
		w->shutdown |= host == w->recorder;
		guest_logs(w, host, true);
	}
	guest_gone(w, host, true);
}

static void agent_lies(struct world *w, int host)
{
	if (one_in(w, 2))
		feed_kind(w, host, VMFT_IN_LIVE);
	else
		feed(w, host,
		     (struct vmft_event_in){.kind = VMFT_IN_REPLAYED,
					    .position = w->sides[host].core.held + 1});
}

/*
 * A primary's word that there is a pair is never a lie here once the backup has its state: who
 * cannot trust that can trust nothing.
 */
static void peer_lies(struct world *w, int host)
{
	const struct side *s = &w->sides[host];
	struct message lie = {.kind = MESSAGE_BYE, .why = VMFT_WHY_GUEST_ENDED};

	if (!one_in(w, 3) && !is_primary(s))
		lie = (struct message){.kind = MESSAGE_ACK,
				       .position = one_in(w, 3) ? 0 : UINT64_MAX - chance(w, 9),
				       .formed = one_in(w, 2)};
	else if (!one_in(w, 3) && is_primary(s) && !s->core.pointed)
		lie = (struct message){.kind = MESSAGE_FORM};
	send(w, host, lie);
}

static void pause_side(struct world *w, int host, uint64_t length, bool whole)
{
	struct side *s = &w->sides[host];

	s->monitor_paused_until = w->now + length;
	if (!whole)
		return;
	s->guest_paused_until = w->now + length;
	later(w, length, JOB_GATE, host, 0);
}

static int victim_of(const struct world *w, const struct fault_plan *f)
{
	if (f->fault == FAULT_AGENT_LIES)
		return !w->recorder;
	return f->struck ? f->host : f->role ^ w->recorder;
}

static bool fault_applies(const struct world *w, const struct fault_plan *f)
{
	int host = victim_of(w, f);
	const struct side *s = &w->sides[host];

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
		return w->sides[0].socket_open || w->sides[1].socket_open;
	case FAULT_PEER_LIES:
		return s->monitor_alive && s->socket_open && w->sides[!host].socket_open &&
		       w->to[!host].count < QUEUE_MAX / 2;
	case FAULT_AGENT_LIES:
		return is_intact(s) && !is_primary(s) && !s->told_live && !s->fenced &&
		       w->now >= s->monitor_paused_until;
	case FAULT_SHUTDOWN:
		return s->guest_alive && !s->fenced && w->now >= s->guest_paused_until &&
		       s->entries < LOG_MAX - 1;
	default:
		return true;
	}
}

static void apply(struct world *w, const struct fault_plan *f)
{
	int host = victim_of(w, f);

	switch (f->fault) {
	case FAULT_KILL_GUEST:
		guest_gone(w, host, false);
		break;
	case FAULT_KILL_MONITOR:
		kill_monitor(w, host, false);
		gate_flush(w, host);
		break;
	case FAULT_KILL_HOST:
		kill_host(w, host);
		break;
	case FAULT_PAUSE_SIDE:
	case FAULT_PAUSE_MONITOR:
		pause_side(w, host, f->length, f->fault == FAULT_PAUSE_SIDE);
		break;
	case FAULT_LINK_CUT:
		w->cut_until[!host] = w->now + f->length;
		w->cut_until[host] = w->now + f->length;
		break;
	case FAULT_LINK_ONE_WAY:
		w->cut_until[host] = w->now + f->length;
		break;
	case FAULT_LINK_RESET:
		channel_reset(w);
		break;
	case FAULT_LINK_SLOW:
		w->slow_until = w->now + f->length;
		break;
	case FAULT_ARBITER_DOWN:
		w->arbiter_down_until[host] = w->now + f->length;
		if (one_in(w, 2))
			w->arbiter_down_until[!host] = w->now + f->length;
		break;
	case FAULT_ARBITER_SLOW:
		w->arbiter_slow_until = w->now + f->length;
		break;
	case FAULT_PEER_LIES:
		peer_lies(w, host);
		break;
	case FAULT_AGENT_LIES:
		agent_lies(w, host);
		break;
	case FAULT_SHUTDOWN:
		shut_down(w, host);
		break;
	case FAULT_COUNT:
		break;
	}
}

static void check_survived(struct world *w, bool survived)
{
	if (w->single && !w->shutdown && !survived)
		broken(w, "one fault is survived", "%s is %s, %s is %s", host_name(0),
		       vmft_state_name(w->sides[0].core.state), host_name(1),
		       vmft_state_name(w->sides[1].core.state));
}

/* Between being live and being protected, for the time it takes to seal. */
static bool goes_on(const struct side *s)
{
	return is_intact(s) && s->guest_runs && !s->fenced;
}

static void do_fault(struct world *w, const struct fault_plan *f)
{
	/* Behind it arrives what it sent or held up. */
	uint64_t over = w->now + f->length + 2 * silence_us;

	if (!fault_applies(w, f))
		return;
	note(w, "FAULT %s, %s, %llu us", fault_names[f->fault], host_name(victim_of(w, f)),
	     (unsigned long long)f->length);
	if (w->now > w->healed_at + settle_us)
		check_survived(w, someone_is_live(w) || goes_on(&w->sides[w->recorder]));
	w->applied++;
	w->single = is_protected(w) && w->now >= w->healed_at;
	w->ends = w->single && f->fault == FAULT_SHUTDOWN && victim_of(w, f) == w->recorder;
	if (over > w->healed_at)
		w->healed_at = over;
	w->tally->faults[f->fault]++;
	apply(w, f);
}

static void plan_fault(struct world *w, enum fault fault, int role, uint64_t at, enum vmft_state on)
{
	struct fault_plan *f = &w->plan[w->faults];

	f->fault = fault;
	f->role = role;
	f->at = at;
	f->length = 1 + chance(w, one_in(w, 2) ? fault_length_us : silence_us);
	f->on = on;
	if (on == VMFT_STATE_COUNT)
		later(w, at, JOB_FAULT, 0, w->faults);
	w->faults++;
}

static void plan_any(struct world *w, uint64_t at, enum vmft_state on)
{
	plan_fault(w, (enum fault)chance(w, FAULT_COUNT), (int)chance(w, 2), at, on);
}

/* Close together, where the races are, some of them while the pair forms. */
static void plan_cluster(struct world *w)
{
	static const unsigned counts[8] = {0, 1, 1, 2, 2, 2, 3, 5};
	uint64_t centre = one_in(w, 5) ? 0 : chance(w, fault_length_us);
	unsigned n = counts[chance(w, 8)];

	for (unsigned i = 0; i < n; i++)
		plan_any(w, centre + chance(w, 8 * MS), VMFT_STATE_COUNT);
}

/* One after the other: a chain of generations. */
static void plan_chain(struct world *w)
{
	unsigned n = 2 + (unsigned)chance(w, FAULTS_MAX - 1);

	for (unsigned i = 0; i < n; i++)
		plan_any(w, i * faults_until_us / n + chance(w, faults_until_us / n),
			 VMFT_STATE_COUNT);
}

/* What has to happen for a side to enter a state. */
static void plan_primer(struct world *w, enum vmft_state on, uint64_t at)
{
	static const enum fault ends[] = {FAULT_KILL_GUEST, FAULT_SHUTDOWN};
	static const enum fault losses[] = {FAULT_KILL_HOST,  FAULT_KILL_GUEST, FAULT_LINK_CUT,
					    FAULT_LINK_RESET, FAULT_PAUSE_SIDE, FAULT_KILL_MONITOR};

	if (on == VMFT_STATE_FORMING || (on == VMFT_STATE_PROTECTED && !at))
		return;
	if (on == VMFT_STATE_WAITING_ARBITER)
		for (int role = 0; role < 2; role++)
			plan_fault(w, FAULT_ARBITER_DOWN, role, at, VMFT_STATE_COUNT);
	if (on == VMFT_STATE_ENDING)
		plan_fault(w, FAULT_SHUTDOWN, 0, at, VMFT_STATE_COUNT);
	else if (on == VMFT_STATE_SHIPPING)
		plan_fault(w, ends[chance(w, 2)], 0, at, VMFT_STATE_COUNT);
	else
		plan_fault(w, losses[chance(w, 6)], (int)chance(w, 2), at, VMFT_STATE_COUNT);
}

/* In a state that is soon over, a fault at a random time hardly ever strikes. */
static void plan_strike(struct world *w)
{
	static const enum fault sharp[] = {FAULT_KILL_GUEST, FAULT_KILL_HOST,  FAULT_LINK_RESET,
					   FAULT_PEER_LIES,  FAULT_AGENT_LIES, FAULT_SHUTDOWN};
	static const enum vmft_state favoured[] = {VMFT_STATE_ATTACHING, VMFT_STATE_SEALING,
						   VMFT_STATE_PROTECTED,
						   VMFT_STATE_WAITING_ARBITER};
	enum vmft_state on =
	    one_in(w, 3) ? favoured[chance(w, 4)] : (enum vmft_state)chance(w, VMFT_STATE_FENCED);
	uint64_t at = on == VMFT_STATE_FORMING || one_in(w, 8) ? 0 : chance(w, 100 * MS);
	unsigned n = 1 + one_in(w, 3);

	plan_primer(w, on, at);
	for (unsigned i = 0; i < n; i++) {
		if (one_in(w, 3))
			plan_any(w, at, on);
		else
			plan_fault(w, sharp[chance(w, 6)], (int)chance(w, 2), at, on);
	}
	if (one_in(w, 8))
		plan_any(w, chance(w, faults_until_us), VMFT_STATE_COUNT);
}

static void plan_faults(struct world *w)
{
	switch (chance(w, 4)) {
	case 0:
		plan_cluster(w);
		break;
	case 1:
		plan_chain(w);
		break;
	default:
		plan_strike(w);
	}
}

/* --- one run -------------------------------------------------------------------------------- */

/* Which process has to run for a job, so that a pause or a death stops the right things. */
static bool is_guest_job(enum job job)
{
	return job <= JOB_CLOSE_GATE;
}

static bool is_world_job(enum job job)
{
	return job >= JOB_ARBITER;
}

static bool is_kernel_job(enum job job)
{
	return job == JOB_DELIVER || job == JOB_RESET;
}

static void do_watch(struct world *w);

static void perform_on_guest(struct world *w, const struct todo *t)
{
	switch (t->job) {
	case JOB_GUEST:
		do_guest(w, t->side);
		break;
	case JOB_REPLAY:
		do_replay(w, t->side);
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
	default:
		break;
	}
}

static void perform_on_monitor(struct world *w, const struct todo *t)
{
	switch (t->job) {
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
		if (t->arg == w->connection)
			feed_lost(w, t->side, VMFT_WHY_CONNECTION);
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

static enum outcome outcome_of(const struct world *w)
{
	if (someone_is_live(w))
		return OUTCOME_LIVE;
	if (is_protected(w))
		return OUTCOME_PROTECTED;
	if (w->shutdown)
		return OUTCOME_ENDED;
	if (!w->ran)
		return OUTCOME_NEVER_RAN;
	return w->pair ? OUTCOME_PAIR_DEAD : OUTCOME_WINNER_DEAD;
}

static bool waits(const struct side *s)
{
	return is_intact(s) && !is_primary(s) && s->core.state == VMFT_STATE_FORMING;
}

/* At rest: protected, or live where nobody can attach, or two backups that wait for ever. */
static void do_watch(struct world *w)
{
	enum outcome outcome = outcome_of(w);
	bool rests = outcome == OUTCOME_PROTECTED ||
		     (outcome == OUTCOME_LIVE && !w->sides[w->recorder].monitor_alive) ||
		     (waits(&w->sides[0]) && waits(&w->sides[1]));

	later(w, watch_us, JOB_WATCH, 0, 0);
	for (unsigned i = 0; i < w->faults; i++)
		rests &= w->now > w->plan[i].at + watch_us;
	w->rested = rests && w->now > w->healed_at ? w->rested + 1 : 0;
	w->done = w->rested >= 5;
}

/* Entered and not left again by the end of a run, these mean that a side hangs. */
static bool is_unresolved(enum vmft_state state)
{
	return state != VMFT_STATE_FORMING && state != VMFT_STATE_FENCED &&
	       state != VMFT_STATE_ENDED;
}

static void check_hosts(struct world *w, enum outcome outcome)
{
	const struct claimant *owner = &w->owner[w->latest - GENERATION];

	for (int host = 0; host < HOSTS; host++) {
		const struct side *s = &w->sides[host];
		bool wins = s->entitled || is_claimant(owner, host, s->life);

		if (!is_intact(s) || is_live(s) || outcome == OUTCOME_PROTECTED)
			continue;
		if (wins)
			broken(w, "the winner goes on", "%s is %s", host_name(host),
			       vmft_state_name(s->core.state));
		if (is_unresolved(s->core.state))
			broken(w,
			       outcome == OUTCOME_LIVE ? "the loser stops" : "a survivor goes on",
			       "%s is %s", host_name(host), vmft_state_name(s->core.state));
	}
}

/* The guest makes progress, and what it says is not held for ever. */
static void check_output(struct world *w)
{
	const struct side *s = &w->sides[w->recorder];
	uint64_t bound = 5 * watch_us;

	if (!log_is_full(s) && w->now - s->last_logged_at > bound)
		broken(w, "output goes on", "%s stands still", host_name(w->recorder));
	if (s->frame_count && w->now - s->frames[s->frame_head].since > bound)
		broken(w, "output goes on", "%s holds frame %llu", host_name(w->recorder),
		       (unsigned long long)s->frames[s->frame_head].position);
}

/* Faults are over and the arbiter answers: whoever can carry the VM must do so by now. */
static void check_end(struct world *w)
{
	enum outcome outcome = outcome_of(w);

	w->tally->outcomes[outcome]++;
	check_hosts(w, outcome);
	check_survived(w, outcome <= OUTCOME_LIVE);
	if (outcome <= OUTCOME_LIVE)
		check_output(w);
	if (w->ends && outcome != OUTCOME_ENDED)
		broken(w, "an orderly end is the end", "%s", outcome_names[outcome]);
	if (w->applied == 0 && outcome != OUTCOME_PROTECTED)
		broken(w, "no fault, no change", "%s", outcome_names[outcome]);
	if (outcome == OUTCOME_LIVE && w->sides[w->recorder].monitor_alive && !w->shutdown)
		broken(w, "redundancy is restored", "%s is %s, %s is %s", host_name(0),
		       vmft_state_name(w->sides[0].core.state), host_name(1),
		       vmft_state_name(w->sides[1].core.state));
}

static void world_start(struct world *w)
{
	bool alone = one_in(w, 4);

	w->delay_us = one_in(w, 3) ? MS + chance(w, 9 * MS) : 20 + chance(w, 500);
	w->guest_us = 500 + chance(w, 3500);
	w->asks = one_in(w, 4);
	w->replay_us = w->guest_us / 2 + chance(w, w->guest_us);
	w->precopy_us = MS + chance(w, one_in(w, 2) ? 5 * MS : 80 * MS);
	w->window = one_in(w, 2) ? 1 + (unsigned)chance(w, 6) : QUEUE_MAX / 2;
	w->latest = GENERATION;
	start_processes(w, 0, VMFT_SIDE_PRIMARY);
	if (alone)
		later(w, chance(w, 3 * MS), JOB_ALONE, 0, 0);
	if (!alone || one_in(w, 2))
		start_processes(w, 1, VMFT_SIDE_BACKUP);
	for (int host = 0; host < HOSTS; host++)
		later(w, about(w, 10 * MS), JOB_SERVICE, host, 0);
	later(w, watch_us, JOB_WATCH, 0, 0);
	plan_faults(w);
}

static void world_run(struct world *w)
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
	w->logs = logs;
	world_run(w);
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

static void print_unreached(const struct tally *t)
{
	for (int side = 0; side < VMFT_SIDE_COUNT; side++)
		for (int state = 0; state < VMFT_STATE_COUNT; state++)
			for (int in = 0; in < VMFT_IN_COUNT; in++)
				if (vmft_core_rule((enum vmft_side)side, (enum vmft_state)state,
						   (enum vmft_in)in, NULL) == VMFT_RULE_HANDLED &&
				    !t->reached[side][state][in])
					printf("sim_pair: not reached: %s %s %s\n",
					       vmft_side_name((enum vmft_side)side),
					       vmft_state_name((enum vmft_state)state),
					       vmft_in_name((enum vmft_in)in));
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
	printf(
	    "\nsim_pair: %llu backups went live, %llu attaches, %llu of them to the end, longest "
	    "chain %llu generations\nsim_pair: ended:",
	    (unsigned long long)t->go_lives, (unsigned long long)t->attaches,
	    (unsigned long long)t->attached, (unsigned long long)t->longest);
	for (int i = 0; i < OUTCOME_COUNT; i++)
		printf(" %s %llu%s", outcome_names[i], (unsigned long long)t->outcomes[i],
		       i + 1 < OUTCOME_COUNT ? "," : "");
	printf(
	    "\nsim_pair: %u of %u entries of the core's table reached, %llu frames released late\n",
	    reached(t, true), reached(t, false), (unsigned long long)t->late);
	if (o->steps >= 5000000 && !o->runs)
		print_unreached(t);
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
	struct entry *logs = calloc((size_t)LOG_BUFFERS * LOG_MAX, sizeof(*logs));
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
