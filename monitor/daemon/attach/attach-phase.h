/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The phases of an attach (docs/attach.md), and the figures that the status shows of it. */
#ifndef VMFT_ATTACH_PHASE_H
#define VMFT_ATTACH_PHASE_H

#include <stdint.h>

/* In their order. The status shows the names. */
enum vmft_attach_phase {
	VMFT_ATTACH_IDLE,	 /* no attach is under way */
	VMFT_ATTACH_TRACKING,	 /* primary: the agent begins to mark what is written */
	VMFT_ATTACH_OFFERED,	 /* primary: the backup gets ready; backup: QEMU comes up */
	VMFT_ATTACH_COMPARING,	 /* primary: digests of the images' blocks are compared */
	VMFT_ATTACH_COPYING,	 /* rounds of memory and disk blocks */
	VMFT_ATTACH_SCANNING,	 /* primary: the agent marks what the last round missed */
	VMFT_ATTACH_STOPPING,	 /* primary: the agent takes the attach point */
	VMFT_ATTACH_SENDING,	 /* primary: what was taken at the attach point is sent */
	VMFT_ATTACH_CATCHING_UP, /* the backup loads the state and replays */
	VMFT_ATTACH_SEALING,	 /* primary: its output waits until the backup holds all */
	VMFT_ATTACH_DROPPING,	 /* primary: an attempt that failed is being cleaned up */
	VMFT_ATTACH_PHASES,
};

const char *vmft_attach_phase_name(enum vmft_attach_phase phase);

/* How an attach went. */
struct vmft_attach_figures {
	uint64_t total_ns; /* from the hello to the pair */
	uint64_t stun_ns;  /* how long the guest was stopped at the attach point; its parts: */
	uint64_t stop_ns, drain_ns, copy_ns, save_ns, start_ns;
	uint64_t hold_ns;		/* how long output waited for the backup before the pair */
	uint64_t ram_bytes, disk_bytes; /* sent; zeroes do not count */
	uint64_t staged_bytes;		/* of these, taken while the guest was stopped */
	uint32_t rounds;
};

#endif
