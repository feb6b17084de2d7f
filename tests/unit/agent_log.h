/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An agent with a log that the test writes or holds, for the tests of the agent. */
#ifndef VMFT_TEST_AGENT_LOG_H
#define VMFT_TEST_AGENT_LOG_H

#include <stddef.h>
#include <stdint.h>

/* world_up() with 1 MiB of guest memory and no image. */
void agent_up(void);

/* QEMU writes these bytes to its log. */
void log_bytes(const uint8_t *bytes, size_t n);

/* Events of QEMU's log; the clock reads 0x1234. */
extern const uint8_t event_checkpoint[1];

extern const uint8_t event_instruction[5];

extern const uint8_t event_clock[9];

/* QEMU opens the log and reads its header. */
void feed_header(void);

/* The monitor puts these bytes of the log into the ring. */
void ring_takes(const uint8_t *bytes, size_t n);

#endif
