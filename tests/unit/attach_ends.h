/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both ends of an attach without monitors: a source and a sink whose frames go through a queue,
 * their agents played, the images temporary files. A test says what goes wrong, and looks at what
 * the ends told their world.
 */
#ifndef VMFT_TEST_ATTACH_ENDS_H
#define VMFT_TEST_ATTACH_ENDS_H

#include "monitor/daemon/attach/attach-sink.h"
#include "monitor/daemon/attach/attach-source.h"

#define ENDS_DISKS	2u
#define ENDS_RAM_PAGES	40u
#define ENDS_ROM_BYTES	(2u * VMFT_RAM_BLOCK_BYTES + 100)
#define ENDS_DISK_BYTES (5u * VMFT_DISK_BLOCK_BYTES + 512)
#define ENDS_STATE	100000u	       /* bytes of device state: two frames */
#define ENDS_POINT	UINT64_C(1000) /* the log position of the attach point */

enum { ENDS_RAM = ENDS_DISKS, ENDS_ROM, ENDS_REGIONS };

struct end {
	struct vmft_agent_link link;
	struct vmft_pair_config config;
	struct vmft_journal journal;
	struct vmft_image disk[ENDS_DISKS];
	char path[ENDS_DISKS][32];
	uint8_t room[VMFT_FRAME_PAYLOAD_MAX];

	/* The test's to set. */
	bool full;		 /* there is no room in the channel */
	int log_result;		 /* of begin_log() */
	int agent_result;	 /* of the agent's next answer */
	enum vmft_area_op fails; /* the operation that agent_result is for */
	bool silent;		 /* the agent does not answer */
	struct vmft_attach_backup backup;
	void (*on_scan)(void);	      /* the guest runs meanwhile */
	struct vmft_area_piece piece; /* staged at the attach point, if it has a region */
	bool abandons;		      /* what abandon() returns */

	/* What the end has told. */
	unsigned points, failed, broken, caught_up, closed, sent;
	uint64_t point, closed_at, log_at;
	char why[200];
	bool over; /* the core has given the attempt up */
};

struct ends {
	struct vmft_loop *loop;
	struct vmft_attach_source source;
	struct vmft_attach_sink sink;
	struct end primary, backup;
};

extern struct ends ends;

/* The images of the two differ in blocks, some of memory was never used. */
void ends_up(bool loads_at_point);
void ends_down(void);
/* An attempt begins. */
void ends_begin(void);
/* All that is due happens, once. */
void ends_step(void);
/* Steps until the source, or the sink, is in the phase; false: it does not get there. */
bool ends_reach(enum vmft_attach_phase phase);
/* Steps until the source is in another phase. */
bool ends_leave(enum vmft_attach_phase phase);
bool ends_sink_reaches(enum vmft_attach_phase phase);
bool ends_sink_loads(void);
/* Steps until an end has told it: a count in struct end. */
bool ends_tell(const unsigned *count);
/* What the source has sent and the sink has not taken is lost, as with a connection. */
void ends_cut(void);
/* Memory, images and device state of the backup are the primary's. */
bool ends_are_equal(void);
/* The guest writes to a page of its memory, or to a block of a disk. */
void ends_write_page(uint64_t page, uint8_t value);
void ends_write_block(unsigned disk, uint64_t block, uint8_t value);

#endif
