/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent (inside QEMU) and the monitor (beside it) share: a memfd with the header
 * struct vmft_iface, the settings of both (struct vmft_settings) and the log ring, and one with
 * struct vmft_area and what an attach needs. Append-only: fields are added at the end of their
 * block and never moved; VMFT_IFACE_VERSION goes up with each change, and both sides refuse
 * another version. Each field has one writer, named beside it, but for two words that only wake
 * (monitor_futex and monitor_sleeps) and for log_head and log_tail at an attach point, where
 * the side that is to produce sets both while the other does not look. Nobody trusts the
 * other's word: positions are checked on every use (logging-channel/ring.h).
 *
 * Besides the memory there are the guest's own (a memfd, vmft.ram to QEMU), two eventfds
 * (bells) and a socket pair (the lifeline, whose end-of-file tells the agent that its
 * monitor is gone).
 */
#ifndef VMFT_INTERFACE_H
#define VMFT_INTERFACE_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define VMFT_IFACE_MAGIC    UINT64_C(0x746d6676656e6731)
#define VMFT_IFACE_VERSION  13u
#define VMFT_IFACE_SETTINGS 4096u	  /* struct vmft_settings begins here */
#define VMFT_IFACE_HEADER   (128u * 1024) /* the ring begins here */

/* The file name given to QEMU as rrfile: the agent takes over its stream. */
#define VMFT_LOG_NAME "vmft:log"
/* A serial console's file: its path follows, or the number of a descriptor that QEMU was given.
 * The agent opens it and never lets the guest wait for it. */
#define VMFT_CONSOLE_NAME    "vmft:console:"
#define VMFT_CONSOLE_FD_NAME "vmft:console-fd:"

/* A file of guest memory: the offset of its first byte in the memfd follows, as a decimal number.
 */
#define VMFT_RAM_NAME "vmft:ram:"

enum vmft_agent_state {
	VMFT_AGENT_ABSENT = 0,	  /* QEMU has not opened its log yet */
	VMFT_AGENT_WAITING = 1,	  /* at the first event, waiting for VMFT_COMMAND_RUN */
	VMFT_AGENT_RECORDING = 2, /* guest runs; lockstep: and is logged */
	VMFT_AGENT_REPLAYING = 3, /* guest replays */
	VMFT_AGENT_LIVE = 4,	  /* was a backup, went live in place */
	VMFT_AGENT_ENDED = 5,	  /* the guest ended in an orderly way, the log is whole */
	VMFT_AGENT_CRASHED = 6,	  /* QEMU is leaving by an error exit; its log tail is cut off */
	VMFT_AGENT_BROKEN = 7,	  /* the agent cannot go on protecting: the ring makes no sense */
	VMFT_AGENT_FENCED = 8,	  /* obeyed VMFT_COMMAND_FENCE: nothing of the guest leaves */
	VMFT_AGENT_STANDBY = 9,	  /* checkpoint, backup: stopped until a state is to be run */
};

/*
 * Only these steps are made: HOLD -> {RUN | OPEN | PREPARE}, PREPARE -> GO_LIVE,
 * RUN -> {GO_LIVE | OPEN | FENCE}, GO_LIVE -> OPEN, OPEN -> RUN (after an attach point only);
 * END from any of them, also before the first.
 */
enum vmft_command {
	VMFT_COMMAND_HOLD = 0,	  /* do not start the guest yet */
	VMFT_COMMAND_RUN = 1,	  /* primary: record, hold output; backup: replay */
	VMFT_COMMAND_GO_LIVE = 2, /* backup: go live when the log is read up to log_end */
	VMFT_COMMAND_OPEN = 3,	  /* alone: output leaves at once, the log is not kept (it is
				   * after an attach point, until the next OPEN) */
	VMFT_COMMAND_FENCE = 4,	  /* output is dropped, the guest stops for good */
	VMFT_COMMAND_PREPARE = 5, /* backup: come up stopped, state comes by VMFT_AREA_LOAD */
	VMFT_COMMAND_END = 6,	  /* QEMU is of no more use: it ends, with .exit_code */
};

/* How a backup's guest was found to differ from the primary's. */
enum vmft_divergence_kind {
	VMFT_DIVERGENCE_NONE = 0,
	VMFT_DIVERGENCE_OUTPUT = 1,	 /* it would have sent another frame */
	VMFT_DIVERGENCE_NO_OUTPUT = 2,	 /* it did not send a frame the primary sent */
	VMFT_DIVERGENCE_MORE_OUTPUT = 3, /* it sent one the primary did not */
	VMFT_DIVERGENCE_MEMORY = 4,	 /* sampled pages of RAM differ */
	VMFT_DIVERGENCE_PROCESSOR = 5,	 /* registers differ */
	VMFT_DIVERGENCE_KINDS = 6,
};

#define VMFT_DIVERGENCE_PAGES_MAX 64u

#define VMFT_NICS_SHARED_MAX 8u
#define VMFT_NIC_ID_MAX	     63 /* of a netdev's id */

struct vmft_iface {
	/* Written once by whoever made the memfd, before either side maps it. */
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes;
	uint64_t ring_bytes;
	uint8_t reserved0[40];

	/* The ring. Recording: the agent produces (head), the monitor consumes (tail).
	 * Replaying: the other way round. One cache line each. */
	_Atomic uint64_t log_head;
	uint8_t reserved1[56];
	_Atomic uint64_t log_tail;
	uint8_t reserved2[56];

	/* Written by the agent only. */
	_Atomic uint32_t agent_state;  /* enum vmft_agent_state */
	_Atomic uint32_t agent_waits;  /* QEMU threads asleep on monitor_futex */
	_Atomic uint64_t agent_beat;   /* goes up at least every 50 ms while QEMU is scheduled */
	_Atomic uint64_t log_position; /* recording: bytes logged; replaying: bytes handed to QEMU;
					* checkpoint: epochs taken of this guest */
	_Atomic uint64_t log_events;   /* whole events up to log_position */
	_Atomic int64_t guest_ns;      /* the guest's virtual-rt clock at the last logged reading */
	_Atomic uint64_t gate_frames;  /* frames held in the output gate */
	_Atomic uint64_t gate_bytes;   /* their bytes */
	_Atomic uint64_t frames_released;
	_Atomic uint64_t frames_dropped; /* after FENCE only */
	_Atomic uint64_t frozen_at;	 /* position + 1 while frozen, 0 otherwise */
	_Atomic uint64_t gate_stalls;	 /* times the guest was stopped by a full gate */
	_Atomic uint64_t live_at_ns;	 /* CLOCK_MONOTONIC when the guest went live, or 0 */
	_Atomic uint64_t gate_closed_at; /* while RUN closes the gate: the highest position that
					  * output which has left depends on, + 1; else 0 */
	_Atomic uint64_t gate_newest;	 /* what the frame that was held last depends on */
	uint8_t reserved3[16];

	/* Written by the monitor only. */
	_Atomic uint32_t command; /* enum vmft_command */
	_Atomic uint32_t
	    monitor_futex; /* bumped, then woken, by either side: a field or the ring moved */
	_Atomic uint32_t monitor_sleeps; /* set: ring the monitor's bell; cleared by who rings */
	_Atomic uint32_t freeze;	 /* 1: stop at the next event boundary */
	_Atomic uint64_t acked;		 /* frames that need no more than this may leave... */
	_Atomic uint64_t release_until;	 /* ...until this CLOCK_MONOTONIC ns (the lease) */
	_Atomic uint64_t log_end;	 /* GO_LIVE: the log's end, a boundary */
	_Atomic uint32_t exit_code; /* for QEMU's process: END; or if the monitor leaves before the
				     * guest is live here, and then 0: VMFT_EXIT_INTERNAL */
	_Atomic uint32_t throttle;  /* permille of time the recording guest is to be paused */
	_Atomic uint32_t digest_ms; /* recording: how often memory is sampled; 0: not at all */
	_Atomic uint32_t digest_pages; /* recording: pages a sample */

	/* Written by the agent only. */
	_Atomic uint32_t disk_error;  /* vmft_disk_error_pack(): of the call on an image that
				       * failed last; 0: none did yet */
	_Atomic uint32_t diverged;    /* enum vmft_divergence_kind; last of what describes it */
	_Atomic uint64_t diverged_at; /* log position of the entry that found it */
	_Atomic uint64_t diverged_expected, diverged_found; /* digests, of whatever kind it is */
	_Atomic uint32_t diverged_page_count; /* listed, VMFT_DIVERGENCE_PAGES_MAX at most */
	_Atomic uint32_t guest_ran; /* 1: this QEMU has executed instructions of its guest */
	_Atomic uint64_t diverged_page[VMFT_DIVERGENCE_PAGES_MAX]; /* offsets in vmft.ram */
	_Atomic uint64_t outputs_compared, digests_compared;	   /* replaying */
	_Atomic uint64_t digests_taken, digest_ns; /* recording: and what they cost */
	_Atomic uint32_t
	    disk_failures; /* how many have failed, counted after disk_error was written */
	_Atomic uint32_t disk_paused; /* alone: QEMU has paused the guest for it */
	_Atomic uint32_t stop_asked;  /* signals that told QEMU to end */

	/* Written by the monitor only. */
	_Atomic uint32_t stop;	      /* 1: QEMU is to end as by such a signal */
	_Atomic uint32_t keep_output; /* 1, of a frozen primary: nothing leaves; what is held is to
				       * be copied to staging_at */
	_Atomic uint32_t reserved5;
	_Atomic uint64_t take_output; /* backup, GO_LIVE: bytes at staging_at to be sent first */

	/* Written by the agent only. */
	_Atomic uint64_t kept_output;	  /* keep_output: the bytes that were copied, + 1; else 0 */
	_Atomic uint64_t console_dropped; /* bytes of the serial consoles that nobody took */
	_Atomic uint32_t console_error;	  /* why, of the last: an errno; 0: no room, its reader
					   * stands still */
	_Atomic uint32_t console_waiting; /* bytes of them that are still to be written out */
	_Atomic uint32_t guest_asleep;	  /* suspended to RAM, waiting for its alarm */
	_Atomic uint32_t reserved6;

	/* Written by the monitor only. */
	_Atomic int64_t clock_base; /* replaying: CLOCK_MONOTONIC here minus the primary's host_ns
				     * (struct vmft_clock_entry) at the same moment; 0: not known */

	/* Written by the agent only. The guest's cards, as it has found them: once, the count last.
	 */
	_Atomic uint32_t nic_count;
	_Atomic uint32_t nic_link[VMFT_NICS_SHARED_MAX]; /* interface index; 0: not known */
	char nic_id[VMFT_NICS_SHARED_MAX][VMFT_NIC_ID_MAX + 1];

	/* Written by the monitor only. */
	_Atomic uint32_t announce_again; /* counted up: a link has come up since */
};

/* A call on an image, by what can be done when it fails. */
enum vmft_disk_call {
	VMFT_DISK_READ = 1,
	VMFT_DISK_WRITE = 2,
	VMFT_DISK_ALLOCATE = 3, /* fallocate() and its like: space, zeroes, holes */
	VMFT_DISK_FLUSH = 4,	/* fdatasync(): cannot be made again */
};

/* One word, so that whoever reads it has all of one failure. */
static inline uint32_t vmft_disk_error_pack(unsigned disk, enum vmft_disk_call call, int error)
{
	return disk << 24 | (uint32_t)call << 16 | ((uint32_t)error & 0xffffu);
}

static inline unsigned vmft_disk_error_disk(uint32_t packed)
{
	return packed >> 24;
}

static inline unsigned vmft_disk_error_call(uint32_t packed) /* enum vmft_disk_call */
{
	return packed >> 16 & 0xffu;
}

static inline int vmft_disk_error_errno(uint32_t packed)
{
	return (int)(packed & 0xffffu);
}

static_assert(offsetof(struct vmft_iface, log_head) == 64, "shared layout");
static_assert(offsetof(struct vmft_iface, log_tail) == 128, "shared layout");
static_assert(offsetof(struct vmft_iface, agent_state) == 192, "shared layout");
static_assert(offsetof(struct vmft_iface, command) == 320, "shared layout");
static_assert(offsetof(struct vmft_iface, digest_ms) == 368, "shared layout");
static_assert(offsetof(struct vmft_iface, stop_asked) == 968, "shared layout");
static_assert(offsetof(struct vmft_iface, console_dropped) == 1000, "shared layout");
static_assert(offsetof(struct vmft_iface, clock_base) % 8 == 0, "no gap before it");
static_assert(sizeof(struct vmft_iface) <= VMFT_IFACE_SETTINGS, "header fits its page");

/*
 * With checkpoints the ring carries frames that came in: from the agent of a primary, tagged with
 * the epoch that is the first to have seen them; to the agent of a backup that goes live. The
 * frame follows, padded to 8 bytes.
 */
struct vmft_input {
	uint64_t epoch;
	uint32_t nic; /* by the order of -netdev, which is that of both hosts */
	uint32_t bytes;
};

#define VMFT_INPUT_MAX 60000u /* longer ones are left out */

/*
 * A hand-over: output that a primary's gate holds, in order, to be sent by whoever takes the guest
 * over. The frame follows as the tap takes it, padded to 8 bytes.
 */
struct vmft_held_output {
	uint32_t tap; /* the card: its place among the netdevs of the command line */
	uint32_t bytes;
};

#define VMFT_HELD_OUTPUT_MAX 65590u /* longer ones are left out */

/* --- the attach area ------------------------------------------------------ */

#define VMFT_AREA_MAGIC	      UINT64_C(0x746d667661726561)
#define VMFT_AREA_HEADER      (64u * 1024)
#define VMFT_AREA_REGIONS_MAX 64u
#define VMFT_AREA_DISKS_MAX   16u
#define VMFT_AREA_NAME_MAX    256u /* of a RAMBlock: char idstr[256] in QEMU */

#define VMFT_RAM_BLOCK_BYTES  4096u
#define VMFT_DISK_BLOCK_BYTES (64u * 1024)
#define VMFT_DISK_PART_BYTES  4096u

/* All of the guest's RAM but vmft.ram (firmware, ROMs, ACPI tables, video memory) goes through
 * copies. QXL as libvirt writes it has 128 MiB, nearly all of it zeroes. */
#define VMFT_AREA_SHADOW_BYTES (UINT64_C(256) << 20)
/* What may be copied while the guest is stopped; the device state has room of its own. */
#define VMFT_AREA_STAGING_BYTES (UINT64_C(64) << 20)
#define VMFT_AREA_STATE_BYTES	(UINT64_C(16) << 20)

enum vmft_region_kind {
	VMFT_REGION_DISK = 1,	/* an image; blocks of VMFT_DISK_BLOCK_BYTES */
	VMFT_REGION_RAM = 2,	/* vmft.ram...: lives in the guest memory's memfd at .shadow_at */
	VMFT_REGION_SHADOW = 3, /* any other RAMBlock: copied to and from the area at .shadow_at */
};

struct vmft_region {
	uint32_t kind;
	uint32_t reserved;
	uint64_t bytes;	    /* a disk's: the most its image may ever be long */
	uint64_t bitmap_at; /* in the area: a bit a block, set: not yet sent as it is now */
	uint64_t shadow_at; /* in the area, or in the memfd */
	char name[VMFT_AREA_NAME_MAX];
};

enum vmft_area_op {
	VMFT_AREA_NONE = 0,
	VMFT_AREA_DESCRIBE = 1, /* list the RAM regions */
	VMFT_AREA_TRACK = 2,	/* list them, begin to mark what is written, fill the shadows */
	VMFT_AREA_SCAN = 3,	/* mark what was written since, refresh the shadows */
	VMFT_AREA_POINT = 4,	/* stop the guest, drain, copy what is marked and the device
				 * state, keep the log from here on, let the guest go on;
				 * checkpoint: the first epoch, if it fits into the budget */
	VMFT_AREA_DROP = 5,	/* no more marks are needed */
	VMFT_AREA_LOAD = 6,	/* backup: load the device state, replay from the point on;
				 * checkpoint: and run it, the guest is live */
	VMFT_AREA_EPOCH = 7,	/* checkpoint: an epoch, or more of the one under way */
	VMFT_AREA_PROVE = 8,	/* checkpoint, backup: load the device state and forget it again */
};

/* One piece of what POINT copied; its bytes follow, padded to 16. */
struct vmft_area_piece {
	uint64_t offset; /* in its region */
	uint32_t region;
	uint32_t bytes;
};

struct vmft_area {
	/* Written once by whoever made the memfd. */
	uint64_t magic;
	uint32_t version; /* VMFT_IFACE_VERSION */
	uint32_t disk_count;
	uint64_t area_bytes;
	uint64_t ram_bytes;
	uint64_t bitmaps_at; /* zeroed; the disks' come first */
	uint64_t shadow_at, staging_at, state_at;

	/* Written by the monitor, before it counts request up and rings the agent. */
	_Atomic uint32_t op; /* enum vmft_area_op */
	_Atomic uint32_t request;
	_Atomic uint64_t budget_bytes;	/* POINT: more than this marked is -E2BIG */
	_Atomic uint64_t load_bytes;	/* LOAD: of device state at state_at */
	_Atomic uint64_t load_position; /* LOAD: where the log goes on */
	_Atomic int64_t load_guest_ns;	/* LOAD: the guest's clock there */
	uint8_t reserved1[16];

	/* Written by the agent; done last, the request it has carried out. */
	_Atomic uint32_t done;
	_Atomic int32_t result;		/* 0 or a negative errno; the guest runs on either way */
	_Atomic uint32_t region_count;	/* the disks included */
	_Atomic uint32_t disk_overflow; /* a write beyond region.bytes was not marked */
	_Atomic uint64_t ram_marked, disk_marked; /* SCAN: blocks */
	_Atomic uint64_t staged_bytes;		  /* POINT: of pieces at staging_at */
	_Atomic uint64_t state_bytes;		  /* POINT: at state_at */
	_Atomic uint64_t point_position;	  /* POINT: the log goes on here */
	_Atomic int64_t point_guest_ns;
	_Atomic uint64_t stop_ns, drain_ns, copy_ns, save_ns, start_ns; /* POINT: how long */
	char error[160];						/* why result is not 0 */

	/* The disks' are written by whoever made the memfd, the rest by the agent. */
	struct vmft_region region[VMFT_AREA_REGIONS_MAX];

	/* Written once by whoever made the memfd: which parts of a disk's blocks were written,
	 * an _Atomic uint16_t a block, a bit a VMFT_DISK_PART_BYTES; 0: all of them. */
	uint64_t parts_at[VMFT_AREA_DISKS_MAX];

	/* Written by the agent. */
	_Atomic uint64_t scan_ns; /* POINT and EPOCH, beside those above */
	_Atomic uint32_t more;	  /* EPOCH: staging is full and the guest still stopped; the
				   * device state is there already */
};

#define VMFT_EXCHANGE_MAX 53248u /* VMFT_PRESENCE_BYTES_MAX fits: monitor/common/presence.h */

/* Two copies of a block of bytes; version & 1 is the one that counts, 0: none yet. All written by
 * the one side that has something to say: monitor/common/exchange.h. */
struct vmft_exchange {
	_Atomic uint32_t version;
	uint32_t reserved;
	uint32_t bytes[2];
	uint8_t data[2][VMFT_EXCHANGE_MAX];
};

/* At the area's end, zeroed: the first is written by the agent, the second by the monitor. */
#define VMFT_AREA_EXCHANGE_BYTES (256u * 1024)

static_assert(2 * sizeof(struct vmft_exchange) <= VMFT_AREA_EXCHANGE_BYTES, "exchanges fit");
static_assert(offsetof(struct vmft_area, op) == 64, "shared layout");
static_assert(offsetof(struct vmft_area, done) == 120, "shared layout");
static_assert(sizeof(struct vmft_area) <= VMFT_AREA_HEADER, "header fits");

/* --- the settings --------------------------------------------------------- */

#define VMFT_SETTINGS_NAME_MAX 32u /* here and below: of a text, with the zero that ends it */
#define VMFT_SETTINGS_HEX_MAX  65u /* 32 bytes in hex */
#define VMFT_SETTINGS_LINE_MAX 256u
#define VMFT_SETTINGS_PATH_MAX 4096u /* Linux's PATH_MAX */
#define VMFT_SETTINGS_IFNAME   16u   /* Linux's IFNAMSIZ */

enum vmft_image_format {
	VMFT_IMAGE_RAW = 1,
	VMFT_IMAGE_QCOW2 = 2,
};

struct vmft_disk_settings {
	uint64_t guest_bytes;		   /* the size the guest sees */
	uint64_t device, inode;		   /* of its file; a block device's own number and 0 */
	uint64_t sum;			   /* its share of disk_digest */
	uint32_t format;		   /* enum vmft_image_format */
	uint32_t read_only;		   /* 1: the guest cannot write to it */
	char path[VMFT_SETTINGS_PATH_MAX]; /* as the command line has it */
};

/* A card, and what is known of its tap: struct vmft_tap_facts of logging-channel/hello.h. */
struct vmft_nic_settings {
	char id[VMFT_NIC_ID_MAX + 1];	   /* of its netdev */
	char ifname[VMFT_SETTINGS_IFNAME]; /* "": not known */
	uint8_t mac[6];
	uint8_t vnet_hdr, header, offloads, multi_queue;
	uint8_t reserved[2];
	uint32_t mtu;
};

#define VMFT_SETTINGS_PLACES_MAX 32u

/* Where a member is in a struct of QEMU's, in bytes. */
struct vmft_qemu_place {
	uint16_t offset;
	uint16_t bytes; /* 0 to 8 */
};

/*
 * How vmft-qemu starts the two. It writes all of it before it starts the monitor, and becomes QEMU
 * after that; nobody writes it later. Both take a copy when they start and check it:
 * monitor/common/settings.h. A descriptor has the same number in both processes.
 */
struct vmft_settings {
	/* Read by both. */
	int32_t area_fd;	 /* struct vmft_area */
	int32_t ram_fd;		 /* the guest's memory */
	int32_t bell_monitor_fd; /* eventfd, rung by the agent */
	int32_t bell_agent_fd;	 /* eventfd, rung by the monitor */
	uint32_t strategy;	 /* enum vmft_strategy_kind, not AUTO */
	uint32_t disk_count;
	uint32_t nic_count;
	uint32_t versioned_machine; /* 1: its type is the same in each QEMU that has it; 0 */

	/* Read by the agent. */
	int32_t lifeline_agent_fd;		   /* its end of the socket pair */
	uint32_t gate_bytes;			   /* held output beyond which the guest waits */
	char qemu_version[VMFT_SETTINGS_NAME_MAX]; /* "7.2.22"; names its layout and log format */

	/* Read by the monitor. */
	int32_t lifeline_monitor_fd; /* the other end */
	int32_t words_fd;	     /* QEMU's arguments as given, each ended by a zero */
	int32_t guest_pid;	     /* of vmft-qemu, which becomes QEMU */
	uint32_t role;		     /* enum vmft_role, as started */
	uint32_t host;		     /* enum vmft_host: which of the pair file's this one is */
	uint32_t log_version;	     /* of QEMU's record/replay log */
	char build_id[VMFT_SETTINGS_HEX_MAX];	    /* of the QEMU binary */
	char machine_digest[VMFT_SETTINGS_HEX_MAX]; /* of the guest's machine */
	char disk_digest[VMFT_SETTINGS_HEX_MAX];    /* of its disks before the start */
	char reserved1[5];
	char strategy_reason[VMFT_SETTINGS_LINE_MAX]; /* why this strategy, for status */
	char replay[VMFT_SETTINGS_PATH_MAX]; /* a saved log to replay instead of a peer's; "": none
					      */

	/* Read by both: the guest's disks in their order, its cards in the order of -netdev. */
	struct vmft_disk_settings disk[VMFT_AREA_DISKS_MAX];
	struct vmft_nic_settings nic[VMFT_NICS_SHARED_MAX];

	/* Read by the agent: the members of monitor/agent/qemu/fields.def, in the order of
	 * their numbers, as the QEMU binary has them. */
	struct vmft_qemu_place place[VMFT_SETTINGS_PLACES_MAX];

	/* Read by the agent. 1: this is a backup, and its state comes by VMFT_AREA_LOAD, since the
	 * primary never waits for a backup (start = alone); or 0. */
	uint32_t awaits_state;
	/* Read by the monitor. 1: libvirt runs this QEMU. It shows the guest of a fenced primary as
	 * running for as long as QEMU is there, so QEMU ends; or 0. */
	uint32_t managed;
};

static_assert(offsetof(struct vmft_settings, lifeline_agent_fd) == 32, "shared layout");
static_assert(offsetof(struct vmft_settings, lifeline_monitor_fd) == 72, "shared layout");
static_assert(offsetof(struct vmft_settings, disk) == 4648, "shared layout");
static_assert(offsetof(struct vmft_settings, nic) ==
		  4648 + VMFT_AREA_DISKS_MAX * (40 + VMFT_SETTINGS_PATH_MAX),
	      "shared layout");
static_assert(offsetof(struct vmft_settings, place) ==
		  offsetof(struct vmft_settings, nic) + VMFT_NICS_SHARED_MAX * 96,
	      "shared layout");
static_assert(offsetof(struct vmft_nic_settings, vnet_hdr) == 86, "shared layout");
static_assert(sizeof(struct vmft_disk_settings) == 40 + VMFT_SETTINGS_PATH_MAX, "no gap");
static_assert(sizeof(struct vmft_nic_settings) == 96, "no gap");
static_assert(VMFT_IFACE_SETTINGS + sizeof(struct vmft_settings) <= VMFT_IFACE_HEADER,
	      "the settings end before the ring");

#endif
