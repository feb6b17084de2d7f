/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "logging-channel/event-text.h"
#include "logging-channel/savedlog.h"
#include "monitor/common/exit-codes.h"
#include "monitor/common/pair-config.h"
#include "monitor/daemon/guest/agent-link.h"
#include "monitor/daemon/strategy.h"

#define MS		  UINT64_C(1000000)
#define TICK_MS		  20
#define PROGRESS_TTY_NS	  (1000 * MS)
#define PROGRESS_PLAIN_NS (10000 * MS)
#define ENTRIES_BEFORE	  5u
#define ENTRIES_AFTER	  3u
#define CONSOLE_MS	  1000u

struct replay {
	const struct vmft_replay_options *options;
	struct vmft_pair_config config;
	struct vmft_agent_link link;
	struct vmft_strategy *strategy;
	struct vmft_savedlog_reader reader;
	struct vmft_savedlog_record record; /* the next to be held, if there is one */
	bool have_record, all_held;
	int pidfd;
	bool qemu_gone;

	/* What a first look at the file said. */
	uint64_t end;	  /* up to where it can be replayed */
	uint64_t entries; /* up to there */
	bool ended;	  /* by the guest's own end */
	/* The position after the first entry by which the guest shut down, and how many entries
	 * there are up to it; 0: it did not. QEMU may read on from there or not, and ends. */
	uint64_t shutdown, shutdown_entries;

	uint64_t at; /* where QEMU stood, when it was last looked */
	uint64_t still_ns, looked_ns, told_ns;
};

static const struct vmft_strategy_ops *const ops = &vmft_strategy_lockstep;

/* --- the file -------------------------------------------------------------- */

static bool same(const uint8_t *a, uint8_t a_bytes, const uint8_t *b, uint8_t b_bytes)
{
	return a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
}

/* What "vmft replay" could not see before QEMU's command line was rewritten. */
static int check_header(const struct replay *r, struct vmft_error *err)
{
	const struct vmft_savedlog_header *h = &r->reader.header;
	const struct vmft_hello *ours = r->options->identity;
	const char *path = r->options->log;

	if (h->kind != VMFT_SAVEDLOG_LOCKSTEP || h->attached || h->start != 0)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%.200s: does not begin with the VM's start", path);
	if (h->id.log_version != ours->log_version ||
	    !same(h->id.build_id, h->id.build_id_bytes, ours->build_id, ours->build_id_bytes))
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_QEMU,
				      "%.200s: saved with another QEMU build than %.200s: install "
				      "the same package version or name it with --qemu",
				      path, r->config.qemu);
	if (!same(h->id.machine, h->id.machine_bytes, ours->machine, ours->machine_bytes))
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_UNPROTECTED,
				      "%.200s: another machine: the kernel or initrd is not what "
				      "it was when the log was saved",
				      path);
	if (!same(h->id.disk, h->id.disk_bytes, ours->disk, ours->disk_bytes))
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_IMAGE,
				      "%.200s: the disk images are not what they were when the VM "
				      "was started: give --disk a copy from before that",
				      path);
	return 0;
}

static void look_at(struct replay *r, const struct vmft_savedlog_entry *entry, uint64_t count)
{
	const enum vmft_event_kind kind = vmft_event_kind(r->reader.format, entry->bytes[0]);

	/* The log is never cut after such an entry: logging-channel/event.h. */
	if (kind == VMFT_EVENT_INSTRUCTION)
		return;
	r->end = entry->position + entry->length;
	r->entries = count;
	r->ended = kind == VMFT_EVENT_END;
	if ((kind == VMFT_EVENT_SHUTDOWN || kind == VMFT_EVENT_RESET) && r->shutdown == 0) {
		r->shutdown = r->end;
		r->shutdown_entries = count;
	}
}

/* Reads the file to its end, so that a log that cannot be replayed is refused before QEMU runs. */
static int look_through(struct replay *r, struct vmft_error *err)
{
	struct vmft_savedlog_reader reader;
	struct vmft_savedlog_entries entries = {0};
	struct vmft_savedlog_entry entry;
	uint64_t count = 0;
	int rc = vmft_savedlog_open(&reader, r->reader.fd);

	if (rc == 0)
		rc = vmft_savedlog_entries_init(&entries, &reader);
	while (rc >= 0 && (rc = vmft_savedlog_entries_next(&entries, &entry)) > 0)
		look_at(r, &entry, ++count);
	vmft_savedlog_entries_fini(&entries);
	vmft_savedlog_close(&reader);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_CONFIG,
				      "%.200s: damaged after log position %" PRIu64
				      ": vmft-logdump shows what is before it",
				      r->options->log, r->end);
	if (r->end == 0)
		return vmft_error_set(err, -EINVAL, VMFT_EXIT_CONFIG,
				      "%.200s: has no log entries, there is nothing to replay",
				      r->options->log);
	return 0;
}

static int open_file(struct replay *r, struct vmft_error *err)
{
	const char *path = r->options->log;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return vmft_error_set(err, -errno, VMFT_EXIT_CONFIG, "%.200s: %s", path,
				      strerror(errno));
	rc = vmft_savedlog_open(&r->reader, fd);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_CONFIG, "%.200s: not a saved log", path);
	rc = check_header(r, err);
	return rc < 0 ? rc : look_through(r, err);
}

static int begin(struct replay *r, struct vmft_error *err)
{
	const struct vmft_replay_options *o = r->options;
	const struct vmft_strategy_world world = {
	    .link = &r->link,
	    .config = &r->config,
	    .log_version = o->identity->log_version,
	};
	int rc = vmft_pair_config_load(o->pair_file, &r->config, err);

	if (rc == 0)
		rc = open_file(r, err);
	if (rc == 0)
		rc = vmft_agent_link_init(&r->link, o->iface_fd, o->area_fd, o->bell_monitor_fd,
					  o->bell_agent_fd, o->ram_fd, err);
	if (rc < 0)
		return rc;
	r->pidfd = (int)syscall(SYS_pidfd_open, o->guest_pid, 0);
	rc = r->pidfd < 0 ? -errno : ops->open(&world, &r->strategy);
	if (rc < 0)
		return vmft_error_set(err, rc, VMFT_EXIT_INTERNAL, "guest process %d: %s",
				      o->guest_pid, strerror(-rc));
	return 0;
}

/* --- feeding QEMU ---------------------------------------------------------- */

/* Puts records into the ring as far as there is room. Whatever fails here was good when the file
 * was looked through. */
static int feed(struct replay *r)
{
	int rc;

	while (!r->all_held && ops->has_room(r->strategy)) {
		if (!r->have_record) {
			rc = vmft_savedlog_next(&r->reader, &r->record);
			if (rc < 0)
				return rc;
			r->have_record = rc > 0;
			r->all_held = rc == 0;
			continue;
		}
		rc = ops->hold(r->strategy, r->record.position, r->record.bytes, r->record.length);
		if (rc == -ENOSPC)
			return 0;
		if (rc < 0)
			return rc;
		r->have_record = false;
	}
	return 0;
}

static void wait_a_tick(struct replay *r)
{
	struct pollfd fds[2] = {
	    {.fd = r->link.bell_monitor, .events = POLLIN},
	    {.fd = r->pidfd, .events = POLLIN},
	};
	uint64_t count;

	(void)poll(fds, 2, TICK_MS);
	if (fds[0].revents & POLLIN)
		(void)!read(r->link.bell_monitor, &count, sizeof(count));
	r->qemu_gone = fds[1].revents & POLLIN;
	/* The agent rings again when QEMU has read all there is. */
	atomic_store(&r->link.iface->monitor_sleeps, 1);
}

/* How long QEMU has not read on, in time that this process ran. */
static void watch(struct replay *r)
{
	const uint64_t at = ops->applied(r->strategy);
	const uint64_t now = vmft_loop_now();
	const uint64_t passed = vmft_loop_since(r->looked_ns, now);

	r->looked_ns = now;
	r->still_ns += passed < 5 * TICK_MS * MS ? passed : TICK_MS * MS;
	if (at != r->at)
		r->still_ns = 0;
	r->at = at;
}

static void tell_progress(struct replay *r, bool tty)
{
	const uint64_t now = vmft_loop_now();
	const uint64_t at = ops->applied(r->strategy);

	if (vmft_loop_since(r->told_ns, now) < (tty ? PROGRESS_TTY_NS : PROGRESS_PLAIN_NS))
		return;
	r->told_ns = now;
	(void)fprintf(stderr,
		      "%svmft replay: log position %" PRIu64 " of %" PRIu64
		      " (%.0f %%), guest's time %.1f s%s",
		      tty ? "\r" : "", at, r->end, 100.0 * (double)at / (double)r->end,
		      (double)atomic_load(&r->link.iface->guest_ns) / 1e9, tty ? "  " : "\n");
}

/* --- how it went ----------------------------------------------------------- */

static void print_entry(const struct vmft_log_format *format, uint64_t position, bool here,
			const struct vmft_savedlog_entry *entry)
{
	char line[256];

	vmft_event_line(format, entry->bytes, entry->length, line, sizeof(line));
	printf("%s %12" PRIu64 "  %s\n", here ? "->" : "  ", position, line);
}

struct around {
	const struct vmft_log_format *format;
	uint64_t at;
	unsigned after; /* printed after the entry that is looked for */
	bool found;
	uint64_t before[ENTRIES_BEFORE]; /* positions; a ring */
	size_t count;
};

/* A log cannot be read backwards: a first pass finds where the entries before one begin. */
static uint64_t first_to_print(const struct around *a)
{
	return a->count > ENTRIES_BEFORE ? a->before[a->count % ENTRIES_BEFORE]
	       : a->count > 0		 ? a->before[0]
					 : 0;
}

static int each_entry(const struct replay *r, struct around *a,
		      bool (*look)(struct around *a, const struct vmft_savedlog_entry *entry))
{
	struct vmft_savedlog_reader reader;
	struct vmft_savedlog_entries entries;
	struct vmft_savedlog_entry entry;
	int rc = vmft_savedlog_open(&reader, r->reader.fd);

	if (rc < 0)
		return rc;
	rc = vmft_savedlog_entries_init(&entries, &reader);
	while (rc >= 0 && (rc = vmft_savedlog_entries_next(&entries, &entry)) > 0)
		if (look(a, &entry))
			break;
	vmft_savedlog_entries_fini(&entries);
	vmft_savedlog_close(&reader);
	return rc;
}

static bool is_at(const struct around *a, const struct vmft_savedlog_entry *entry)
{
	return a->at >= entry->position && a->at < entry->position + entry->length;
}

static bool look_before(struct around *a, const struct vmft_savedlog_entry *entry)
{
	if (is_at(a, entry))
		return true;
	a->before[a->count++ % ENTRIES_BEFORE] = entry->position;
	return false;
}

static bool print_around(struct around *a, const struct vmft_savedlog_entry *entry)
{
	if (entry->position < first_to_print(a))
		return false;
	print_entry(a->format, entry->position, is_at(a, entry), entry);
	if (a->found)
		return ++a->after == ENTRIES_AFTER;
	a->found = is_at(a, entry);
	return false;
}

static void print_entries(const struct replay *r, uint64_t at)
{
	struct around around = {.format = r->reader.format, .at = at};

	if (each_entry(r, &around, look_before) >= 0)
		(void)each_entry(r, &around, print_around);
}

static int differs(const struct replay *r, uint64_t at, const char *how)
{
	printf("vmft replay: a difference at log position %" PRIu64 " of %" PRIu64 ": %s\n", at,
	       r->end, how);
	print_entries(r, at);
	return VMFT_EXIT_DIVERGED;
}

static int is_same(uint64_t entries, uint64_t position)
{
	printf("vmft replay: replayed %" PRIu64 " entries up to position %" PRIu64
	       ", no difference\n",
	       entries, position);
	return VMFT_EXIT_OK;
}

static const char *divergence_text(uint32_t kind)
{
	static const char *const texts[VMFT_DIVERGENCE_KINDS] = {
	    [VMFT_DIVERGENCE_OUTPUT] = "the guest sends another frame than the primary's did",
	    [VMFT_DIVERGENCE_NO_OUTPUT] = "the guest does not send a frame the primary's sent",
	    [VMFT_DIVERGENCE_MORE_OUTPUT] = "the guest sends a frame the primary's did not",
	    [VMFT_DIVERGENCE_MEMORY] = "the guest's memory is not what the primary's was",
	    [VMFT_DIVERGENCE_PROCESSOR] = "the processor's registers are not what they were",
	};

	return kind < VMFT_DIVERGENCE_KINDS && texts[kind] ? texts[kind] : "the guest diverged";
}

static int qemu_ended(const struct replay *r)
{
	const enum vmft_agent_state state = vmft_agent_link_state(&r->link);

	if (state == VMFT_AGENT_CRASHED)
		return differs(r, ops->applied(r->strategy),
			       "QEMU found that the log does not fit, and ended");
	if (r->shutdown > 0 && ops->applied(r->strategy) >= r->shutdown)
		return is_same(r->shutdown_entries, r->shutdown);
	printf("vmft replay: QEMU is gone at log position %" PRIu64 " of %" PRIu64 "\n",
	       ops->applied(r->strategy), r->end);
	print_entries(r, ops->applied(r->strategy));
	return VMFT_EXIT_GUEST;
}

/* -1: not yet known. */
static int verdict(const struct replay *r)
{
	struct vmft_iface *iface = r->link.iface;
	const uint32_t diverged = atomic_load(&iface->diverged);

	if (diverged != VMFT_DIVERGENCE_NONE)
		return differs(r, atomic_load(&iface->diverged_at), divergence_text(diverged));
	if (r->qemu_gone)
		return qemu_ended(r);
	if (vmft_agent_link_state(&r->link) == VMFT_AGENT_BROKEN) {
		printf("vmft replay: the memory shared with QEMU is not valid\n");
		return VMFT_EXIT_INTERNAL;
	}
	/* A QEMU that has its guest's end in the log ends without asking for more: it is waited
	 * for. */
	if (r->all_held && !r->ended && ops->applied(r->strategy) >= ops->held(r->strategy))
		return is_same(r->entries, r->end);
	if (r->still_ns >= r->config.stall_ms * MS)
		return differs(r, ops->applied(r->strategy),
			       "replay stands still although there is more log");
	return -1;
}

/* A QEMU that waits for log hears no other signal. What the guest has written to its console by
 * then is on its way to the file. */
static void end_qemu(const struct replay *r)
{
	struct pollfd gone = {.fd = r->pidfd, .events = POLLIN};

	if (r->qemu_gone)
		return;
	for (unsigned ms = 0; ms < CONSOLE_MS && atomic_load(&r->link.iface->console_waiting); ms++)
		(void)poll(&gone, 1, 1);
	(void)kill(r->options->guest_pid, SIGKILL);
	while (poll(&gone, 1, -1) < 0 && errno == EINTR)
		;
}

static int run(struct replay *r)
{
	const bool tty = isatty(STDERR_FILENO);
	int code = -1;

	r->told_ns = r->looked_ns = vmft_loop_now();
	vmft_agent_link_command(&r->link, VMFT_COMMAND_RUN);
	while (code < 0) {
		if (feed(r) < 0) {
			printf("vmft replay: %s: was changed while it was read\n", r->options->log);
			code = VMFT_EXIT_CONFIG;
			break;
		}
		wait_a_tick(r);
		watch(r);
		tell_progress(r, tty);
		code = verdict(r);
	}
	if (tty)
		(void)fputc('\n', stderr);
	return code;
}

int vmft_replay_run(const struct vmft_replay_options *options)
{
	static struct replay replay;
	struct vmft_error err = {.exit_code = VMFT_EXIT_INTERNAL};
	int code;

	replay.options = options;
	if (begin(&replay, &err) < 0) {
		(void)fprintf(stderr, "vmft replay: %s\n", err.text);
		return err.exit_code;
	}
	(void)!write(options->lifeline_fd, "R", 1);
	code = run(&replay);
	end_qemu(&replay);
	ops->close(replay.strategy);
	vmft_savedlog_close(&replay.reader);
	(void)fflush(stdout);
	return code;
}
