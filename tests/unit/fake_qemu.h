/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU around the agent: its functions are played here, its memory blocks and images are real
 * memory and real files. This program's own pwrite() and the like go through track.c, as
 * QEMU's do.
 */
#ifndef VMFT_TEST_FAKE_QEMU_H
#define VMFT_TEST_FAKE_QEMU_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent_world.h"

#define PAGE   VMFT_RAM_BLOCK_BYTES
#define BLOCK  VMFT_DISK_BLOCK_BYTES
#define BLOCKS 70u

#define BOTTOM_HALVES 8u

/* The guest's memory: an odd number of pages, more than one word of marks. */
#define RAM_PAGES 130u

enum { RAM = 2, BIOS, VRAM, REGIONS }; /* after the two images */

/* RunState */
enum {
	QEMU_INMIGRATE = 1,
	QEMU_PAUSED = 4,
	QEMU_RUNNING = 9,
	QEMU_FINISH_MIGRATE = 7,
	QEMU_SHUTDOWN = 11,
	QEMU_SUSPENDED = 12,
};

enum { HAS_UNREAD_DATA = 32, BLOCK_REQUEST_ID = 48 }; /* in QEMU's ReplayState */

/* A RAMBlock of QEMU. */
struct block {
	const char *name;
	uint8_t *host; /* exactly bytes long, so that AddressSanitizer sees one byte too far */
	uint64_t bytes;
	int fd;
	uint64_t dirty[1024];
};

/* Devices as QEMU 7.2 lays them out. */
struct fake_timer {
	int64_t expire_time;
	void *list;
	void (*callback)(void *opaque);
	void *opaque;
};

struct fake_object {
	const char *type;
};

struct fake_rng {
	struct fake_object object;
	uint64_t parent[65];
	uint64_t max_bytes;
	uint32_t period_ms;
	void *backend;
	struct fake_timer *timer;
	int64_t quota_remaining;
	bool activate_timer;
};

struct fake_ioapic {
	struct fake_object object;
	uint64_t parent[188];
	int irq_level[24];
	int irq_eoi[24];
	struct fake_timer *timer;
};

struct fake_flash {
	struct fake_object object;
	uint64_t parent[105];
	uint8_t wcycle;
	bool ro;
	uint8_t cmd;
};

static_assert(offsetof(struct fake_flash, wcycle) == 848, "wcycle of PFlashCFI01");
static_assert(offsetof(struct fake_rng, max_bytes) == 528, "conf.max_bytes of VirtIORNG");
static_assert(offsetof(struct fake_ioapic, irq_eoi) == 1608, "irq_eoi of IOAPICCommonState");

/* What qio_channel_file_new_fd() and qemu_file_new_output() give. */
struct file {
	int fd;
	unsigned references;
};

struct fake_qemu {
	struct block block[BLOCKS];
	unsigned blocks;
	char calls[512]; /* what QEMU was told, in order, but for the dirty log */
	unsigned log_starts, log_stops;
	bool running;
	int reset_requested, shutdown_requested, shutdown_action;
	struct vmft_qemu_notifier *shutdown_notifier;
	uint32_t pm_base; /* 0: no power management */
	uint16_t pm_enable, pm_control;
	bool synced;	    /* KVM's marks are in QEMU's */
	unsigned snapshots; /* handed out and not freed */
	struct file file;
	bool deferred; /* the main loop does not come round, but by main_loop_runs() */
	unsigned scheduled;
	struct {
		void (*call)(void *user);
		void *user;
	} bottom_half[BOTTOM_HALVES];
	unsigned bottom_halves;

	unsigned polls;
	struct fake_timer timer[2];
	struct fake_rng rng;
	struct fake_ioapic ioapic;
	struct fake_flash flash;
	bool load_finds_flash_locked;
	struct fake_object other, i2c_bus;

	/* saving */
	const uint8_t *state;
	size_t state_bytes;
	uint64_t saved_at; /* where the log stood then */
	int save_result;
	/* loading */
	void *activate_error;
	const uint8_t *shadow_expected; /* in BIOS when the images are activated */
	bool shadow_was_there;
	int load_result;
	uint8_t *load_writes;  /* a byte of guest memory that a device writes as it is loaded */
	uint8_t load_found;    /* what was there */
	const char *load_says; /* on standard error */
	int state_loaded;      /* RunState in it; 0: none */
	uint8_t loaded[64];
	size_t loaded_bytes;

	unsigned written; /* calls that came through track.c's stand-ins */

	/* a checkpointed guest's */
	int phase;  /* of the machine's coming up */
	bool ticks; /* its clocks run */
	uint64_t pause_takes_ns, save_takes_ns;
	uint64_t ticks_wait_ns;	      /* how long the thread waits before QEMU starts its clocks */
	uint64_t kvm_wait_ns;	      /* the same of the first time that KVM's clock is set */
	uint64_t kvm_ahead, kvm_read; /* KVM's clock: before ours; as it was read last */
};

extern struct fake_qemu qemu;
extern struct vmft_area *area;
extern int disk[2]; /* the images, open in "QEMU" */

/* What a clock that is read and a device that is loaded leave in the log. */
extern const uint8_t clock_event[9];
extern const uint8_t load_event[9];

/* Where the log continues after qemu_up() and the events that saving and resetting add. */
#define INSTRUCTION_BYTES 5
#define POINT		  (3 * sizeof(clock_event) + INSTRUCTION_BYTES)

#define LOADED "pre-load be32 be32 load close "

/* A guest that runs alone, recording into nowhere. */
void qemu_up_with(uint64_t ram_bytes); /* without its memory yet */
void qemu_up(void);		       /* its memory, a BIOS and a video card's */
void qemu_up_tracking(void);	       /* and what it writes is marked */
/* A guest whose strategy is checkpoint; what it writes is marked. */
void qemu_up_checkpoint(uint64_t ram_bytes);
void qemu_down(void);
struct block *qemu_add_block(const char *name, uint64_t bytes, int fd);
int qemu_save_device_state(void *file);
int qemu_flush_all(void);
/* What was scheduled while deferred; more may be scheduled by it. */
void main_loop_runs(void);
/* Only what was scheduled before. */
void main_loop_comes_round(void);

/* As the monitor does it; the answer is there when this returns. */
int agent_ask(enum vmft_area_op op);

uint64_t area_marks(unsigned region, unsigned word);
bool area_nothing_marked(unsigned region);
uint64_t area_all_marks(unsigned region);
const uint8_t *area_shadow(unsigned region);
void area_budget(uint64_t bytes);

/* The guest writes to a page. */
void guest_writes(unsigned region, unsigned page, uint8_t value);

/* Where in what POINT or EPOCH has taken. */
struct pieces {
	uint64_t at;
};

/* The next piece is this one, with the bytes that memory or the image has there now. */
void piece_is(struct pieces *p, uint32_t region, uint64_t offset, uint32_t n);
void no_more_pieces(struct pieces *p);

#endif
