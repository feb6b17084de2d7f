/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A series of QEMU releases, such as 7.2: what the agent and the wrapper know of it and what may be
 * different in another series. Each series is one constant of struct vmft_qemu_series in a file of
 * its own. series.c lists them.
 *
 * The wrapper uses the symbols, to check a binary before it starts it, and the log's version. The
 * functions of port.h, which are written once for all series, use the rest.
 */
#ifndef VMFT_QEMU_SERIES_H
#define VMFT_QEMU_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmft_qemu_symbol {
	const char *name; /* NULL ends a list */
	size_t size;	  /* of the variable as compiled, in bytes; 0: any, or a function */
};

/* Members of QEMU's structs that the agent reads or writes. */
enum vmft_qemu_field_id {
	/* of timers_state */
	VMFT_QEMU_TICKS_OFFSET, /* the guest's TSC: the host's plus this while it runs */
	VMFT_QEMU_CLOCK_SHIFT,	/* icount: an instruction takes 1 << this ns */
	VMFT_QEMU_CLOCK_BIAS,	/* icount: ns, added to the instructions' time */
	VMFT_QEMU_IDLE_SINCE,	/* icount: ns of the host's clock, -1: the vCPU is not idle */
	VMFT_QEMU_CLOCK_OFFSET, /* ns: CLOCK_MONOTONIC plus this is QEMU's own clock */
	VMFT_QEMU_INSTRUCTIONS, /* icount: how many the guest has executed */
	VMFT_QEMU_IDLE_TIMER,	/* icount: pointer to the timer that ends an idle time */
	/* of replay_state */
	VMFT_QEMU_EVENT_KIND,	  /* of the event that was read and not acted on */
	VMFT_QEMU_EVENT_IS_READ,  /* not 0: there is one */
	VMFT_QEMU_BLOCK_REQUESTS, /* how many were made while recording or replaying */
	/* of a timer */
	VMFT_QEMU_TIMER_EXPIRES, /* ns, -1: not set */
	VMFT_QEMU_TIMER_OPAQUE,
	/* of devices; 0 bytes: where a struct of unsaved.c begins */
	VMFT_QEMU_RNG_LIMIT,
	VMFT_QEMU_IOAPIC_STORM,
	VMFT_QEMU_FIELDS,
};

struct vmft_qemu_field {
	const char *type;   /* of the variable or the struct */
	const char *member; /* as QEMU's source and its VMStateField tables call it */
	uint16_t offset;    /* in bytes */
	uint16_t bytes;	    /* 0 to 8 */
};

/* The run states that the agent uses. */
enum vmft_qemu_state {
	VMFT_QEMU_RUNS,
	VMFT_QEMU_SLEEPS,	/* suspend to RAM */
	VMFT_QEMU_AWAITS_STATE, /* came up to be loaded */
	VMFT_QEMU_DISK_FAILED,	/* QEMU has paused it for an error of a disk */
	VMFT_QEMU_SWITCHED_OFF,
	VMFT_QEMU_PAUSED,
	VMFT_QEMU_SAVING, /* vmft_qemu_stop_for_save() has stopped it */
	VMFT_QEMU_HALTED, /* vmft_qemu_halt() has; a reset does not change this state */
	VMFT_QEMU_OTHER_STATE,
};

/* Values of QEMU's enumerations and flags. */
struct vmft_qemu_numbers {
	int state[VMFT_QEMU_OTHER_STATE]; /* RunState */
	int cause_load;			  /* ShutdownCause: a snapshot is loaded */
	int replay_record;		  /* ReplayMode */
	int phase_ready;		  /* MachineInitPhase: the machine is made */
	int clock_virtual, clock_host;	  /* QEMUClockType */
	int guest_timers;		  /* attributes: all but those outside record/replay */
	int wakeup_rtc, wakeup_pmtimer;	  /* WakeupReason */
	int end_poweroff, end_pause;	  /* ShutdownAction */
	unsigned dirty_log;		  /* flag of the global dirty log: migration */
	unsigned dirty_client;		  /* DIRTY_MEMORY_*: migration */
};

/* Returns the address of QEMU's symbol of that name, or NULL. */
typedef void *vmft_qemu_lookup(const char *name);

/*
 * What another series has under another name or with another signature. The functions of port.h
 * that call these say where they may be called.
 */
struct vmft_qemu_ops {
	/* Looks up the symbols of the series' own list. NULL, or the name of one that is
	 * missing. */
	const char *(*bind)(vmft_qemu_lookup *lookup);
	bool (*is_locked)(void); /* the big lock, by this thread */
	void (*lock)(void);
	void (*unlock)(void);
	void (*replay_events_off)(void);
	/* 0 or a negative errno. */
	int (*dirty_log_start)(unsigned flags);
	void (*dirty_log_sync)(void);
	/* A DirtyBitmapSnapshot of region's first bytes, freed by g_free(). */
	void *(*dirty_snapshot)(void *region, uint64_t bytes, unsigned client);
	int (*load_device_state)(void *file); /* negative: failed */
};

struct vmft_qemu_series {
	const char *name;     /* "7.2": what --version says before its last dot */
	uint32_t log_version; /* first word of its record/replay log */
	const struct vmft_qemu_symbol *symbols;
	struct vmft_qemu_field field[VMFT_QEMU_FIELDS];
	struct vmft_qemu_numbers numbers;
	struct vmft_qemu_ops ops;
};

/* version is such as "7.2.22"; NULL: a series that is not known. */
const struct vmft_qemu_series *vmft_qemu_series_find(const char *version);

/* Writes the names of all, oldest first: "7.2" or "7.2, 10.0". Cut if size is short. Returns text.
 */
const char *vmft_qemu_series_names(char *text, size_t size);

#endif
