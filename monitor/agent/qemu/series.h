/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A series of QEMU releases, such as 7.2: what the agent and the wrapper know of it and what may be
 * different in another series. Each series is one constant of struct vmft_qemu_series in a file of
 * its own. series.c lists them.
 *
 * The wrapper uses the symbols and the fields, to check a binary and to find the places of the
 * fields in it before it starts it, and the log's version. The functions of port.h, which are
 * written once for all series, use the rest.
 */
#ifndef VMFT_QEMU_SERIES_H
#define VMFT_QEMU_SERIES_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor/interface.h"

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
	VMFT_QEMU_FLASH_CYCLE,	 /* 0: no command is under way */
	VMFT_QEMU_FLASH_COMMAND, /* 0: the flash is read like memory */
	VMFT_QEMU_FIELDS,
};

/* Tables in QEMU's binary that describe its structs: fields.def. */
enum vmft_qemu_table_id {
#define VMFT_QEMU_TABLE(id, kind, name, first, second) VMFT_QEMU_TABLE_OF_##id,
#include "fields.def"
	VMFT_QEMU_TABLES,
};

enum vmft_qemu_table_kind {
	VMFT_QEMU_VMSTATE,  /* VMStateField: a member's offset and size */
	VMFT_QEMU_PROPERTY, /* Property: a member's offset */
};

struct vmft_qemu_table {
	enum vmft_qemu_table_kind kind;
	const char *name;     /* of the VMStateDescription */
	const char *begin[2]; /* the names of its first two entries */
};

struct vmft_qemu_field {
	const char *type;		     /* of the variable or the struct */
	const char *member;		     /* as QEMU's source calls it */
	const struct vmft_qemu_table *table; /* NULL: no table has it */
	const char *key;		     /* the table's entry */
	uint16_t sizes;	   /* bit n: the entry may say n bytes; 0: its size does not matter */
	uint16_t distance; /* in bytes, from the entry's offset; no table: the offset */
	uint16_t bytes;	   /* without sizes: 0 to 8, of the member */
};

static_assert(VMFT_QEMU_FIELDS <= VMFT_SETTINGS_PLACES_MAX, "the settings have room");

extern const struct vmft_qemu_table vmft_qemu_tables[VMFT_QEMU_TABLES];
extern const struct vmft_qemu_field vmft_qemu_fields[VMFT_QEMU_FIELDS];

/* No struct with such a member is larger. */
#define VMFT_QEMU_OFFSET_MAX 4096u

/* Whether a place is one that this field may have: what a file or shared memory says is checked by
 * it. */
bool vmft_qemu_place_is_good(const struct vmft_qemu_field *field,
			     const struct vmft_qemu_place *place);

/* The run states that the agent uses. */
enum vmft_qemu_state {
	VMFT_QEMU_RUNS,
	VMFT_QEMU_SLEEPS,	/* suspend to RAM */
	VMFT_QEMU_AWAITS_STATE, /* came up to be loaded */
	VMFT_QEMU_DISK_FAILED,	/* QEMU has paused it for an error of a disk */
	VMFT_QEMU_SWITCHED_OFF,
	VMFT_QEMU_PAUSED,
	VMFT_QEMU_NOT_STARTED,
	VMFT_QEMU_HALTED, /* vmft_qemu_halt() has stopped it; a reset does not change this state */
	VMFT_QEMU_OTHER_STATE,
};

/* Values of QEMU's flags, and of enumerations whose names its binary does not have. */
struct vmft_qemu_numbers {
	int phase_ready;		/* MachineInitPhase: the machine is made */
	int clock_virtual, clock_host;	/* QEMUClockType */
	int guest_timers;		/* attributes: all but those outside record/replay */
	int wakeup_rtc, wakeup_pmtimer; /* WakeupReason */
	unsigned dirty_log;		/* flag of the global dirty log: migration */
	unsigned dirty_client;		/* DIRTY_MEMORY_*: migration */
};

/* QEnumLookup (include/qapi/util.h): the names of an enumeration, by their numbers. */
struct vmft_qemu_enum {
	const char *const *name;
	const void *features;
	int count;
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
	/* After a load: what QEMU has noted of a guest that sleeps. power.c keeps that by itself.
	 */
	void (*sleep_forget)(void);
};

struct vmft_qemu_series {
	const char *name;     /* "7.2": what --version says before its last dot */
	uint32_t log_version; /* first word of its record/replay log */
	uint8_t tap_offloads; /* TUN_F_* that it asks a tap for (net/tap-linux.c) */
	/* Those of them that a machine type has from this version on: 802 is 8.2. */
	uint8_t offloads_new;
	unsigned offloads_new_from;
	const struct vmft_qemu_symbol *symbols;
	const struct vmft_qemu_field *fields; /* VMFT_QEMU_FIELDS of them */
	struct vmft_qemu_numbers numbers;
	struct vmft_qemu_ops ops;
};

/* version is such as "7.2.22"; NULL: a series that is not known. */
const struct vmft_qemu_series *vmft_qemu_series_find(const char *version);

/* Writes the names of all, oldest first: "7.2" or "7.2, 10.0". Cut if size is short. Returns text.
 */
const char *vmft_qemu_series_names(char *text, size_t size);

#endif
