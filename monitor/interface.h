/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent (inside QEMU) and the monitor (beside it) share: one memfd, this header
 * first, the log ring behind it. Append-only: fields are added at the end of their block
 * and never moved; VMFT_IFACE_VERSION goes up with each change, and both sides refuse
 * another version. Each field has one writer, named beside it, but for
 * two words that only wake: monitor_futex and monitor_sleeps. Nobody trusts the other's
 * word: positions are checked on every use (logging-channel/ring.h).
 *
 * Besides the memory there are two eventfds (bells) and a socket pair (the lifeline,
 * whose end-of-file tells the agent that its monitor is gone).
 */
#ifndef VMFT_INTERFACE_H
#define VMFT_INTERFACE_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define VMFT_IFACE_MAGIC   UINT64_C(0x746d6676656e6731)
#define VMFT_IFACE_VERSION 1u
#define VMFT_IFACE_HEADER  4096u /* the ring begins here */

/* The file name given to QEMU as rrfile: the agent takes over its stream. */
#define VMFT_LOG_NAME "vmft:log"

enum vmft_agent_state {
	VMFT_AGENT_ABSENT = 0,	  /* QEMU has not opened its log yet */
	VMFT_AGENT_WAITING = 1,	  /* at the first event, waiting for VMFT_COMMAND_RUN */
	VMFT_AGENT_RECORDING = 2, /* guest runs and is logged */
	VMFT_AGENT_REPLAYING = 3, /* guest replays */
	VMFT_AGENT_LIVE = 4,	  /* was replaying, went live in place */
	VMFT_AGENT_ENDED = 5,	  /* the guest ended in an orderly way, the log is whole */
	VMFT_AGENT_CRASHED = 6,	  /* QEMU is leaving by an error exit; its log tail is cut off */
	VMFT_AGENT_BROKEN = 7,	  /* the agent cannot go on protecting: the ring makes no sense */
	VMFT_AGENT_FENCED = 8,	  /* obeyed VMFT_COMMAND_FENCE: nothing of the guest leaves */
};

/* Only these steps are made: HOLD -> RUN -> {GO_LIVE | OPEN | FENCE}, GO_LIVE -> OPEN. */
enum vmft_command {
	VMFT_COMMAND_HOLD = 0,	  /* do not start the guest yet */
	VMFT_COMMAND_RUN = 1,	  /* primary: record, hold output; backup: replay */
	VMFT_COMMAND_GO_LIVE = 2, /* backup: go live when the log is read up to log_end */
	VMFT_COMMAND_OPEN = 3,	  /* alone: output leaves at once, the log is not kept */
	VMFT_COMMAND_FENCE = 4,	  /* output is dropped, the guest stops for good */
};

struct vmft_iface {
	/* Written once by whoever made the memfd, before either side maps it. */
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes;
	uint64_t ring_bytes;
	uint8_t reserved0[40];

	/* The ring. Recording: the agent produces (head), the monitor consumes (tail).
	 * Replaying: the other way round. One cache line each. */
	_Atomic uint64_t log_head;
	uint8_t reserved1[56];
	_Atomic uint64_t log_tail;
	uint8_t reserved2[56];

	/* Written by the agent only. */
	_Atomic uint32_t agent_state; /* enum vmft_agent_state */
	_Atomic uint32_t agent_waits; /* QEMU threads asleep on monitor_futex */
	_Atomic uint64_t agent_beat;  /* goes up at least every 50 ms while QEMU is scheduled */
	_Atomic uint64_t
	    log_position;	      /* recording: bytes logged; replaying: bytes handed to QEMU */
	_Atomic uint64_t log_events;  /* whole events up to log_position */
	_Atomic int64_t guest_ns;     /* the guest's virtual-rt clock at the last logged reading */
	_Atomic uint64_t gate_frames; /* frames held in the output gate */
	_Atomic uint64_t gate_bytes;  /* their bytes */
	_Atomic uint64_t frames_released;
	_Atomic uint64_t frames_dropped; /* after FENCE only */
	_Atomic uint64_t frozen_at;	 /* position + 1 while frozen, 0 otherwise */
	_Atomic uint64_t gate_stalls;	 /* times the guest was stopped by a full gate */
	_Atomic uint64_t live_at_ns;	 /* CLOCK_MONOTONIC when the guest went live, or 0 */
	uint8_t reserved3[32];

	/* Written by the monitor only. */
	_Atomic uint32_t command; /* enum vmft_command */
	_Atomic uint32_t
	    monitor_futex; /* bumped, then woken, by either side: a field or the ring moved */
	_Atomic uint32_t monitor_sleeps; /* set: ring the monitor's bell; cleared by who rings */
	_Atomic uint32_t freeze;	 /* 1: stop at the next event boundary */
	_Atomic uint64_t acked;		 /* frames that need no more than this may leave... */
	_Atomic uint64_t release_until;	 /* ...until this CLOCK_MONOTONIC ns (the lease) */
	_Atomic uint64_t log_end;	 /* GO_LIVE: the log's end, a boundary */
	_Atomic uint32_t exit_code; /* for QEMU's process, if the monitor leaves before the guest is
				     * live here; 0: VMFT_EXIT_INTERNAL */
	_Atomic uint32_t throttle;  /* permille of time the recording guest is to be paused */
};

static_assert(offsetof(struct vmft_iface, log_head) == 64, "shared layout");
static_assert(offsetof(struct vmft_iface, log_tail) == 128, "shared layout");
static_assert(offsetof(struct vmft_iface, agent_state) == 192, "shared layout");
static_assert(offsetof(struct vmft_iface, command) == 320, "shared layout");
static_assert(sizeof(struct vmft_iface) <= VMFT_IFACE_HEADER, "header fits its page");

#endif
