/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A QEMU with a guest whose strategy is checkpoint, for the tests of the agent inside it. */
#ifndef VMFT_TEST_CHECKPOINT_QEMU_H
#define VMFT_TEST_CHECKPOINT_QEMU_H

#include <stddef.h>
#include <stdint.h>

/* What QEMU is told when the guest stops, is saved, and goes on: for calls_are(). */
#define PAUSED	"runstate:7 ticks-off pause notify:0:7 "
#define STOPPED PAUSED "drain "
#define SAVED	"store-running save close "
#define WENT_ON "ticks-on runstate:9 notify:1:9 resume "

#define GATE_LIMIT 1000u /* of world_up() */

/* Of QEMU's TimersState; the second as world_up() has it. */
enum { TICKS_OFFSET = 8, CLOCK_OFFSET = 56 };

/* A guest that is tracked and has no backup yet; its budget is without limit. */
void checkpoint_up(void);

/* Asserts what QEMU was told since the last call. */
void calls_are(const char *want);

/* As checkpoint_up(), with a backup that the epochs are sent to; the first one was taken. */
void checkpoint_attached(void);

/* How many epochs were taken. */
uint64_t epochs_taken(void);

/* A field of QEMU's TimersState. */
uint64_t guest_timer(size_t offset);

#define MANY_PAGES 40000u /* more than twice what staging holds */

/* As checkpoint_attached(), with MANY_PAGES pages; the guest has written to each of them. */
void checkpoint_many_written(void);

/* Asserts that nothing was taken off the guest's clocks since the host's counter showed this: they
 * are the host's, at the same offset. */
void clocks_ran_on(uint64_t since_tsc);

/* The monitor fences the guest. */
void guest_fenced(void);

/* The guest sends one frame of n bytes, at most 2 * GATE_LIMIT. */
void guest_sends(size_t n);

/* How many frames the gate holds. */
uint64_t gate_held(void);

#endif
