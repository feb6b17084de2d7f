/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a monitor says of its side of a VM: one snapshot, and one table of its fields.
 *
 * The monitor fills a struct vmft_status (monitor/daemon/hub/snapshot.c). Everything that shows
 * it goes by the table: the JSON on the control socket and the way back (status-json.h), the
 * tables of vmft-status(5), later metrics. A new field is a member of the struct, a row of the
 * table, and the line that fills it.
 *
 * Rules of the JSON, of which VMFT_STATUS_VERSION is the version: fields may be added, a reader
 * skips what it does not know. A field that is renamed, removed, or given another meaning or unit
 * makes a new version.
 */
#ifndef VMFT_STATUS_FIELDS_H
#define VMFT_STATUS_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMFT_STATUS_VERSION 1u
#define VMFT_STATUS_EVENTS  32u
#define VMFT_STATUS_REASON  300u

/* Parts of a snapshot that are not always there: bits of vmft_status.parts. */
enum vmft_status_part {
	VMFT_STATUS_PRIMARY = 1 << 0,	  /* this side runs the guest */
	VMFT_STATUS_BACKUP = 1 << 1,	  /* it does not */
	VMFT_STATUS_CHECKPOINTS = 1 << 2, /* the strategy is checkpoint */
	VMFT_STATUS_EPOCHS = 1 << 3,	  /* the same, on the primary */
	VMFT_STATUS_ATTACHED = 1 << 4,	  /* a backup has been attached by this monitor */
	VMFT_STATUS_SAVES = 1 << 5,	  /* this side was started as a backup */
	VMFT_STATUS_FROZEN = 1 << 6,	  /* the guest is stopped at a log position */
	VMFT_STATUS_TOOK_OVER = 1 << 7,	  /* this side has taken the guest over */
	VMFT_STATUS_LOST_BACKUP = 1 << 8, /* this side has lost a backup */
};

/* Of the last samples there are: median, 99th percentile, greatest. */
struct vmft_status_quantiles {
	uint64_t p50, p99, max;
};

/* How the last attach went; ns and bytes. */
struct vmft_status_attach {
	uint64_t total_ns, stun_ns, stop_ns, drain_ns, copy_ns, save_ns, start_ns, hold_ns;
	uint64_t ram_bytes, disk_bytes, staged_bytes, rounds;
};

struct vmft_status_event {
	uint64_t ms; /* CLOCK_MONOTONIC */
	char text[200];
};

/* What each member is, the help of its row says. */
struct vmft_status {
	uint32_t parts;
	uint64_t version;

	char name[65], role[16], host[16], state[24];
	char reason[VMFT_STATUS_REASON], next[640];
	uint64_t since_ms, now_ms, generation;
	char strategy[16], strategy_reason[256];

	char peer[16], peer_address[64], address[64];
	char detection[96], heartbeat_path[96], connect_error[300];
	uint64_t heartbeats_refused, silence_ms, grace_ms;

	char arbiter[4096], arbiter_error[512];

	uint64_t live_ns, failovers, took_over_ms, backups_lost, backup_lost_ms;
	char took_over_reason[VMFT_STATUS_REASON], backup_lost_reason[VMFT_STATUS_REASON];

	uint64_t guest_pid, monitor_pid;
	struct vmft_status_quantiles hiccup; /* ns */

	uint64_t log_head, log_events, log_sent, log_held, log_acked, log_replayed;
	uint64_t lag_ms, replay_stands_ms, log_bytes_per_s, throttle_permille, lag_dropped;
	uint64_t frozen_at;

	uint64_t gate_frames, gate_bytes, gate_stalls, frames_released, frames_dropped;

	uint64_t disk_errors;
	char disk_error[161];
	bool disk_paused, guest_asleep;
	uint64_t console_dropped;

	uint64_t divergences;
	char divergence[161];
	uint64_t outputs_compared, digests_compared, digests_taken, digest_ns;

	char attach_phase[24];
	uint64_t attach_round, attach_done_bytes, attach_left_bytes, attach_bytes_per_s;
	uint64_t attach_dirty_bytes_per_s, attach_expected_ms, attached, attach_failures;
	char attach_error[200];
	uint64_t attach_retry_ms;
	struct vmft_status_attach attach_last;

	uint64_t epochs, epochs_early, epochs_split, partial_bytes;
	uint64_t pages, pages_zero, pages_unchanged, pages_delta, pages_whole;
	struct vmft_status_quantiles length, pause, stop, drain, save, scan, copy, start, commit,
	    output;				   /* ns */
	struct vmft_status_quantiles staged, sent; /* bytes */

	char save_log[4096 + 1], save_log_error[256];

	uint64_t event_count; /* <= VMFT_STATUS_EVENTS */
	struct vmft_status_event events[VMFT_STATUS_EVENTS];
};

enum vmft_status_type {
	VMFT_STATUS_TEXT,	    /* char[] */
	VMFT_STATUS_NUMBER,	    /* uint64_t */
	VMFT_STATUS_BOOL,	    /* bool */
	VMFT_STATUS_SPAN,	    /* uint64_t of ns; in the JSON ms with three decimals */
	VMFT_STATUS_QUANTILES,	    /* struct vmft_status_quantiles; NAME_p50, NAME_p99, NAME_max */
	VMFT_STATUS_SPAN_QUANTILES, /* the same of ns; in the JSON ms with three decimals */
	VMFT_STATUS_OBJECT,	    /* a struct; its fields are .inside */
	VMFT_STATUS_LIST,	    /* an array of structs; their fields are .inside */
	VMFT_STATUS_TYPES,
};

/* Units of the JSON. */
enum vmft_status_unit {
	VMFT_UNIT_NONE,
	VMFT_UNIT_NS,
	VMFT_UNIT_MS,
	VMFT_UNIT_BYTES,
	VMFT_UNIT_BYTES_PER_S,
	VMFT_UNIT_PERMILLE,
	VMFT_UNITS,
};

enum vmft_metric_type {
	VMFT_METRIC_NONE,    /* no metric */
	VMFT_METRIC_GAUGE,   /* goes up and down */
	VMFT_METRIC_COUNTER, /* only goes up while the monitor lives */
	VMFT_METRIC_SUMMARY, /* quantiles of the last samples */
	VMFT_METRIC_STATES,  /* a text out of a few: one series each, 1 for the present one */
};

struct vmft_status_field {
	const char *group;  /* headline of the manual page, on the first field of each group */
	const char *name;   /* key in the JSON; NULL ends a table */
	const char *help;   /* one sentence */
	const char *metric; /* name of the metric, in base units; NULL: none */
	const struct vmft_status_field *inside;
	enum vmft_status_type type;
	enum vmft_status_unit unit;
	enum vmft_metric_type metric_type;
	uint32_t part; /* there only if vmft_status.parts has one of these; 0: always */
	bool null;     /* null in the JSON where it is not there or an empty text; else left out */
	uint32_t offset;
	uint32_t size;		    /* bytes: of a text, an object, or one element of a list */
	uint32_t count_offset, max; /* of a list: where its uint64_t length is, and the most */
};

/* Ends with a field without a name. Offsets are into struct vmft_status. */
extern const struct vmft_status_field vmft_status_fields[];

/* "ms"; "" for VMFT_UNIT_NONE. Static storage. */
const char *vmft_unit_name(enum vmft_status_unit unit);
/* The base unit that metrics have instead, "seconds", and what a value is multiplied with. */
const char *vmft_unit_base(enum vmft_status_unit unit, double *ret_factor);
/* "text", "number", ...; what the JSON has. Static storage. */
const char *vmft_status_type_name(enum vmft_status_type type);

#endif
