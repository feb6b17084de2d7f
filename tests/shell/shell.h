/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two or three hosts of a pair file in one process, with the real monitor on each: hub, peer,
 * attach, both strategies, heartbeat, TCP transport, pair file. Everything below the monitor is
 *made up here, in virtual time and without system calls:
 *
 *	loop.c		the io_uring loop's interface (logging-channel/loop.h)
 *	kernel.c	descriptors, files, memory, and the libc calls that the linker sends here
 *	sock.c		TCP between the hosts
 *	datagram.c	UDP
 *	arbiter.c	the arbiter's worker thread and its test-and-set
 *	agent.c		QEMU and the agent in it; guest.c: the guest, and what it really did
 *	host.c		processes: they start, are killed, and are started again
 *	faults.c	what goes wrong, and when
 *	checker.c	the promises, checked against what really happened
 *	run.c		what happens next, and a run
 *	main.c		vmft-shell: many runs, and the proof that the checker can fail
 *	sweep.c		vmft-sweep: each call that may fail does so once
 *
 * docs/simulation.md explains it. A run depends on its seed alone. One thread.
 */
#ifndef VMFT_TEST_SHELL_H
#define VMFT_TEST_SHELL_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/daemon/hub/monitor.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

enum {
	HOSTS = VMFT_HOST_COUNT,
	AGENDA_MAX = 8192,
	FAULTS_MAX = 24,
	GENERATIONS_MAX = 256,
	GATE_FRAMES = 64,
	ARRIVES_DATAGRAM = 1000,
	ASKS = VMFT_ASKS,
};

/* What the guest has of memory and disk. All of it fits one word of marks. */
#define RAM_PAGES  8u
#define RAM_BYTES  (RAM_PAGES * VMFT_RAM_BLOCK_BYTES)
#define ROM_BYTES  (VMFT_RAM_BLOCK_BYTES + 100u)
#define DISK_BYTES (VMFT_DISK_BLOCK_BYTES + 512u)
#define DISK_PARTS ((DISK_BYTES + VMFT_DISK_PART_BYTES - 1) / VMFT_DISK_PART_BYTES)
#define RING_BYTES (1u << 20)

/* --- what is spoilt on purpose ------------------------------------------- */

enum spoil {
	SPOIL_NONE,
	SPOIL_TWO_WINNERS,	/* the arbiter lets whoever asks win */
	SPOIL_FORGETFUL,	/* the arbiter does not know its winner again */
	SPOIL_ANY_ARBITER,	/* a claim does not ask for the record of the generation before */
	SPOIL_END_UNSEEN,	/* nor whether that generation was declared dead */
	SPOIL_EARLY_RELEASE,	/* the gate releases what is only logged */
	SPOIL_ACK_EARLY,	/* the backup acknowledges more than it holds */
	SPOIL_UNFORMED_RELEASE, /* each ack says that its sender knows of the pair */
	SPOIL_OPEN_SEAL,	/* the gate stays open while the pair is sealed */
	SPOIL_SHORT_SEAL,	/* the agent leaves out of its seal what was seen outside */
	SPOIL_NO_FENCE,		/* the agent does not heed FENCE, its gate opens */
	SPOIL_ORPHAN_OPENS,	/* the agent opens its gate when its monitor dies */
	SPOIL_LOST_MARK,	/* a page written during the copy is not marked */
	SPOIL_TORN_STATE,	/* the device state is not that of the memory */
	SPOIL_NO_RETRY,		/* a timer of a quarter of a second never fires */
	SPOIL_LOST_WRITE,	/* a write to an image is reported as done, and is not */
	SPOIL_ARBITER_RACE,	/* the arbiter tests and sets in two steps */
	SPOIL_GATE_DROPS,	/* a frame that waits is overtaken by the next */
	SPOIL_EPOCH_BEFORE,	/* a frame depends on the last epoch, not on the next */
	SPOIL_OLD_DEVICES,	/* the device state is that of the attach point */
	SPOIL_STAYS_STOPPED,	/* DROP leaves a guest stopped that waits between two parts */
	SPOIL_NO_STOP,		/* the guest runs between the two parts of an epoch */
	SPOIL_DIVERGED_UNSAID,	/* the agent does not say that its guest has diverged */
	SPOIL_END_UNSAID,	/* nor that its guest has ended in order */
	SPOIL_COUNT,
};

const char *spoil_name(enum spoil spoil);

/* --- random numbers, time ------------------------------------------------- */

uint64_t mix(uint64_t value);
uint64_t chance(uint64_t below); /* 0 .. below - 1; 0 for 0 */
bool one_in(uint64_t n);

enum todo_kind {
	DO_OP,	    /* an operation of a loop is completed; arg = entry */
	DO_SERVICE, /* the agent's service thread; arg: 1 by time, 0 by a bell */
	DO_REQUEST, /* QEMU's main loop carries out what the monitor asks for */
	DO_GUEST,   /* the guest executes, or replays */
	DO_ARRIVE,  /* bytes, or a connection's end, arrive; arg = socket, or ARRIVES_DATAGRAM */
	DO_CONNECT, /* a connection is made, or not; arg = socket */
	DO_ASK,	    /* a question reaches the arbiter; arg = which */
	DO_ANSWER,  /* its answer is back; arg = which */
	DO_BOOT,    /* the host's service manager looks */
	DO_FAULT,   /* arg = which */
	DO_WATCH,   /* whether the run has come to rest */
};

struct todo {
	uint64_t at, order;
	uint64_t arg;
	uint32_t serial; /* what it was meant for is there no more, if that has another */
	uint8_t kind;
	int8_t host;
};

/* at is not before now. What a process is to do waits while that process is stopped. */
void later(uint64_t delay, enum todo_kind kind, int host, uint64_t arg, uint32_t serial);

/* --- files, descriptors --------------------------------------------------- */

struct file {
	uint8_t *bytes;
	uint64_t size, room;
	bool sparse;	/* memory: what is emptied is a hole */
	uint64_t stale; /* of an image: parts that were written to since they were hashed */
	bool lazy;	/* emptying it costs too much, and nobody looks */
	bool locked;	/* by a monitor that makes a copy of it */
	int8_t broken;	/* errno of each call that writes to it; 0: it works */
};

enum fd_kind { FD_FREE, FD_FILE, FD_EVENT, FD_SOCKET, FD_DATAGRAM, FD_DEAF };

#define FD_BASE 1000

struct fd {
	enum fd_kind kind;
	int8_t host;
	bool kept; /* of the host, not of its monitor's process */
	bool copy; /* of an image, with the lock of a copy */
	struct file *file;
	uint64_t count; /* FD_EVENT */
	unsigned sock;	/* FD_SOCKET */
	int waiter;	/* entry of a poll; -1: none */
};

void file_wrote(struct file *file, uint64_t at, uint64_t n);
struct fd *fd_of(int fd); /* NULL: none of ours */
int fd_new(enum fd_kind kind, int host);
void fd_ring(int fd);
void fd_ring_datagrams(int host); /* the socket that datagrams to it are read from */
void fd_close_all(int host);

/* Memory of a monitor's process, all of it given back at once. */
void arena_reset(int host);
void kernel_init(void);
/* A call that the process of that host makes may be its last one. */
void may_die(void);

/* Calls that may fail: of libc, and operations of the loop. */
enum call {
	CALL_MALLOC,
	CALL_CALLOC,
	CALL_REALLOC,
	CALL_STRDUP,
	CALL_MMAP,
	CALL_OPEN,
	CALL_PREAD,
	CALL_PWRITE,
	CALL_FALLOCATE,
	CALL_FTRUNCATE,
	CALL_SYNC,
	CALL_FSTAT,
	CALL_LSEEK,
	CALL_SOCKET,
	CALL_LOOP_OPEN,
	CALL_LOOP_READ,
	CALL_LOOP_WRITE,
	CALL_LOOP_SYNC,
	CALL_COUNT,
};

struct host;
/* Whether that call of the host's monitor fails; error is noted only. place: where it is made. */
bool call_fails(struct host *host, enum call call, const void *place, int error);

/* --- loop, sockets --------------------------------------------------------- */

struct vmft_loop;
bool loop_is_stopped(const struct vmft_loop *loop);
void loop_drop_all(int host);
void loop_resolve(int host);
void loop_complete(int entry, int result, uint64_t delay);
void loop_do(const struct todo *todo);
void loop_poll_ready(int fd);

void sock_reset(void);
void sock_arrive(unsigned sock, uint32_t serial);
void sock_connect_do(unsigned sock, uint32_t serial);
void sock_close(unsigned sock, bool reset);
void sock_host_died(int host); /* without a word to anybody */
void sock_break(void);	       /* all connections */
void sock_accept(int entry, int fd);
void sock_connect(int entry, int fd, const struct sockaddr *addr);
void sock_recv(int entry, int fd, void *bytes, size_t n);
void sock_send(int entry, int fd, const void *bytes, size_t n);
void sock_cancel(int entry, int fd);
ssize_t datagram_send(int fd, const void *bytes, size_t n, const struct sockaddr *addr);
ssize_t datagram_recv(int fd, void *bytes, size_t n);
void datagram_deliver(void);
void datagram_reset(void);
int host_at(const struct sockaddr *addr);

/* A peer that a test plays, on a host without a monitor. What it is sent is not looked at. */
struct peer {
	int sock; /* 0: none */
	uint32_t serial;
};

void peer_listen(int host);
bool peer_accept(struct peer *peer, int host); /* false: nobody has connected */
bool peer_connect(struct peer *peer, int host, int to);
bool peer_send(struct peer *peer, const uint8_t *bytes, size_t n); /* false: it cannot now */
bool peer_is_there(const struct peer *peer); /* and the monitor's end is, too */
void peer_close(struct peer *peer);

/* --- the arbiter ------------------------------------------------------------ */

void arbiter_reset(void);
void arbiter_ask_do(int host, unsigned which, uint32_t serial);
void arbiter_answer_do(int host, unsigned which, uint32_t serial);
void arbiter_declare(void);
/* Somebody has won that generation. */
void arbiter_put(uint64_t generation, const char *owner);
void arbiter_put_mark(int host, const char *text);
uint64_t arbiter_latest(void);
bool arbiter_is_over(void);
/* Whether that token is the record of that generation. */
bool arbiter_is_owner(uint64_t generation, const char *owner);

/* --- QEMU and its agent ----------------------------------------------------- */

struct frame {
	uint64_t position; /* it depends on */
	uint64_t number;   /* of the frames the guest has sent */
	uint64_t count;	   /* of the guest's events, as it was sent */
	uint64_t since;
};

struct qemu {
	bool up;
	uint64_t boots_at; /* its agent is there from then on */
	uint32_t obeyed;   /* the last command */
	uint32_t answered; /* the last request */
	bool scheduled;	   /* a request waits for the main loop */
	bool serviced;	   /* a bell was rung and the service thread is to come */
	bool runs;	   /* the guest executes for itself */
	bool replays, open, keeps, fenced, orphaned, ended, frozen, paused, tracks, stop_passed;
	bool blocked; /* a request to a disk that failed is under way */
	uint64_t left_at;
	uint64_t stands_since; /* if it is paused or frozen */
	uint64_t ends_at;      /* the process has no more to do */
	uint64_t dirty_ram, dirty_disk;
	uint64_t epoch; /* checkpoint: taken so far */
	struct frame frame[GATE_FRAMES];
	unsigned first, frames;
	uint64_t last_emitted;
	struct {
		bool armed;
		enum { REQUEST_FAILS, REQUEST_HANGS, REQUEST_KILLS, REQUEST_BREAKS } how;
		uint8_t op;  /* of the request that is meant; 0: the next one */
		bool second; /* the second part of an epoch, while the guest stands */
	} spoilt;
	uint64_t end_at; /* the guest has shut down, and QEMU logs its last in a while */
	bool diverged;
};

void qemu_boot(int host, bool primary);
void qemu_end(int host); /* the process is gone */
void agent_ring(int host);
void agent_service(int host, bool by_time);
void agent_request(int host);
void guest_run(int host);
void guest_shut_down(int host);
void agent_now_diverged(int host);
uint64_t host_clock(int host);

/* The guest: at the beginning of its memory, so that it goes wherever that goes. */
struct guest {
	uint64_t count;	 /* events so far */
	uint64_t digest; /* of all of them */
	uint64_t frames; /* sent so far */
};

struct guest *guest_of(int host);
/* Event by event, the same on each side. Returns whether a frame is sent. */
bool guest_step(int host, uint64_t value);
uint64_t guest_hash(int host); /* memory and disk */
uint64_t disk_hash(int host);

void truth_reset(void);
void truth_ran(int host, uint64_t position); /* the guest in charge has made a step */
void truth_replayed(int host, uint64_t position);
void truth_took(int host, uint64_t position); /* a state was taken: attach point or epoch */
void truth_loaded(int host, uint64_t position);
void truth_live(int host, uint64_t position);
void truth_started(int host);

/* --- hosts ------------------------------------------------------------------ */

struct host {
	struct vmft_monitor m;
	struct vmft_error err;
	bool up;	   /* the monitor's process runs */
	bool ran_out;	   /* allocations and calls fail now and then */
	uint8_t fails;	   /* enum call; the kind of call of which one fails */
	uint64_t fails_in; /* after so many; 0: none */
	uint64_t dies_in;  /* calls of the monitor until it is killed; 0: it is not */
	uint32_t life;	   /* of the monitor's process */
	uint32_t qlife;	   /* of QEMU's */
	uint32_t wlife;	   /* of its questions to the arbiter */
	int pidfd;	   /* becomes readable at QEMU's end */
	uint64_t clock;	   /* its CLOCK_MONOTONIC minus the world's */
	uint64_t stopped_until, qemu_stopped_until; /* SIGSTOP, or the whole host */
	uint64_t down_until;			    /* the host is switched off */
	uint64_t dead_since;
	bool starts_as_primary;
	struct qemu q;
	struct file iface, area, ram, disk, words;
	uint8_t *area_head; /* as the area is when it is new */
	size_t area_head_bytes;
	int iface_fd, area_fd, ram_fd, words_fd, bell_monitor, bell_agent;
	/* questions to the arbiter */
	struct vmft_arbiter_question question[ASKS];
	struct vmft_arbiter_answer answer[ASKS];
	bool asked[ASKS], answered[ASKS];
	char owner[VMFT_ARBITER_OWNER_MAX];
	int worker_bell;
	bool opened_other; /* the monitor has another arbiter than there is */
	/* what is known of it */
	uint64_t generation; /* highest it was seen in */
	uint64_t acked;	     /* as its agent was last told */
	uint8_t state;	     /* of the core, as last seen */
};

void hosts_init(void);
void hosts_reset(void);
void host_boot_do(int host);
void host_start(int host, bool primary); /* or says in err why not */
void host_kill_monitor(int host, bool silent);
void host_kill(int host, uint64_t down);
void host_leaves(int host); /* its monitor's loop has stopped */
bool is_up(int host);
bool is_alive(int host); /* both processes are there */
/* Runs part of a monitor: what it does in there may be its end. */
void enter(int host, void (*call)(void *), void *arg);

/* --- faults, checks ----------------------------------------------------------- */

enum fault {
	FAULT_KILL_QEMU,
	FAULT_KILL_MONITOR,
	FAULT_KILL_HOST,
	FAULT_KILL_AT_CALL, /* the monitor, in the middle of what it does */
	FAULT_STOP_HOST,    /* stands still, with its clock going on */
	FAULT_STOP_MONITOR,
	FAULT_STOP_QEMU,
	FAULT_LINK_CUT,
	FAULT_LINK_ONE_WAY,
	FAULT_LINK_RESET,
	FAULT_LINK_SLOW, /* delays, packets that are sent again */
	FAULT_LINK_DAMAGED,
	FAULT_LINK_TORN, /* ends within what is being sent */
	FAULT_PATH_CUT,	 /* heartbeats */
	FAULT_ARBITER_DOWN,
	FAULT_ARBITER_SLOW,
	FAULT_ARBITER_ANSWER_LOST,
	FAULT_ARBITER_OTHER, /* that host finds another one, empty at first */
	FAULT_DECLARED,	     /* a person says that a VM that runs is dead */
	FAULT_AGENT_ERROR,   /* a request that QEMU fails */
	FAULT_AGENT_HANGS,
	FAULT_AGENT_DIES, /* QEMU, in the middle of a request */
	FAULT_AGENT_BROKEN,
	FAULT_DIVERGE,
	FAULT_DISK_FULL,
	FAULT_DISK_BROKEN,
	FAULT_MEMORY,	   /* calls of libc fail now and then */
	FAULT_CALL,	   /* one call fails */
	FAULT_SLOW_BACKUP, /* replays, or writes, many times slower */
	FAULT_SWITCHOVER,
	FAULT_TERM_MONITOR, /* SIGTERM */
	FAULT_TERM_QEMU,
	FAULT_SHUTDOWN, /* the guest ends in order */
	FAULT_COUNT,
};

const char *fault_name(enum fault fault);

struct plan {
	enum fault fault;
	int role; /* 0: the host in charge of the guest; 1: another */
	uint64_t at, length;
	uint8_t on; /* strikes when a core enters this state; VMFT_STATE_COUNT: at its time */
	bool struck;
	bool waits; /* for a pair that is protected, and strikes that */
};

void faults_plan(void);
void fault_do(unsigned which);
void faults_entered(int host, uint8_t state);

void check_daemon(int host); /* after each step of it */
/* The guest runs and has a backup: any one fault from here on has to be survived. */
bool is_protected(void);
/* The guest is live, and will be alone for good: its monitor is gone, or its agent has failed. One
 * that was declared dead is given no backup any more. */
bool is_beyond_help(void);
/* Nobody runs the guest, and nobody is left who could. */
bool is_hopeless(void);
void check_emitted(int host, const struct frame *frame);
void check_end(void);
void broken(const char *promise, const char *format, ...) __attribute__((format(printf, 2, 3)));
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum outcome {
	OUTCOME_PROTECTED,
	OUTCOME_ALONE, /* live, and nobody can attach: its monitor is gone */
	OUTCOME_ENDED,
	OUTCOME_DECLARED,
	OUTCOME_DEAD,
	OUTCOME_NEVER_RAN,
	OUTCOME_COUNT,
};

struct tally {
	uint64_t runs, failed, steps, calls, virtual_ns;
	uint64_t go_lives, attached, frames, late, epochs, boots, longest;
	uint64_t handed, restarts;
	uint64_t faults[FAULT_COUNT];
	uint64_t outcomes[OUTCOME_COUNT];
	uint64_t reached[VMFT_SIDE_COUNT][VMFT_STATE_COUNT];
};

struct world {
	uint64_t now, rng, seed;
	enum spoil spoil;
	bool trace, done;
	struct tally *tally;
	const struct vmft_strategy_ops *strategy;
	bool lockstep;
	struct vmft_pair_config config;
	struct vmft_pair_config *parsed; /* by variant */

	/* For a test of another kind, NULL: whether a call fails; each line that a monitor says. */
	bool (*fails)(enum call call, const void *place, int error);
	void (*hears)(const char *text);

	struct todo agenda[AGENDA_MAX];
	unsigned agenda_count;
	uint64_t order;

	struct host host[HOSTS];
	int hosts;
	struct host *current; /* whose monitor's code runs */
	jmp_buf dead;
	uint64_t call_no;

	/* this run's network and guest */
	bool manual; /* no service manager: a test starts what runs */
	uint64_t delay, guest_every, apply_every, disk_delay, load_time;
	uint64_t pace;			  /* how many times faster than usual processes start */
	uint64_t cut_until[HOSTS][HOSTS]; /* from, to */
	uint64_t path_cut_until[HOSTS];
	uint64_t slow_until, apply_slow_until;
	bool damage;	  /* the next bytes that arrive */
	uint64_t tear_in; /* bytes after which a connection is torn; 0: none is */

	uint64_t arbiter_down_until[HOSTS], arbiter_other_until[HOSTS], arbiter_slow_until;
	bool answer_lost[HOSTS];
	bool two_arbiters; /* some host has found another one in this run */
	bool emptied;	   /* the other arbiter is the same place, without its records */

	int recorder; /* in charge of the guest: it ran it first, or went live last */
	bool ran;
	unsigned restarts;  /* of a VM that both sides have lost, by a person */
	bool shut_down;	    /* somebody has told the guest to end */
	bool declared;	    /* the latest generation was, while it lived */
	uint64_t seen;	    /* highest number of a frame that was seen outside */
	uint64_t live_from; /* frames the recorder's guest knew of when it went live */
	uint64_t
	    formed_held; /* by the backup of the pair of formed_generation, while it knew of it */
	uint64_t formed_generation;
	uint64_t before_held, before_generation; /* of the pair before it */

	struct plan plan[FAULTS_MAX];
	unsigned plans, struck;
	uint64_t healed_at;
	bool single;	    /* the last fault struck a pair at rest, and no other since */
	enum fault last;    /* of them */
	uint64_t paired_at; /* when the guest in charge had a backup last */
	uint64_t rest_since;
	uint64_t helped_at; /* when somebody could still give the guest a backup, last */
	uint64_t faults_end;
	unsigned long mask; /* of faults, for shortening a run; bit set: left out */

	const char *broken;
	char detail[256];
};

extern struct world world;

/* --- runs ----------------------------------------------------------------------- */

enum { LOCKSTEP, CHECKPOINT, STRATEGIES };

/* Of a pair file, any of them together; -1: by chance. */
enum {
	VARIANT_HEARTBEAT = 1,
	VARIANT_SPARE = 2,
	VARIANT_HANDS_OVER = 4,
	VARIANT_ALONE = 8, /* starts alone; checkpoint: and keeps pages to send what changed */
	VARIANT_SAVES = 16,
	VARIANTS = 32,
};

extern const struct vmft_strategy_ops *const strategies[STRATEGIES];

void world_prepare(void); /* once */
/* A world in which nothing has happened yet, and no fault will. */
void world_begin(uint64_t seed, unsigned which, int variant);
void world_run(uint64_t ns);
/* With faults, to its end. Whether all promises were kept; world.broken if not. */
bool run_seed(uint64_t seed, unsigned which);

#endif
