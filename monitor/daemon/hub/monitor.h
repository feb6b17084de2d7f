/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor of one side of one protected VM: the hub of the daemon, around monitor/core.
 *
 * The hub turns what happens into events of the core, and carries out the actions of the core.
 * monitor.c steps the core; actions.c carries out; guest.c, frames.c and arbitration.c say what
 * happened to QEMU, on the channel and at the arbiter; lag-control.c, faults.c and stop.c decide
 * what is to happen; start.c opens and closes all. attaching.c, pairing.c and handing-over.c give
 * three parts of the daemon their worlds.
 *
 * There is one thread and one loop: nothing here is locked.
 */
#ifndef VMFT_MONITOR_H
#define VMFT_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "attaching.h"
#include "faults.h"
#include "logging-channel/frame.h"
#include "logging-channel/hello.h"
#include "logging-channel/loop.h"
#include "logging-channel/transport.h"
#include "monitor/common/pair-config.h"
#include "monitor/common/tap-facts.h"
#include "monitor/core/core.h"
#include "monitor/core/queue.h"
#include "monitor/daemon/arbiter/arbiter.h"
#include "monitor/daemon/attach/attach-sink.h"
#include "monitor/daemon/attach/attach-source.h"
#include "monitor/daemon/attach/image.h"
#include "monitor/daemon/divergence/divergence.h"
#include "monitor/daemon/guest/agent-link.h"
#include "monitor/daemon/guest/console.h"
#include "monitor/daemon/guest/disk-fault.h"
#include "monitor/daemon/guest/shown.h"
#include "monitor/daemon/handover/handover.h"
#include "monitor/daemon/lockstep/lag-watch.h"
#include "monitor/daemon/lockstep/lag.h"
#include "monitor/daemon/lockstep/stall.h"
#include "monitor/daemon/lockstep/throttle.h"
#include "monitor/daemon/peer/peer.h"
#include "monitor/daemon/savedlog/saver.h"
#include "monitor/daemon/status/alarm.h"
#include "monitor/daemon/status/control.h"
#include "monitor/daemon/status/hiccups.h"
#include "monitor/daemon/status/history.h"
#include "monitor/daemon/status/journal.h"
#include "monitor/daemon/strategy.h"
#include "requests.h"
#include "stop.h"

struct vmft_monitor_options {
	const char *pair_file;
	enum vmft_role role;	    /* as started; core.side is what it is now */
	enum vmft_host host;	    /* which of the pair file's this is */
	struct vmft_hello identity; /* what this side says in its hello */
	bool versioned_machine;	    /* the guest's machine is the same in each QEMU that has it */
	char tap_ifname[VMFT_HELLO_TAPS_MAX][VMFT_TAP_IFNAME]; /* "": not known */
	struct vmft_image disk[VMFT_AREA_DISKS_MAX];
	uint32_t disk_count;
	const struct vmft_strategy_ops *strategy;
	const char *strategy_reason;		    /* why this one */
	const struct vmft_transport_ops *transport; /* of the channel */
	int iface_fd, area_fd, ram_fd, bell_monitor_fd, bell_agent_fd, lifeline_fd;
	bool managed; /* struct vmft_settings */
	int guest_pid;
	int words_fd;	    /* QEMU's arguments as given, each ended by a zero; -1: none */
	const char *replay; /* a saved log: see replay.h; NULL for a side of a pair */
};

struct vmft_monitor {
	struct vmft_monitor_options options;
	struct vmft_pair_config config;
	struct vmft_loop *loop;
	struct vmft_core core;
	struct vmft_core_queue events; /* that actions of the core have caused */
	bool stepping;		       /* the core's actions are being carried out */
	struct vmft_agent_link agent;
	const struct vmft_strategy_ops *strategy_ops;
	struct vmft_strategy *strategy;
	const struct vmft_transport_ops *transport;
	struct vmft_peer peer;
	struct vmft_hiccups hiccups;
	const struct vmft_arbiter_ops *arbiter_ops;
	struct vmft_arbiter *arbiter;
	struct vmft_arbiter_worker *worker;
	char owner[VMFT_ARBITER_OWNER_MAX];
	char record[VMFT_ARBITER_OWNER_MAX]; /* of the core's generation; "": not known yet */
	struct vmft_control control;
	struct vmft_requests requests;
	struct vmft_journal journal;
	struct vmft_history history; /* the last failover, for status */
	struct vmft_lag lag;
	struct vmft_disk_fault disk;
	struct vmft_console_watch console;
	struct vmft_stop stop;
	struct vmft_handover handover;
	struct vmft_saver saver;	  /* backup: the log on its disk */
	struct vmft_attach_source source; /* primary: attaching a backup */
	struct vmft_attach_sink sink;	  /* backup: being attached */
	struct vmft_shown shown;	  /* what the guest has shown on its networks */
	struct vmft_stall_watch stall;	  /* primary: whether the backup replays */
	struct vmft_divergence divergence;
	uint32_t throttle;		 /* permille, as the agent was told */
	struct vmft_lag_watch lag_watch; /* primary: whether the pair lags */
	uint64_t lag_said_ns;		 /* when the journal last said that it does */
	bool lag_said;			 /* of this time it lags */
	bool lag_alarmed;		 /* it has lagged for so long that somebody was told */
	struct vmft_alarm *alarm;	 /* NULL: nobody is to be told of anything */
	int pidfd;
	bool guest_gone;
	bool guest_ended;	  /* the agent says so, QEMU may still be there */
	bool agent_broken;	  /* reported once */
	struct vmft_op broken_op; /* the core is still to hear of agent_broken */
	bool stopping;		  /* STOP was carried out; waiting for the last bytes to leave */
	bool arbiter_silent_said;
	char arbiter_error[512]; /* why it gives no answer; "": it does, as far as is known */
	int exit_code;
	uint64_t tick_ns;    /* when the last tick ran */
	uint64_t state_ns;   /* when the core's state last changed */
	uint64_t agent_beat; /* as the last tick saw it */
	uint64_t beat_ns;    /* when it last moved */
	uint64_t claim;	     /* generation to claim once the agent beats; 0: none */
	uint64_t asked_ns;   /* when the arbiter was asked */
	uint64_t stop_ns;    /* when STOP was carried out */
	uint64_t go_live_ns; /* when the agent was told to go live */
	uint64_t left_ns;    /* backup: when QEMU left at the end of the guest; 0: it did not */
	uint64_t live_ns;    /* when the guest went live, by the agent's clock; 0: it did not */
	struct vmft_op tick_op, pump_op, bell_op, pidfd_op, worker_op, retry_op;
};

/* Prepares everything that can fail; on success the pair file's addresses are ours. */
int vmft_monitor_init(struct vmft_monitor *m, const struct vmft_monitor_options *options,
		      struct vmft_error *err);
/* Returns the exit code. */
int vmft_monitor_run(struct vmft_monitor *m);
/*
 * The two halves of it, for a caller that runs the loop by itself: begin() starts what the loop
 * waits for; end() is called once the loop was stopped, gives the addresses back and returns the
 * exit code.
 */
void vmft_monitor_begin(struct vmft_monitor *m);
int vmft_monitor_end(struct vmft_monitor *m);

/*
 * Hands an event to the core and carries out what it answers, before it returns. Called from
 * inside such an action, it leaves the event to the step under way, which takes it once all of
 * its own actions are carried out: the core is stepped in one place, never from an action.
 */
void vmft_monitor_event(struct vmft_monitor *m, const struct vmft_event_in *event);
/* An event that is no more than its kind. */
void vmft_monitor_simple_event(struct vmft_monitor *m, enum vmft_in kind);
/* A takeover is under way: the agent is looked at often. */
bool vmft_monitor_is_busy(const struct vmft_monitor *m);

/* The hub's own start (start.c): its operations, and its ticks. */
void vmft_monitor_init_ops(struct vmft_monitor *m);
void vmft_monitor_begin_ticks(struct vmft_monitor *m);

/* What the agent wrote into the shared memory cannot be. The core hears of it from the loop,
 * not before this returns: the caller may be in the middle of something. */
void vmft_monitor_agent_broken(struct vmft_monitor *m);
/* This guest cannot be protected, or applied to, any longer; why is one line. To the core as
 * vmft_monitor_agent_broken(). */
void vmft_monitor_broken(struct vmft_monitor *m, const char *why);
/* Leaves the loop at once, for a side whose guest has not run. */
void vmft_monitor_leave(struct vmft_monitor *m, int exit_code);

/* The arbiter does not answer, for this reason; NULL: it does. For the status. */
void vmft_monitor_arbiter_error(struct vmft_monitor *m, const char *why);

/* Primary: the execution lag of its backup; 0 while there is none that replays. */
uint64_t vmft_monitor_lag_ms(struct vmft_monitor *m, uint64_t now);

/* Primary: how long the backup's replay has stood still though there is log for it. */
uint64_t vmft_monitor_stalled_ns(const struct vmft_monitor *m, uint64_t now);

/* At an attach point, on both sides: positions, lag and log begin at position. 0, or what the
 * strategy's restart() returns: then nothing has changed. */
int vmft_monitor_restart_log(struct vmft_monitor *m, uint64_t position);

static inline bool vmft_monitor_is_primary(const struct vmft_monitor *m)
{
	return m->core.side == VMFT_SIDE_PRIMARY;
}

#endif
