/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two hosts with a failover core each in a simulated world: virtual time, a channel that delays
 * but keeps order, an arbiter, two QEMUs with their agents, service managers, and faults. A host
 * whose side has ended starts it again as an empty backup, which the live side attaches. So the VM
 * goes through a chain of generations. After every step the promises of the design are checked
 * against the world itself, never against what a core knows.
 *
 * As in the product, a strategy says what the guest does and how it gets to the backup.
 *
 * A run depends on its seed alone. Run i of --seed S has seed S + i.
 * --break=NAME spoils the world; --prove checks that each spoilt world is found out.
 */
#ifndef VMFT_SIM_H
#define VMFT_SIM_H

#include "monitor/core/core.h"

#include <stdbool.h>
#include <stdint.h>

#define MS 1000ULL /* virtual time is in microseconds */

enum {
	HOSTS = 2,	  /* A starts as the primary; who is what later, the cores say */
	GATE_FRAMES = 64, /* frames held before the guest is stopped */
	QUEUE_MAX = 1024, /* messages in flight in one direction */
	AGENDA_MAX = 16384,
	FAULTS_MAX = 8,
	GENERATION = 7,
	GENERATIONS_MAX = 64,
};

static const uint64_t beat_us = 10 * MS;
static const uint64_t silence_us = 60 * MS;
static const uint64_t watch_us = 40 * MS;
static const uint64_t hand_us = 40 * MS;  /* a hand-over that takes longer is called off */
static const uint64_t drop_us = 100 * MS; /* a backup that lags for this long is given up */

enum spoil {
	SPOIL_NONE,
	SPOIL_EARLY_RELEASE,	 /* frames are released when their log is sent, not acked */
	SPOIL_NO_CLAIM,		 /* every claim is won without asking the arbiter */
	SPOIL_LIVE_BEFORE_DRAIN, /* the rest of the log counts as replayed when the peer is lost */
	SPOIL_ACK_BEFORE_HELD,	 /* the backup acks what is still on its way */
	SPOIL_ARBITER_RACE,	 /* the arbiter tests and sets in two steps */
	SPOIL_ARBITER_FORGETS,	 /* the arbiter does not know its winner again */
	SPOIL_ANY_ARBITER,	 /* a claim does not ask for the record of the generation before */
	SPOIL_END_UNSEEN,	 /* nor whether that generation was declared dead */
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
	SPOIL_DIVERGED_LIVE,	   /* that a guest has diverged is found, and nothing comes of it */
	SPOIL_STAYS_LAGGING,	   /* a backup that keeps up again counts as lagging for ever */
	SPOIL_STAYS_SLOW,	   /* the guest is slowed for a backup that is gone */
	SPOIL_DROP_UNASKED,	   /* a backup that lags is given up without asking the arbiter */
	SPOIL_HANDED_UNASKED,	   /* a guest that was handed over goes on without asking it */
	/* checkpoint */
	SPOIL_EPOCH_BEFORE,	/* a frame depends on the last epoch, not on the next */
	SPOIL_ACK_FIRST_FRAME,	/* an epoch is acked with its first frame */
	SPOIL_TORN_EPOCH,	/* what came of an epoch counts when the guest goes live */
	SPOIL_MEMORY_EARLY,	/* memory is written to frame by frame, before COMMIT */
	SPOIL_DISK_EARLY,	/* so are disks */
	SPOIL_OLD_DEVICES,	/* the device state is that of the attach point */
	SPOIL_COMMIT_EARLY,	/* COMMIT does not wait for the disk writes of the epoch before */
	SPOIL_HALF_STAGED,	/* what was staged when QEMU died is shipped as an epoch */
	SPOIL_NO_STOP,		/* the guest runs while it is staged */
	SPOIL_SEAL_EPOCH_SHORT, /* the seal is the last epoch, not the next */
	SPOIL_LOST_DIRTY_BIT,	/* what was written during the last round is not copied again */
	SPOIL_NO_LAST_EPOCH,	/* an orderly end does not wait for a last epoch */
	SPOIL_STAYS_STOPPED,	/* a cut that is given up leaves the guest stopped */
	SPOIL_RUN_AHEAD,	/* epochs are cut however many of them wait to be acked */
	SPOIL_RESET_OVERTAKES,	/* a closed connection is heeded before what arrived on it */
	SPOIL_COUNT,
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
	FAULT_ARBITER_OTHER, /* a share is unmounted, on one host or on both; an empty arbiter */
	FAULT_DECLARED,	     /* a person says that a VM that runs is dead */
	FAULT_PEER_LIES,     /* a side says what cannot be, or what is not its turn to say */
	FAULT_AGENT_LIES,    /* the backup's agent reports what cannot be */
	FAULT_SLOW_BACKUP,   /* it takes in what it holds many times slower */
	FAULT_DIVERGE,	     /* the backup's guest is not what the primary's is; found out later */
	FAULT_SWITCHOVER,    /* no fault: a person has the primary hand over */
	FAULT_STOP,	     /* a side that runs no guest is told to stop */
	FAULT_SHUTDOWN, /* the guest ends in order, or a QEMU that does not run it is told to */
	FAULT_COUNT,
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

/* By who has to run for it: QEMU, the monitor, nobody. */
enum job {
	JOB_GUEST,	 /* side: the guest executes a little */
	JOB_APPLY,	 /* backup: its QEMU takes in a little of what is held */
	JOB_GATE,	 /* side: the gate looks at its frames */
	JOB_LIVE,	 /* backup: the agent has let the guest go live */
	JOB_TAKE_STATE,	 /* primary: pre-copied, the agent takes the rest; arg = attach */
	JOB_CLOSE_GATE,	 /* primary: the agent closes the gate; arg = attach */
	JOB_CUT,	 /* checkpoint, primary: the agent begins an epoch; arg = attach */
	JOB_STAGE,	 /* checkpoint, primary: it copies a little of it; arg = attach */
	JOB_COPY,	 /* checkpoint, primary: a round of copying; arg = attach */
	JOB_POINT,	 /* primary: its monitor has the state; arg = attach */
	JOB_GATE_CLOSED, /* primary: its monitor hears of the gate; arg = attach */
	JOB_ALONE,	 /* primary: started without waiting for a backup */
	JOB_SHIP,	 /* primary: its monitor looks at what is to be sent */
	JOB_LOOK,	 /* side: its monitor looks at its agent and QEMU */
	JOB_BEAT,	 /* side: heartbeat and silence check */
	JOB_RETRY,	 /* side */
	JOB_DETECT,	 /* backup: its monitor finds that its guest has diverged */
	JOB_CONNECT,	 /* side: if it is a primary that wants a peer */
	JOB_ANSWER,	 /* side: arg = enum vmft_in */
	JOB_DELIVER,	 /* side = receiver, arg = flight */
	JOB_RESET,	 /* side: its kernel learned of a reset, arg = connection */
	JOB_ARBITER,	 /* side: its claim reaches the arbiter, arg = generation */
	JOB_ARBITER_SET, /* SPOIL_ARBITER_RACE: the second half */
	JOB_DISK,	 /* checkpoint, backup: a write reaches its disk; arg = which */
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
	MESSAGE_COPY,  /* checkpoint: one part of the guest, before the attach point */
	MESSAGE_STATE, /* the guest as it was at the attach point */
	MESSAGE_FORM,  /* there is a pair now */
	MESSAGE_LOG,   /* what protects the guest, whatever the strategy sends */
	MESSAGE_ACK,
	MESSAGE_BEAT,
	MESSAGE_BYE,
	MESSAGE_FIN,
};

/* Who owns a generation: a host's processes, not the host. */
struct claimant {
	bool is;
	int host;
	unsigned life;
};

struct message {
	enum message_kind kind;
	bool attach;
	bool formed; /* ACK: what it says of itself */
	enum vmft_why why;
	struct claimant record; /* START: of that generation */
	unsigned from, to;	/* lockstep: LOG: entries [from, to); STATE: before entry from;
				 * checkpoint: LOG: frame from of its epoch */
	unsigned part;		/* checkpoint: COPY, LOG */
	uint64_t truth;		/* checkpoint: STATE, LOG: which epoch this is */
	uint64_t progress;	/* ACK */
	uint64_t position;	/* ACK; LOG: its end; checkpoint: STATE */
	uint64_t honest;     /* ACK: the last frame the world knows to be covered by a backup that
			      * knows of the pair */
	uint64_t generation; /* START */
	uint64_t state;	     /* STATE, COPY, LOG */
};

struct queue {
	struct message items[QUEUE_MAX];
	unsigned head, count;
	unsigned logs;	  /* messages of log among them */
	uint64_t last_at; /* nothing is delivered before what was sent earlier */
};

/* The number is the world's name for a frame: it goes up with every frame a guest sends, and is
 * part of the guest's state. The position is what the strategy says it depends on. */
struct frame {
	uint64_t position;
	uint64_t number;
	uint64_t since;
};

/* One life of one host's processes. */
struct side {
	struct vmft_core core;
	struct claimant record; /* of the core's generation, as this side knows it */
	unsigned life;
	/* the monitor */
	bool monitor_alive;
	uint64_t monitor_paused_until;
	uint64_t last_heard;
	bool socket_open;
	unsigned connection;	/* its last one */
	uint64_t peer_progress; /* as the peer reports */
	bool peer_reports;
	bool told_end;	   /* the core knows that the guest is gone */
	bool told_is_live; /* the core knows that the agent went live */
	uint64_t told_pos; /* last position reported as replayed */
	uint64_t seal;	   /* what the gate says depends on what has left */
	bool slowed;	   /* primary: the guest is to be slower, for the backup's sake */
	uint64_t lags_since;
	uint64_t hands_since; /* primary: when it was told to hand over */
	uint64_t open_since;
	uint64_t attach; /* counts attaches and their ends: answers to older ones are stale */
	/* QEMU and its agent */
	bool guest_alive;
	bool guest_runs;  /* executes for itself: recording, or live */
	bool guest_ended; /* in order */
	bool freeze;	  /* it is to stand still where all it did can be sent */
	bool frozen;	  /* it does */
	bool fenced;
	bool told_live;
	bool gate_open;
	bool keeps; /* what the guest does is kept until it is sent */
	uint64_t guest_paused_until;
	uint64_t release;
	struct frame frames[GATE_FRAMES];
	unsigned frame_head, frame_count;
	uint64_t last_emitted;
	uint64_t last_worked_at;
	bool loaded; /* a state; it can't take in another */
	/* what the world knows of it */
	bool entitled;	 /* started alone or won, and has formed no pair since */
	bool heard_pair; /* backup: was told that there is a pair */
	bool diverged;	 /* backup: its guest is not what the primary's was */
	bool detected;	 /* its monitor knows */
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
	uint64_t lagged, dropped, detected;
	uint64_t handed, handed_back; /* hand-overs: those that came about, those called off */
	uint64_t longest;	      /* chain of generations */
	/* checkpoint: epochs cut, held by a backup, half staged when QEMU died, torn when a
	 * guest went live, and those whose COMMIT waited */
	uint64_t epochs, commits, halves, torn, waits;
	bool reached[VMFT_SIDE_COUNT][VMFT_STATE_COUNT][VMFT_IN_COUNT];
	uint64_t faults[FAULT_COUNT];
	uint64_t outcomes[OUTCOME_COUNT];
};

struct strategy; /* each defines its own: what it knows of both hosts */

struct world {
	uint64_t now;
	uint64_t rng;
	uint64_t seed;
	enum spoil spoil;
	bool trace;
	bool done;
	struct tally *tally;
	const struct strategy_ops *ops;
	struct strategy *strategy;

	struct todo agenda[AGENDA_MAX];
	unsigned agenda_count;
	uint64_t order;

	struct side sides[HOSTS];
	struct queue to[HOSTS]; /* by receiver */
	uint64_t cut_until[HOSTS];
	uint64_t down_until[HOSTS]; /* the host */
	uint64_t start_at[HOSTS];   /* when its processes are started anew; 0: they run */
	uint64_t slow_until;
	uint64_t slow_apply_until;
	unsigned flight;     /* counts up whenever what is in flight is void */
	unsigned connection; /* counts connections */
	uint64_t delay_us;   /* typical of this run's network */
	uint64_t guest_us;
	uint64_t apply_us;
	uint64_t precopy_us;
	unsigned window; /* messages of log in flight beyond which the rest waits in the ring */
	bool asks;	 /* this run's guest does nothing before its last frame has left */

	uint64_t latest; /* generation on record */
	struct claimant owner[GENERATIONS_MAX];
	struct claimant first;			/* of GENERATION */
	struct claimant other[GENERATIONS_MAX]; /* what stands at another place, empty at first */
	uint64_t other_until[HOSTS];		/* so long a host finds that place */
	uint64_t declared; /* generation that is over, a person says; 0: none */
	struct claimant told_won[GENERATIONS_MAX];
	uint64_t arbiter_down_until[HOSTS];
	uint64_t arbiter_slow_until;

	int recorder;	    /* host in charge of the guest: it ran it first, or went live last */
	bool ran;	    /* some guest did */
	bool pair;	    /* formed, and nobody has won since */
	uint64_t seen;	    /* highest number of a frame seen outside */
	uint64_t live_from; /* last frame the recorder's guest knew of when it went live */
	struct fault_plan plan[FAULTS_MAX];
	unsigned faults, struck;
	uint64_t healed_at; /* the faults up to now are over */
	bool single;	    /* the last fault struck a pair at rest */
	bool ends;	    /* it was the orderly end of the guest */
	bool shutdown;
	unsigned rested; /* watches in a row that found the world at rest */

	const char *broken; /* first promise found broken */
	char detail[256];
};

/* What the guest is made of and how it gets to the backup. */
struct strategy_ops {
	const char *name;
	bool starts_alone;		/* a pair is formed by an attach, and in no other way */
	struct strategy *(*open)(void); /* NULL: no memory */
	void (*close)(struct strategy *strategy);

	void (*begin)(struct world *w);		       /* a run */
	void (*start)(struct world *w, int host);      /* processes */
	void (*connect)(struct world *w, int primary); /* may be NULL */

	void (*job)(struct world *w, const struct todo *t); /* one of its own */
	/* QEMU and its agent: one job each, which sees to the next. */
	void (*guest)(struct world *w, int host);
	void (*apply)(struct world *w, int host);
	void (*live)(struct world *w, int host);	   /* checks what the guest goes on from */
	void (*power_off)(struct world *w, int host);	   /* by the guest; guest_ends() ends it */
	unsigned (*room)(const struct world *w, int host); /* steps the run has room for */

	/* Attaching. */
	void (*begin_attach)(struct world *w, int host);
	void (*take_point)(struct world *w, int host);
	uint64_t (*point)(const struct world *w, int host);
	void (*send_state)(struct world *w, int host);
	void (*take_copy)(struct world *w, int host, const struct message *m);
	void (*take_state)(struct world *w, int host, const struct message *m);
	bool (*follows)(const struct world *w, int host); /* the primary's new backup */
	uint64_t (*seal)(const struct world *w, int host);

	/* Primary: hands the transport what there is room for; whether that was all. */
	bool (*ship)(struct world *w, int host);
	uint64_t (*shipped)(const struct world *w, int host);	/* with the transport, whole */
	uint64_t (*stands_at)(const struct world *w, int host); /* primary: a frozen guest */

	/* Backup: there is no room for it now, so it waits, and all that came after it; NULL:
	 * never. */
	bool (*blocked)(struct world *w, int host, const struct message *m);
	/* Backup: false if that cannot be what comes next. */
	bool (*hold)(struct world *w, int host, const struct message *m);
	uint64_t (*held)(const struct world *w, int host);
	uint64_t (*applied)(const struct world *w, int host);
	uint64_t (*progress)(const struct world *w, int host); /* in what lag is measured in */
	uint64_t (*lag)(const struct world *w, int host);      /* primary, of its backup's report */
	uint64_t lag_bound;
	void (*diverge)(struct world *w, int host); /* the backup's guest */

	/* What the world knows: the last frame that was sent before a held position. */
	uint64_t (*covers)(const struct world *w, int host, uint64_t position);
	void (*check_ended)(struct world *w); /* the guest did, in order; may be NULL */
};

extern const struct strategy_ops strategy_lockstep, strategy_checkpoint;

/* world.c */
uint64_t mix(uint64_t x);
uint64_t chance(struct world *w, uint64_t below);
bool one_in(struct world *w, uint64_t n);
uint64_t about(struct world *w, uint64_t us);
void note(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void broken(struct world *w, const char *promise, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void give_up(const struct world *w, const char *text);
const char *host_name(int host);
void later_in_life(struct world *w, uint64_t in, enum job job, int side, unsigned life,
		   uint64_t arg);
void later(struct world *w, uint64_t in, enum job job, int side, uint64_t arg);
struct todo next_todo(struct world *w);

/* checker.c */
bool is_primary(const struct side *s);
bool is_live(const struct side *s);
bool is_intact(const struct side *s);
bool is_protected(const struct world *w);
bool someone_is_live(const struct world *w);
bool goes_on(const struct side *s);
void check_step(struct world *w);
void check_frame(struct world *w, int host, uint64_t number);
void check_pair(struct world *w, int host);
void check_go_live(struct world *w, int host);
void check_survived(struct world *w, bool survived);
void check_end(struct world *w);
void do_watch(struct world *w);
const char *outcome_name(enum outcome outcome);

/* guest.c */
void gate_put(struct world *w, int host, uint64_t position, uint64_t number);
void gate_flush(struct world *w, int host);
void guest_gone(struct world *w, int host, bool in_order);
void guest_ends(struct world *w, int host);
void shut_down(struct world *w, int host);
void do_guest(struct world *w, int host);
void do_apply(struct world *w, int host);
uint64_t guest_pause(struct world *w, int host);
uint64_t apply_pause(struct world *w, int host);
void do_live(struct world *w, int host);
void do_take_state(struct world *w, int host, uint64_t attach);
void do_close_gate(struct world *w, int host, uint64_t attach);

/* channel.c */
void queue_clear(struct queue *q);
void send_slowly(struct world *w, int from, struct message message, uint64_t extra);
void send_message(struct world *w, int from, struct message message);
void socket_close(struct world *w, int host);
void channel_reset(struct world *w);

/* pair.c */
void feed(struct world *w, int host, struct vmft_event_in event);
void feed_kind(struct world *w, int host, enum vmft_in kind);
void feed_lost(struct world *w, int host, enum vmft_why why);
void do_ship(struct world *w, int host);
void do_look(struct world *w, int host);
void do_beat(struct world *w, int host);
void do_detect(struct world *w, int host);
void do_connect(struct world *w, int host);
void do_alone(struct world *w, int host);
void do_point(struct world *w, int host, uint64_t attach);
void do_gate_closed(struct world *w, int host, uint64_t attach);
void do_deliver(struct world *w, int host, uint64_t flight);
void do_reset(struct world *w, int host, uint64_t connection);

/* arbiter.c */
bool is_claimant(const struct claimant *c, int host, unsigned life);
void ask_arbiter(struct world *w, int host, uint64_t generation);
void do_arbiter(struct world *w, const struct todo *t);
void do_arbiter_set(struct world *w, const struct todo *t);
void do_answer(struct world *w, int host, enum vmft_in answer);

/* faults.c */
void plan_faults(struct world *w);
void strike_on(struct world *w, int host, enum vmft_state state);
void do_fault(struct world *w, const struct fault_plan *f);
const char *fault_name(enum fault fault);

/* run.c */
void world_run(struct world *w);

#endif
