/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libvmft-agent.so, preloaded into the distribution's QEMU.
 *
 * Rules of this folder, which is a world of its own:
 * - It runs inside somebody else's process, on threads that hold QEMU's replay mutex and
 *   maybe its big lock, even the virtual clock's seqlock (icount_warp_rt() reads the log
 *   under it). So in the tap, the feed and the gate no QEMU function is called, but for
 *   seven that take no lock: qemu_get_cpu(), cpu_exit(), which sets two flags that any thread may
 *   set (time.c), qemu_find_netdev() and tap_get_fd(), which read what was made before the guest
 *   ran (nic.c), and where the main loop is at its checkpoint, no seqlock held, three that only
 *   read: cpu_dump_state() (digest.c), cpus_get_virtual_clock(), runstate_is_running() (time.c).
 * QEMU's variables are written only in go_live(), prepare(), forget_end(), load_own_state(),
 *   vmft_clock_catch_up(), let_idle_time_pass(), clock_set() and host_clock(), and the reason
 *   stands beside each.
 * - Before the main loop's wait it holds neither lock, and functions that take one may be called.
 * - What has to call QEMU (requests.c and behind it) does so in a bottom half of the main loop,
 * which holds both locks there as if QEMU had come by itself.
 * - No network, no file, no QMP: all of that is the monitor's. The descriptors written to
 *   are the guest's own taps and consoles; images are read through QEMU's, at an attach point only.
 * - A QEMU thread may be put to sleep (that is how the guest is stopped) but only in
 *   vmft_agent_sleep() and in the gate, both of which the service thread can always end, in
 *   disk.c, which looks by itself whether it must still wait, and for milliseconds in pace() and
 *   wait_for_host().
 * - Until QEMU opens VMFT_LOG_NAME, or with checkpoints until it is up, the library does
 *   nothing but know consoles by how they are opened; in a child of QEMU nothing at all, because
 *   the constructor takes its settings out of the environment.
 * - What QEMU calls in libc enters at interpose.c. Nothing here calls the functions of those names:
 *   ground.h has libc's own.
 * - State is one static struct, and ground.h's table: the library is loaded once per process.
 */
#ifndef VMFT_AGENT_H
#define VMFT_AGENT_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>

#include "ground.h"
#include "logging-channel/event.h"
#include "logging-channel/ring.h"
#include "monitor/common/announcement.h"
#include "monitor/common/guest-clock.h"
#include "monitor/interface.h"

#define VMFT_AGENT_CONSOLES 16 /* four ports, a file of its own beside each, and as much again */
#define VMFT_AGENT_NICS	    VMFT_NICS_SHARED_MAX
#define VMFT_NIC_HEADER_MAX 32u /* before a frame: struct virtio_net_hdr_v1_hash has 20 bytes */

static_assert(VMFT_AGENT_NICS <= VMFT_PRESENCE_NICS, "each card has its place");

/* A card of the guest's. Everywhere it is named by its place in this list, which is that of its
 * -netdev on both hosts: the machine's digest has them in this order. */
struct vmft_nic {
	char id[VMFT_NIC_ID_MAX + 1]; /* of its netdev, on this host */
	uint8_t mac[6];
	_Atomic int fd;		 /* 0: not known yet */
	_Atomic uint32_t header; /* bytes before each frame there, for offloads */
};

struct vmft_nics {
	struct vmft_nic nic[VMFT_AGENT_NICS];
	unsigned count;
	atomic_bool found; /* fd and header of all */
};

struct vmft_console; /* console.c */
struct vmft_frame;

struct vmft_gate {
	pthread_mutex_t lock;
	pthread_cond_t room;	  /* signalled when frames left or the gate's mode changed */
	struct vmft_frame *first; /* oldest */
	struct vmft_frame **last;
	uint64_t bytes;
	uint64_t frames;
	uint64_t limit;	  /* bytes; beyond it the sending thread, hence the guest, waits */
	uint64_t left_at; /* the highest position that output which has left depends on */
};

struct vmft_tap {
	FILE *stream; /* what QEMU believes is its log file; only compared, never read */
	struct vmft_log_cursor cursor;
	bool adding;	   /* an entry of ours is written: QEMU is not at an event */
	uint64_t requests; /* block requests QEMU had made when the cursor began */
	uint64_t room_end; /* ring positions below this are known to be free */
	uint64_t published;
	uint64_t run_until; /* CLOCK_MONOTONIC ns until which a throttled guest runs */
};

struct vmft_time {
	bool timers_run; /* the main loop is behind its checkpoint VIRTUAL_RT */
	unsigned reads;	 /* of that clock, since */
	bool bent;	 /* it stands elsewhere for one reading; a thread with the replay mutex */
	int64_t true_offset; /* cpu_clock_offset when it is not */
	bool asked;	     /* the main loop's wait before this one was none */

	/* The guest's clock is kept to the host's; a thread with the replay mutex. */
	struct vmft_clock_steer steer;
	bool rested;	    /* the vCPU had nothing to do since the clock was looked at */
	uint64_t looked_ns; /* CLOCK_MONOTONIC, and the guest's clock then */
	int64_t looked_guest_ns;
	bool anchored;
	int64_t anchor; /* cpu_clock_offset, whatever the guest was stopped for */

	/* The machine's clock */
	bool made;	/* with the machine */
	time_t made_at; /* 0: nobody has asked */

	/* For the thread that ends runs which are too long. */
	atomic_uint turns; /* of the vCPU thread, counted */
	atomic_uint rests; /* 1: the vCPU has nothing to do */
	atomic_bool waits; /* the thread sleeps until it has */
};

enum vmft_feed_phase {
	VMFT_FEED_HEADER,    /* QEMU reads the file's header */
	VMFT_FEED_UNDECIDED, /* it has skipped it; whether the guest boots is not known yet */
	VMFT_FEED_STUB,	     /* the guest's state will be loaded: no event until then */
	VMFT_FEED_STREAM,    /* events */
	VMFT_FEED_LEFT,	     /* the guest is live */
};

struct vmft_feed {
	FILE *stream;
	struct vmft_log_cursor cursor;
	uint8_t header[4]; /* log version, big-endian, which QEMU checks first */
	unsigned header_read;
	_Atomic uint32_t phase; /* enum vmft_feed_phase */
	uint8_t stage[4096];
	size_t staged; /* of QEMU's own entries only */
	size_t handed;
	bool diverged; /* not handed on any more */
	_Atomic uint64_t bytes_handed;
	uint64_t waited_at; /* main loop only: bytes handed out when it last waited */
	unsigned waits;	    /* main loop only: waits since without an event in between */
};

#define VMFT_EXPECTED_MAX 65536u

/* Frames the primary's guest has sent and this one's is still to send. */
struct vmft_expected {
	struct vmft_output_entry frame;
	uint64_t position; /* of the log entry */
	uint64_t events;   /* QEMU's, handed out before it */
};

struct vmft_output {
	int fd[VMFT_AGENT_NICS]; /* QEMU's filter-dumps write to; 0: none */
	unsigned nics;
	unsigned first, count; /* a ring */
	struct vmft_expected expected[VMFT_EXPECTED_MAX];
};

struct vmft_digest { /* main loop */
	uint64_t taken_ns;
	uint32_t next; /* page */
};

/* QEMU's Notifier (include/qemu/notify.h): a function and its place in a list. */
struct vmft_notifier {
	void (*notify)(struct vmft_notifier *notifier, void *data);
	void *node[2];
};

/* QEMU's own variables and functions, found once by name when its log is opened. */
struct vmft_qemu {
	int *replay_mode;
	FILE **replay_file;
	uint8_t *timers_state;
	uint8_t *replay_state;
	void (*vmstop_request_prepare)(void);
	void (*vmstop_request)(int run_state);
	void (*notify_event)(void);
	bool (*has_events)(void);
	/* async_run_on_cpu(); the third is a run_on_cpu_data, a union the size of a pointer */
	void (*run_on_cpu)(void *cpu, void (*work)(void *cpu, uint64_t data), uint64_t data);
	bool (*is_locked)(void);
	void (*lock)(const char *file, int line);
	void (*unlock)(void);
	bool (*is_idle)(void);
	int64_t (*virtual_clock)(void);
	int64_t (*deadline)(int clock, int attributes);

	int *autostart;
	void (*runstate_set)(int run_state);
	bool (*runstate_is_running)(void);
	int (*vm_stop)(int run_state);
	void (*vm_start)(void);
	void (*save_instructions)(void);
	void (*disable_events)(void);
	void (*enable_events)(void);
	void (*drain_all)(void);
	int (*flush_all)(void);
	void (*activate_all)(void **err);
	const char *(*error_get_pretty)(const void *err);
	void (*dirty_log_start)(unsigned flags);
	void (*dirty_log_stop)(unsigned flags);
	void (*dirty_log_sync)(void);
	void (*dirty_log_after_sync)(void);
	void *(*region_from_host)(void *host, uint64_t *ret_offset);
	void *(*snapshot_and_clear)(void *region, uint64_t at, uint64_t n, unsigned client);
	int (*ram_foreach)(int (*visit)(void *block, void *user), void *user);
	const char *(*ram_idstr)(void *block);
	void *(*ram_host)(void *block);
	uint64_t (*ram_length)(void *block);
	int (*ram_fd)(void *block);
	void *(*iohandler_context)(void);
	void (*schedule_oneshot)(void *context, void (*call)(void *), void *user, const char *name);
	void *(*channel_new_fd)(int fd);
	void *(*file_new_output)(void *channel);
	void *(*file_new_input)(void *channel);
	int (*file_close)(void *file);
	unsigned (*file_get_be32)(void *file);
	void (*unref)(void *object);
	int (*save_device_state)(void *file);
	int (*load_device_state)(void *file);
	void (*pre_loadvm)(void);
	void (*system_reset)(int shutdown_cause);
	void *(*machine)(void);
	int (*object_each)(void *object, int (*visit)(void *child, void *user), void *user);
	void *(*object_cast)(void *object, const char *type); /* NULL: it is none */
	void (*timer_del)(void *timer);
	void (*i2c_end_transfer)(void *bus);
	void *(*aio_context)(void);
	bool (*aio_poll)(void *context, bool blocking);
	void (*store_running)(void);
	void (*free)(void *memory); /* g_free() */

	void *(*get_cpu)(int index);
	void (*cpu_exit)(void *cpu);
	void (*cpu_dump_state)(void *cpu, FILE *file, int flags);

	/* checkpoint */
	bool (*runstate_check)(int run_state);
	int (*store_state)(void); /* global_state_store() */
	bool (*state_received)(void);
	int (*state_loaded)(void); /* RunState; of the last state that was loaded */
	void (*clock_enable)(int clock, bool enabled);
	void (*wakeup_enable)(int reason, bool enabled);
	void *(*object_of_type)(const char *path, const char *type, bool *ret_ambiguous);
	uint64_t (*object_get_uint)(void *object, const char *name, void **err);
	uint16_t (*port_in16)(uint32_t port);
	void (*cpu_disable_ticks)(void);
	void (*cpu_enable_ticks)(void);
	void (*pause_all_vcpus)(void);
	void (*resume_all_vcpus)(void);
	void (*vm_state_notify)(bool running, int run_state);
	void (*cpu_throttle_set)(int percent);
	void (*cpu_throttle_stop)(void);
	void (*qmp_quit)(void **err);
	int (*reset_requested_get)(void);    /* ShutdownCause, 0: none */
	int (*shutdown_requested_get)(void); /* the same */
	int *shutdown_action;
	void (*register_shutdown_notifier)(struct vmft_notifier *notifier);

	void (*killed)(int signal, pid_t pid); /* what its signal handler does */

	void *(*find_netdev)(const char *id);
	int (*tap_get_fd)(void *netdev);
};

struct vmft_agent_disk {
	uint64_t device, inode; /* a block device's own number and 0 */
	int fd;			/* main loop: where QEMU had it open last; 0: not known */
};

struct vmft_attach {
	struct vmft_area *area;
	struct vmft_agent_disk disk[VMFT_AREA_DISKS_MAX];
	unsigned disk_count;
	bool flush;	    /* an image keeps data in QEMU's memory: qcow2 */
	uint32_t scheduled; /* service thread: the request that was last passed on */
	bool dirty_log;	    /* main loop: QEMU's is on */
	atomic_bool disks;  /* what is written to images is marked */
	atomic_bool busy;   /* POINT is under way: no place to freeze the guest in */
	int state_fd;	    /* a memfd the device state passes through; -1: none yet */
};

struct vmft_checkpoint {
	bool on;			/* this is the strategy */
	bool (*phase_check)(int phase); /* QEMU's, needed before the rest */
	_Atomic uint64_t epoch;		/* taken so far */

	/* main loop */
	unsigned stopped_by; /* a guest that could run: why it does not */
	bool was_running;
	bool leaves; /* QEMU was told to end; its guest does not run again */
	struct vmft_notifier notifier;
	bool was_asleep;
	uint64_t drain_ns; /* of the last stop: it waited for disk requests */

	atomic_bool frozen, gate_full, ending;
	atomic_uint flushing;	   /* images are being made durable */
	atomic_bool waits;	   /* an epoch waits for that */
	uint64_t waits_since_ns;   /* service thread */
	_Atomic uint32_t throttle; /* permille, as last obeyed */
};

struct vmft_clock {		       /* main loop, but for the last two */
	bool known;		       /* how the clocks run: */
	uint64_t offset, ticks_offset; /* to the host's */
	atomic_bool kvm_runs_on;       /* KVM's is set to what it would read now */
	_Atomic uint64_t kvm_read_ns;  /* when QEMU read it last */
};

struct vmft_signals {
	_Atomic int signal, pid; /* the last that came, and who sent it */
	bool taken;		 /* main thread: QEMU's handlers are replaced */
	bool passed;		 /* service thread: QEMU was told */
};

struct vmft_power { /* main loop */
	bool looked;
	void *acpi;	    /* QEMU's device for power management; NULL: none */
	bool held;	    /* a sleeper is stopped: its state is saved as a sleeper's */
	bool loaded_asleep; /* so the state says that was loaded */
	uint64_t chosen_ns; /* since when the guest is about to fall asleep; 0: it is not */
};

struct vmft_input_state { /* main loop */
	uint64_t at;	  /* position in the ring, of whichever end this side has */
	uint64_t epoch;	  /* in which bytes were taken down */
	uint64_t bytes;
	bool handing_out;
	uint64_t until_ns;
};

struct vmft_announcer {
	struct vmft_presence presence; /* with the gate's lock, and the next two */
	unsigned published;	       /* since the service thread's last turn */
	bool publish_due;
	uint64_t expired_ns;
	struct vmft_presence copy; /* the thread that announces */
	uint64_t begin_ns;	   /* live, or a link has come up */
	unsigned made;		   /* since */
	uint32_t again;		   /* links that have come up, as seen */
};

struct vmft_agent {
	struct vmft_iface *iface; /* NULL: inert */
	struct vmft_ring ring;
	struct vmft_qemu qemu;
	struct vmft_tap tap;
	struct vmft_time time;
	struct vmft_feed feed;
	struct vmft_output output;
	struct vmft_digest digest;
	struct vmft_gate gate;
	struct vmft_attach attach;
	struct vmft_checkpoint checkpoint;
	struct vmft_clock clock;
	struct vmft_power power;
	struct vmft_input_state input;
	struct vmft_signals signals;
	int bell_monitor;
	int bell_agent;
	int lifeline;
	int ram_fd; /* the guest's memory */
	uint32_t log_version;
	size_t clock_offset;		     /* of cpu_clock_offset in QEMU's TimersState */
	size_t warp_offset;		     /* of vm_clock_warp_start there */
	size_t warp_timer_offset;	     /* of icount_warp_timer there */
	size_t shift_offset;		     /* of icount_time_shift there */
	size_t bias_offset;		     /* of qemu_icount_bias there */
	size_t icount_offset;		     /* of qemu_icount there */
	size_t kind_offset;		     /* of data_kind in its ReplayState */
	size_t rng_offset;		     /* of conf.max_bytes in its VirtIORNG */
	size_t ioapic_offset;		     /* of irq_eoi in its IOAPICCommonState */
	int console_fd[VMFT_AGENT_CONSOLES]; /* as QEMU knows them */
	struct vmft_console *console[VMFT_AGENT_CONSOLES];
	atomic_uint console_count; /* last, when those two are written */
	struct vmft_nics nics;
	struct vmft_announcer announcer;
	pthread_t service;
	atomic_bool armed;    /* QEMU has opened its log */
	atomic_bool orphaned; /* the monitor is gone */
	atomic_bool open;     /* output leaves at once */
	atomic_bool logging;  /* recording: the log is kept for a backup */
	atomic_bool fenced;   /* nothing leaves any more */
	atomic_bool crashed;  /* QEMU is in exit() with an error */
	uint32_t obeyed;      /* service thread: the last command carried out */

	uint64_t disk_resume_ns; /* service thread: a guest paused by its disk is let go on then */
};

/* The one instance; all files of this folder work on it. */
extern struct vmft_agent vmft_agent __attribute__((visibility("hidden")));

#define VMFT_HIDDEN __attribute__((visibility("hidden")))

/* agent.c */
VMFT_HIDDEN void vmft_agent_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
VMFT_HIDDEN void vmft_agent_state_set(enum vmft_agent_state state);
VMFT_HIDDEN void vmft_agent_ring_monitor(void);
/* Sleeps until the monitor's futex word differs from seen, or somebody wakes it. */
VMFT_HIDDEN void vmft_agent_sleep(uint32_t seen);
VMFT_HIDDEN void vmft_agent_wake(void);
VMFT_HIDDEN void vmft_agent_broken(const char *what);
VMFT_HIDDEN uint64_t vmft_agent_now(void); /* CLOCK_MONOTONIC, ns */
VMFT_HIDDEN void vmft_agent_arm(void);
VMFT_HIDDEN void vmft_agent_serve(void); /* starts the service thread */
/* pthread_create() of a thread that takes none of QEMU's signals. Returns 0 or an errno. */
VMFT_HIDDEN int vmft_agent_thread(pthread_t *ret, void *(*run)(void *), void *user);
/* The same of one that QEMU is ended without. */
VMFT_HIDDEN void vmft_agent_must_thread(pthread_t *ret, void *(*run)(void *));

static inline uint32_t vmft_agent_command(void)
{
	return atomic_load_explicit(&vmft_agent.iface->command, memory_order_acquire);
}

/* Block requests QEMU has made while it recorded or replayed: block_request_id in its
 * ReplayState, replay/replay-internal.h. Changed under the replay mutex only. */
#define VMFT_QEMU_BLOCK_REQUEST_ID 48

static inline uint64_t vmft_agent_block_requests(void)
{
	uint64_t count;

	__builtin_memcpy(&count, vmft_agent.qemu.replay_state + VMFT_QEMU_BLOCK_REQUEST_ID,
			 sizeof(count));
	return count;
}

/* tap.c: QEMU's log stream while it records */
VMFT_HIDDEN FILE *vmft_tap_open(uint64_t position);
VMFT_HIDDEN void vmft_tap_write(const uint8_t *bytes, size_t n);
/* Adds an entry of ours, if the log is kept. The caller holds the replay mutex; QEMU is not in the
 * middle of an event. */
VMFT_HIDDEN void vmft_tap_add(const uint8_t *bytes, size_t n);
VMFT_HIDDEN bool vmft_tap_is_kept(void); /* recording, for a backup */
/* The log is not kept any more; a writer that waits for room goes on. Any thread. */
VMFT_HIDDEN void vmft_tap_stop_keeping(void);
/* The attach point: main loop, the guest stopped. */
VMFT_HIDDEN void vmft_tap_keep_from_here(void);

/* Called by the main loop when it is about to wait, without any of QEMU's locks. */
VMFT_HIDDEN void vmft_tap_before_wait(void);

/* time.c: the first two with the replay mutex, around what QEMU logs. */
VMFT_HIDDEN void vmft_time_before_event(void);
VMFT_HIDDEN void vmft_time_logged(const struct vmft_log_cursor *cursor);
VMFT_HIDDEN bool vmft_time_ends_wait(void);
VMFT_HIDDEN void vmft_time_serve(void); /* starts the thread that ends runs which are too long */
/* Recording: QEMU has read the host's clock. */
VMFT_HIDDEN void vmft_time_of_day(struct timeval *tv);
/* Replaying, or going live: an entry of the log's; where the guest's clock goes on. */
VMFT_HIDDEN void vmft_time_replay(const uint8_t *entry);
VMFT_HIDDEN int64_t vmft_time_goes_on(int64_t guest_ns);

/* feed.c: QEMU's log stream while it replays, and going live at its end */
VMFT_HIDDEN FILE *vmft_feed_open(void);
VMFT_HIDDEN int vmft_feed_byte(void);
VMFT_HIDDEN bool vmft_feed_is_replaying(void); /* events: neither before nor after */
/* Whether the main loop, about to wait for timeout (NULL: for ever), had better wait for
 * *ret_slice only. Called by the main loop, without any of QEMU's locks. */
VMFT_HIDDEN bool vmft_feed_shortens_wait(const struct timespec *timeout,
					 struct timespec *ret_slice);
/* Called by the main loop behind its wait, again without locks; may keep it a little. */
VMFT_HIDDEN void vmft_feed_hold_main_loop(void);

/* output.c: would-be output, compared. All under the replay mutex but for the first three. */
#define VMFT_FRAMES_NAME "vmft:frames" /* and the card's number: what a filter-dump opens */
VMFT_HIDDEN bool vmft_output_is_name(const char *path);
VMFT_HIDDEN int vmft_output_open(const char *path); /* a descriptor, or -1 and errno */
VMFT_HIDDEN int vmft_output_nic(int fd);	    /* whose it is, or -1 */
/* A frame, behind filter-dump's header in iov[0]. Returns the length of all. */
VMFT_HIDDEN ssize_t vmft_output_writev(unsigned nic, const struct iovec *iov, int count);
/* Replaying: the log says that this frame was sent here. */
VMFT_HIDDEN void vmft_output_expect(uint64_t position, const struct vmft_output_entry *frame);
VMFT_HIDDEN bool vmft_output_is_late(void); /* the next one should have been sent by now */
VMFT_HIDDEN void vmft_output_miss(void);    /* it will not be: diverged */

/* console.c: what the guest writes to a serial port never waits for who reads it there */
VMFT_HIDDEN bool vmft_console_is_name(const char *path);
/* The file that the name is of, opened as a console's; -1 and errno. */
VMFT_HIDDEN int vmft_console_open(const char *name, int flags, mode_t mode);
VMFT_HIDDEN int vmft_console_add_pty(int master);	  /* 0 or a negative errno */
VMFT_HIDDEN struct vmft_console *vmft_console_of(int fd); /* NULL: it is none */
/* The same for the first thing that is written to stdout by writev(). */
VMFT_HIDDEN struct vmft_console *vmft_console_stdio(int fd);
/* Returns the length of all, always. */
VMFT_HIDDEN ssize_t vmft_console_writev(struct vmft_console *console, const struct iovec *iov,
					int count);
VMFT_HIDDEN void vmft_console_flush(void); /* QEMU ends: what is read still goes out */

/* digest.c: samples of memory and registers at equal log positions */
/* Recording, at a point for it (tap.c): takes one if it is time. */
VMFT_HIDDEN void vmft_digest_point(void);
/* Replaying: the entry that stands at position. */
VMFT_HIDDEN void vmft_digest_compare(uint64_t position, const uint8_t *bytes, size_t n);

/* diverge.c. Lists a page (offset in memory) for the vmft_diverge() that follows. */
VMFT_HIDDEN void vmft_diverge_page(uint64_t offset);
/* The first to be called counts. */
VMFT_HIDDEN void vmft_diverge(enum vmft_divergence_kind kind, uint64_t at, uint64_t expected,
			      uint64_t found);

/* gate.c: the output rule */
VMFT_HIDDEN void vmft_gate_init(struct vmft_gate *gate, uint64_t limit);
VMFT_HIDDEN ssize_t vmft_gate_writev(int fd, const struct iovec *iov, int count);
/* Lets out what may leave. Returns a descriptor to wait on for POLLOUT, or -1. */
VMFT_HIDDEN int vmft_gate_service(void);
/* Whether this host may say something of the guest's besides its frames, now. */
VMFT_HIDDEN bool vmft_gate_may_speak(void);
VMFT_HIDDEN void vmft_gate_mode_changed(void);
VMFT_HIDDEN void vmft_gate_open(void);
VMFT_HIDDEN void vmft_gate_close(void);
/* A hand-over. Service thread: output that is held is copied for the monitor, or it is over. */
VMFT_HIDDEN void vmft_gate_keep_service(void);
/* Going live: sends what the other side held, after the announcements. */
VMFT_HIDDEN void vmft_gate_take_output(void);

/* track.c: what is written to memory and images, as marks in the shared area. Each but the
 * first two is called in the main loop; 0 or a negative errno, the reason in area->error. */
/* "DEVICE.INODE" of each image in hex, with plus signs between; false: not understood. */
VMFT_HIDDEN bool vmft_track_parse_disks(char *text);
/* Whatever call wrote to fd there has returned. */
VMFT_HIDDEN void vmft_track_written(int fd, uint64_t offset, uint64_t n);
VMFT_HIDDEN int vmft_track_fail(int rc, const char *what); /* returns rc */
VMFT_HIDDEN int vmft_track_describe(struct vmft_area *area);
VMFT_HIDDEN int vmft_track_begin(struct vmft_area *area);
VMFT_HIDDEN int vmft_track_scan(struct vmft_area *area);
VMFT_HIDDEN int vmft_track_end(void);
VMFT_HIDDEN int vmft_track_disk_of(int fd); /* which image it is open on, or -1 */
VMFT_HIDDEN void vmft_track_mark(struct vmft_region *region, uint64_t first, uint64_t last);
VMFT_HIDDEN void *vmft_track_block(const struct vmft_region *region); /* QEMU's, or NULL */
/* Calls visit for each RAM region with where its memory is; an error ends it. */
VMFT_HIDDEN int vmft_track_each_ram(struct vmft_area *area,
				    int (*visit)(struct vmft_area *area, struct vmft_region *region,
						 uint8_t *host));
VMFT_HIDDEN int vmft_track_apply_shadow(struct vmft_area *area, struct vmft_region *region,
					uint8_t *host);

/* stage.c: copies of what is marked, the guest being stopped */
VMFT_HIDDEN int vmft_stage_scan(struct vmft_area *area);	/* marks what is dirty, counts */
VMFT_HIDDEN bool vmft_stage_fits(const struct vmft_area *area); /* into budget_bytes */
/* 0, or -ENOBUFS: staging is full, what is still marked is left; or another negative errno. */
VMFT_HIDDEN int vmft_stage_copy(struct vmft_area *area);
/* What was staged and will not be sent is marked again. */
VMFT_HIDDEN void vmft_stage_undo(struct vmft_area *area, uint64_t used);

/* state.c: device state, to and from area->state_at */
/*
 * A vCPU has asked for a reset or a power-off, and the main loop has not come to it: a wish that
 * is in no device's state. A backup that went on from here would not know of it, and a power-off
 * that comes to a guest that does not run is lost (main_loop_should_exit()).
 */
VMFT_HIDDEN bool vmft_state_wish_pending(void);
VMFT_HIDDEN int vmft_state_save(struct vmft_area *area);
VMFT_HIDDEN int vmft_state_load(void); /* what was saved last */
/* Backup: all that has arrived becomes this QEMU's; the guest does not run yet. */
VMFT_HIDDEN int vmft_state_put(struct vmft_area *area); /* and the shadows into their regions */
VMFT_HIDDEN int vmft_state_take_over(struct vmft_area *area);

/* unsaved.c: what is neither saved nor reset */
#define VMFT_UNSAVED_MAX 64u

struct vmft_unsaved {
	unsigned count;
	unsigned kind[VMFT_UNSAVED_MAX];
	void *device[VMFT_UNSAVED_MAX];
};

/* The devices that keep such things; a negative errno if this build's cannot be dealt with. */
VMFT_HIDDEN int vmft_unsaved_find(struct vmft_unsaved *ret);
/* The guest is stopped, the machine has been reset: as in a QEMU that has just started. */
VMFT_HIDDEN void vmft_unsaved_forget(const struct vmft_unsaved *found);

/* prove.c: the area's state is loaded and forgotten again. */
VMFT_HIDDEN int vmft_prove_load(struct vmft_area *area);

/* attach.c: the attach point of a lockstep pair, on either side */
VMFT_HIDDEN int vmft_attach_point(struct vmft_area *area);
VMFT_HIDDEN int vmft_attach_load(struct vmft_area *area);

/* power.c: a guest that sleeps, or is about to do so, to be reset or switched off. Main loop. */
VMFT_HIDDEN bool vmft_power_is_asleep(void);
/* It has chosen to, in the last 100 ms, and is no sleeper yet. */
VMFT_HIDDEN bool vmft_power_falls_asleep(void);
/* Around what stops a sleeper: before its run state is changed, and when it is RUNNING again. */
VMFT_HIDDEN void vmft_power_hold(void);
VMFT_HIDDEN void vmft_power_release(void);
VMFT_HIDDEN bool vmft_power_is_held(void);
VMFT_HIDDEN int vmft_power_loaded(void);   /* a state has been loaded; 0 or a negative errno */
VMFT_HIDDEN void vmft_power_go_on(void);   /* backup: runs, or sleeps, as the state says */
VMFT_HIDDEN void vmft_power_service(void); /* service thread */

/* requests.c. Service thread: passes a new request on to the main loop. */
VMFT_HIDDEN void vmft_requests_service(void);

/* checkpoint.c: the strategy for guests that cannot be replayed. Requests, in the main loop: */
VMFT_HIDDEN int vmft_checkpoint_point(struct vmft_area *area);
VMFT_HIDDEN int vmft_checkpoint_epoch(struct vmft_area *area);
VMFT_HIDDEN int vmft_checkpoint_load(struct vmft_area *area);
VMFT_HIDDEN void vmft_checkpoint_drop(struct vmft_area *area);
/* The epoch that output sent now is part of. */
VMFT_HIDDEN uint64_t vmft_checkpoint_output_depends_on(void);
VMFT_HIDDEN void vmft_checkpoint_gate_full(bool full);
VMFT_HIDDEN void vmft_checkpoint_start(bool open); /* the guest may run */
VMFT_HIDDEN void vmft_checkpoint_end(void);	   /* QEMU is to end, in order */
/* A guest that is alone, and whose monitor is gone, is stopped and slowed for nobody. */
VMFT_HIDDEN void vmft_checkpoint_orphaned(void);
VMFT_HIDDEN void vmft_checkpoint_service(void);
/* Service thread: whether an epoch that is asked for had better end a little later. */
VMFT_HIDDEN bool vmft_checkpoint_postpones(enum vmft_area_op op);
VMFT_HIDDEN void vmft_checkpoint_flush_begins(void); /* any thread */
VMFT_HIDDEN void vmft_checkpoint_flush_ends(void);
VMFT_HIDDEN void vmft_checkpoint_before_wait(void);

/* clock.c: the guest's clocks over a stop of it. Main loop, but for the last two. */
VMFT_HIDDEN void vmft_clock_before_wait(void);
VMFT_HIDDEN void vmft_clock_note(void);	     /* the guest runs, and is stopped next */
VMFT_HIDDEN void vmft_clock_catch_up(void);  /* it is stopped, and its clocks are started next */
VMFT_HIDDEN void vmft_clock_caught_up(void); /* they run */
VMFT_HIDDEN void vmft_clock_vm_start(void);  /* QEMU's vm_start(), of a guest that ran before */
VMFT_HIDDEN void vmft_clock_before_ioctl(uint32_t request, void *argument);
VMFT_HIDDEN void vmft_clock_after_ioctl(uint32_t request);

/* input.c: frames that came in, with checkpoints. Main loop. */
VMFT_HIDDEN void vmft_input_taken(int fd, const void *bytes, size_t n); /* QEMU has read it */
VMFT_HIDDEN void vmft_input_hand_out(void); /* what the monitor has put into the ring */
/* QEMU is to get this instead of what its tap has. */
VMFT_HIDDEN bool vmft_input_next(int fd, void *bytes, size_t n, ssize_t *ret);
VMFT_HIDDEN struct pollfd *vmft_input_waits(struct pollfd *fds, nfds_t count);

/* nic.c: the guest's cards. Main loop, or where a thread holds the replay mutex: asks QEMU which
 * descriptors they have, once. */
VMFT_HIDDEN void vmft_nic_find_all(void);
VMFT_HIDDEN int vmft_nic_of(int fd);			/* which card's it is, or -1 */
VMFT_HIDDEN int vmft_nic_fd(unsigned nic);		/* or -1 */
VMFT_HIDDEN bool vmft_nic_is_tap(int fd);		/* what is written there leaves this host */
VMFT_HIDDEN void vmft_nic_header_is(int fd, int bytes); /* QEMU has set it so */
VMFT_HIDDEN void vmft_nic_drain_all(void);

/* announce.c: what the guest shows of itself to its networks, and what they are told */
VMFT_HIDDEN void vmft_announce_begin(void); /* the cards are found */
VMFT_HIDDEN void vmft_announce_sent(int fd, const struct iovec *iov, int count); /* gate's lock */
VMFT_HIDDEN void vmft_announce_got(int fd, const uint8_t *bytes, size_t n);
VMFT_HIDDEN void vmft_announce_live(void);    /* the thread that goes live, the gate open */
VMFT_HIDDEN void vmft_announce_service(void); /* service thread */

/* signals.c: the signals that tell QEMU to end. */
VMFT_HIDDEN void vmft_signals_arm(void);	 /* main thread */
VMFT_HIDDEN void vmft_signals_before_wait(void); /* a main loop that is about to wait */
VMFT_HIDDEN void vmft_signals_orphaned(void);	 /* service thread */
VMFT_HIDDEN void vmft_signals_service(void);	 /* service thread */

/* disk.c: images that cannot be read or written. */
/*
 * A call on fd, made for QEMU by any of its threads, has failed with errno. Returns true: it is
 * to be made again; false: QEMU may have the error, which errno is again. May take for ever.
 * *tries counts up, 0 at first.
 */
VMFT_HIDDEN bool vmft_disk_again(int fd, enum vmft_disk_call call, unsigned *tries);
VMFT_HIDDEN void vmft_disk_service(void); /* service thread */

#endif
