/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole monitors of a pair in one process, as they are, with everything around them made up:
 * loop.c gives them virtual time, transport.c a channel in memory, world.c the agents of two
 * small guests, an arbiter in a variable, and images that are temporary files.
 */
#ifndef VMFT_TEST_PAIR_WORLD_H
#define VMFT_TEST_PAIR_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/daemon/hub/monitor.h"

#define WORLD_DISKS	 2u
#define WORLD_DISK_BYTES (5u * VMFT_DISK_BLOCK_BYTES + 512)
#define WORLD_RAM_BYTES	 (32u * VMFT_RAM_BLOCK_BYTES)
#define WORLD_ROM_BYTES	 (2u * VMFT_RAM_BLOCK_BYTES + 100)

/* A monitor and its guest. */
struct world_side {
	struct vmft_monitor m;
	struct vmft_error err;
	bool up;
	bool left;   /* the monitor has ended, with m.exit_code */
	bool killed; /* QEMU has ended */
	char disk[WORLD_DISKS][64];
	char journal[16384]; /* all it has said, a line each */

	/* its agent */
	struct vmft_iface *iface;
	struct vmft_area *area;
	uint32_t answered;
	uint32_t command;
	bool running;
	bool quiet;	 /* the guest writes nothing any more */
	uint64_t writes; /* of the guest, so far */
	uint8_t *ram;
};

enum { WORLD_PRIMARY, WORLD_BACKUP, WORLD_SIDES };

extern struct world_side world_side[WORLD_SIDES];
/* What the arbiter has: the latest generation, its record, and the mark that a backup has left. */
extern uint64_t world_generation;
extern char world_record[VMFT_ARBITER_OWNER_MAX], world_mark[VMFT_ARBITER_OWNER_MAX];

/* Once, before all else: makes the directory of the pair file and the images, which is removed
 * when the program ends. */
void world_init(void);

/* 0 or what vmft_monitor_init() returned. A side that is up is taken down first. armed, if it is
 * not NULL, is called when all is made up and the monitor's own start begins. */
int world_up(unsigned side, const struct vmft_strategy_ops *strategy, void (*armed)(void));
/* All that the side has is given back. */
void world_down(unsigned side);
/* Both sides, all connections and the arbiter's record. */
void world_reset(void);
/* What the loop could do next is done; when there is nothing the clock is put on, not beyond
 * until. False: nothing is to be done before until. */
bool world_step(uint64_t until);
void world_run(uint64_t ns);
/* Whether the guest of that side runs, and its output leaves. */
bool world_is_live(unsigned side);

void world_end_guest(unsigned side); /* QEMU is gone */
/* Monitor and QEMU are killed at once. */
void world_kill(unsigned side);
/* Memory and images of the two are the same. */
bool world_is_equal(void);

/* A peer that the test plays. */
struct world_peer {
	struct vmft_conn *conn; /* NULL: none */
	struct vmft_listener *listener;
};

/* To the side that listens, or for the one that will connect. */
bool world_peer_connect(struct world_peer *peer);
void world_peer_listen(struct world_peer *peer);
bool world_peer_send(struct world_peer *peer, const uint8_t *bytes, size_t n);
void world_peer_close(struct world_peer *peer);
void world_peer_end(struct world_peer *peer);

/* loop.c, transport.c */
extern const struct vmft_transport_ops world_transport;
bool world_loop_step(struct vmft_loop *loop);
void world_ring(int fd); /* an event counter that may be waited for */
void world_hush(int fd);
extern const void *world_place; /* while an operation is done: its callback; else NULL */
bool world_loop_is_stopped(const struct vmft_loop *loop);
uint64_t world_loop_next(const struct vmft_loop *loop); /* timer; UINT64_MAX: none */
void world_clock_put(uint64_t ns);
bool world_transport_step(void);
void world_transport_cut(void);
void world_transport_forget(void);
void world_transport_leave(const void *user); /* a process has ended */

#endif
