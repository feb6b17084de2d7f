/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent's files without a QEMU around them: what agent.c, ground.c and service.c would
 * do to the process are plain functions here, the "tap" is a pipe, time is a variable.
 */
#ifndef VMFT_TEST_AGENT_WORLD_H
#define VMFT_TEST_AGENT_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A test is QEMU, which calls what the agent stands in for. */
#define VMFT_CALLS_STOOD_IN_NAMES
#include "monitor/agent/agent.h"
#include "monitor/agent/gate.h"
#include "monitor/agent/ground.h"
#include "monitor/agent/qemu/inside.h"

#define WORLD_RING 1048576u

/* The symbols of QEMU 7.2, as the unit tests play them. */
struct world_qemu {
#define VMFT_QEMU_OBJECT(type, name, size)	    type *name;
#define VMFT_QEMU_FUNCTION(result, name, arguments) result(*name) arguments;
#define VMFT_GLIB_FUNCTION			    VMFT_QEMU_FUNCTION
#include "monitor/agent/qemu/symbols.def"

#include "monitor/agent/qemu/qemu-7.2.def"
#undef VMFT_QEMU_OBJECT
};

struct world {
	uint64_t now;
	unsigned broken, drained, announced, notified, kicked, works;
	atomic_uint rung, woken, slept;
	int replay_mode;
	FILE *replay_file;
	uint8_t timers_state[96];
	uint8_t replay_state[72];
	bool events, locked;
	atomic_bool stopped, idle; /* a test's vCPU thread looks at them */
	int64_t virtual_ns, deadline_ns, warp_expires;
	int autostart, run_state;
	const char *registers; /* what QEMU prints of its vCPU */
	int tap[2];	       /* a pipe: frames come out of tap[0] */
	/* How a QEMU thread sleeps. NULL aborts: nothing will wake a single thread that waits for
	 * itself, such a test is wrong. */
	void (*sleep)(uint32_t seen);
	/* What else world_down() has to clean up. */
	struct vmft_iface *iface;
	struct vmft_area *area;
	void (*scheduled)(void *user); /* for the main loop */
	int resumes;		       /* events that the guest runs */
};

extern struct world world;

/* The agent as it is before its constructor. */
void world_reset_agent(void);
/* A fresh agent: a ring of WORLD_RING bytes, the command RUN, an attach area for these images. */
void world_up(uint64_t ram_bytes, const uint64_t *disk_bytes, size_t disk_count);
void world_down(void);

/* The QEMU of world_up(). */
extern const struct world_qemu world_qemu;
/* The places of the fields in Debian's builds, as the wrapper finds them. */
extern const struct vmft_qemu_place world_places_7_2[VMFT_QEMU_FIELDS];
extern const struct vmft_qemu_place world_places_10_0[VMFT_QEMU_FIELDS];
/* Enumerations of QEMU, the same in both series. */
extern const struct vmft_qemu_enum world_run_states, world_shutdown_causes, world_replay_modes,
    world_shutdown_actions;
/* The agent is in this QEMU from now on. Whatever is NULL in it aborts when it is called. */
void world_use_qemu(const struct world_qemu *played);
/* A symbol of that QEMU. */
void *world_look_up(const char *name);

/* For world.sleep: as ground.c does it, counted in world.slept before. */
void world_futex_wait(uint32_t seen);
/* Returns when a thread has gone to sleep for the count'th time. */
void world_wait_asleep(unsigned count);

#endif
