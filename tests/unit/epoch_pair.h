/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitors' halves of a checkpointed pair, joined by memory: the primary's agent is played
 * here and stages a guest that is one structure; the backup's guest is real shared memory and
 * real image files, which are compared with it after every epoch.
 */
#ifndef VMFT_TEST_EPOCH_PAIR_H
#define VMFT_TEST_EPOCH_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/daemon/checkpoint/checkpoint-sink.h"
#include "monitor/daemon/checkpoint/checkpoint-source.h"

#define MS	UINT64_C(1000000)
#define PAGE	VMFT_RAM_BLOCK_BYTES
#define PART	VMFT_DISK_PART_BYTES
#define BLOCK	VMFT_DISK_BLOCK_BYTES
#define DISKS	2u
#define HISTORY 8u /* epochs whose guest is remembered */

#define RAM_PAGES  70u
#define ROM_BYTES  (3 * PAGE + 100u)
#define VRAM_PAGES 20u
#define DISK_MAX   (6 * BLOCK)
#define STATE_MAX  (5 * PAGE)
#define PARTS	   (DISK_MAX / PART)

enum { RAM = DISKS, ROM, VRAM, REGIONS };

/* A guest where it stands still. */
struct machine {
	uint8_t ram[RAM_PAGES * PAGE];
	uint8_t rom[ROM_BYTES];
	uint8_t vram[VRAM_PAGES * PAGE];
	uint8_t disk[DISKS][DISK_MAX];
	uint64_t disk_bytes[DISKS];
	uint8_t state[STATE_MAX];
	uint64_t state_bytes;
};

/* A monitor's surroundings. */
struct side {
	struct vmft_agent_link link;
	struct vmft_pair_config config;
	struct vmft_image disk[DISKS];
	char path[DISKS][32];
	struct vmft_strategy *strategy;
	unsigned moved, broken;
	bool only_copy; /* of the guest: a disk that fails is waited for */
	unsigned disk_failed;
	bool quiet; /* what was applied is not looked at */
	char why[300];
};

struct message {
	uint64_t position;
	size_t n;
	uint8_t bytes[VMFT_FRAME_PAYLOAD_MAX];
};

extern const struct vmft_strategy_ops *const pair_ops;
extern struct vmft_loop *pair_loop;
extern struct side pair_primary, pair_backup;

/* The primary's guest, and what its agent knows of it. */
extern struct machine pair_now, pair_history[HISTORY];
extern uint64_t pair_epoch; /* the last that was taken of it */
extern size_t pair_room;    /* bytes that fit into staging at once */

/* The last payload that was taken of the primary. */
extern struct message pair_message;

/* Whatever is due happens. */
void pair_spin(uint64_t nanoseconds);
unsigned pair_below(unsigned n);
void pair_guest_runs(void);
void pair_guest_writes_all(void);
bool pair_is_asked(enum vmft_area_op op);
void pair_answer(int result);
void pair_takes_epoch(void);
/* The pacer says when; this long is longer than it may take. */
bool pair_comes_to_ask(enum vmft_area_op op);
/* Long enough for an epoch to have been asked for. */
bool pair_stays_silent(void);
const uint8_t *pair_area_of(const struct side *side);
void pair_backup_is(struct machine *want);
void pair_forms(void);
/* The next payload, or false: there is none now. */
bool pair_takes(void);
/* From a block of exactly that size, so that AddressSanitizer sees one byte too far. */
int pair_holds(void);
/* As the peer does when there is no room. A thread of its own makes room: tries are no measure of
 * how long that takes on a busy machine. */
void pair_arrives(void);
/* An epoch that was asked for, all of it. */
void pair_ship_epoch(void);
void pair_next_epoch(void);
void pair_acks(void);
void pair_all_applied(void);
void pair_on_moved(void *user);
void pair_on_broken(void *user, const char *why);
bool pair_on_disk_failed(void *user, const char *why);
void pair_setup(void);
void pair_up(void);
void pair_down(void);

#endif
